"""Interpolation to a given size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .extents import expand
from .rules.resize import MODES, AntialiasedUpsampleRule, ResizeLikeRule, ResizeRule

# What a mode is called in torch, by the number of dimensions.


class Resize(ResizeRule):
    """Interpolation: ``(b, c, *grid) -> (b, c, *size)``. Makes torch's ``nn.Upsample``.

    Args:
        size: the output grid, one number or one per axis.
        mode: ``"bilinear"`` (linear in 1-D, trilinear in 3-D), ``"nearest"`` or ``"bicubic"`` (2-D).
        antialias: whether to low-pass the map before it becomes smaller (2-D, bilinear and bicubic). The module is then an
            :class:`AntialiasedUpsample`.
        align_corners: whether the outermost positions of both grids coincide; by default the outermost edges do.

    Example:
        >>> import torch
        >>> Resize(2, size=[4, 6])(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 4, 6])
    """

    def __new__(  # type: ignore[misc]
        cls,
        rank: int,
        *,
        size: int | list[int],
        mode: str = "bilinear",
        antialias: bool = False,
        align_corners: bool = False,
    ) -> nn.Upsample:
        corners = None if mode == "nearest" else align_corners
        return (AntialiasedUpsample if antialias else nn.Upsample)(expand(size, rank), None, MODES[mode][rank], corners)


class AntialiasedUpsample(AntialiasedUpsampleRule, nn.Upsample):
    """``nn.Upsample`` that low-passes the map before it makes it smaller.

    Example:
        >>> import torch
        >>> AntialiasedUpsample((2, 2), mode="bilinear")(torch.zeros(1, 1, 8, 8))
        tensor([[[[0., 0.],
                  [0., 0.]]]])
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, self.size, mode=self.mode, align_corners=self.align_corners, antialias=True)


class ResizeLike(ResizeLikeRule, nn.Module):
    """Interpolation to the extents of another map: ``(b, c, *grid), (b, d, *size) -> (b, c, *size)``.

    Args:
        mode: as :class:`Resize` has it.

    Example:
        >>> import torch
        >>> ResizeLike(2, mode="nearest")(torch.tensor([[[[1.0, 0.0]]]]), torch.zeros(1, 3, 1, 4))
        tensor([[[[1., 1., 0., 0.]]]])
    """

    def __init__(self, rank: int, *, mode: str = "bilinear"):
        super().__init__()
        self.mode = MODES[mode][rank]

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[2:], mode=self.mode, align_corners=None if self.mode == "nearest" else False)

    def extra_repr(self) -> str:
        return f'"{self.mode}"'


def interpolate(x: Tensor, size: tuple[int, ...], mode: str, antialias: bool = False) -> Tensor:
    """``F.interpolate`` of ``(b, c, *grid)`` to ``size``, edges aligned, with one name per mode in all dimensions."""
    corners = None if mode == "nearest" else False
    return F.interpolate(x, size, mode=MODES[mode][len(size)], align_corners=corners, antialias=antialias)
