"""``metablock ops``"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import options
from ..application import app, print_json


@app.command()
def ops(
    spec: options.Spec,
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    batch: options.Batch = 1,
    shapes: Annotated[bool, typer.Option("--shapes", help="List every shape that an operator is called with.")] = False,
    large: options.Large = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """List the ATen operators that a network's inference calls: how often, and for what shapes. Nothing is allocated.

    \b
      metablock ops mobilenetv2_100
      metablock ops swin_tiny --input 3x448x448 --shapes
      metablock ops caformer_s18 --json | jq -r '.[].operator'
    """
    from ...report.ops import operators_of
    from ..output import op_table

    rows = operators_of(options.build_options(spec, variant, edits, classes, input, large), batch)
    if as_json:
        print_json([row.model_dump() for row in rows])
    else:
        op_table(rows, shapes)
