"""``metablock list``"""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import MetablockError
from .. import options
from ..application import app, print_json
from ..completion import complete_pattern


@app.command(name="list")
def list_(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATTERN]",
            help="A part of a name, or a glob: 'swin', '*_s12'.",
            show_default=False,
            autocompletion=complete_pattern,
        ),
    ] = None,
    operators: Annotated[bool, typer.Option("--operators", help="List the operators and standard bindings instead.")] = False,
    methods: Annotated[bool, typer.Option("--methods", help="List the methods of training instead.")] = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """List the catalogue, a line a variant, by the facts in its files; or the operators, or the methods.

    Parameters are the trainable ones; "+ 0.2M" are frozen besides. MACs are of one image. With --operators and
    the whole name of one, all that is known of it: its arguments, layouts, errors, examples, the papers that use it.

    \b
      metablock list
      metablock list 'poolformer*'
      metablock list --operators attention
      metablock list --methods
      metablock list --json | jq '.[] | select(.parameters < 2e7) | .name'
    """
    from ..output import catalogue_table, method_table, operator_table, print_operator

    if methods:
        from ...report.method_rows import method_rows

        if operators:
            raise MetablockError("--methods and --operators list different things", "give one of them")
        listed = method_rows(pattern)
        print_json([row.model_dump() for row in listed]) if as_json else method_table(listed)
        return
    if operators:
        from ...report import operators as texts

        text = texts.operator_text(pattern) if pattern is not None else None
        if text is not None:
            print_json([text.model_dump()]) if as_json else print_operator(text)
            return
        signatures = texts.operators(pattern)
        print_json([row.model_dump() for row in signatures]) if as_json else operator_table(signatures)
        return
    from ...report.catalogue import rows

    variants = rows(pattern)
    print_json([row.model_dump() for row in variants]) if as_json else catalogue_table(variants)
