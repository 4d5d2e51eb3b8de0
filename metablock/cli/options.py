"""The options that several verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A name of the catalogue (poolformer_s12), a file (./my.yaml), or - for standard input.",
        show_default=False,
    ),
]
Variant = Annotated[
    str | None, typer.Option("--variant", "-v", metavar="NAME", help="One of the file's variants; else the first.")
]
Edits = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="EDIT",
        help="A change, made after the variant's: 'token = attention(8)', 'stages[2:].depth = 4'. Repeatable.",
    ),
]
Classes = Annotated[int | None, typer.Option("--classes", metavar="N", min=1, help="The number of classes.")]
Input = Annotated[
    str | None, typer.Option("--input", metavar="CxHxW", help="What enters, without the batch: 3x256x192, 12x5000, 1x32x64x64.")
]
Large = Annotated[bool, typer.Option("--allow-large", help="Lift the caps on sizes, repeats and costs.")]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


def _load(names: list[str] | None) -> list[str] | None:
    if names:
        from ..language.plugins import load_plugin

        for name in names:
            load_plugin(name)
    return names


Plugin = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", metavar="MODULE", callback=_load, help="A module, or its file, with operators of your own. Repeatable."
    ),
]
