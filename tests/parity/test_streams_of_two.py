"""Conformer and Mobile-Former: two streams that tell each other. (Their recordings and counts: tests/test_papers.py.)"""

from __future__ import annotations

import pytest
import torch

import metablock
from metablock.language.printer import show
from metablock.operators.drop_path import DropPath
from oracles import check_gradients


def trained(name: str, edits: list[str], size: str) -> torch.nn.Module:
    model = metablock.build(name, edits=edits, classes=10, input=size).train()
    output = model(torch.randn(8, *map(int, size.split("x"))))
    sum(y.square().mean() for y in (output.values() if isinstance(output, dict) else [output])).backward()
    return model


@pytest.mark.parametrize("token", ["attention(heads)", "pool(3)", "hilo(heads)"])
def test_conformer_learns(token: str) -> None:
    """A mixer of maps does not see class tokens, so it is joined with them."""
    mixer = token if token.startswith("attention") else f"join(prefix, patches >> {token})"
    edits = ["dim = [16, 32, 64]", "D = 32", "heads = 4", f"token = {mixer}"]
    model = trained("tiny_patch16", edits, "3x64x64")
    check_gradients(model, moved=True)


def test_conformer_drops_in_the_tokens_blocks_alone() -> None:
    rates = {name: m.rate.item() for name, m in metablock.build("tiny_patch16").named_modules() if isinstance(m, DropPath)}
    assert all(".t.vit.drop" in name for name in rates)
    assert sorted(set(rates.values())) == pytest.approx([0.1 * i / 11 for i in range(12)])


def test_conformer_sizes() -> None:
    """The map has twice the tokens' extents an axis in the second stage, and the same in the third."""
    model = metablock.build("small_patch32", input="3x64x96", edits=["dim = [16, 32, 64]", "D = 32", "heads = 4"]).eval()
    output = model(torch.randn(1, 3, 64, 96))
    assert {name: tuple(y.shape) for name, y in output.items()} == {"conv": (1, 1000), "trans": (1, 1000)}


@pytest.mark.parametrize("variant", ["26m", "96m"])
def test_mobile_former_learns(variant: str) -> None:
    """Any size: nothing depends on it."""
    model = trained(variant, [], "3x64x96")
    check_gradients(model, moved=True)


def test_dynamic_relu_is_the_larger_of_two_lines() -> None:
    act = metablock.resolved("mobile_former").let["act"]
    assert "relu) + v" in show(act.body).replace("\n", " ")
    x, a, b = torch.randn(3, 50, dtype=torch.float64)
    torch.testing.assert_close((x * a - x * b).relu() + x * b, torch.maximum(x * a, x * b))
