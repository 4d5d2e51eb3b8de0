"""What is known of ``recurrent`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule, Size, TensorShapes


class LstmRule(LeafRule):
    """The rule of :class:`metablock.operators.recurrent.Lstm`."""

    takes = ("tokens",)
    along = True
    constant = ""  # torch keeps a list of their weights beside the parameters

    @staticmethod
    def shape(x: Feature, *, out: int, bidirectional: bool) -> Feature:
        return _states(x, out, bidirectional)

    @staticmethod
    def tensors(c: int, *, out: int, bidirectional: bool, bias: bool) -> TensorShapes:
        return _gates(4, c, out, bidirectional, bias)


class GruRule(LeafRule):
    """The rule of :class:`metablock.operators.recurrent.Gru`."""

    takes = ("tokens",)
    along = True
    constant = ""  # torch keeps a list of their weights beside the parameters

    @staticmethod
    def shape(x: Feature, *, out: int, bidirectional: bool) -> Feature:
        return _states(x, out, bidirectional)

    @staticmethod
    def tensors(c: int, *, out: int, bidirectional: bool, bias: bool) -> TensorShapes:
        return _gates(3, c, out, bidirectional, bias)


def _states(x: Feature, out: int, bidirectional: bool) -> Feature:
    if out < 1:
        raise error(f"a state of {out} channels", hint="at least 1")
    return x.with_(c=2 * out if bidirectional else out)


def _gates(gates: int, c: int, out: int, bidirectional: bool, bias: bool) -> TensorShapes:
    """The tensors of torch's layer with so many gates, in its names."""
    sizes: dict[str, Size] = {}
    for end in ("", "_reverse") if bidirectional else ("",):
        sizes |= {f"weight_ih_l0{end}": (gates * out, c), f"weight_hh_l0{end}": (gates * out, out)}
        if bias:
            sizes |= {f"bias_ih_l0{end}": (gates * out,), f"bias_hh_l0{end}": (gates * out,)}
    return TensorShapes(sizes)
