"""Softmax over the channels, with a temperature."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature, Layout


class Softmax(nn.Module):
    """``exp(x / T) / sum(exp(x / T))`` over the channels, in any layout.

    Args:
        temperature: ``T``.
        start: what ``T`` is in training until :meth:`anneal` sets another value. Evaluation always uses ``temperature``.

    Both are buffers outside the state dict: a schedule's value is no weight. Dynamic convolution (Chen et al. 2020, arXiv
    1912.03458) anneals from 30 to 1; its usual code keeps ``T`` as an attribute, so that a freshly loaded model computes with
    the first value.
    """

    takes = ("vector", "tokens", "grid", "map")
    temperature: Tensor
    current: Tensor | None

    def __init__(self, layout: Layout, *, temperature: float = 1.0, start: float | None = None):
        super().__init__()
        self.axis = 1 if layout == "map" else -1
        self.initial = temperature, start
        self.register_buffer("temperature", torch.empty(1), persistent=False)
        self.register_buffer("current", None if start is None else torch.empty(1), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        temperature, start = self.initial
        self.temperature.fill_(temperature)
        if self.current is not None:
            self.current.fill_(temperature if start is None else start)

    @staticmethod
    def shape(x: Feature, *, temperature: float, start: float | None) -> Feature:
        if temperature <= 0 or (start is not None and start <= 0):
            raise error("a temperature is above 0")
        return x

    def anneal(self, value: float) -> None:
        """Sets the temperature of training."""
        if self.current is None:
            raise error("this softmax has one temperature", hint="give it another for training: softmax(1, start=30)")
        self.current.fill_(value)

    def forward(self, x: Tensor) -> Tensor:
        temperature = self.current if self.training and self.current is not None else self.temperature
        return F.softmax(x / temperature.to(x.dtype), dim=self.axis)
