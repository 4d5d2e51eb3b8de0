"""Softmax over the channels, or over parts of them, with a temperature."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error
from ..shape import Layout
from .knob import Knob
from .rules.softmax import SoftmaxRule


class Softmax(SoftmaxRule, nn.Softmax):
    """``exp(x / T) / sum(exp(x / T))`` over the channels, in any layout; or over the tokens, for each channel.

    Args:
        temperature: ``T`` of evaluation.
        start: ``T`` when training begins; without it training has ``temperature`` too.
        parts: takes the softmax over that many equal parts, channel by channel of a part: ``softmax(parts=2)`` of ``a || b``
            weighs each channel of ``a`` against the same one of ``b`` (ResNeSt's radix, arXiv 2004.08955).
        over: ``"channels"``, or ``"tokens"``: all positions, prefix tokens too. Factorised attention is ``attention(heads,
            k=linear(c) >> softmax(over="tokens"), norm="none")`` (CoaT, arXiv 2104.06399).

    A subclass of torch's ``nn.Softmax`` with its own ``forward``, for the temperature and the parts. Dynamic convolution (Chen et
    al. 2020, arXiv 1912.03458) anneals ``T`` from 30 to 1 over the first ten epochs: a flat softmax trains all kernels. With
    :func:`anneal` that is, at the start of each epoch::

        anneal(model, max(1, 34 - 3 * epoch))

    Evaluation keeps ``temperature``, whatever training has come to. Both live in buffers outside the state dict, since a
    schedule's value is no weight: training that is resumed sets it again. (The usual code has one attribute instead, so that a
    model made from a checkpoint computes with the first value of training.)

    Example:
        >>> softmax = Softmax("vector", temperature=1.0, start=30.0)
        >>> anneal(softmax, 10.0)
        1
        >>> softmax.eval()(torch.zeros(1, 2))
        tensor([[0.5000, 0.5000]])
    """

    temperature: Tensor
    current: Tensor | None

    def __init__(
        self,
        layout: Layout,
        *,
        temperature: float = 1.0,
        start: float | None = None,
        parts: int | None = None,
        over: str = "channels",
    ):
        super().__init__(1 if layout == "map" else -1)
        self.axis, self.parts, self.over = 1 if layout == "map" else -1, parts, over
        self.initial = temperature, start
        self.register_buffer("temperature", torch.empty(1), persistent=False)
        self.register_buffer("current", None if start is None else torch.empty(1), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        temperature, start = self.initial
        self.temperature.fill_(temperature)
        if self.current is not None:
            self.current.fill_(temperature if start is None else start)

    def anneal(self, value: float) -> None:
        """Sets the temperature of training."""
        if value <= 0:
            raise error(f"a temperature of {value}", hint="a temperature is above 0")
        if self.current is None:
            raise error("this softmax has one temperature", hint="give it another for training: softmax(1, start=30)")
        self.current.fill_(value)

    def forward(self, x: Tensor) -> Tensor:
        temperature = self.current if self.training and self.current is not None else self.temperature
        x = x / temperature.to(x.dtype)
        if self.over == "tokens":
            flat = x.flatten(2) if self.axis == 1 else x.flatten(1, -2)
            return F.softmax(flat, dim=2 if self.axis == 1 else 1).view_as(x)
        if self.parts is None:
            return F.softmax(x, dim=self.axis)
        apart = x.unflatten(self.axis, (self.parts, -1))
        return F.softmax(apart, dim=1).flatten(1, 2) if self.axis == 1 else F.softmax(apart, dim=-2).flatten(-2)


def anneal(model: nn.Module, value: float) -> int:
    """Sets the training value of every softmax and knob that has one. Returns how many those are."""
    annealed = [m for m in model.modules() if isinstance(m, (Softmax, Knob)) and m.current is not None]
    for module in annealed:
        module.anneal(value)
    return len(annealed)
