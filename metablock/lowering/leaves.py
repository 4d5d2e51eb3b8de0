"""Leaf operators as the emitter needs them: those that have no name in a spec, and the shape that one gives."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from ..errors import error
from ..language.registry import OPERATORS, Operator
from ..operators.rules import accepted
from ..shape import Feature


@cache
def inner_operator(operator: str) -> Operator:
    """A leaf operator that only composite operators use, by its file and class: ``attend.Attend``."""
    file, _, attribute = operator.partition(".")
    return Operator(file, f"metablock.operators.{file}", attribute, leaf=True)


def operator_of(name: str, constant: bool, turned: bool = False) -> Operator:
    """A leaf operator by its name in a spec, or by its file and class; inside ``constant`` or ``transposed`` (``turned``) what
    stands for it there.

    Raises SpecError for one whose weights cannot be buffers.
    """
    operator = OPERATORS.get(name) or inner_operator(name)
    file = getattr(operator.rule(), "constant", None) if constant else None
    if file == "":
        raise error(f"the weights of `{name}` cannot be buffers", hint="`frozen(a)` keeps parameters from training")
    if turned and not constant:
        file = getattr(operator.rule(), "turned", None)
    return operator if file is None else replace(inner_operator(file), name=name, declared=operator.schema)


def output_shape(rule: Any, args: dict[str, Any], first: Feature, others: list[Feature]) -> Feature:
    """The shape by the operator's rule, from the arguments that it names; without one the shape of the first value."""
    shape = getattr(rule, "shape", None)
    if shape is None:
        return first
    result: Feature = shape(first, *others, **accepted(shape, args))
    return result
