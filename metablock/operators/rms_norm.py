"""Root mean square normalisation of the channels."""

from __future__ import annotations

from torch import nn

from .rules.rms_norm import RmsNormRule


class RmsNorm(RmsNormRule):
    """``y = x / sqrt(mean(x ** 2) + eps) * weight`` over the last axis: ``(b, ..., c) -> (b, ..., c)``.

    Makes torch's ``nn.RMSNorm``. Maps, whose channels stand second, are brought into the ``grid`` layout before it.

    Args:
        eps: added to the mean of the squares.
        affine: whether there is a weight.

    Zhang & Sennrich 2019, Eq. 4 (arXiv 1910.07467). Weight 1.

    Example:
        >>> import torch
        >>> RmsNorm(4)(torch.full((1, 4), 3.0)).round(decimals=4)
        tensor([[1., 1., 1., 1.]], grad_fn=<RoundBackward1>)
    """

    def __new__(cls, c: int, *, eps: float = 1e-6, affine: bool = True) -> nn.RMSNorm:  # type: ignore[misc]
        return nn.RMSNorm(c, eps, affine)
