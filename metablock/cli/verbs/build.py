"""``metablock build``"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import options
from ..application import app


@app.command()
def build(
    spec: options.Spec,
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    method: options.Method = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            callback=options.path,
            metavar="FILE",
            help="A .safetensors or .pth file: our names, the official code's or timm's; or timm, official, hf:OWNER/NAME.",
        ),
    ] = None,
    weights_input: options.WeightsInput = None,
    names: options.Names = None,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps; on meta nothing runs.")
    ] = "cpu",
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="float32, float64, float16, bfloat16.")] = "float32",
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Compile with torch.compile, one graph for each distinct block.")
    ] = True,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Measure the ways to compile it on this device, take the fastest, and remember which it is."),
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, max=2**63 - 1, help="Of the initial weights and the random input.")
    ] = 0,
    batch: options.Batch = 1,
    large: options.Large = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
    reparameterize: Annotated[
        bool,
        typer.Option("--reparameterize", "--deploy", help="Fold branches, norms and scales into the convolutions beside them."),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            callback=options.path,
            metavar="FILE",
            help="Write the network, by the suffix: .py, .safetensors, .pt2 or .onnx.",
        ),
    ] = None,
    dynamic: Annotated[
        str | None,
        typer.Option("--dynamic", metavar="SIZES", help="The sizes that stay open in a .pt2 or .onnx file: batch,height,width."),
    ] = None,
) -> None:
    """Build a network, compile it, run it; print its parts, their cost, and the paper's own figures.

    \b
      metablock build poolformer_s12
      metablock build poolformer_s12 --edit 'token = attention(dim // 32)'
      metablock build swin_tiny --edit 'stages[2:].token = pool' --classes 10 --no-compile
      metablock build ./my.yaml --variant small --input 3x256x192 --batch 8 --device cuda
      metablock build convnext_tiny --tune --batch 64 --device cuda --dtype bfloat16
      metablock build convnext_tiny --weights convnext.pth -o convnext.safetensors
      metablock build convnext_tiny -o convnext.py
      metablock build repvgg_a0 --reparameterize -o repvgg.safetensors
      metablock build convnext_tiny -o convnext.onnx --dynamic batch,height,width
    """
    from ...report.build import build_report
    from ..output import build_tables, working

    network = options.build_options(spec, variant, edits, classes, input, large, method)
    with working() as progress:
        report = build_report(
            network,
            weights=weights,
            weights_input=weights_input,
            names=names,
            device=device,
            dtype=dtype,
            compiled=compiled,
            tune=tune,
            seed=seed,
            batch=batch,
            output=output,
            dynamic=dynamic,
            reparameterized=reparameterize,
            progress=progress,
        )
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        build_tables(report)
