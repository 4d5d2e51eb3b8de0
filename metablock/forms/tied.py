"""Logits by the table of an embedding: one weight for both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..language import ast as e
from ..language.printer import show
from ..language.scope import Bound, Closure
from ..lowering.arguments import Module
from ..lowering.ir import ModuleCall, ModuleNode, ValueTree, single
from ..lowering.once import Once, of_table
from ..shape import Feature

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def tied(t: Tracer, x: ValueTree, *, table: Module) -> ValueTree:
    """The product with each row of a shared embedding, ``x E'``: ``(b, ..., c) -> (b, ..., ids)``. It has no weights of its own.

    Press & Wolf 2017 (arXiv 1608.05859): ``shared: {table: embedding(64)}``, then ``ids >> table >> ... >> tied(table)``.

    Args:
        table: names an embedding of `shared:`, or of a stream's line, that has been applied before: as wide as what arrives.

    Returns:
        The extents of what enters, a channel for each id.

    Raises:
        SpecError: no shared embedding, one that has not been applied yet, or one of another width.

    >>> from metablock.front import front
    >>> from metablock.language.load import load_text
    >>> net = "name: n\\ninput: tokens(64, 8)\\nshared: {table: embedding(16)}\\nmodel: x -> x >> table >> tied(table)\\n"
    >>> str(front(load_text(net)).ir.output.feature)
    'tokens 8 x 64'
    """
    once = _once(t, table)
    if once is None:
        hint = "`shared: {table: embedding(64)}` builds it once: `ids >> table >> ... >> tied(table)`"
        raise error(f"`{show(table.node)}` is no shared embedding", table.span, hint)
    part, path, near = t.network.built(once, table.node)
    if not isinstance(part, ModuleNode) or part.operator != "embedding":
        hint = "share the embedding alone; what follows it stands in `let`"
        raise error(f"`{show(table.node)}` is more than an embedding", table.span, hint)
    value = t.ir.cast(single(x), "grid", "tokens", "vector")
    ids, width = int(part.context["c"]), int(part.args["out"])
    if value.c != width:
        raise error(f"{value.feature} meets a table of {width} channels", table.span, f"end in `linear({width})` before `tied`")
    weight = t.ir.value(Feature("table", ids, (width,)))
    t.ir.steps.append(ModuleCall(path, (), weight, shared=True, root=True, near=near, weight=True))
    return t.ir.inline("F.linear({0}, {1})", [value, weight], value.feature.with_(c=ids))


def _once(t: Tracer, table: Module) -> Once | None:
    """The module, built once, that an argument names; None if it names none."""
    value = t.evaluate.value(table.node, table.scope)
    if not isinstance(value, Closure) or not isinstance(value.node, e.Name):
        return None
    meaning = t.evaluate.names.find(value.node.id, value.scope, table.span)
    if isinstance(meaning, Bound) and meaning.table.endswith("shared"):
        return of_table(meaning)
    return meaning if isinstance(meaning, Once) else None
