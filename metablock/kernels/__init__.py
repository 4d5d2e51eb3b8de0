"""Fewer bytes on a GPU: what ``torch.compile`` is told so that pointwise operators run inside the kernels around them."""

from .fusion import fusion, store_depthwise
from .small_convolutions import SmallConvolutions

__all__ = ["SmallConvolutions", "fusion", "store_depthwise"]
