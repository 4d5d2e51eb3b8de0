"""How maps lie in memory: what enters a compiled region, and when kernels are stored channels-last."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from metablock.backend.memory_format import canonical


@pytest.mark.parametrize("rank", [4, 5])
def test_dense_maps_enter_as_they_lie(rank: int) -> None:
    """In every order, so that a (b, h, w, c) view costs no copy."""
    x = torch.randn(2, 3, 4, 5, 6)[..., 0].contiguous() if rank == 4 else torch.randn(2, 3, 4, 5, 6)
    for order in permutations(range(rank)):
        view = x.permute(order)
        assert canonical(view) is view


@pytest.mark.parametrize("rank", [4, 5])
def test_gaps_and_repeats_are_copied_in_their_order(rank: int) -> None:
    whole = torch.randn(4, 6, 4, 5, 6)[..., 0].contiguous() if rank == 4 else torch.randn(4, 6, 4, 5, 6)
    for order in permutations(range(rank)):
        view = whole[:, ::2].permute(order)
        dense = canonical(view)
        assert torch.equal(dense, view)
        assert [a > b for a in dense.stride() for b in dense.stride()] == [a > b for a in view.stride() for b in view.stride()]
        assert (
            sorted(dense.stride())[0] == 1
            and max(s * n for s, n in zip(dense.stride(), dense.shape, strict=True)) == dense.numel()
        )
    repeated = whole[:1].expand(4, *whole.shape[1:])
    assert torch.equal(canonical(repeated), repeated) and 0 not in canonical(repeated).stride()


def test_what_is_no_map_enters_as_it_is() -> None:
    tokens = torch.randn(2, 9, 8)[:, 1:]
    assert canonical(tokens) is tokens and canonical(None) is None
