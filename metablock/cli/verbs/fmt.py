"""``metablock fmt``"""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import MetablockError
from ..application import BAD_INPUT, app, say
from ..completion import complete_file


@app.command()
def fmt(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Spec files; - is standard input.", show_default=False, autocompletion=complete_file
        ),
    ],
    only_check: Annotated[bool, typer.Option("--check", help="Write nothing; status 1 where a file would change.")] = False,
) -> None:
    """Bring spec files into canonical form: order, spacing, quotes, columns. Comments are kept.

    Text on standard input is formatted to standard output. A file with errors stays as it is; the status is 2.

    \b
      metablock fmt my.yaml
      metablock fmt --check architectures/*.yaml
      generate | metablock fmt - > my.yaml
    """
    from ...report.check import STDIN, shown
    from ...report.fmt import reformat

    changed = wrong = False
    for name in dict.fromkeys(files):
        try:
            differs, text = reformat(name, write=not only_check)
        except MetablockError as problem:  # the others are formatted all the same
            say(str(problem), err=True)
            wrong = True
            continue
        changed |= differs
        if name == STDIN and not only_check:
            typer.echo(text, nl=False)
        elif differs:
            say(f"{shown(name)} {'would be' if only_check else 'is'} formatted", err=True)
    if wrong or (changed and only_check):
        raise typer.Exit(BAD_INPUT if wrong else 1)
