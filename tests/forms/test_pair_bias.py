"""A table of every pair of a query and a key: reduced keys, class tokens, one table for several attentions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

import metablock
from metablock.language.load import load_text
from oracles import relative_error


def build(model: str, rest: str = "") -> nn.Module:
    text = f"name: s\ninput: image(8, 4, 6)\nstages:\n  body: {model}\n{rest}"
    return metablock.build(load_text(text), dtype=torch.float64).eval()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("attention(2, q=id, k=id, v=id, proj=id, pos=pair_bias(1))", (2, 24, 24)),
        ("attention(2, over=avg_pool(2, stride=2), q=id, k=id, v=id, proj=id, pos=pair_bias(1))", (2, 24, 6)),
    ],
)
def test_it_adds_to_the_logits(model: str, shape: tuple[int, ...]) -> None:
    network, x = build(model), torch.randn(3, 8, 4, 6, dtype=torch.float64)
    ((_, table),) = network.named_parameters()
    assert table.shape == shape
    keys = nn.functional.avg_pool2d(x, 2) if shape[2] == 6 else x
    q, k = (t.flatten(2).mT.unflatten(2, (2, 4)).transpose(1, 2) for t in (x, keys))
    expected = scaled_dot_product_attention(q, k, k, table).transpose(1, 2).flatten(2)
    with torch.no_grad():
        y = network(x)
        assert relative_error(y.flatten(2).mT if y.shape[1] == 8 else y.reshape(expected.shape), expected) < 1e-9


def test_class_tokens_have_numbers_too() -> None:
    ((_, table),) = [p for p in build("attention(2, pos=pair_bias)", "stem: class_token\n").named_parameters() if "table" in p[0]]
    assert table.shape == (2, 25, 25)


def test_one_table_for_a_stage() -> None:
    network = build("2 * attention(2, pos=table)", "  shared: {table: pair_bias}\n")
    assert [name for name, _ in network.named_parameters() if "table" in name] == ["stages.0.shared.table.table.weight"]
    with pytest.raises(metablock.MetablockError, match="used on two shapes that do not fit it"):
        build("attention(2, pos=table) >> max_pool(2, stride=2) >> attention(2, pos=table)", "  shared: {table: pair_bias}\n")


def test_start_and_meta() -> None:
    network = build("attention(2, pos=pair_bias(0.5))", "init: {linear: zeros}\n")
    assert network.get_parameter("stages.0.blocks.0.pos.table.weight").std().item() == pytest.approx(0.5, rel=0.1)
    text = "name: s\ninput: image(8, 4, 6)\nstages:\n  body: attention(2, pos=pair_bias)\n"
    assert metablock.build(load_text(text), device="meta")(torch.empty(1, 8, 4, 6, device="meta")).is_meta


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("pair_bias", "`pair_bias` is not inside an attention", "attention(heads, pos=pair_bias)"),
        ("attention(2, over=near(3), pos=pair_bias)", "`pair_bias` is not for neighbours", "relative_bias"),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(model)
    assert message in str(caught.value)
    assert hint in str(caught.value)
