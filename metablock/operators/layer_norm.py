"""Layer normalisation of the channels."""

from __future__ import annotations

from torch import nn

from .rules.layer_norm import LayerNormRule


class LayerNorm(LayerNormRule):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias`` over the last axis: ``(b, ..., c) -> (b, ..., c)``.

    Makes torch's ``nn.LayerNorm``. Maps, whose channels stand second, are brought into the ``grid`` layout before it.

    Args:
        eps: added to the (biased) variance.
        bias: whether to add a constant.
        affine: whether there is a weight, and with it a bias, at all.

    Ba et al. 2016 (arXiv 1607.06450). Weight 1, bias 0.

    Example:
        >>> import torch
        >>> LayerNorm(4, bias=False)(torch.randn(2, 3, 4)).shape
        torch.Size([2, 3, 4])
    """

    def __new__(  # type: ignore[misc]
        cls, c: int, *, eps: float = 1e-5, bias: bool = True, affine: bool = True
    ) -> nn.LayerNorm:
        return nn.LayerNorm(c, eps, affine, bias)
