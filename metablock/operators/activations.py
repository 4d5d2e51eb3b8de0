"""Activations: one number in, one number out, in any layout. Those that torch has are torch's own modules."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.activations import (
    EluRule,
    GeluRule,
    HardSigmoidRule,
    HardSwishRule,
    LogRule,
    QuickGeluRule,
    Relu6Rule,
    ReluRule,
    SigmoidRule,
    SiluRule,
    SoftplusRule,
    StarReluRule,
    TanhRule,
)


class Relu(ReluRule):
    """``max(x, 0)``, in any layout. Makes torch's ``nn.ReLU``.

    Example:
        >>> Relu()(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """

    def __new__(cls) -> nn.ReLU:  # type: ignore[misc]
        return nn.ReLU()


class Relu6(Relu6Rule):
    """``min(max(x, 0), 6)``, in any layout. Makes torch's ``nn.ReLU6``.

    Example:
        >>> Relu6()(torch.tensor([-1.0, 8.0]))
        tensor([0., 6.])
    """

    def __new__(cls) -> nn.ReLU6:  # type: ignore[misc]
        return nn.ReLU6()


class Gelu(GeluRule):
    """``x * Phi(x)`` with ``Phi`` the normal distribution function, in any layout. Makes torch's ``nn.GELU``.

    Args:
        approximate: ``"none"``, the exact one, or ``"tanh"``: ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))``.

    Hendrycks & Gimpel 2016 (arXiv 1606.08415). PyTorch code mostly means the exact one, JAX code the other.

    Example:
        >>> Gelu(approximate="tanh")(torch.zeros(2))
        tensor([0., 0.])
    """

    def __new__(cls, *, approximate: str = "none") -> nn.GELU:  # type: ignore[misc]
        return nn.GELU(approximate)


class QuickGelu(QuickGeluRule, nn.Module):
    """``x * sigmoid(1.702 x)``, CLIP's, in any layout.

    Example:
        >>> QuickGelu()(torch.zeros(2))
        tensor([0., 0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Silu(SiluRule):
    """``x * sigmoid(x)`` (also called swish), in any layout. Makes torch's ``nn.SiLU``.

    Example:
        >>> Silu()(torch.zeros(2))
        tensor([0., 0.])
    """

    def __new__(cls) -> nn.SiLU:  # type: ignore[misc]
        return nn.SiLU()


class Sigmoid(SigmoidRule):
    """``1 / (1 + exp(-x))``, in any layout. Makes torch's ``nn.Sigmoid``.

    Example:
        >>> Sigmoid()(torch.zeros(2))
        tensor([0.5000, 0.5000])
    """

    def __new__(cls) -> nn.Sigmoid:  # type: ignore[misc]
        return nn.Sigmoid()


class Tanh(TanhRule):
    """``tanh(x)``, in any layout. Makes torch's ``nn.Tanh``.

    Example:
        >>> Tanh()(torch.zeros(2))
        tensor([0., 0.])
    """

    def __new__(cls) -> nn.Tanh:  # type: ignore[misc]
        return nn.Tanh()


class HardSwish(HardSwishRule):
    """``x * relu6(x + 3) / 6``, in any layout. Makes torch's ``nn.Hardswish``. MobileNetV3 (arXiv 1905.02244).

    Example:
        >>> HardSwish()(torch.tensor([-4.0, 4.0]))
        tensor([-0., 4.])
    """

    def __new__(cls) -> nn.Hardswish:  # type: ignore[misc]
        return nn.Hardswish()


class HardSigmoid(HardSigmoidRule):
    """``relu6(x + 3) / 6``, in any layout. Makes torch's ``nn.Hardsigmoid``. MobileNetV3 (arXiv 1905.02244).

    Example:
        >>> HardSigmoid()(torch.tensor([-4.0, 0.0, 4.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """

    def __new__(cls) -> nn.Hardsigmoid:  # type: ignore[misc]
        return nn.Hardsigmoid()


class Softplus(SoftplusRule):
    """``log(1 + exp(x))``, in any layout. Makes torch's ``nn.Softplus``, which returns ``x`` itself above 20.

    Example:
        >>> Softplus()(torch.zeros(1))
        tensor([0.6931])
    """

    def __new__(cls) -> nn.Softplus:  # type: ignore[misc]
        return nn.Softplus()


class Log(LogRule, nn.Module):
    """The natural logarithm, in any layout: minus infinity at 0, NaN below.

    Example:
        >>> Log()(torch.ones(2))
        tensor([0., 0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x)


class Elu(EluRule):
    """``x`` where positive, ``exp(x) - 1`` elsewhere, in any layout. Makes torch's ``nn.ELU``.

    Example:
        >>> Elu()(torch.tensor([0.0, 2.0]))
        tensor([0., 2.])
    """

    def __new__(cls) -> nn.ELU:  # type: ignore[misc]
        return nn.ELU()


class StarRelu(StarReluRule, nn.Module):
    """``scale * relu(x)^2 + bias`` with two learned numbers (not one per channel), in any layout.

    Args:
        scale: initial value of ``scale``.
        bias: initial value of ``bias``.

    MetaFormer baselines, Yu et al. 2024 (arXiv 2210.13452). The text also gives 0.8944 and -0.4472 as fixed numbers; the code
    learns them from 1 and 0.

    Example:
        >>> StarRelu(bias=0.5)(torch.tensor([-1.0, 2.0])).tolist()
        [0.5, 4.5]
    """

    roles = {"scale": "scale"}

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
