"""``metablock show``"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ...errors import MetablockError
from .. import options
from ..application import app, print_json


class View(StrEnum):
    """What ``show`` prints."""

    spec = "spec"
    tree = "tree"
    shapes = "shapes"
    names = "names"


@app.command()
def show(
    spec: options.Spec,
    view: Annotated[
        View,
        typer.Option(
            "--as",
            help="spec: the resolved text; tree: the modules; shapes: what enters and leaves each step; names: the tensors.",
        ),
    ] = View.spec,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            callback=options.path,
            metavar="PLACE",
            help="A checkpoint, whose names stand beside ours with what fits (--as names).",
        ),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            "--rules",
            "--names",
            metavar="NAME",
            help="The rules that translate names: ours, timm, official; by default those that fit best (--as names).",
        ),
    ] = None,
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    method: options.Method = None,
    large: options.Large = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Show a network: its variant and edits resolved, nothing allocated.

    \b
      metablock show poolformer_s12
      metablock show poolformer_s12 --as shapes --input 3x256x192
      metablock show swin_tiny --edit 'token = pool' --as tree
      metablock show swin_small > my.yaml
      metablock show swin_tiny --as names --weights swin_tiny_patch4_window7_224.pth
    """
    from ...report import show as views
    from ..output import shape_table

    network = options.build_options(spec, variant, edits, classes, input, large, method)
    if view is View.names:
        from ...report.names import names_of
        from ..names_output import names_text

        report = names_of(network, weights, rules)
        print_json(report.model_dump()) if as_json else names_text(report)
        return
    for option, value in {"--weights": weights, "--rules": rules}.items():
        if value is not None:
            raise MetablockError(f"{option} belongs to --as names", f"metablock show {spec} --as names {option}")
    if as_json:
        shown = {View.spec: views.shown_spec, View.tree: views.shown_tree, View.shapes: views.shown_shapes}[view]
        print_json(shown(network).model_dump())
    elif view is View.shapes:
        shape_table(views.shapes(network))
    else:
        text = views.spec_text(network) if view is View.spec else views.tree_text(network)
        typer.echo(text.rstrip("\n"))
