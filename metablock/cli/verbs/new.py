"""``metablock new``"""

from __future__ import annotations

from typing import Annotated

import typer

from ..app import app


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The architecture's name; the file is NAME.yaml.", show_default=False)
    ],
    base: Annotated[str | None, typer.Option("--from", metavar="BASE", help="A catalogue name or a file to start from.")] = None,
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
    typer.echo(f"{path} is written; next:")
    typer.echo(f"  metablock check {path}")
    typer.echo(f"  metablock build {path}{more}")
