"""Depthwise convolutions that are small enough to be arithmetic, and how their weights lie in memory."""

from __future__ import annotations

from torch import nn

# An output reads its taps through the L1 cache. By the data sheet of an H200, nine taps of 2 bytes and as many of the kernel take
# about as long there as the output's own bytes take in memory; with 49, seven times as long.
TAPS = 9


def store_depthwise(model: nn.Module) -> None:
    """Stores small depthwise kernels tap by tap (same values, other strides), so that neighbouring channels are read together.

    >>> conv = nn.Conv2d(8, 8, 3, groups=8)
    >>> store_depthwise(conv)
    >>> conv.weight.stride()
    (1, 72, 24, 8)
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and module.groups == module.in_channels == module.out_channels:
            weight = module.weight
            if weight[0].numel() <= TAPS:
                weight.data = weight.data.movedim(0, -1).contiguous().movedim(-1, 0)
