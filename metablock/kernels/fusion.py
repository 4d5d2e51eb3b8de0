"""The arguments of ``torch.compile`` with which matrix products and small convolutions take in the operators behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# cuBLAS writes a product to memory, where an activation or a residual sum reads it again. Inductor's own kernels (templates in
# Triton) compute both before they write. Inductor measures the two ways on the device, for each size, and takes the faster.
_PRODUCTS = {
    "max_autotune_gemm": True,
    "max_autotune_gemm_backends": "ATEN,TRITON",
    "epilogue_fusion": True,
    "prologue_fusion": True,
}


def fusion(arguments: Mapping[str, Any], products: bool = True) -> dict[str, Any]:
    """The arguments of ``torch.compile`` with fusion on a GPU added; what ``arguments`` say already wins.

    Args:
        arguments: of ``torch.compile``. It takes a mode or options: a mode becomes the options that it stands for.
        products: activations, layer scales and residual sums move into the matrix products before them; 1x1 convolutions on
            channels-last maps are products, too. Inductor measures some twenty kernels for each size of product and takes the
            fastest, so compiling takes longer. Its cache keeps the choice.

    Small depthwise convolutions always move into the operators behind them (:class:`SmallConvolutions`).

    >>> fusion({"mode": "reduce-overhead"}, products=False)["options"]["triton.cudagraphs"]
    True
    """
    from torch._inductor import list_mode_options  # takes seconds to import, which compilation on the device pays anyway

    from .small_convolutions import SmallConvolutions

    rest = {name: value for name, value in arguments.items() if name not in ("mode", "options")}
    mode = list_mode_options(arguments["mode"], arguments.get("dynamic")) if arguments.get("mode") else {}
    own = {**(_PRODUCTS if products else {}), "post_grad_custom_pre_pass": SmallConvolutions()}
    return {**rest, "options": {**own, **mode, **(arguments.get("options") or {})}}
