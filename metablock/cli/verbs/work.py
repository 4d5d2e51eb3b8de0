"""``metablock work``, hidden: a process of a study"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import options
from ..app import app


@app.command(hidden=True)
def work(
    folder: str,
    device: Annotated[str, typer.Option("--device")] = "cpu",
    threads: Annotated[int, typer.Option("--threads")] = 0,
    parent: Annotated[int | None, typer.Option("--parent")] = None,
    compiled: Annotated[bool, typer.Option("--compile")] = False,
    plugin: options.Plugin = None,
) -> None:
    """Do runs of a study until none is left."""
    from ...ablation.training import Options
    from ...ablation.work import work as work_on
    from ...backend.device import parse_device

    parse_device(device)
    work_on(Path(folder), Options(device, compiled, threads), parent=parent)
