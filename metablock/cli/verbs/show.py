"""``metablock show``"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .. import options
from ..app import app


class View(StrEnum):
    """What ``show`` prints."""

    spec = "spec"
    tree = "tree"
    shapes = "shapes"


@app.command()
def show(
    spec: options.Spec,
    view: Annotated[
        View, typer.Option("--as", help="spec: the resolved text; tree: the modules; shapes: what enters and leaves each step.")
    ] = View.spec,
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    large: options.Large = False,
    plugin: options.Plugin = None,
) -> None:
    """Show a network: its variant and edits resolved, nothing allocated.

    \b
      metablock show poolformer_s12
      metablock show poolformer_s12 --as shapes --input 3x256x192
      metablock show swin_tiny --edit 'token = pool' --as tree
      metablock show swin_small > my.yaml
    """
    from ...report import show as views
    from ..output import shape_table

    network = options.build_options(spec, variant, edits, classes, input, large)
    if view is View.shapes:
        shape_table(views.shapes(network))
    else:
        text = views.spec_text(network) if view is View.spec else views.tree_text(network)
        typer.echo(text.rstrip("\n"))
