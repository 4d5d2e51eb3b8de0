"""``metablock table``"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ...errors import MetablockError
from .. import options
from ..application import app, print_json
from ..study_options import stopping


class TableFormat(StrEnum):
    """How ``table`` writes its table."""

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
    form: Annotated[TableFormat, typer.Option("--as", help="The format.")] = TableFormat.text,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps.")] = "cpu",
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="float32, float16, bfloat16.")] = "float32",
    batch: options.Batch = 8,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the networks that are measured.")] = False,
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
    from ...report.table import SURVEY, WRITERS, described, table_rows
    from ..output import side_by_side, working

    networks = [(name, name) for name in names or []] + (list(SURVEY) if survey else [])
    if not networks:
        raise MetablockError("no network is named", "metablock table resnet50 swin_tiny, or --survey")
    line = "stopped; nothing is printed of a part of the table, the same command starts again"
    with stopping(lambda: line), working() as progress:
        rows = table_rows(
            networks, measured=measure, device=device, dtype=dtype, batch=batch, compiled=compiled, progress=progress
        )
    if as_json:
        print_json([row.model_dump() for row in rows])
    elif form is TableFormat.text:
        side_by_side(rows)
        if measure:
            typer.echo(f"images/s: {described(device)}, {dtype}, batches of {batch}, {'compiled' if compiled else 'eager'}")
    else:
        typer.echo(WRITERS[form.value](rows))
