"""Where a graph is traced for."""

from __future__ import annotations

import torch
from torch import Tensor


def for_gpu(x: Tensor) -> bool:
    """Whether a graph is compiled for the GPU that holds ``x``: there a sum may be faster than the product that it stands for.

    A graph that is exported runs anywhere.

    >>> for_gpu(torch.ones(2))
    False
    """
    return x.is_cuda and torch.compiler.is_compiling() and not torch.compiler.is_exporting()
