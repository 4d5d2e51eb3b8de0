"""Products that a graph for a GPU writes as sums: the same numbers as those that run elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metablock.operators import attend, attend_given, linear
from metablock.operators.attend import Attend
from metablock.operators.attend_given import AttendGiven
from metablock.operators.attend_near import AttendNear
from metablock.operators.linear import TurnedLinear
from metablock.operators.overlap import Overlap

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 5e-2)]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    def switch(on: bool) -> None:
        for module in (attend, attend_given, linear):
            monkeypatch.setattr(module, "for_gpu", lambda x: on)

    return switch


def both(gpu: Callable[[bool], None], function: Callable[..., Tensor], *inputs: Tensor, atol: float) -> None:
    """Holds the outputs and gradients of the form for GPUs to those of the other."""
    results = []
    for on in (False, True):
        gpu(on)
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        y = function(*leaves)
        y.sin().sum().backward()
        results.append([y, *[leaf.grad for leaf in leaves]])
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, atol=atol, rtol=atol)


def drawn(*size: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(sum(size))).to(dtype)


@pytest.mark.parametrize(("dtype", "atol"), PRECISIONS)
@pytest.mark.parametrize(("tokens", "width"), [(16, 6), (20, 6), (9, 12), (17, 36)])
@pytest.mark.parametrize("biased", [False, True])
def test_heads_of_other_widths(
    gpu: Callable[[bool], None], tokens: int, width: int, biased: bool, dtype: torch.dtype, atol: float
) -> None:
    core = Attend(heads=2, scale=width**-0.5, biased=biased)
    inputs = [drawn(3, tokens, 2 * width, dtype=dtype) + n for n in range(3)]
    inputs += [drawn(2, tokens, tokens, dtype=dtype)] * biased
    both(gpu, core, *inputs, atol=atol)


def test_masked_keys_of_narrow_heads(gpu: Callable[[bool], None]) -> None:
    core = Attend(heads=2, masked=True)
    q, k, v = (drawn(2, 7, 12, dtype=torch.float64) + n for n in range(3))
    keep = (torch.arange(7) < 5).to(q.dtype).view(1, 7, 1).expand(2, -1, -1)
    both(gpu, lambda q, k, v: core(q, k, v, keep), q, k, v, atol=1e-10)


@pytest.mark.parametrize(("dtype", "atol"), PRECISIONS)
def test_few_keys(gpu: Callable[[bool], None], dtype: torch.dtype, atol: float) -> None:
    logits = drawn(2, 3, 2 * 9, dtype=dtype)
    both(gpu, AttendGiven(heads=2, scale=0.5), drawn(2, 9, 8, dtype=dtype), logits, atol=atol)


@pytest.mark.parametrize(("dtype", "atol"), PRECISIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_turned_linear(gpu: Callable[[bool], None], bias: bool, dtype: torch.dtype, atol: float) -> None:
    layer = TurnedLinear(9, out=5, bias=bias).to(dtype)
    both(gpu, lambda x: layer(x.mT).mT, drawn(2, 9, 4, dtype=dtype), atol=atol)


def test_turned_linear_leaves_no_copy(gpu: Callable[[bool], None]) -> None:
    gpu(True)
    assert TurnedLinear(9, out=5)(torch.randn(2, 9, 4).mT).mT.is_contiguous()


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 2, 1), (3, 1, 1), (2, 2, 0), (2, 3, 0), (5, 2, 2), (4, 3, 0)])
def test_overlapping_windows(size: int, stride: int, padding: int) -> None:
    """torch's fold, with its gradient, and one place more at the end that no window reaches."""
    for more in (0, 1):
        extent = 2 * stride + size - 2 * padding + (more if stride > more else 0)
        x = drawn(2, 3, 3, size, size, 4, dtype=torch.float64).requires_grad_()
        y = Overlap((extent, extent), counts=[3, 3], stride=[stride, stride], padding=[padding, padding])(x.flatten(0, 2))
        columns = x.permute(0, 5, 3, 4, 1, 2).flatten(1, 3).flatten(2)
        z = F.fold(columns, (extent, extent), (size, size), padding=padding, stride=stride).permute(0, 2, 3, 1)
        torch.testing.assert_close(y, z)
        weight = drawn(*y.shape, dtype=y.dtype)
        ours, theirs = (torch.autograd.grad((out * weight).sum(), x, retain_graph=True)[0] for out in (y, z))
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("dtype", "atol"), PRECISIONS[1:])
@pytest.mark.parametrize("border", ["mask", "zeros", "clamp"])
def test_neighbours_in_other_precisions(border: str, dtype: torch.dtype, atol: float) -> None:
    core = AttendNear(size=[3, 3], heads=2, scale=0.5, border=border)
    inputs = [drawn(2, 5, 4, 8, dtype=torch.float64) + n for n in range(3)]
    y = core(*[x.to(dtype) for x in inputs])
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), core(*inputs), atol=atol, rtol=atol)
