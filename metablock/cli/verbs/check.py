"""``metablock check``"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import options
from ..app import BAD_INPUT, app, print_json


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Spec files; - is standard input.", show_default=False)],
    shapes: Annotated[
        bool, typer.Option("--shapes/--no-shapes", help="Also infer the shapes of every variant (imports torch).")
    ] = True,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Report every error of every file: its place, the line, one hint.

    Silent when all is well; otherwise the status is 2.

    \b
      metablock check my.yaml
      metablock check --no-shapes architectures/*.yaml
      generate | metablock check - --json
    """
    from ...report.check import check as problems_of
    from ...report.check import file_report

    problems = {name: problems_of(name, shapes=shapes) for name in dict.fromkeys(files)}
    if as_json:
        reports = [file_report(name, wrong).model_dump() for name, wrong in problems.items()]
        print_json(reports)
    else:
        for wrong in problems.values():
            for problem in wrong:
                typer.echo(problem.render(), err=True)
    if any(problems.values()):
        raise typer.Exit(BAD_INPUT)
