"""Linear map of the channels."""

from __future__ import annotations

from torch import nn

from .rules.linear import LinearRule


class Linear(LinearRule):
    """``y = x W' + b`` on the last axis: ``(b, ..., c) -> (b, ..., out)``. Makes torch's ``nn.Linear``.

    Args:
        out: number of output channels.
        bias: whether to add a constant.

    Initial values are torch's (Kaiming uniform with ``a = sqrt(5)``).

    Example:
        >>> import torch
        >>> Linear(8, out=4)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 4])
    """

    def __new__(cls, c: int, *, out: int, bias: bool = True) -> nn.Linear:  # type: ignore[misc]
        return nn.Linear(c, out, bias)
