"""Group normalisation."""

from __future__ import annotations

from torch import nn

from .rules.group_norm import GroupNormRule


class GroupNorm(GroupNormRule):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``: ``(b, c, *grid) -> (b, c, *grid)``. Makes torch's ``nn.GroupNorm``.

    Mean and (biased) variance are those of a group of channels over all positions; weight and bias are per channel.

    Args:
        groups: number of groups; must divide ``c``. 1 is PoolFormer's norm, over channels and positions together.
        eps: added to the variance.
        bias: whether to add a constant. Without it the module is :class:`UnbiasedGroupNorm`.

    Wu & He 2018 (arXiv 1803.08494). Weight 1, bias 0.

    Example:
        >>> import torch
        >>> GroupNorm(6, groups=3)(torch.randn(2, 6, 5, 5)).shape
        torch.Size([2, 6, 5, 5])
    """

    def __new__(cls, c: int, *, groups: int, eps: float = 1e-5, bias: bool = True) -> nn.GroupNorm:  # type: ignore[misc]
        return (nn.GroupNorm if bias else UnbiasedGroupNorm)(groups, c, eps)


class UnbiasedGroupNorm(nn.GroupNorm):
    """``nn.GroupNorm`` with a weight and no bias, in every torch that metablock supports.

    Example:
        >>> list(UnbiasedGroupNorm(2, 6).state_dict())
        ['weight']
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5):
        super().__init__(num_groups, num_channels, eps)
        self.register_parameter("bias", None)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
