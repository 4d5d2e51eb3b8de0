"""Random inputs for networks."""

from __future__ import annotations

import torch
from torch import Tensor

from ..shape import Feature


def random_input(
    feature: Feature, batch: int, device: torch.device, dtype: torch.dtype, generator: torch.Generator | None = None
) -> Tensor:
    """An input of this shape for a batch of so many: normal numbers, or ids that are no padding.

    Args:
        feature: the shape.
        batch: the number of examples.
        device, dtype: of the network. Ids are int64 in every network.
        generator: on the CPU, where the numbers are drawn then; by default torch's own of the device.

    >>> ids = random_input(Feature("ids", 2, (5,), padding_id=1), 3, torch.device("cpu"), torch.float32)
    >>> ids.shape, ids.dtype, ids.max().item()
    (torch.Size([3, 5]), torch.int64, 0)
    """
    place = device if generator is None else torch.device("cpu")
    size = feature.size(batch)
    if device.type == "meta":  # nothing is drawn there, though torch would import its compiler for it
        return torch.empty(size, dtype=torch.int64 if feature.layout == "ids" else dtype, device=device)
    if feature.layout != "ids":
        return torch.randn(size, generator=generator, dtype=dtype, device=place).to(device)
    padding = feature.padding_id if feature.c > 1 else None
    ids = torch.randint(feature.c - (padding is not None), size, generator=generator, device=place)
    return (ids if padding is None else ids + (ids >= padding)).to(device)
