"""The options that several verbs share, in the words of :func:`metablock.build`. Earlier spellings are accepted too."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import MetablockError
from .completion import complete_method, complete_spec, complete_variant

if TYPE_CHECKING:
    from ..report.options import BuildOptions

Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A name of the catalogue (poolformer_s12), a file (./my.yaml), or - for standard input.",
        show_default=False,
        autocompletion=complete_spec,
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(
        "--variant",
        "-v",
        metavar="NAME",
        help="A variant of the file; the first by default.",
        autocompletion=complete_variant,
    ),
]
Edits = Annotated[
    list[str] | None,
    typer.Option(
        "--edit",
        "--set",
        "-s",
        metavar="EDIT",
        help="A change, applied after the variant's: 'token = attention(8)', 'stages[2:].depth = 4'. Repeatable.",
    ),
]
Classes = Annotated[int | None, typer.Option("--classes", metavar="N", min=1, help="The number of classes.")]
Input = Annotated[
    str | None,
    typer.Option("--input", metavar="CxHxW", help="The input size, without the batch: 3x256x192, 12x5000, 1x32x64x64."),
]
WeightsInput = Annotated[
    str | None,
    typer.Option(
        "--weights-input",
        metavar="CxHxW",
        help="The input size that the weights were trained on, if they do not say it and it is no square.",
    ),
]
Names = Annotated[
    str | None,
    typer.Option("--names", metavar="NAME", help="Whose names the weights have: ours, timm, official; by default the best fit."),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="The network that trains this one by a method: a name of `list --methods`, or a file.",
        autocompletion=complete_method,
    ),
]
Large = Annotated[bool, typer.Option("--large", "--allow-large", help="Lift the caps on sizes, repeats and costs.")]
Batch = Annotated[int, typer.Option("--batch", metavar="N", min=1, help="The number of examples in a pass.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def path(parameter: typer.CallbackParam, text: str | None) -> str | None:
    """The path that an option or argument has. Raises MetablockError for an empty one: a shell's variable was unset."""
    if text is not None and not text.strip():
        name = max(parameter.opts, key=len) if parameter.param_type_name == "option" else parameter.metavar or parameter.name
        raise MetablockError(f"{name} is empty", "name a file or a folder; . is the one where you are")
    return text


def _load(names: list[str] | None) -> list[str] | None:
    if names:
        from ..language.plugins import load_plugin

        with redirect_stdout(sys.stderr):  # the standard output is for the answer
            for name in names:
                load_plugin(name)
    return names


Plugin = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", metavar="MODULE", callback=_load, help="A module, or its file, with operators of your own. Repeatable."
    ),
]


def build_options(
    spec: str,
    variant: str | None,
    edits: list[str] | None,
    classes: int | None,
    input: str | None,
    large: bool,
    method: str | None = None,
) -> BuildOptions:
    """The network that a verb's options describe.

    >>> build_options("resnet18", None, ["depth = 1"], None, None, False).edits
    ('depth = 1',)
    """
    from ..report.options import BuildOptions

    return BuildOptions(spec, variant, tuple(edits or ()), classes, input, large, method)
