"""Counting by running."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

import metablock
from metablock.backend.costs import macs, parameters
from metablock.errors import MetablockError
from metablock.language.load import load_text


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


@pytest.mark.parametrize(
    ("product", "shapes", "expected"),
    [
        (torch.mv, [(3, 4), (4,)], 12),
        (torch.matmul, [(2, 3, 4), (4,)], 24),
        (torch.dot, [(7,), (7,)], 7),
        (torch.vdot, [(7,), (7,)], 7),
        (torch.inner, [(3, 4), (5, 4)], 60),
        (torch.addmv, [(3,), (3, 4), (4,)], 12),
        (torch.addbmm, [(3, 5), (2, 3, 4), (2, 4, 5)], 120),
        (torch.tensordot, [(3, 4, 5), (4, 5, 2)], 120),
        (lambda a, b: torch.einsum("bij,bjk->bik", a, b), [(2, 3, 4), (2, 4, 5)], 120),
        (lambda a, b: torch.einsum("ij,j->i", a, b), [(3, 4), (4,)], 12),
    ],
)
def test_products_of_every_kind(product, shapes: list[tuple[int, ...]], expected: int) -> None:
    class Product(nn.Module):
        def forward(self, *x: torch.Tensor) -> torch.Tensor:
            return product(*x)

    assert macs(Product(), *[torch.empty(shape, device="meta") for shape in shapes])[""] == expected


def test_an_operator_of_another_library_is_named_with_its_place() -> None:
    with torch.library._scoped_library("metablock_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: torch.empty_like(x), "Meta")

        class Twice(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.ops.metablock_test.twice(x)

        with pytest.raises(MetablockError, match=r"'1': metablock_test.twice is an operator of another library that cannot be"):
            macs(nn.Sequential(nn.ReLU(), Twice()), torch.empty(2, 2, device="meta"))


def test_bilinear_layers_are_named() -> None:
    with pytest.raises(MetablockError, match="a bilinear layer cannot be counted"):
        macs(nn.Bilinear(4, 4, 5, device="meta"), torch.empty(30, 4, device="meta"), torch.empty(30, 4, device="meta"))


def test_modes_stay_as_they_were_also_after_an_error() -> None:
    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError

    for last in (nn.ReLU(), Failing()):
        model = nn.Sequential(nn.BatchNorm1d(3).eval(), nn.BatchNorm1d(3), last).train()
        model[0].eval()
        with contextlib.suppress(ValueError):
            macs(model, torch.zeros(2, 3))
        assert [part.training for part in model.modules()] == [True, False, True, True]


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


def test_equal_blocks_count_each() -> None:
    """They run once, and count as often as they stand."""
    text = (
        "name: n\ninput: image(3, 16)\nstem: conv(8)\nstages:\n  depth: 3\n  body: depth * res(conv(c, 3))\nhead: global_pool\n"
    )
    model = metablock.build(load_text(text), device="meta")
    counted = macs(model, torch.empty(2, 3, 16, 16, device="meta"))
    block = 2 * 16 * 16 * 8 * 8 * 9
    assert (
        [counted[f"stages.0.blocks.{i}.conv"] for i in range(3)]
        == [counted[f"stages.0.blocks.{i}"] for i in range(3)]
        == [block] * 3
    )
    assert counted[""] == counted["stem"] + counted["stages.0"]
    assert counted["stages.0"] == 3 * block and counted["stem"] == 2 * 16 * 16 * 3 * 8


def test_nothing_is_left_behind() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    macs(module, torch.empty(1, 2))
    assert module.training and not module[0]._forward_hooks and not module[0]._forward_pre_hooks


def test_parameters_apart() -> None:
    module = nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3).requires_grad_(False)])
    module.append(module[0])
    assert parameters(module) == (9, 9)
