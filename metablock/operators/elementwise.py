"""Functions of one number, in any layout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.elementwise import AboveRule, AbsRule, BelowRule, ClipRule, CosRule, ExpRule, SinRule, SqrtRule


class Exp(ExpRule, nn.Module):
    """``e ** x``, in any layout.

    Example:
        >>> Exp()(torch.zeros(2))
        tensor([1., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x)


class Sqrt(SqrtRule, nn.Module):
    """The square root, in any layout: NaN below 0. Its slope at 0 is infinite: ``(a + 1e-6) >> sqrt`` keeps gradients finite.

    Example:
        >>> Sqrt()(torch.tensor([0.0, 4.0]))
        tensor([0., 2.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x)


class Abs(AbsRule, nn.Module):
    """``|x|``, in any layout; its gradient at 0 is 0.

    Example:
        >>> Abs()(torch.tensor([-1.0, 2.0]))
        tensor([1., 2.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.abs(x)


class Sin(SinRule, nn.Module):
    """``sin(x)`` of radians, in any layout. Positions have operators of their own: ``sine``, ``fourier``.

    Example:
        >>> Sin()(torch.zeros(2))
        tensor([0., 0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class Cos(CosRule, nn.Module):
    """``cos(x)`` of radians, in any layout.

    Example:
        >>> Cos()(torch.zeros(2))
        tensor([1., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.cos(x)


class Above(AboveRule, nn.Module):
    """1 where a number is above ``than``, 0 elsewhere, in any layout. It has no gradient.

    Args:
        than: the number.

    Example:
        >>> Above(than=0.0)(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([0., 0., 1.])
    """

    def __init__(self, *, than: float):
        super().__init__()
        self.than = than

    def forward(self, x: Tensor) -> Tensor:
        return (x > self.than).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.than:g}"


class Below(BelowRule, nn.Module):
    """1 where a number is below ``than``, 0 elsewhere, in any layout. It has no gradient.

    Args:
        than: the number.

    Example:
        >>> Below(than=0.0)(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([1., 0., 0.])
    """

    def __init__(self, *, than: float):
        super().__init__()
        self.than = than

    def forward(self, x: Tensor) -> Tensor:
        return (x < self.than).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.than:g}"


class Clip(ClipRule, nn.Module):
    """``min(max(x, low), high)``, in any layout; the gradient outside is 0.

    Args:
        low: the least value that leaves; None: no bound.
        high: the largest; None: no bound.

    Raises SpecError if there is no bound, or ``low`` is above ``high``.

    Example:
        >>> Clip(low=0.0, high=1.0)(torch.tensor([-1.0, 0.5, 2.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """

    def __init__(self, *, low: float | None = None, high: float | None = None):
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x, self.low, self.high)

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}"
