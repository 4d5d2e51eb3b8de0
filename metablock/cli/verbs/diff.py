"""``metablock diff``"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import options
from ..application import app, print_json


@app.command()
def diff(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A name of the catalogue, a file, or - for standard input; FILE:VARIANT.", show_default=False
        ),
    ],
    b: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]", help="The network that it is compared with; without it, A with --edit.", show_default=False
        ),
    ] = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    large: options.Large = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Compare two networks part by part: modules, arguments, parameters, MACs, shapes, and the weights that carry over.

    --edit, --classes and --input change B; without B they change A, and the two are compared. Nothing is allocated.

    \b
      metablock diff poolformer_s12 poolformer_s24
      metablock diff my.yaml:small my.yaml:large
      metablock diff my.yaml --edit 'token = pool'
      metablock diff resnet18 resnet34 --json | jq .weights
    """
    from ...report.diff import compared

    result = compared(a, b, edits=tuple(edits or ()), classes=classes, input=input, large=large)
    if as_json:
        print_json(result.model_dump())
    else:
        typer.echo(str(result))
