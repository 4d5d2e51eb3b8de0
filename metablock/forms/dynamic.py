"""Convolutions whose kernels depend on the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..arguments import Expr
from ..errors import error
from ..graph import Value

if TYPE_CHECKING:
    from ..trace import Tracer


def mixture_conv(
    t: Tracer,
    x: Value,
    *,
    out: int,
    kernel: int | list[int] = 1,
    stride: int | list[int] = 1,
    padding: int | list[int] | None = None,
    dilation: int | list[int] = 1,
    groups: int = 1,
    bias: bool = False,
    experts: int = 4,
    by: Expr = "kernel_attention(4)",  # type: ignore[assignment]
) -> Value:
    """One convolution an image, its kernel the sum of ``experts`` kernels weighted by the vector that ``by`` makes (arXiv
    1912.03458)."""
    wire = t.to(t.single(x), "map")
    route = t.single(t.apply(by, wire))
    if route.feature.layout != "vector" or route.c != experts:
        raise error(f"`by` gives {route.feature}, {experts} weights are needed", by.span, f"end it with `linear({experts}) >> softmax`")
    given: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": bias}
    return t.leaf("mixture_conv.MixtureConv", "kernels", [wire, route], out=out, experts=experts, **given)
