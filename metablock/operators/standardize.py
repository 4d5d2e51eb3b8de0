"""Standardisation of the channels, without parameters."""

from __future__ import annotations

from torch import Tensor, nn

from ..shape import Layout
from .rules.standardize import StandardizeRule


class Standardize(StandardizeRule, nn.Module):
    """``y = (x - mean) / sqrt(var + eps)`` over the channels of each token, in any layout. No parameters.

    Args:
        eps: added to the variance.
        unbiased: whether the variance is a sum over ``c - 1`` instead of ``c``.
        parts: takes mean and variance of that many equal parts of consecutive channels, each by itself.
        outside: whether ``eps`` is added to the deviation instead: ``(x - mean) / (sqrt(var) + eps)``.

    The target of MAE (He et al. 2022, arXiv 2111.06377) is ``unfold(p, stride=p, order="y x c") >> standardize(1e-6,
    unbiased=true)``. The filters of DDF (Zhou et al. 2021, arXiv 2104.14107, Eq. 4) are ``standardize(1e-10, unbiased=true,
    parts=n, outside=true)``, a part for each filter.

    Example:
        >>> import torch
        >>> Standardize(2, "vector", eps=0.0)(torch.tensor([[1.0, 3.0]]))
        tensor([[-1.,  1.]])
    """

    def __init__(
        self, c: int, layout: Layout, *, eps: float = 1e-5, unbiased: bool = False, parts: int = 1, outside: bool = False
    ):
        super().__init__()
        self.axis, self.parts = 1 if layout == "map" else -1, parts
        self.eps, self.divisor, self.outside = eps, c // parts - unbiased, outside

    def forward(self, x: Tensor) -> Tensor:
        axis = 2 if self.axis == 1 else -1
        y = x.unflatten(self.axis, (self.parts, -1))
        y = y - y.mean(axis, keepdim=True)
        var = y.square().sum(axis, keepdim=True) / self.divisor
        y = y / (var.sqrt() + self.eps) if self.outside else y / (var + self.eps).sqrt()
        return y.flatten(1, 2) if axis == 2 else y.flatten(-2)
