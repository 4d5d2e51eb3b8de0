"""The examples of attention: each against what torch or timm computes with the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.catalogue.lookup import open_spec
from metablock.front import check
from oracles import check_gradients, randomised_state, relative_error, require

EXAMPLES = Path(__file__).parent.parent / "examples"
VARIANTS = {
    "talking_heads": ["talking", "reattention", "distances"],
    "channel_attention": ["channels", "groups", "factorised"],
    "grouped_query_decoder": ["grouped", "multi_query", "multi_head"],
}


def network(name: str, variant: str | None = None) -> nn.Module:
    spec, _ = open_spec(EXAMPLES / f"{name}.yaml")
    assert not check(spec)
    model = metablock.build(spec, variant=variant, dtype=torch.float64)
    randomised_state(model)
    return model.eval()


def apart(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attended(part: nn.Module, q: Tensor, k: Tensor, v: Tensor, kv: int, causal: bool) -> Tensor:
    y = F.scaled_dot_product_attention(apart(q, 8), apart(k, kv), apart(v, kv), is_causal=causal, enable_gqa=True)
    return part.proj(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize(("variant", "kv"), [("grouped", 2), ("multi_query", 1), ("multi_head", 8)])
def test_decoder(variant: str, kv: int) -> None:
    """Torch's own attention, causal and with grouped queries, block by block."""
    model = network("grouped_query_decoder", variant)
    x, memory = torch.randn(2, 64, 12, dtype=torch.float64), torch.randn(2, 64, 20, dtype=torch.float64)
    y = x.mT
    for block in model.y.blocks:
        q, k, v = block.own.qkv(block.norm1(y)).split([64, 8 * kv, 8 * kv], -1)
        y = y + attended(block.own, q, k, v, kv, True)
        k, v = block.cross.kv(memory.mT).chunk(2, -1)
        y = y + attended(block.cross, block.cross.q(block.norm2(y)), k, v, kv, False)
        t, f = block.norm3(y), block.swiglu
        y = y + f.linear3(F.silu(f.linear1(t)) * f.linear2(t))
    answer = model(x, memory)
    assert relative_error(answer, model.linear(model.norm(y))) < 1e-12
    later = x.clone()
    later[..., 7:] = 0
    torch.testing.assert_close(model(later, memory)[:, :7], answer[:, :7])  # no word sees a later one


def test_talking_heads() -> None:
    timm = require("timm").models.cait
    attention = network("talking_heads").stages[0].blocks[0].token
    reference = timm.TalkingHeadAttn(96, 3, qkv_bias=True).double().eval()
    names = {"mix": "proj_l", "mix_after": "proj_w"}
    reference.load_state_dict(
        {names.get(n.split(".")[0], n.split(".")[0]) + n[n.index(".") :]: p for n, p in attention.state_dict().items()}
    )
    x = torch.randn(2, 5, 7, 96, dtype=torch.float64)
    assert relative_error(attention(x).flatten(1, 2), reference(x.flatten(1, 2))) < 1e-12


def test_channel_attention() -> None:
    timm = require("timm").models.xcit
    attention = network("channel_attention").stages[0].blocks[0].token
    reference = timm.XCA(48, 3, qkv_bias=True).double().eval()
    state = attention.state_dict()
    reference.load_state_dict(
        {n: p for n, p in state.items() if "scale" not in n} | {"temperature": state["scale.weight"].view(3, 1, 1)}
    )
    x = torch.randn(2, 5, 7, 48, dtype=torch.float64)
    assert relative_error(attention(x).flatten(1, 2), reference(x.flatten(1, 2))) < 1e-12


def test_factorised_attention() -> None:
    """CoaT's, without its position part."""
    attention = network("channel_attention", "factorised").stages[0].blocks[0].token
    x = torch.randn(2, 5, 7, 48, dtype=torch.float64)
    t = x.flatten(1, 2)
    q, k, v = (apart(f(t), 3) for f in (attention.q, attention.k.linear, attention.v))
    y = q @ (k.softmax(2).mT @ v) / 4
    assert relative_error(attention(x).flatten(1, 2), attention.proj(y.transpose(1, 2).flatten(2))) < 1e-12


def test_channels_run_on_any_size() -> None:
    model = network("channel_attention")
    assert model(torch.randn(1, 3, 40, 72, dtype=torch.float64)).shape == (1, 10)


@pytest.mark.parametrize(("name", "variant"), [(name, variant) for name, listed in VARIANTS.items() for variant in listed])
def test_training_step(name: str, variant: str) -> None:
    model = network(name, variant).train()
    inputs = [torch.randn(f.size(2), dtype=torch.float64) for f in model.inputs]
    model(*inputs).square().mean().backward()
    check_gradients(model)
