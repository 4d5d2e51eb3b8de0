"""Counting by running."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metablock.costs import macs, parameters


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(4, 4, device="meta")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.f(self.f(x))


def test_a_module_that_is_used_twice_counts_twice() -> None:
    counted = macs(Twice(), torch.empty(3, 4, device="meta"))
    assert counted == {"": 2 * 3 * 16, "f": 2 * 3 * 16}


def test_attention_counts_wherever_it_runs() -> None:
    """Fused attention on a CPU is zero to torch's own counter."""

    class Attention(nn.Module):
        def forward(self, q: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(q, q, q)

    assert macs(Attention(), torch.empty(1, 2, 5, 8, device="meta"))[""] == 2 * 2 * 5 * 5 * 8


def test_an_unknown_product_is_an_error_not_a_zero() -> None:
    with torch.library._scoped_library("metablock_test", "DEF") as library:
        library.define("strange_matmul(Tensor x) -> Tensor")
        library.impl("strange_matmul", lambda x: torch.empty_like(x), "Meta")

        class Strange(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.ops.metablock_test.strange_matmul(x)

        with pytest.raises(NotImplementedError, match="strange_matmul is a matrix product that cannot be counted"):
            macs(Strange(), torch.empty(2, 2, device="meta"))


def test_nothing_is_left_behind() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    macs(module, torch.empty(1, 2))
    assert module.training and not module[0]._forward_hooks and not module[0]._forward_pre_hooks


def test_parameters_apart() -> None:
    module = nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3).requires_grad_(False)])
    module.append(module[0])
    assert parameters(module) == (9, 9)
