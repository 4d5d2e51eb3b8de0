"""The linear recurrence along a sequence, one position after the other or in parallel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .rules.recurrence import RecurrenceRule

_HALVES = (torch.float16, torch.bfloat16)
ENOUGH = 256  # numbers at a position from which on a CPU computes one position after the other faster than all at once


class Recurrence(RecurrenceRule, nn.Module):
    """``h_t = a_t * h_(t-1) + b_t`` from ``h_0 = 0``, element by element: ``a, b (b, n, c) -> (b, n, c)``.

    A gate ``a`` of one channel is that of all. In eager mode on a CPU, with 256 numbers or more at a position, positions follow
    each other, and the gradient is the recurrence backward; elsewhere ``log2(n)`` doubling steps compute all positions at once.
    Both only add and multiply, so gates in ``[0, 1]`` are stable, 0 included. Half precision is computed in float32.

    Args:
        reverse: the last position is the first: ``h_t = a_t * h_(t+1) + b_t``.

    Blelloch 1990; as a layer: Martin and Cundy 2018 (arXiv 1709.04057).

    Example:
        >>> halves, ones = torch.full((1, 3, 1), 0.5), torch.ones(1, 3, 1)
        >>> Recurrence()(halves, ones).flatten().tolist()
        [1.0, 1.5, 1.75]
    """

    def __init__(self, *, reverse: bool = False):
        super().__init__()
        self.reverse = reverse

    def forward(self, gate: Tensor, value: Tensor) -> Tensor:
        return linear_recurrence(gate, value, self.reverse)


def linear_recurrence(gate: Tensor, value: Tensor, reverse: bool = False) -> Tensor:
    """``h_t = gate_t * h_(t-1) + value_t`` along the second axis; ``gate`` broadcasts."""
    kind = torch.promote_types(gate.dtype, value.dtype)
    wide = torch.float32 if kind in _HALVES else kind
    gate, value = gate.to(wide).expand_as(value), value.to(wide)
    if value.device.type == "cpu" and not torch.compiler.is_compiling() and value[:, :1].numel() >= ENOUGH:
        return _OneByOne.apply(gate, value, reverse).to(kind)
    return _doubling(gate, value, reverse).to(kind)


torch.fx.wrap("linear_recurrence")


def _doubling(gate: Tensor, value: Tensor, reverse: bool) -> Tensor:
    """All positions at once: after step k each has the sum of the last ``2 ** k``."""
    step, n = 1, value.shape[1]
    while step < n:
        if reverse:
            value = torch.cat([value[:, :-step] + gate[:, :-step] * value[:, step:], value[:, -step:]], 1)
            gate = torch.cat([gate[:, :-step] * gate[:, step:], gate[:, -step:]], 1) if 2 * step < n else gate
        else:
            value = torch.cat([value[:, :step], value[:, step:] + gate[:, step:] * value[:, :-step]], 1)
            gate = torch.cat([gate[:, :step], gate[:, step:] * gate[:, :-step]], 1) if 2 * step < n else gate
        step *= 2
    return value


class _OneByOne(torch.autograd.Function):
    """Position by position. The gradient of the values is the recurrence backward; a gate's is that times the state before."""

    @staticmethod
    def forward(gate: Tensor, value: Tensor, reverse: bool) -> Tensor:
        states = torch.empty_like(value, memory_format=torch.contiguous_format)
        positions = range(value.shape[1])
        before = None
        for at in reversed(positions) if reverse else positions:
            state = states[:, at]
            if before is None:
                state.copy_(value[:, at])
            else:
                torch.addcmul(value[:, at], gate[:, at], before, out=state)
            before = state
        return states

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)
        ctx.reverse = inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        gate, states = ctx.saved_tensors
        nothing = torch.zeros_like(states[:, :1])
        if ctx.reverse:
            after, before = torch.cat([nothing, gate[:, :-1]], 1), torch.cat([states[:, 1:], nothing], 1)
        else:
            after, before = torch.cat([gate[:, 1:], nothing], 1), torch.cat([nothing, states[:, :-1]], 1)
        values = _OneByOne.apply(after, gradient, not ctx.reverse)
        return values * before, values, None
