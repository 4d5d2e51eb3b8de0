"""The numbers of a spec block by block: what `drop: ramp(0.1)` is in each, `dim` in each stage. Nothing is lowered."""

from __future__ import annotations

from typing import Any

from ..errors import SpecError
from ..language import ast as e
from ..language.budget import NETWORK, reading
from ..language.scope import Scope
from ..language.spec import Spec
from .context import BlockCount
from .network import NetworkLowering, input_features


def numbers_by_block(spec: Spec, node: e.Node, hide: tuple[str, str] | None = None) -> list[list[Any]]:
    """The values of an expression in the blocks of each stage.

    Args:
        spec: a resolved spec.
        node: the expression; a list, in a column, has an entry a stage.
        hide: the table and the name of the binding that it is the body of.

    Returns:
        For each stage a list with a value for each of its blocks: a number, a word, a list of those. One list with one value
        for a spec without stages. Empty where the expression is no number, or depends on a width.

    >>> from metablock.front import resolved
    >>> spec = resolved("poolformer_s12")
    >>> [values[0] for values in numbers_by_block(spec, spec.columns["dim"].body, ("columns", "dim"))]
    [64, 128, 320, 512]
    >>> numbers_by_block(spec, spec.columns["token"].body)
    []
    """
    try:
        with reading(NETWORK):
            return _numbers(spec, node, Scope(hide=hide))
    except SpecError:
        return []


def _numbers(spec: Spec, node: e.Node, scope: Scope) -> list[list[Any]]:
    network = NetworkLowering(spec)
    evaluate = network.evaluate
    evaluate.grid = input_features(spec)[0].grid
    column = scope.hide is not None and scope.hide[0] == "columns"
    values: list[list[Any]] = []
    layer = 0
    for stage, count in enumerate(network.layers.by_stage()):
        entry = node.items[stage] if column and isinstance(node, e.List) else node
        values.append([])
        for index in range(count):
            with network.context.push(stage=stage, blocks=BlockCount(index, layer + index)):
                values[-1].append(evaluate.value(entry, scope))
        layer += count
    if not values:
        values = [[evaluate.value(node, scope)]]
    return values if all(_is_plain(value) for stage in values for value in stage) else []


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, (int, float, str))


__all__ = ["numbers_by_block"]
