"""The order in which maps and kernels of convolutions lie in memory: when channels-last is faster, and how it is stored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def gains(model: nn.Module) -> bool:
    """Whether a model is compiled with kernels that lie channels-last: on the CPU always, whose convolutions convert others."""
    return next(iter(model.parameters()), torch.empty(0)).device.type == "cpu"


def store_channels_last(model: nn.Module) -> None:
    """Stores the kernels of convolutions in two and three dimensions channels-last: same values, other strides.

    >>> conv = nn.Conv2d(4, 8, 3)
    >>> store_channels_last(conv)
    >>> conv.weight.stride()
    (36, 1, 12, 4)
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            module.weight.data = module.weight.data.contiguous(memory_format=_FORMATS[module.weight.dim()])


def canonical(value: Any) -> Any:
    """A map or volume without gaps, so that all copies of a block share one graph; anything else as it is.

    The order of the dimensions in memory stays: channels-first or channels-last, and a ``(b, h, w, c)`` view of either.

    >>> x = torch.zeros(2, 8, 6, 5)
    >>> canonical(x.permute(0, 2, 3, 1)).stride(), canonical(x[:, :4].permute(0, 2, 3, 1)).stride()
    ((240, 5, 1, 30), (120, 5, 1, 30))
    """
    if not isinstance(value, Tensor) or value.dim() not in _FORMATS:
        return value
    strides = value.stride()
    order = sorted(range(value.dim()), key=lambda dim: -strides[dim])  # stable: equal strides keep their order
    if value.permute(order).is_contiguous():
        return value
    return value.permute(order).contiguous().permute([order.index(dim) for dim in range(value.dim())])
