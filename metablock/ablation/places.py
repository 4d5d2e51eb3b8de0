"""Where a training can run."""

from __future__ import annotations

import torch

from ..backend.device import parse_device
from ..errors import MetablockError
from .recipe import Recipe


def check_device(recipe: Recipe, device: str) -> torch.device:
    """The device of a name, if a recipe can be trained on it.

    Raises:
        MetablockError: there is no such device, or it cannot compute in the recipe's precision.

    >>> check_device(Recipe(precision="float16"), "cpu")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: float16 needs a GPU
      bfloat16 works on the CPU: precision=bfloat16
    """
    place = parse_device(device)
    if place.type == "meta":
        raise MetablockError("nothing is trained on 'meta'", "for instance --device cpu")
    if recipe.precision == "float16" and place.type == "cpu":
        raise MetablockError("float16 needs a GPU", "bfloat16 works on the CPU: precision=bfloat16")
    return place
