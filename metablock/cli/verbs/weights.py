"""``metablock weights import`` and ``metablock weights export``"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import options
from ..app import SETTINGS, app, say

weights = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Import checkpoints of other code, and export weights to its names, by the rules of the spec.",
    context_settings=SETTINGS,
)
app.add_typer(weights, name="weights")


@weights.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="A .safetensors or .pth file; timm or official (the checkpoint that the spec names); hf:OWNER/NAME; a URL.",
            show_default=False,
        ),
    ],
    spec: options.Spec,
    output: Annotated[
        str,
        typer.Option("--output", "-o", callback=options.path, metavar="FILE", help="A .safetensors file.", show_default=False),
    ],
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    weights_input: options.WeightsInput = None,
    names: options.Names = None,
    large: options.Large = False,
    plugin: options.Plugin = None,
) -> None:
    """Write a checkpoint of the official code, or of timm, under our names.

    \b
      metablock weights import swin_tiny_patch4_window7_224.pth swin_tiny -o swin.safetensors
      metablock weights import timm resnet18 -o resnet18.safetensors
      metablock weights import hf:timm/resnet18.a1_in1k resnet18 --classes 10 -o resnet18.safetensors
    """
    from ...report.weights import import_weights

    network = options.build_options(spec, variant, edits, classes, input, large)
    report = import_weights(source, network, output, weights_input=weights_input, names=names)
    say(f"{output}: {report}")


@weights.command("export")
def export(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            help="One of our .safetensors files, which holds its spec; or a spec, with --weights.",
            show_default=False,
        ),
    ],
    to: Annotated[
        str,
        typer.Option("--to", metavar="NAME", help="The names to write: a table of the spec's `weights:`.", show_default=False),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", callback=options.path, metavar="FILE", help="A .safetensors or .pth file.", show_default=False
        ),
    ],
    weights: Annotated[str | None, typer.Option("--weights", callback=options.path, metavar="FILE", help="Our weights.")] = None,
    weights_input: options.WeightsInput = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            callback=options.path,
            metavar="FILE",
            help="A checkpoint of that code, for shapes that do not follow from ours.",
        ),
    ] = None,
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    large: options.Large = False,
    plugin: options.Plugin = None,
) -> None:
    """Write our weights under the names of the official code, or of timm.

    \b
      metablock weights export swin.safetensors --to official -o swin.pth
      metablock weights export resnet18 --weights trained.safetensors --to torchvision -o resnet18.pth
    """
    from ...report.weights import export_weights

    network = options.build_options(spec, variant, edits, classes, input, large)
    count = export_weights(network, to, output, weights=weights, weights_input=weights_input, like=like)
    say(f"{output}: {count} tensors by the names of '{to}'")
