"""The arguments of ``torch.compile`` with which products and small convolutions take the operators around them into their kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .small_convolutions import TAPS, SmallConvolutions

# cuBLAS writes a product to memory, where the bias's activation or the residual sum reads it again. Inductor's own kernels for
# products (Triton templates) do that before they write. Inductor measures both on the device, for each size, and takes the faster.
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
    rest = {name: value for name, value in arguments.items() if name not in ("mode", "options")}
    mode = torch._inductor.list_mode_options(arguments["mode"]) if arguments.get("mode") else {}
    own = {**(_PRODUCTS if products else {}), "post_grad_custom_pre_pass": SmallConvolutions()}
    return {**rest, "options": {**own, **mode, **(arguments.get("options") or {})}}


def store_depthwise(model: nn.Module) -> None:
    """Stores small depthwise kernels tap by tap (same values, other strides), so that neighbouring channels are read together.

    >>> conv = nn.Conv2d(8, 8, 3, groups=8)
    >>> store_depthwise(conv)
    >>> conv.weight.stride()
    (1, 72, 24, 8)
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and module.groups == module.in_channels == module.out_channels:
            weight = module.weight
            if weight[0].numel() <= TAPS:
                order = (*range(1, weight.dim()), 0)
                weight.data = weight.data.permute(order).contiguous().permute(weight.dim() - 1, *range(weight.dim() - 1))
