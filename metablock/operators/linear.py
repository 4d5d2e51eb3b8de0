"""Linear map of the channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.linear import LinearRule, TurnedLinearRule
from .traced import for_gpu


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


class TurnedLinear(TurnedLinearRule, nn.Linear):
    """``nn.Linear`` inside ``transposed``, where what arrives is a transposed view: ``(b, n, c) -> (b, n, out)``.

    Args:
        out: number of output channels.
        bias: whether to add a constant.

    Example:
        >>> TurnedLinear(5, out=4)(torch.zeros(2, 5, 8).mT).shape
        torch.Size([2, 8, 4])
    """

    def __init__(self, c: int, *, out: int, bias: bool = True):
        super().__init__(c, out, bias)

    def forward(self, x: Tensor) -> Tensor:
        return turned(x, self.weight, self.bias)


def turned(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x W' + b`` of a transposed view.

    On a GPU, in a compiled graph, the weight is multiplied from the left, ``(W x' + b)'``, so that nothing is copied to be
    transposed, neither here nor behind. On CPUs one large product of a copy is faster than many small ones.
    """
    if for_gpu(x) and x.dim() == 3:
        y = torch.bmm(weight.expand(x.shape[0], -1, -1), x.mT)
        return (y if bias is None else y + bias.to(y.dtype).unsqueeze(-1)).mT
    return F.linear(x, weight, bias)


torch.fx.wrap("turned")
