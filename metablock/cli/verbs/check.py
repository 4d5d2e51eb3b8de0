"""``metablock check``"""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import Problem
from .. import options
from ..application import BAD_INPUT, app, print_json
from ..completion import complete_file


@app.command()
def check(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Spec files; - is standard input.", show_default=False, autocompletion=complete_file
        ),
    ],
    shapes: Annotated[
        bool,
        typer.Option("--shapes/--no-shapes", help="Also infer the shapes of every variant and count the figures of facts."),
    ] = True,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Report every error of every file: its place, the line, one hint.

    Silent when all is well; the status is 2 where there is an error. What is allowed but may not be meant is a warning.

    \b
      metablock check my.yaml
      metablock check --no-shapes architectures/*.yaml
      generate | metablock check - --json
    """
    from ...report.check import check as problems_of
    from ...report.check import file_report

    doubts: dict[str, list[Problem]] = {name: [] for name in files}
    problems = {name: problems_of(name, shapes=shapes, doubts=noted) for name, noted in doubts.items()}
    if as_json:
        reports = [file_report(name, wrong, doubts[name]).model_dump() for name, wrong in problems.items()]
        print_json(reports)
    else:
        for name, wrong in problems.items():
            for problem in wrong:
                typer.echo(problem.render(), err=True)
            for problem in doubts[name]:
                typer.echo(f"warning: {problem.render()}", err=True)
    if any(problems.values()):
        raise typer.Exit(BAD_INPUT)
