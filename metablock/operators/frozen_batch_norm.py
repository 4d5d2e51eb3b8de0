"""Batch normalisation with constants."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FrozenBatchNorm(nn.Module):
    """``y = (x - running_mean) / sqrt(running_var + eps) * weight + bias``: ``(b, c, ...) -> (b, c, ...)``, in training, too.

    The four vectors are buffers: a state dict has them, and nothing changes them.

    Args:
        eps: added to the variance.
        momentum: not used: there are no averages to update.
        gamma: initial value of the weight.

    torchvision's ``FrozenBatchNorm2d``, for any number of dimensions.

    Example:
        >>> norm = FrozenBatchNorm(4, 2)
        >>> len(list(norm.parameters())), sorted(norm.state_dict())
        (0, ['bias', 'running_mean', 'running_var', 'weight'])
    """

    takes = ("map", "vector")
    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, c: int, rank: int, *, eps: float = 1e-5, momentum: float = 0.1, gamma: float = 1.0):
        super().__init__()
        self.eps, self.gamma = eps, gamma
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.empty(c))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, self.gamma)
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.running_mean)
        nn.init.ones_(self.running_var)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps:g}"
