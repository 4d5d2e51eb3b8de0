"""``metablock weights import`` and ``metablock weights export``"""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import MetablockError
from .. import options
from ..application import SETTINGS, app, print_json, say

weights = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Import checkpoints of other code, export weights to its names, by the rules of the spec; propose such rules.",
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


@weights.command("match")
def match(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="A checkpoint of other code: a .pth or .safetensors file; hf:OWNER/NAME; a URL. A .pth file has their order.",
            show_default=False,
        ),
    ],
    spec: options.Spec,
    names: Annotated[str, typer.Option("--names", metavar="NAME", help="What the table of rules is called.")] = "theirs",
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    large: options.Large = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Propose weight rules, from shapes, order and names, as text to paste, and prove them by loading.

    \b
      metablock weights match theirs.pth ./mine.yaml --names official
      metablock weights match theirs.pth ./mine.yaml >> mine.yaml
    """
    from ...report.weights import match_weights
    from ..match_output import proposal_text

    network = options.build_options(spec, variant, edits, classes, input, large)
    proposal = match_weights(source, network, names)
    print_json(proposal.model_dump()) if as_json else proposal_text(proposal)
    if not proposal.complete:
        message = f"{proposal.used} of {proposal.ours} tensors of '{proposal.network}' are matched; see what has no partner"
        raise MetablockError(message, "`show --as names --weights FILE` lists both sides; check width, depth and --variant")
