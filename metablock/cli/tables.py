"""The verbs that count: ``table`` and ``ops``."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from ..errors import MetablockError
from . import options
from .verbs import app, choice_of


class As(StrEnum):
    """How a table is written."""

    text = "text"
    md = "md"
    tex = "tex"
    csv = "csv"


@app.command()
def table(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAMES...", help="Catalogue names and files.", show_default=False)
    ] = None,
    survey: Annotated[
        bool, typer.Option("--survey", help="The rows that surveys of vision transformers compare, ResNet-50 to VOLO-D5.")
    ] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the throughput on this device.")] = False,
    form: Annotated[As, typer.Option("--as", help="How it is written.")] = As.text,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps.")] = "cpu",
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="float32, float16, bfloat16.")] = "float32",
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Images in a pass that is measured.")] = 8,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile what is measured.")] = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Networks side by side: parameters, MACs, throughput, and what the papers print.

    Parameters and MACs are exact; a note says where a printed figure differs by more than its rounding.

    \b
      metablock table resnet50 swin_tiny poolformer_s12
      metablock table resnet50 convnext_tiny --measure --device cuda --batch 64 --compile
      metablock table --survey --as md
    """
    from ..report.table import SURVEY, WRITERS, described, table_rows
    from .output import side_by_side, working

    chosen = [(name, name) for name in names or []] + (list(SURVEY) if survey else [])
    if not chosen:
        raise MetablockError("no network is named\n  metablock table resnet50 swin_tiny, or --survey")
    with working() as progress:
        rows = table_rows(chosen, measure=measure, device=device, dtype=dtype, batch=batch, compiled=compiled, progress=progress)
    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in rows], indent=2))
    elif form is As.text:
        side_by_side(rows)
        if measure:
            typer.echo(f"images/s: {described(device)}, {dtype}, batches of {batch}, {'compiled' if compiled else 'eager'}")
    else:
        typer.echo(WRITERS[form.value](rows))


@app.command()
def ops(
    spec: options.Spec,
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="How many images a pass has.")] = 1,
    shapes: Annotated[bool, typer.Option("--shapes", help="Every shape that an operator is called for.")] = False,
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
    from ..report.ops import operators_of
    from .output import op_table

    rows = operators_of(choice_of(spec, variant, edits, classes, input, large), batch)
    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in rows], indent=2))
    else:
        op_table(rows, shapes)
