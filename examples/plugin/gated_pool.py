"""A token mixer of one's own, in one file.

    metablock build gated.yaml --plugin ./gated_pool.py

Once the package is installed (`pip install .`), its entry point makes the name known everywhere:

    metablock build poolformer_s12 --edit 'token = gated_pool(3)'
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.errors import error
from metablock.shape import Feature

AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@metablock.operator
class GatedPool(nn.Module):
    """What a pixel lacks of its neighbourhood's mean, a gate a channel: ``(b, c, *grid) -> (b, c, *grid)``.

    ``y = sigmoid(g) * (mean(x) - x)`` with a learned ``g`` of ``c`` values.

    Args:
        kernel: extent of the neighbourhood, odd.
        open: what the gates begin as, before the sigmoid.
    """

    takes = ("map",)

    def __init__(self, c: int, rank: int, *, kernel: int = 3, open: float = 0.0):
        super().__init__()
        self.kernel, self.open = kernel, open
        self.gate = nn.Parameter(torch.empty(c, *[1] * rank))
        self.reset_parameters()

    @staticmethod
    def shape(x: Feature, *, kernel: int) -> Feature:
        """On integers, before anything is built; an error here is shown at its place in the spec."""
        if kernel % 2 == 0:
            raise error(f"the kernel {kernel} is even", hint="it has a pixel in its middle: 3, 5, 7")
        return x

    def reset_parameters(self) -> None:
        nn.init.constant_(self.gate, self.open)

    def forward(self, x: Tensor) -> Tensor:
        mean = AVG_POOL[x.dim() - 2](x, self.kernel, 1, self.kernel // 2, count_include_pad=False)
        return torch.sigmoid(self.gate) * (mean - x)
