"""A number that training may change."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import error
from .rules.knob import KnobRule


class Knob(KnobRule, nn.Module):
    """A source of one number: ``(b, ...) -> (b, 1)``. Of the input, only the batch matters.

    Args:
        value: the number in evaluation.
        start: the number when training begins; without it training has ``value`` too.

    ``id * knob(0.5)``, ``attention(heads, scale=knob(0.2, start=0.1))``. :func:`metablock.operators.softmax.anneal` sets the
    number in training; evaluation keeps ``value``. Both are buffers outside the state dict, since a schedule's value is no
    weight.

    Example:
        >>> knob = Knob(value=1.0, start=0.0)
        >>> knob.train()(torch.zeros(1, 3)).item(), knob.eval()(torch.zeros(1, 3)).item()
        (0.0, 1.0)
    """

    value: Tensor
    current: Tensor | None

    def __init__(self, *, value: float, start: float | None = None):
        super().__init__()
        self.initial = value, start
        self.register_buffer("value", torch.empty(1), persistent=False)
        self.register_buffer("current", None if start is None else torch.empty(1), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        value, start = self.initial
        self.value.fill_(value)
        if self.current is not None:
            self.current.fill_(value if start is None else start)

    def anneal(self, value: float) -> None:
        """Sets the number in training."""
        if self.current is None:
            raise error("this knob has one number", hint="give it another for training: knob(1, start=0)")
        self.current.fill_(value)

    def forward(self, x: Tensor) -> Tensor:
        number = self.current if self.training and self.current is not None else self.value
        return number.to(x.dtype).expand(x.shape[0], 1)
