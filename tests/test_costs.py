"""Counting by running."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metablock.backend.costs import macs, parameters
from metablock.errors import MetablockError


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

        with pytest.raises(
            MetablockError, match="strange_matmul is a matrix product that cannot be counted\n  register a formula"
        ):
            macs(Strange(), torch.empty(2, 2, device="meta"))


def test_what_is_known_of_a_shape_is_what_torch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, shapes, dtypes and strides of results do not depend on what was counted before."""

    class Mixed(nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            n = torch.arange(6, device="meta")
            whole, real, flag = (n * by for by in (2, 2.0, True))  # equal in Python, of other types as operands
            parts = x.transpose(1, 2).split([2, 4], 1)
            y = x.clone().unsqueeze_(0).mul_(2)
            return [whole, real, flag, *parts, y, parts[0] @ parts[0].mT, torch.ones(2, device="meta")]

    def told(known: dict) -> tuple[dict[str, int], list]:
        results: list[torch.Tensor] = []
        monkeypatch.setattr("metablock.backend.costs._KNOWN", known)
        model, x = Mixed(), torch.empty(3, 5, 6, device="meta")
        model.register_forward_hook(lambda _m, _a, output: results.extend(output))
        return macs(model, x), [(y.shape, y.stride(), y.dtype) for y in results]

    class Forgetful(dict):
        def __setitem__(self, key: object, value: object) -> None:
            pass

    known: dict = {}
    first, second, fresh = told(known), told(known), told(Forgetful())
    assert known
    assert first == second == fresh
    assert [dtype for _, _, dtype in first[1][:3]] == [torch.int64, torch.float32, torch.int64]
    torch.set_default_dtype(torch.float64)
    try:
        assert told(known)[1][-1][2] == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_nothing_is_left_behind() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    macs(module, torch.empty(1, 2))
    assert module.training and not module[0]._forward_hooks and not module[0]._forward_pre_hooks


def test_parameters_apart() -> None:
    module = nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3).requires_grad_(False)])
    module.append(module[0])
    assert parameters(module) == (9, 9)
