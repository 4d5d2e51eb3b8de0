"""Augmentation on the device. What is drawn depends on the run's seed, the epoch and the step alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..errors import MetablockError
from ..shape import Feature
from .losses import soft_targets
from .outside import require
from .recipe import Recipe

PICTURES_ONLY = ("flip", "crop", "randaugment", "erasing", "cutmix", "jitter", "gray", "blur", "solarize")


def check_augmentation(recipe: Recipe, input: Feature) -> None:
    """Checks that a recipe's augmentation can be applied to data of this shape.

    Raises:
        MetablockError: it is for pictures and the data are signals or volumes, or kornia is not installed.

    >>> check_augmentation(Recipe(flip=0.5), Feature("map", 12, (500,)))
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: the recipe's 'flip' is for pictures
      turn it off for this data: flip=0.0
    """
    default = Recipe()
    changed = [name for name in PICTURES_ONLY if getattr(recipe, name) != getattr(default, name)]
    if input.rank != 2 and changed:
        hint = f"turn it off for this data: {changed[0]}={getattr(default, changed[0])}"
        raise MetablockError(f"the recipe's '{changed[0]}' is for pictures", hint)
    if _needs_kornia(recipe):
        require("kornia", "this recipe's augmentation needs kornia")


def step_seed(seed: int, epoch: int, step: int, what: int) -> int:
    """A seed below 2**63 for one purpose in one step, by SplitMix64's mixing: streams of different purposes are independent.

    Args:
        seed: of the run.
        epoch: from 0.
        step: of the epoch, from 0.
        what: number of the purpose.

    >>> step_seed(0, 3, 17, 1) == step_seed(0, 3, 17, 1), step_seed(0, 3, 17, 1) == step_seed(0, 3, 17, 2)
    (True, False)
    """
    value = 0x9E3779B97F4A7C15
    for part in (seed, epoch, step, what):
        value = (value ^ (part + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 31)) * 0x94D049BB133111EB % 2**64
    return value % 2**63


def augment(recipe: Recipe, x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Augments a batch. Draws from torch's default generator, which the caller seeds.

    Args:
        recipe: says what is drawn, and how strongly.
        x: inputs ``(b, c, *grid)``.
        y: labels ``(b,)``, int64.
        classes: their number.

    Returns:
        Inputs of the same shape, and soft targets ``(b, classes)``.

    >>> x, targets = augment(Recipe(shift=2, mixup=0.2), torch.rand(4, 3, 8, 8), torch.arange(4), classes=10)
    >>> tuple(x.shape), tuple(targets.shape)
    ((4, 3, 8, 8), (4, 10))
    """
    if recipe.shift:
        x = shifted(x, recipe.shift)
    if _needs_kornia(recipe):
        low, high = x.amin(), x.amax()
        unit = ((x - low) / (high - low).clamp_min(1e-6)).contiguous()  # kornia expects values from 0 to 1
        x = _pipeline(recipe, tuple(x.shape[2:]), x.shape[1] == 3)(unit) * (high - low) + low
    targets = soft_targets(y, classes, recipe.smoothing)
    kinds = [kind for kind, alpha in (("mixup", recipe.mixup), ("cutmix", recipe.cutmix)) if alpha]
    if kinds and float(torch.rand(())) < recipe.mix_probability:
        kind = kinds[int(torch.randint(len(kinds), ()))]
        x, targets = mixed(x, targets, getattr(recipe, kind), cut=kind == "cutmix")
    return x, targets


def shifted(x: Tensor, most: int) -> Tensor:
    """Each example of ``(b, c, *grid)`` moved by up to ``most`` places along each axis; zeros fill the gap."""
    b, rank = x.shape[0], x.dim() - 2
    moves = torch.randint(-most, most + 1, (b, rank)).to(x.device)
    for axis in range(rank):
        size = x.shape[2 + axis]
        place = torch.arange(size, device=x.device)[None] - moves[:, axis, None]
        inside = (place >= 0) & (place < size)
        shape = [b, 1, *[1] * axis, size, *[1] * (rank - axis - 1)]
        index = place.clamp(0, size - 1).view(shape).expand_as(x)
        x = x.gather(2 + axis, index) * inside.view(shape)
    return x


def mixed(x: Tensor, targets: Tensor, alpha: float, cut: bool) -> tuple[Tensor, Tensor]:
    """Mixes each example with another one of the batch, and their targets in the same proportion.

    Args:
        x: inputs ``(b, c, *grid)``.
        targets: distributions ``(b, classes)``.
        alpha: of the Beta distribution from which the proportion is drawn.
        cut: paste a rectangle of the other one (CutMix, arXiv 1905.04899) instead of blending (mixup, arXiv 1710.09412).
    """
    lam = float(torch.distributions.Beta(alpha, alpha).sample())
    order = torch.randperm(len(x)).to(x.device)
    if cut:
        sides, corners = [], []
        for size in x.shape[2:]:
            side, middle = int(size * (1 - lam) ** 0.5), int(torch.randint(size, ()))
            corners.append((max(0, middle - side // 2), min(size, middle + side // 2)))
            sides.append(corners[-1][1] - corners[-1][0])
        box: tuple[Any, ...] = (..., *(slice(*corner) for corner in corners))
        x = x.clone()
        x[box] = x[order][box]
        lam = 1 - torch.tensor(sides).prod().item() / x[0, 0].numel()  # the share outside the rectangle, which ends at the border
    else:
        x = lam * x + (1 - lam) * x[order]
    return x, lam * targets + (1 - lam) * targets[order]


def _needs_kornia(recipe: Recipe) -> bool:
    return bool(recipe.crop < 1 or any(getattr(recipe, name) for name in PICTURES_ONLY if name not in ("crop", "cutmix")))


@cache
def _pipeline(recipe: Recipe, grid: tuple[int, ...], coloured: bool) -> Any:
    """kornia's modules, made once for a recipe and a size. ``coloured``: pictures have three channels."""
    import kornia.augmentation as K
    from kornia.augmentation.auto import RandAugment

    parts: list[Any] = []
    if recipe.crop < 1:
        parts.append(K.RandomResizedCrop((grid[0], grid[1]), scale=(recipe.crop, 1.0), ratio=(3 / 4, 4 / 3)))
    if recipe.flip:
        parts.append(K.RandomHorizontalFlip(p=recipe.flip))
    if recipe.randaugment:
        parts.append(RandAugment(n=recipe.randaugment, m=max(1, round(recipe.randaugment_magnitude))))
    if recipe.jitter and coloured:
        parts.append(K.ColorJitter(0.4, 0.4, 0.2, 0.1, p=recipe.jitter))
    if recipe.gray and coloured:
        parts.append(K.RandomGrayscale(p=recipe.gray))
    if recipe.blur:
        size = max(3, min(grid) // 10 // 2 * 2 + 1)
        parts.append(K.RandomGaussianBlur((size, size), (0.1, 2.0), p=recipe.blur))
    if recipe.solarize:
        parts.append(K.RandomSolarize(thresholds=0.0, additions=0.0, p=recipe.solarize))
    if recipe.erasing:
        parts.append(K.RandomErasing(p=recipe.erasing))
    return torch.nn.Sequential(*parts)
