"""Augmentation on the device. What is drawn depends on the run's seed, the epoch and the step, on nothing else."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..errors import MetablockError, install_hint
from ..shape import Feature
from .losses import soft_targets
from .recipe import Recipe

PICTURES_ONLY = ("flip", "crop", "randaugment", "erasing", "cutmix")


def check_augmentation(recipe: Recipe, input: Feature) -> None:
    """Raises MetablockError where a recipe does to signals or volumes what only pictures bear."""
    plain = Recipe()
    wanted = [name for name in PICTURES_ONLY if getattr(recipe, name) != getattr(plain, name)]
    if input.rank != 2 and wanted:
        raise MetablockError(
            f"the recipe's '{wanted[0]}' is for pictures\n  turn it off for this data: {wanted[0]}={getattr(plain, wanted[0])}"
        )
    if _kornia(recipe):
        try:
            import kornia  # noqa: F401
        except ImportError:
            raise MetablockError("this recipe's augmentation needs kornia", install_hint("ablate")) from None


def step_seed(seed: int, epoch: int, step: int, what: int) -> int:
    """A seed for one purpose in one step; streams of different purposes have nothing in common."""
    value = 0x9E3779B97F4A7C15
    for part in (seed, epoch, step, what):
        value = (value ^ (part + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 31)) * 0x94D049BB133111EB % 2**64
    return value % 2**63


def augment(recipe: Recipe, x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Inputs ``(b, c, *grid)`` and labels ``(b,)`` as they are trained on; the labels become ``(b, classes)``.

    Draws from torch's generator, which the caller seeds.
    """
    if recipe.shift:
        x = shifted(x, recipe.shift)
    if _kornia(recipe):
        low, high = x.amin(), x.amax()
        unit = ((x - low) / (high - low).clamp_min(1e-6)).contiguous()  # kornia's operations are for values from 0 to 1
        x = _chain(recipe, tuple(x.shape[2:]))(unit) * (high - low) + low
    targets = soft_targets(y, classes, recipe.smoothing)
    kinds = [kind for kind, alpha in (("mixup", recipe.mixup), ("cutmix", recipe.cutmix)) if alpha]
    if kinds and float(torch.rand(())) < recipe.mix_probability:
        kind = kinds[int(torch.randint(len(kinds), ()))]
        x, targets = mixed(x, targets, getattr(recipe, kind), cut=kind == "cutmix")
    return x, targets


def shifted(x: Tensor, most: int) -> Tensor:
    """Each example moved by up to ``most`` places along each axis, zeros behind it."""
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
    """Each example with another one: blended (mixup, arXiv 1710.09412), or with a rectangle of it (CutMix, arXiv 1905.04899)."""
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
        lam = 1 - torch.tensor(sides).prod().item() / x[0, 0].numel()  # what is left of it inside the picture
    else:
        x = lam * x + (1 - lam) * x[order]
    return x, lam * targets + (1 - lam) * targets[order]


def _kornia(recipe: Recipe) -> bool:
    return bool(recipe.flip or recipe.crop < 1 or recipe.randaugment or recipe.erasing)


def _chain(recipe: Recipe, grid: tuple[int, ...]) -> Any:
    return _made(recipe.flip, recipe.crop, recipe.randaugment, recipe.randaugment_magnitude, recipe.erasing, grid)


@cache
def _made(flip: float, crop: float, count: int, magnitude: float, erasing: float, grid: tuple[int, ...]) -> Any:
    import kornia.augmentation as K
    from kornia.augmentation.auto import RandAugment

    parts: list[Any] = []
    if crop < 1:
        parts.append(K.RandomResizedCrop((grid[0], grid[1]), scale=(crop, 1.0), ratio=(3 / 4, 4 / 3)))
    if flip:
        parts.append(K.RandomHorizontalFlip(p=flip))
    if count:
        parts.append(RandAugment(n=count, m=max(1, round(magnitude))))
    if erasing:
        parts.append(K.RandomErasing(p=erasing))
    return torch.nn.Sequential(*parts)
