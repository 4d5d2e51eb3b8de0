"""Activations: one number in, one number out, in any layout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error, suggest
from ..shape import Feature


class Relu(nn.Module):
    """``max(x, 0)``, in any layout."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class Relu6(nn.Module):
    """``min(max(x, 0), 6)``, in any layout."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x)


class Gelu(nn.Module):
    """``x * Phi(x)`` with ``Phi`` the normal distribution function, in any layout.

    Args:
        approximate: ``"none"``, the exact one, or ``"tanh"``: ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))``.

    Hendrycks & Gimpel 2016 (arXiv 1606.08415). PyTorch code mostly means the exact one, JAX code the other.
    """

    takes = ("map", "grid", "tokens", "vector")

    def __init__(self, *, approximate: str = "none"):
        super().__init__()
        self.approximate = approximate

    @staticmethod
    def shape(x: Feature, *, approximate: str) -> Feature:
        if approximate not in ("none", "tanh"):
            raise error(f"unknown approximation '{approximate}'", hint=suggest(approximate, ["tanh"], '"none" or "tanh"'))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate=self.approximate)


class QuickGelu(nn.Module):
    """``x * sigmoid(1.702 x)``, CLIP's, in any layout."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Silu(nn.Module):
    """``x * sigmoid(x)`` (also called swish), in any layout."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x)


class Sigmoid(nn.Module):
    """``1 / (1 + exp(-x))``, in any layout."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


class Tanh(nn.Module):
    """``tanh(x)``, in any layout."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


class HardSwish(nn.Module):
    """``x * relu6(x + 3) / 6``, in any layout. MobileNetV3, Howard et al. 2019 (arXiv 1905.02244)."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(x)


class HardSigmoid(nn.Module):
    """``relu6(x + 3) / 6``, in any layout. MobileNetV3, Howard et al. 2019 (arXiv 1905.02244)."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return F.hardsigmoid(x)


class Softplus(nn.Module):
    """``log(1 + exp(x))``, in any layout. As torch's, which returns ``x`` itself above 20."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x)


class Log(nn.Module):
    """The natural logarithm, in any layout; minus infinity at 0, not a number below."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x)


class Elu(nn.Module):
    """``x`` where positive, ``exp(x) - 1`` elsewhere, in any layout."""

    takes = ("map", "grid", "tokens", "vector")

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x)


class StarRelu(nn.Module):
    """``scale * relu(x)^2 + bias`` with two learned numbers (not one a channel), in any layout.

    Args:
        scale: what ``scale`` starts with.
        bias: what ``bias`` starts with.

    MetaFormer baselines, Yu et al. 2024 (arXiv 2210.13452), whose text also gives 0.8944 and -0.4472 as fixed numbers; its code
    learns them from 1 and 0.
    """

    takes = ("map", "grid", "tokens", "vector")

    def __init__(self, *, scale: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.initial = scale, bias
        self.scale = nn.Parameter(torch.empty(1))
        self.bias = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, self.initial[0])
        nn.init.constant_(self.bias, self.initial[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.relu(x).square() + self.bias
