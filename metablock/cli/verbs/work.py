"""``metablock work``, hidden: a process of a study"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ...errors import MetablockError
from .. import options
from ..application import app


@app.command(hidden=True)
def work(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", callback=options.path)],
    device: Annotated[str, typer.Option("--device")] = "cpu",
    threads: Annotated[int, typer.Option("--threads")] = 0,
    parent: Annotated[int | None, typer.Option("--parent")] = None,
    plan: Annotated[str | None, typer.Option("--plan")] = None,
    plugin: options.Plugin = None,
) -> None:
    """Do runs of a study until none is left."""
    import signal

    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, which ends its workers
    from ...ablation.training import Options
    from ...ablation.work import STOPPED
    from ...ablation.work import work as work_on
    from ...backend.device import parse_device

    try:
        parse_device(device)
        work_on(Path(folder), Options(device, threads=threads), plan=plan, parent=parent)
    except MetablockError as wrong:
        if parent is None:
            raise
        with suppress(OSError):
            typer.echo(str(wrong), err=True)
        os._exit(STOPPED)  # the interpreter's own end might write once more, on a full disk
