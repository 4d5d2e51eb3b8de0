"""``metablock new``"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import options
from ..application import app, say


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The architecture's name; the file is NAME.yaml.", show_default=False)
    ],
    base: Annotated[
        str | None,
        typer.Option("--from", callback=options.path, metavar="BASE", help="A catalogue name or a file to start from."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a starter spec: a small commented architecture, or a copy of another under a new name.

    \b
      metablock new my_net
      metablock new my_swin --from swin_tiny
    """
    from ...catalogue.starter import new as write_new

    path, variant = write_new(name, base=base, force=force)
    more = f" --variant {variant}" if variant else ""
    say(f"{path} is written; next:")
    say(f"  metablock check {path}")
    say(f"  metablock build {path}{more}")
