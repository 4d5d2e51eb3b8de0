"""The Fourier transform of real signals along the axes of a map, and its inverse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.spectrum import IrfftRule, RfftRule


class Rfft(RfftRule, nn.Module):
    """The Fourier transform of each channel over all axes of the map: ``(b, c, *g, n) -> (b, 2 * c, *g, n // 2 + 1)``.

    ``X_f = sum_t x_t exp(-2 pi i f t / n)``. The real parts of all channels come first, then the imaginary parts. Of the last
    axis only the frequencies from 0 to ``n // 2`` are there: those of a real signal are symmetric.

    Args:
        norm: ``"backward"``: no factor here, ``1 / n`` in the inverse; ``"ortho"``: ``1 / sqrt(n)`` in both; ``"forward"``:
            ``1 / n`` here. ``n`` is the number of positions.

    Half precision is computed in float32. Counts of multiply-accumulates leave transforms out.

    A global filter is a product with learned numbers in between (GFNet, Rao et al. 2021, arXiv 2107.00645); FNet is the real part
    alone (arXiv 2105.03824).

    Example:
        >>> Rfft()(torch.ones(1, 1, 4)).flatten().tolist()  # three real parts, three imaginary ones
        [4.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, *, norm: str = "backward"):
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return transform(x, self.norm)


class Irfft(IrfftRule, nn.Module):
    """The inverse of ``rfft``: ``(b, 2 * c, *g, n // 2 + 1) -> (b, c, *g, n)``.

    Args:
        n: extent of the last axis, which ``n // 2 + 1`` frequencies leave open: ``2 * f - 2`` or ``2 * f - 1`` of f frequencies.
        norm: that of the transform.

    Half precision is computed in float32. Counts of multiply-accumulates leave transforms out.

    Example:
        >>> x = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]]])
        >>> Irfft(n=5)(Rfft()(x)).allclose(x)
        True
    """

    def __init__(self, *, n: int, norm: str = "backward"):
        super().__init__()
        self.n, self.norm = n, norm

    def forward(self, x: Tensor) -> Tensor:
        return inverse(x, self.n, self.norm)


def transform(x: Tensor, norm: str) -> Tensor:
    """Real and imaginary parts of the transform over all axes but the first two, side by side in the channels."""
    spectrum = torch.fft.rfftn(_full(x), dim=tuple(range(2, x.dim())), norm=norm)
    return torch.cat([spectrum.real, spectrum.imag], dim=1).to(x.dtype)


def inverse(x: Tensor, n: int, norm: str) -> Tensor:
    """The signal of n positions on the last axis that :func:`transform` gives these parts of."""
    real, imaginary = _full(x).chunk(2, dim=1)
    extents = (*x.shape[2:-1], n)
    spectrum = torch.complex(real.contiguous(), imaginary.contiguous())
    return torch.fft.irfftn(spectrum, s=extents, dim=tuple(range(2, x.dim())), norm=norm).to(x.dtype)


def _full(x: Tensor) -> Tensor:
    """The numbers in float32 at least: torch transforms no half precision on a CPU."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


torch.fx.wrap("transform")
torch.fx.wrap("inverse")
