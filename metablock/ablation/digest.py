"""Digests of values that hold tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def add(total: Any, value: Any) -> None:
    """Adds a value to a digest: mappings, lists and tuples of tensors and plain values.

    Args:
        total: of :mod:`hashlib`.
        value: on any device. Tensors count by shape, dtype and content.

    >>> from hashlib import sha256
    >>> one, other = sha256(), sha256()
    >>> add(one, {"a": [1, torch.zeros(2)]})
    >>> add(other, {"a": [1, torch.ones(2)]})
    >>> one.digest() == other.digest()
    False
    """
    if isinstance(value, Tensor):
        total.update(f"tensor {tuple(value.shape)} {value.dtype}\n".encode())
        if value.numel():
            total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        total.update(f"mapping {len(value)}\n".encode())
        for key, item in value.items():
            add(total, key)
            add(total, item)
    elif isinstance(value, list | tuple):
        total.update(f"list {len(value)}\n".encode())
        for item in value:
            add(total, item)
    else:
        text = repr(value)
        total.update(f"{type(value).__name__} {len(text)} {text}\n".encode(errors="backslashreplace"))
