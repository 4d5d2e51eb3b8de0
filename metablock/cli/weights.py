"""``metablock weights``: weights from other codes and for other codes."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options
from .verbs import app, choice_of

weights = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Weights from other codes and for other codes: names and shapes by the rules of the spec.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.add_typer(weights, name="weights")


@weights.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="A .safetensors or .pth file; timm or official (the checkpoint that the spec names); hf:OWNER/NAME; an address.",
            show_default=False,
        ),
    ],
    spec: options.Spec,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="A .safetensors file.", show_default=False)],
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    large: options.Large = False,
    plugin: options.Plugin = None,
) -> None:
    """Write a checkpoint of the official code, or of timm, under our names.

    \b
      metablock weights import swin_tiny_patch4_window7_224.pth swin_tiny -o swin.safetensors
      metablock weights import timm resnet18 -o resnet18.safetensors
      metablock weights import hf:timm/resnet18.a1_in1k resnet18 --classes 10 -o resnet18.safetensors
    """
    from ..report.weights import import_weights

    report = import_weights(source, choice_of(spec, variant, edits, classes, input, large), output)
    typer.echo(f"{output}: {report}")


@weights.command("export")
def export(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            help="A .safetensors file of ours, which says what it is; or a spec, with --weights.",
            show_default=False,
        ),
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="NAME", help="Whose names: a table of the spec's `weights:`.", show_default=False)
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="A .safetensors or .pth file.", show_default=False)
    ],
    weights: Annotated[str | None, typer.Option("--weights", metavar="FILE", help="Our weights.")] = None,
    like: Annotated[
        str | None,
        typer.Option("--like", metavar="FILE", help="A checkpoint of theirs, for shapes that do not follow from ours."),
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
    from ..report.weights import export_weights

    choice = choice_of(spec, variant, edits, classes, input, large)
    count = export_weights(choice, to, output, weights=weights, like=like)
    typer.echo(f"{output}: {count} tensors by the names of '{to}'")
