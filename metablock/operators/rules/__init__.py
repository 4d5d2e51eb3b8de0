"""What the compiler knows of a leaf operator without torch: layouts, shapes, and the sizes of its tensors, all integers.

A rule is a class beside the operator's own: ``rules/conv.py`` has ``ConvRule``, which ``Conv`` in ``conv.py`` extends. So a spec
is checked, and its parameters are counted, without torch. A custom operator is one class, which is its own rule; torch is then
asked for the sizes of its tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from ...shape import Feature, Layout

Size = tuple[int, ...]


class TensorShapes(NamedTuple):
    """The tensors in the state dict of an operator's module.

    Attributes:
        parameters: the size of each parameter, by its name.
        buffers: the names of the others.
    """

    parameters: Mapping[str, Size] = {}
    buffers: tuple[str, ...] = ()


def weight_and_bias(weight: Size, out: int, bias: bool) -> TensorShapes:
    """A weight of this size, and with ``bias`` a bias of ``out`` numbers.

    >>> weight_and_bias((4, 8), 4, True).parameters
    {'weight': (4, 8), 'bias': (4,)}
    """
    return TensorShapes({"weight": weight, "bias": (out,)} if bias else {"weight": weight})


class LeafRule:
    """What the compiler reads of an operator; :mod:`metablock.operators` describes it.

    Attributes:
        takes: the layouts that ``forward`` accepts, the preferred one first.
        along: whether ``forward`` works along sequences.
        constant: what stands for the operator inside ``constant(a)``.
        turned: what stands for the operator inside ``transposed(a)``.
        shape: the output's shape; by default that of the first input.
        tensors: the tensors of the module, from some of the arguments of the class: none by default.

    >>> from metablock.language.registry import OPERATORS
    >>> linear = OPERATORS["linear"].rule()
    >>> linear.takes, str(linear.shape(Feature("vector", 8), out=4)), linear.tensors(c=8, out=4, bias=False).parameters
    (('grid', 'tokens', 'vector'), 'vector of 4', {'weight': (4, 8)})
    """

    takes: ClassVar[tuple[Layout, ...]]
    along: ClassVar[bool] = False
    constant: ClassVar[str | None] = None
    turned: ClassVar[str | None] = None
    shape: ClassVar[Callable[..., Feature]]
    tensors: ClassVar[Callable[..., TensorShapes]] = staticmethod(lambda: TensorShapes())


def accepted(rule: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some arguments that a rule names.

    >>> accepted(lambda x, *, out: x, {"out": 8, "bias": True})
    {'out': 8}
    """
    code = rule.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {name: value for name, value in values.items() if name in names}
