"""Batch normalisation with constants."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.frozen_batch_norm import FrozenBatchNormRule


class FrozenBatchNorm(FrozenBatchNormRule, nn.Module):
    """``y = (x - running_mean) / sqrt(running_var + eps) * weight + bias``: ``(b, c, ...) -> (b, c, ...)``, in training, too.

    The vectors are buffers: a state dict has them, and nothing changes them.

    Args:
        eps: added to the variance.
        momentum: not used: there are no averages to update.
        gamma: initial value of the weight.
        affine: whether there is a weight and a bias.

    torchvision's ``FrozenBatchNorm2d``, for any number of dimensions.

    Example:
        >>> norm = FrozenBatchNorm(4, 2)
        >>> len(list(norm.parameters())), sorted(norm.state_dict())
        (0, ['bias', 'running_mean', 'running_var', 'weight'])
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, c: int, rank: int, *, eps: float = 1e-5, momentum: float = 0.1, gamma: float = 1.0, affine: bool = True):
        super().__init__()
        self.eps, self.gamma = eps, gamma
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.empty(c) if affine or "_" in name else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.running_mean)
        nn.init.ones_(self.running_var)
        if self.weight is not None and self.bias is not None:
            nn.init.constant_(self.weight, self.gamma)
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{len(self.running_mean)}, eps={self.eps:g}"
