"""``metablock report``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import options
from ..application import app, print_json, say
from ..study_options import require_packages


@app.command()
def report(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", callback=options.path, help="A study's folder, as `metablock ablate` wrote it.", show_default=False
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", callback=options.path, metavar="FOLDER", help="For the report; the study's folder by default."
        ),
    ] = None,
    recover: Annotated[
        bool, typer.Option("--recover", help="Save what can be read of a damaged journal into a new one; the damaged one stays.")
    ] = False,
    copy: Annotated[
        str | None,
        typer.Option(
            "--copy",
            callback=options.path,
            metavar="FOLDER",
            help="Copy the study to a folder, whole, also while it runs; no report.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write the report of a study from its journal, also in mid-study.

    \b
      metablock report mixers.study
      metablock report mixers.study --copy backup.study
    """
    from ...ablation import run as running
    from ...ablation.recover import copy_study
    from ...ablation.recover import recover as recover_from
    from ...ablation.report import write_report
    from ...report.study_models import CopyReport
    from ..study_answers import study_answer
    from ..study_output import summary

    require_packages()
    if recover:
        for line in recover_from(Path(folder)):
            typer.echo(line, err=as_json)
    if copy is not None:
        files = copy_study(Path(folder), Path(copy))
        if as_json:
            print_json(CopyReport(folder=copy, files=tuple(map(str, files))).model_dump())
        else:
            say(f"{len(files)} files in {copy}")
        return
    results = running.results(Path(folder))
    files = write_report(results, Path(output or folder))
    if as_json:
        print_json(study_answer(results, files).model_dump())
    else:
        summary(results, files)
