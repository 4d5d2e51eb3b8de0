"""Fourier transforms against the definition, there and back."""

from __future__ import annotations

import cmath
import math

import pytest
import torch

from leaves import build, feature, inputs, shape
from metablock.errors import SpecError

pytestmark = pytest.mark.usefixtures("float64")
GRIDS = [(8,), (7,), (4, 5), (3, 6), (2, 3, 4), (5, 1)]


def test_by_the_definition() -> None:
    x = feature("map", 2, 5)
    (tensor,) = inputs(x)
    spectrum = build("spectrum.Rfft", x)(tensor)
    for channel in range(2):
        for f in range(3):
            expected = sum(tensor[0, channel, t].item() * cmath.exp(-2j * math.pi * f * t / 5) for t in range(5))
            assert spectrum[0, channel, f].item() == pytest.approx(expected.real)
            assert spectrum[0, 2 + channel, f].item() == pytest.approx(expected.imag)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_there_and_back(grid: tuple[int, ...], norm: str) -> None:
    x = feature("map", 3, *grid)
    (tensor,) = inputs(x)
    spectrum = build("spectrum.Rfft", x, norm=norm)(tensor)
    there = shape("spectrum.Rfft", x, norm=norm)
    assert tuple(spectrum.shape) == there.size(2)
    real, imaginary = spectrum.chunk(2, 1)
    torch.testing.assert_close(
        torch.complex(real, imaginary), torch.fft.rfftn(tensor, dim=tuple(range(2, 2 + len(grid))), norm=norm)
    )
    torch.testing.assert_close(build("spectrum.Irfft", there, n=grid[-1], norm=norm)(spectrum), tensor)
    assert shape("spectrum.Irfft", there, n=grid[-1], norm=norm) == x


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    x = feature("map", 3, 12)
    tensor = torch.randn(2, 3, 12, dtype=dtype)
    back = build("spectrum.Irfft", shape("spectrum.Rfft", x), n=12)(build("spectrum.Rfft", x)(tensor))
    assert back.dtype == dtype
    torch.testing.assert_close(back, tensor, rtol=0.02, atol=0.05)


def test_what_is_no_spectrum() -> None:
    with pytest.raises(SpecError, match="5 channels for `irfft`"):
        shape("spectrum.Irfft", feature("map", 5, 4), n=6)
    with pytest.raises(SpecError, match="4 frequencies for an extent of 8\n  they are those of 6 or 7 positions"):
        shape("spectrum.Irfft", feature("map", 4, 4), n=8)
    with pytest.raises(SpecError, match="those of 1 positions"):
        shape("spectrum.Irfft", feature("map", 4, 1), n=2)
