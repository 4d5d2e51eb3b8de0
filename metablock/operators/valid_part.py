"""Where a picture is, in a batch of pictures that are padded to one size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def valid_part(x: Tensor, valid: Tensor | None) -> Tensor:
    """A mask as numbers: 1 where the picture is, 0 where it is padding: ``(b, c, *grid), (b, 1, *grid) -> (b, 1, *grid)``.

    ``torch.fx`` records a call of this function as one node.

    Args:
        x: the pictures.
        valid: the mask, of any dtype; None: there is no padding.

    Example:
        >>> valid_part(torch.zeros(1, 3, 4), torch.tensor([[[True, True, True, False]]]))
        tensor([[[1., 1., 1., 0.]]])
        >>> valid_part(torch.zeros(1, 3, 4), None)
        tensor([[[1., 1., 1., 1.]]])
    """
    if isinstance(x, torch.fx.Proxy):
        proxy: Any = x.tracer.create_proxy("call_function", valid_part, (x, valid), {})
        return proxy
    return torch.ones_like(x[:, :1]) if valid is None else valid.to(x.dtype)
