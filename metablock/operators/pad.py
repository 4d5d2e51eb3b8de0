"""Padding: values around a map."""

from __future__ import annotations

from torch import nn

from .extents import expand
from .rules.pad import PadRule


class Pad(PadRule):
    """Values around a map: ``(b, c, *grid) -> (b, c, *(start + grid + end))``. Makes torch's padding module of this rank.

    Args:
        start: how many values before each axis, one number or one per axis.
        end: how many behind it; by default as many as before.
        mode: ``"constant"``: ``value``; ``"reflect"``: what stands inside, mirrored at the border pixel, which is not repeated;
            ``"replicate"``: the border pixel; ``"circular"``: what stands at the other end.
        value: the constant.

    Zeros at one end only, for what follows: ``pad(0, 1) >> conv(c, 3, stride=2, padding=0)`` pads as TensorFlow does where the
    map is even (``padding="same"`` does for any map).

    Example:
        >>> import torch
        >>> Pad(2, start=0, end=1)
        ConstantPad2d(padding=(0, 1, 0, 1), value=0.0)
        >>> Pad(1, start=2, mode="reflect")(torch.arange(4.0)[None, None]).flatten().tolist()
        [2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """

    def __new__(  # type: ignore[misc]
        cls,
        rank: int,
        *,
        start: int | list[int],
        end: int | list[int] | None = None,
        mode: str = "constant",
        value: float = 0.0,
    ) -> nn.Module:
        before = expand(start, rank)
        behind = before if end is None else expand(end, rank)
        sides = tuple(n for pair in zip(reversed(before), reversed(behind), strict=True) for n in pair)
        return PADS[mode][rank](sides, float(value)) if mode == "constant" else PADS[mode][rank](sides)


PADS: dict[str, dict[int, type]] = {
    "constant": {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d},
    "reflect": {1: nn.ReflectionPad1d, 2: nn.ReflectionPad2d, 3: nn.ReflectionPad3d},
    "replicate": {1: nn.ReplicationPad1d, 2: nn.ReplicationPad2d, 3: nn.ReplicationPad3d},
    "circular": {1: nn.CircularPad1d, 2: nn.CircularPad2d, 3: nn.CircularPad3d},
}
