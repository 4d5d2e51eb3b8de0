"""Which kernel ``scaled_dot_product_attention`` takes on an H200: a copy of ATen's rule (sdp_utils.cpp) for sm_90."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import functional_tensor
from torch.fx.experimental import proxy_tensor
from torch.utils._python_dispatch import autograd_would_have_decomposed

_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
_would_have, _take_apart = autograd_would_have_decomposed, torch._ops.OpOverload.decompose
# How often each kernel was chosen.
CHOICES: Counter[str] = Counter()


def install(library: torch.library.Library) -> None:
    """Makes a library of implementations of ``aten`` choose as CUDA does."""
    for key in ("AutogradCUDA", "CUDA"):
        library.impl("scaled_dot_product_attention", choose, key)
    # On a GPU the operator has no kernel of its own, and tracing below autograd (in nested regions) takes it apart.
    for module in (functional_tensor, proxy_tensor):
        module.autograd_would_have_decomposed = _decomposed  # type: ignore[attr-defined]
    torch._ops.OpOverload.decompose = _decompose  # type: ignore[method-assign]


def _decomposed(operator: torch._ops.OpOverload, arguments: Sequence[object]) -> bool:
    return operator is _ATTENTION or _would_have(operator, arguments)


def _decompose(operator: torch._ops.OpOverload, *args: Any, **kwargs: Any) -> Any:
    return choose(*args, **kwargs) if operator is _ATTENTION else _take_apart(operator, *args, **kwargs)


def choose(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Flash, else memory-efficient, else plain products."""
    aten, pad = torch.ops.aten, torch.nn.functional.pad
    half, width, out_width = q.dtype in (torch.float16, torch.bfloat16), q.shape[-1], v.shape[-1]
    scale = width**-0.5 if scale is None else scale
    four = q.dim() == k.dim() == v.dim() == 4 and q.shape[:2] == k.shape[:2] == v.shape[:2]
    dense = all(t.stride(-1) == 1 or t.shape[-1] == 1 for t in (q, k, v))
    if four and half and attn_mask is None and width == out_width and width <= 256 and dense:
        CHOICES["flash"] += 1
        extra = -width % 8
        if extra:
            CHOICES["flash_padded_head"] += 1
            q, k, v = (pad(t, (0, extra)) for t in (q, k, v))
        out = aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal, False, scale=scale)[0]
        return out[..., :width] if extra else out
    multiple = 8 if half else 4
    if four and dense and width % multiple == 0 and out_width % multiple == 0 and not enable_gqa:
        CHOICES["efficient"] += 1
        if attn_mask is not None:
            if attn_mask.dtype == torch.bool:
                attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, float("-inf"))
            keys = attn_mask.shape[-1]
            if keys % 16:
                CHOICES["efficient_padded_mask"] += 1
                attn_mask = pad(attn_mask, (0, -keys % 16))[..., :keys]
            attn_mask = attn_mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
        needs_sums = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v))
        return aten._scaled_dot_product_efficient_attention(q, k, v, attn_mask, needs_sums, dropout_p, is_causal, scale=scale)[0]
    CHOICES["math"] += 1
    return aten._scaled_dot_product_attention_math(
        q, k, v, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
    )[0]
