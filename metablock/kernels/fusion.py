"""The arguments of ``torch.compile`` with which matrix products and small convolutions take in the operators behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .depthwise import store_depthwise

# cuBLAS writes a product to memory, where an activation or a residual sum reads it again. Inductor's own kernels (templates in
# Triton) compute both before they write. Inductor measures the two ways on the device, for each size, and takes the faster.
_PRODUCTS = {
    "max_autotune_gemm": True,
    "max_autotune_gemm_backends": "ATEN,TRITON",
    "epilogue_fusion": True,
    "prologue_fusion": True,
}


def fuse(model: nn.Module, arguments: Mapping[str, Any], fused: bool | None) -> dict[str, Any]:
    """The arguments of ``torch.compile`` for a model; on a GPU those of fusion, too. What ``arguments`` say already wins.

    Activations, layer scales and residual sums move into the matrix products before them (1x1 convolutions on channels-last
    maps are products, too), and what stands behind a small depthwise convolution moves into it
    (:class:`~metablock.kernels.small_convolutions.SmallConvolutions`); their weights are stored for that: same values, other
    strides. Where no Inductor compiles, or no GPU runs, nothing changes.

    Args:
        model: what is to be compiled; its first weight tells the device.
        arguments: of ``torch.compile``. It takes a mode or options: a mode becomes the options that it stands for.
        fused: whether to fuse; None: convolutions, but products in the modes that measure kernels anyway (``max-autotune``).

    >>> fuse(nn.Linear(2, 2), {"mode": "reduce-overhead"}, fused=None)
    {'mode': 'reduce-overhead'}
    """
    if fused is False or arguments.get("backend", "inductor") != "inductor" or not _on_gpu(model):
        return dict(arguments)
    from torch._inductor import list_mode_options  # takes seconds to import, which a compilation on the device pays anyway

    from .small_convolutions import SmallConvolutions

    store_depthwise(model)
    rest = {name: value for name, value in arguments.items() if name not in ("mode", "options")}
    mode = arguments.get("mode") or "default"
    products = _PRODUCTS if fused or "max-autotune" in mode else {}
    own = {"post_grad_custom_pre_pass": SmallConvolutions(), **products}
    return {**rest, "options": {**own, **list_mode_options(mode), **(arguments.get("options") or {})}}


def _on_gpu(model: nn.Module) -> bool:
    return next(iter(model.parameters()), torch.empty(0)).is_cuda
