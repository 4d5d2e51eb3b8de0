"""``metablock report``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..app import app
from ..study_options import require_packages


@app.command()
def report(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="A study's folder, as `metablock ablate` wrote it.", show_default=False)
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FOLDER", help="For the report; the study's folder by default.")
    ] = None,
) -> None:
    """Write the report of a study from its journal, also in mid-study.

    \b
      metablock report mixers.study
    """
    from ...ablation import run as running
    from ...ablation.report import write_report
    from ..study_output import summary

    require_packages()
    results = running.results(Path(folder))
    summary(results, write_report(results, Path(output or folder)))
