"""The six mixers of the first line in the token slot of four hosts, by one edit each: built, compiled without a break, trained one step."""

from __future__ import annotations

import pytest
import torch

import metablock
from metablock.backend.compiler import distinct
from metablock.errors import SpecError
from oracles import check_gradients

MIXERS = ("attention(dim // 32)", "pool(3)", "dw(7)", "dynamic_conv(7)", "hilo(dim // 32)", "agent_attention(dim // 32)")
HOSTS = ("poolformer_s12", "convnext_tiny", "swin_tiny", "caformer_s18")
# What each mixer is known by in the names of its parameters; pooling has none.
KNOWN_BY = {
    "attention": "token.qkv",
    "dw": "token.weight",
    "dynamic_conv": "token.kernels",
    "hilo": "token.hifi",
    "agent_attention": "token.qkv.linear",
}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("mixer", MIXERS)
def test_swap(host: str, mixer: str) -> None:
    torch._dynamo.reset()
    edits = [f"token = {mixer}", "depth = [1, 1, 1, 1]"]
    model = metablock.build(host, edits=edits, input="3x64x64", classes=3)
    graphs: list[object] = []
    metablock.compile(model, backend=lambda graph, _: graphs.append(graph) or graph.forward)
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert len(graphs) <= distinct(model)
    check_gradients(model)
    known = KNOWN_BY.get(mixer.partition("(")[0])
    names = [name for name in model.state_dict() if ".blocks.0.token." in name]
    assert all(any(known in n for n in names if n.startswith(f"stages.{i}.")) for i in range(4)) if known else not names


@pytest.mark.parametrize("host", HOSTS)
def test_what_cannot_work_says_why_at_its_place(host: str) -> None:
    with pytest.raises(SpecError) as caught:
        metablock.build(host, edits=["token = attention(7)"], device="meta")
    text = str(caught.value)
    assert text.startswith("--edit:1:9: 7 heads do not divide")
    assert "    token = attention(7)\n            ^^^^^^^^^^^^\n  choose another number of heads" in text
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("mixer", MIXERS)
def test_swap_one_stage_only(mixer: str) -> None:
    whole = metablock.build("caformer_s18", device="meta")
    swapped = metablock.build("caformer_s18", edits=[f"stages[-1].token = {mixer}"], device="meta")
    before, after = dict(whole.named_parameters()), dict(swapped.named_parameters())
    changed = {
        name
        for name in before.keys() | after.keys()
        if name not in before or name not in after or before[name].shape != after[name].shape
    }
    assert all(name.startswith("stages.3.blocks.") and ".token." in name for name in changed)
