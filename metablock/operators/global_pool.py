"""From a map, or tokens, to one value a channel."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import error, suggest
from ..shape import Feature, Layout


class GlobalPool(nn.Module):
    """Mean or maximum over all positions: ``(b, c, *grid)``, ``(b, *grid, c)`` or ``(b, N, c) -> (b, c)``.

    Args:
        kind: ``"avg"`` or ``"max"``. (The gradient of the maximum is shared by equal values.)

    Tokens may have no prefix: a class token is never averaged in unasked.
    """

    takes = ("map", "grid", "tokens")

    def __init__(self, layout: Layout, *, kind: str = "avg"):
        super().__init__()
        self.first = 2 if layout == "map" else 1
        self.kind = kind

    @staticmethod
    def shape(x: Feature, *, kind: str) -> Feature:
        if kind not in ("avg", "max"):
            raise error(f"unknown kind of pooling '{kind}'", hint=suggest(kind, ["avg", "max"], '"avg" or "max"'))
        if x.prefix:
            raise error(
                f"{x.prefix} prefix token{'s' * (x.prefix > 1)} would be averaged in",
                hint="write `patches >> global_pool`, or `take(0)` for the first of them",
            )
        return x.with_(layout="vector", grid=())

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(self.first, x.dim() + self.first - 2))
        return x.mean(axes) if self.kind == "avg" else x.amax(axes)
