"""Batch normalisation."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .rules.batch_norm import BatchNormRule


class BatchNorm(BatchNormRule):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``: ``(b, c, ...) -> (b, c, ...)``.

    Makes torch's ``nn.BatchNorm1d``, ``nn.BatchNorm2d`` or ``nn.BatchNorm3d``. Mean and variance of a channel are those of the
    batch and all positions in training, and running averages in evaluation.

    Args:
        eps: added to the (biased) variance.
        momentum: weight of a batch's statistics in the running averages.
        gamma: initial value of the weight; 0 makes a residual branch that ends in this norm start as zero.
        affine: whether there are a weight and a bias at all.

    Ioffe & Szegedy 2015 (arXiv 1502.03167). ``reset_parameters`` of the module is torch's and sets the weight to 1.

    Example:
        >>> import torch
        >>> norm = BatchNorm(4, 2, gamma=0.0)
        >>> type(norm) is nn.BatchNorm2d, norm(torch.randn(2, 4, 5, 5)).abs().max().item()
        (True, 0.0)
    """

    def __new__(  # type: ignore[misc]
        cls, c: int, rank: int, *, eps: float = 1e-5, momentum: float = 0.1, gamma: float = 1.0, affine: bool = True
    ) -> _BatchNorm:
        norm = BATCH_NORMS[max(rank, 1)](c, eps, momentum, affine)
        if affine:
            nn.init.constant_(norm.weight, gamma)
        return norm


BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
