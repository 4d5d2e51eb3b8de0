"""Convolutions whose kernels depend on the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import error
from ..lowering.arguments import Expr
from ..lowering.ir import ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def mixture_conv(
    t: Tracer,
    x: ValueTree,
    *,
    out: int,
    kernel: int | list[int] = 1,
    stride: int | list[int] = 1,
    padding: int | list[int] | str | None = None,
    dilation: int | list[int] = 1,
    groups: int = 1,
    bias: bool = False,
    by: Expr = "kernel_attention",  # type: ignore[assignment]
) -> ValueTree:
    """One convolution an image, its kernel a weighted sum of kernels (arXiv 1912.03458).

    ``by`` makes a vector of what arrives: as many kernels are kept as it has entries, and the entries are their weights.
    """
    value = t.ir.cast(single(x), "map")
    route = single(t.apply(by, value))
    if route.feature.layout != "vector":
        raise error(
            f"`by` gives a {route.feature}", by.span, "one weight a kernel is needed: `global_pool >> linear(4) >> softmax`"
        )
    options: dict[str, Any] = {
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": bias,
    }
    return t.ir.call("mixture_conv.MixtureConv", "kernels", [value, route], out=out, experts=route.c, **options)
