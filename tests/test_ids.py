"""Inputs of sequences: ids with a vocabulary and padding, series of channels; embeddings, and logits by their tables."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

import metablock
from metablock.api import example
from metablock.backend.costs import macs
from metablock.front import check
from metablock.language.load import load_text
from metablock.lowering.ir import subgraphs

PAIR = """
name: pair
input:
  source: tokens(vocab, 6, padding=1)
  target: tokens(vocab, 5, padding=1)
let:
  vocab: 20
  block(valid): res(layer_norm >> attention(2, mask=valid)) >> res(layer_norm >> mlp(2))
shared: {table: embedding(8)}
model: |
  source, target ->
  x = source >> table >> 2 * block(source.valid)
  return target >> table >> attention(2, over=x, mask=source.valid) >> tied(table)
init: {embedding: normal(0.3)}
"""


def pair() -> nn.Module:
    return metablock.build(load_text(PAIR)).eval()


def ids(*size: int, low: int = 2) -> torch.Tensor:
    return torch.randint(low, 20, size, generator=torch.Generator().manual_seed(1))


def net(body: str, source: str = "tokens(20, 6)") -> nn.Module:
    return metablock.build(load_text(f"name: net\ninput: {source}\nmodel: {body}\n")).eval()


def test_padding_changes_nothing() -> None:
    """Lengths are free, and a source that is padded gives what it gives alone."""
    model = pair().double()
    source, target = ids(3, 9), ids(3, 4)
    padded = torch.cat([source, torch.ones(3, 5, dtype=torch.long)], 1)
    torch.testing.assert_close(model(padded, target), model(source, target))


def test_valid_is_a_gate_of_the_networks_dtype() -> None:
    model = net('x -> y = x >> embedding(4, padding="learned") return [y * x.valid, 1 - x.valid]', "tokens(20, 6, padding=3)")
    x = torch.tensor([[3, 5, 3]])
    for kind in (torch.float64, torch.bfloat16):
        y, none = model.to(kind)(x)
        assert y.dtype == none.dtype == kind
        assert (y != 0).any(-1).tolist() == [[False, True, False]]
        assert none.flatten().tolist() == [1, 0, 1]
    assert net("x -> x.valid")(x).flatten().tolist() == [1, 1, 1]  # without `padding=`


def test_a_mask_that_nothing_reads_is_not_computed() -> None:
    model = pair()
    assert "target" not in model.get_submodule("input")
    assert not any("input" in part.children for _, part in subgraphs(net("embedding(4)").ir))


def test_the_padding_row() -> None:
    """Zeros without a gradient, whatever rule initialises the table; or a row as any other."""
    model = pair()
    table = model.get_submodule("shared.table")
    assert not table.weight[1].any()
    assert table.weight[2].any()
    first = net("embedding(4)", "tokens(20, 6, padding=1)").train()
    first(torch.tensor([[1, 2]])).sum().backward()
    assert first.embedding.weight.grad[1:3].sum(-1).tolist() == [0, 4]
    other = net('embedding(4, padding="learned")', "tokens(20, 6, padding=1)")
    assert other.embedding.weight[1].any()


def test_one_weight_for_both_ends() -> None:
    model = pair()
    assert [name for name in model.state_dict() if "table" in name] == ["shared.table.weight"]
    assert metablock.roles(model)["shared.table.weight"] == "table"
    model.train()(ids(1, 6), ids(1, 5)).sum().backward()
    assert model.get_submodule("shared.table").weight.grad.any(-1).all()  # rows that are not read have logits
    declared = net("x -> shared t = embedding(4) let out(f) = linear(4) >> tied(f) return x >> t >> out(t)")
    x = ids(2, 6)
    expected = declared.get_submodule("out.linear")(declared.t(x)) @ declared.t.weight.mT
    torch.testing.assert_close(declared(x), expected)
    listed = net("x -> shared t = [embedding(4), embedding(4)] return (x >> t[0]) + (x >> t[1]) >> tied(t[1])")
    tables = [listed.get_submodule(f"t.{n}") for n in (0, 1)]
    torch.testing.assert_close(listed(x), (tables[0](x) + tables[1](x)) @ tables[1].weight.mT)


def test_all_ways_out(tmp_path: Path) -> None:
    """Pickles, copies, graphs, programs and standalone files compute the same, at other lengths too."""
    model = pair()
    inputs, longer = (ids(2, 6), ids(2, 5)), (ids(2, 9), ids(2, 7))
    with torch.no_grad():
        for x in (inputs, longer):
            assert torch.equal(pickle.loads(pickle.dumps(model))(*x), model(*x))
        whole = torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True, dynamic=True)
        torch.testing.assert_close(whole(*longer), model(*longer))
        program = metablock.export(model, dynamic=("batch", "length")).module()
        torch.testing.assert_close(program(*longer), model(*longer))
        metablock.write(model, tmp_path / "net.py")
        space: dict[str, type[nn.Module]] = {}
        exec((tmp_path / "net.py").read_text(encoding="utf-8"), space)
        alone = space["Model"]().eval()
        alone.load_state_dict(model.state_dict())
        assert torch.equal(alone(*longer), model(*longer))
        assert torch.equal(metablock.reparameterize(model)(*longer), model(*longer))
    assert "nn.Embedding(20, 8, padding_idx=1)" in (tmp_path / "net.py").read_text(encoding="utf-8")


def test_inputs_that_fit_are_drawn() -> None:
    source, target = example(pair(), 3, seed=0)
    assert (source.shape, target.shape, source.dtype) == ((3, 6), (3, 5), torch.int64)
    assert not (source == 1).any()
    assert source.max() < 20
    model = metablock.build(load_text(PAIR), device="meta")
    counted = macs(model, *example(model))[""]
    attend = 6 * 8 * 8 * 4 + 2 * 6 * 6 * 8
    assert counted == 2 * (attend + 2 * 6 * 8 * 16) + (2 * 5 + 2 * 6) * 64 + 2 * 5 * 6 * 8 + 5 * 8 * 20


def test_a_series_has_its_channels_last() -> None:
    model = net("linear(4) >> attention(2)", "series(3, 6)")
    assert model(torch.randn(2, 6, 3)).shape == (2, 6, 4)
    assert model(torch.randn(2, 9, 3)).shape == (2, 9, 4)
    with pytest.raises(metablock.MetablockError, match="takes 3 channels; another number is built by input='5x6'"):
        model(torch.randn(2, 6, 5))
    other = metablock.build(load_text("name: n\ninput: series(3, 6)\nmodel: linear(4)\n"), input="5x8")
    assert other(torch.randn(1, 8, 5)).shape == (1, 8, 4)
    assert other.inputs[0].layout == "grid"


def test_a_learned_table_fixes_the_length() -> None:
    model = net("embedding(4) >> position")
    with pytest.raises(metablock.MetablockError, match=r"position is made for one size: build it with input='20x8'"):
        model(ids(1, 8))
    spec = load_text("name: net\ninput: tokens(20, 6, padding=2)\nmodel: embedding(4) >> position\n")
    longer = metablock.build(spec, input="20x8")
    assert longer(ids(1, 8)).shape == (1, 8, 4)
    assert longer.inputs[0].padding_id == 2


def test_wrong_ids_are_said() -> None:
    model = net("embedding(4)")
    with pytest.raises(metablock.MetablockError, match=r"takes ids, and was called with torch.float32\n  .*x.long"):
        model(torch.zeros(1, 6))
    with pytest.raises(metablock.MetablockError, match=r"20 is no id of 'net': there are 20\n  .*from 0 to 19"):
        model(torch.full((1, 6), 20))
    with pytest.raises(metablock.MetablockError, match="-1 is no id"):
        model(torch.full((1, 6), -1))
    with pytest.raises(metablock.MetablockError, match="then the length"):
        model(torch.zeros(1, 6, 4))


@pytest.mark.parametrize(
    "body",
    ["linear(4)", "relu", "id + 1", "id + embedding(4)", "id || id", "chunk(2)", "attention(2)", "sine", "first(2)", "2 * conv(3)",
     "maximum(id, 0)", "join(id, learned(1))", "res(id)", "global_pool"],
)  # fmt: skip
def test_ids_have_no_channels(body: str) -> None:
    with pytest.raises(metablock.SpecError, match=r"<spec>:3:.*6 ids of 20 have no channels(?s:.)*`embedding\(64\)`"):
        net(body)


@pytest.mark.parametrize(
    ("source", "body", "message"),
    [
        ("tokens(20)", "embedding(4)", "`tokens` takes ids and one length"),
        ("tokens(20, 6, padding=20)", "embedding(4)", "20 is no id: there are 20"),
        ("tokens(20, 6, padding=0.5)", "embedding(4)", "0.5 is no id"),
        ("tokens(20, 6, start=1)", "embedding(4)", "the sizes of an input have no names, this one is 'start'"),
        ("series(20, 6, padding=1)", "linear(4)", "the sizes of an input have no names"),
        ("series(3, 6, 6)", "linear(4)", "`series` takes channels and one length"),
        ("series(3, 6)", "embedding(4)", "a sequence of ids is needed here"),
        ("tokens(20, 6)", "x -> y = x >> embedding(4) return y.valid", "only an input that may have padding has `valid`"),
        ("tokens(20, 6)", 'embedding(4, padding="none")', 'unknown padding "none"'),
        ("tokens(20, 6)", "embedding(4) >> tied(linear(4))", "`linear(4)` is no shared embedding"),
        ("tokens(20, 6)", "x -> shared t = linear(4) return x >> embedding(4) >> t >> tied(t)", "`t` is more than an embedding"),
        ("tokens(20, 6)", "x -> shared t = embedding(4) return x >> embedding(4) >> tied(t) >> linear(2)", "no weights before"),
        ("tokens(20, 6)", "x -> shared t = embedding(4) return x >> t >> linear(5) >> tied(t)", "meets a table of 4 channels"),
    ],
)  # fmt: skip
def test_messages(source: str, body: str, message: str) -> None:
    with pytest.raises(metablock.SpecError) as caught:
        net(body, source)
    first = str(caught.value).splitlines()[0]
    assert first.startswith(("<spec>:2:", "<spec>:3:"))
    assert message in first


def test_an_input_of_tokens_is_no_operator() -> None:
    """The operator `tokens` is used where an expression names it, not where `input:` states a kind."""
    spec = "name: net\ninput: tokens(20, 6)\nlet:\n  tokens: gelu\nmodel: embedding(4)\n"
    assert ["tokens" in problem.message for problem in check(load_text(spec))] == [True]
