"""Reading a map at places between its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.sample import SampleRule


class Sample(SampleRule, nn.Module):
    """A map read at given places, linearly between pixels: ``(b, c, *grid), (b, *extents, g * rank) -> (b, *extents, c)``.

    A place has a coordinate for each axis of the grid, in its order (y before x). With ``g`` places a position, each reads its
    own of ``g`` consecutive groups of channels.

    Args:
        kind: what the coordinates count, as :class:`Coordinates` gives them: on an axis of ``n`` pixels ``"index"``: pixels, 0 to
            n - 1. ``"unit"``: 0 and 1 are the first and the last pixel. ``"signed"``: -1 and 1 are (torch's
            ``align_corners=True``). ``"centers"``: 0 and 1 are the outer edges of these. ``"signed_centers"``: -1 and 1 are
            (``align_corners=False``).
        padding: what lies outside: ``"zeros"``, or at each place the nearest pixel of the ``"border"``.

    Between pixels values are linear along each axis: bilinear in two dimensions. Places are kept in float32 at least.

    Example:
        >>> x = torch.arange(4.0).reshape(1, 1, 4)
        >>> Sample()(x, torch.tensor([[[0.5], [3.0], [3.5]]])).flatten()
        tensor([0.5000, 3.0000, 1.5000])
    """

    def __init__(self, *, kind: str = "index", padding: str = "zeros"):
        super().__init__()
        self.kind, self.padding = kind, padding

    def forward(self, x: Tensor, at: Tensor) -> Tensor:
        return read_places(x, at, self.kind, self.padding)

    def extra_repr(self) -> str:
        return f'"{self.kind}", padding="{self.padding}"'


def read_places(x: Tensor, at: Tensor, kind: str, padding: str) -> Tensor:
    """:class:`Sample`: ``(b, c, *grid), (b, *extents, g * rank) -> (b, *extents, c)``."""
    rank = x.dim() - 2
    extents, at = at.shape[1:-1], at.flatten(1, -2).unflatten(-1, (-1, rank)).transpose(1, 2)  # b, g, N, rank
    groups = at.shape[1]
    pixels = in_pixels(at, x.shape[2:], kind).flatten(0, 1).unsqueeze(2)
    read = read_pixels(x.unflatten(1, (groups, -1)).flatten(0, 1), pixels, padding)  # b g, c / g, N, 1
    return read.flatten(2).unflatten(0, (-1, groups)).flatten(1, 2).mT.unflatten(1, extents)


def in_pixels(at: Tensor, grid: Sequence[int], kind: str) -> Tensor:
    """Coordinates of a kind as numbers of pixels, from 0: ``(..., rank)``, in float32 at least.

    >>> in_pixels(torch.tensor([[-1.0, 1.0]]), (5, 3), "signed"), in_pixels(torch.tensor([[0.5, 1.0]]), (5, 3), "centers")
    (tensor([[0., 2.]]), tensor([[2.0000, 2.5000]]))
    """
    at = at.to(torch.promote_types(at.dtype, torch.float32))
    if kind == "index":
        return at
    at = (at + 1) / 2 if kind.startswith("signed") else at
    if kind.endswith("centers"):
        return torch.stack([part * n - 0.5 for part, n in zip(at.unbind(-1), grid, strict=True)], -1)
    return torch.stack([part * (n - 1) for part, n in zip(at.unbind(-1), grid, strict=True)], -1)


def read_pixels(x: Tensor, at: Tensor, padding: str = "zeros") -> Tensor:
    """Maps ``x (b, c, *grid)`` of one to three axes at ``at (b, N, M, rank)``, in pixels: ``(b, c, N, M)`` of its dtype."""
    # torch counts from -1 to 1 between the outer edges of the pixels, the last axis first.
    axes = [(2 * part + 1) / n - 1 for part, n in zip(at.unbind(-1), x.shape[2:], strict=True)]
    values = x.to(at.dtype)
    if len(axes) == 1:  # as the one row of a picture
        values, axes = values.unsqueeze(2), [torch.zeros_like(axes[0]), *axes]
    places = torch.stack(axes[::-1], -1)
    if len(axes) == 3:
        places = places.unsqueeze(3)
    read = F.grid_sample(values, places, padding_mode=padding, align_corners=False).to(x.dtype)
    return read.squeeze(4) if len(axes) == 3 else read


torch.fx.wrap("read_places")  # makes places from sizes: one node of a graph that torch.fx traces
