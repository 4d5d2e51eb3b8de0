"""Dynamic convolution: the kernel depends on the input."""

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
    """Dynamic convolution: each image has its own kernel, a weighted sum of learned ones.

    ``y = (sum_e p_e(x) W_e) * x``, with the weights ``p(x)`` from ``by``: ``(b, c, *grid) -> (b, out, *grid')``.

    Args:
        out: width of the output.
        kernel, stride, padding, dilation, groups, bias: those of ``conv``; a bias is mixed like the kernels.
        by: returns a vector with one weight a kernel; its width is the number of kernels. By default the standard binding
            ``kernel_attention``: the attention over four kernels of the paper.

    Raises:
        SpecError: ``by`` returns anything but a vector; what ``conv`` refuses.

    Chen et al. 2020 (arXiv 1912.03458).

    >>> shape_of("mixture_conv(128, 3, stride=2)", "64x14x14")
    'map 128 x 7x7'
    >>> shape_of("mixture_conv(c, 3, groups=c, by=global_pool >> linear(8) >> softmax)", "64x14x14")
    'map 64 x 14x14'
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
