"""Batch normalisation."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``: ``(b, c, ...) -> (b, c, ...)``.

    Mean and variance of a channel over the batch and all positions; in evaluation the running ones.

    Args:
        eps: added to the (biased) variance.
        momentum: share of the new value in the running ones.
        gamma: what the weight starts with; 0 makes the last norm of a residual branch start as nothing.

    Ioffe & Szegedy 2015 (arXiv 1502.03167). This is torch's own batch norm for any number of dimensions: its buffers, its
    names in a checkpoint, and ``nn.SyncBatchNorm.convert_sync_batchnorm`` knows it.
    """

    takes = ("map", "vector")

    def __init__(self, c: int, *, eps: float = 1e-5, momentum: float = 0.1, gamma: float = 1.0):
        self.gamma = gamma  # read by reset_parameters, which the line below calls
        super().__init__(c, eps=eps, momentum=momentum)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.constant_(self.weight, self.gamma)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""
