"""ViT-Adapter. timm has no adapter, but BEiT's blocks; recordings of the official code and counts: tests/test_papers.py."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.operators.drop_path import DropPath
from oracles import golden, recipe, relative_error, require

SIZE = (3, 64, 96)
SHRUNK = ["D = 48", "heads = 3", "deform_heads = 6"]
EDITS = {
    "seg_deit_tiny": [*SHRUNK, "depth = [1, 1, 1, 1]"],
    "seg_deit_light_base": [*SHRUNK, "depth = [2]"],
    "seg_beit_large": [*SHRUNK, "depth = [1, 1, 1, 1]"],
    "det_deit_tiny": [*SHRUNK, "depth = [2, 1, 1, 1]"],
}
variants = pytest.mark.parametrize("variant", EDITS)


def small(variant: str, *edits: str, **options: Any) -> Any:
    return metablock.build(variant, edits=[*EDITS[variant], *edits], input=SIZE, **options)


def beit_keys(grid: tuple[int, int]) -> dict[str, list[int]]:
    """The keys of the official BEiTAdapter, as wide as the recorded DeiT-Ti, of one block an interaction."""
    keys: dict[str, list[int]] = {"cls_token": [1, 1, 192]}
    for name, shape in golden("vit_adapter__seg_deit_tiny.json")["keys"].items():
        if name.startswith("blocks.") and int(name.split(".")[1]) > 3:
            continue
        if name.startswith("blocks.") and name.endswith("attn.qkv.bias"):
            attn = name.removesuffix("qkv.bias")
            keys |= {f"{attn}q_bias": [192], f"{attn}v_bias": [192]}
            keys[f"{attn}relative_position_bias_table"] = [(2 * grid[0] - 1) * (2 * grid[1] - 1) + 3, 3]
        elif name != "pos_embed":
            keys[name.replace(".gamma1", ".gamma_1").replace(".gamma2", ".gamma_2")] = shape
    return keys


def test_blocks_of_beit_are_timm_s() -> None:
    """By the official names: no bias of the keys, relative positions with a class token."""
    beit = require("timm.models.beit")
    grid, n = (4, 6), 4 * 6 + 1
    state = recipe(beit_keys(grid))
    for name in state:
        if "bias_table" in name:
            state[name] = state[name] * 5
    given = state | {f"blocks.{i}.attn.relative_position_index": torch.zeros(n, n, dtype=torch.long) for i in range(4)}
    edits = ["D = 192", "heads = 3", "deform_heads = 6", "ratio = 1.0", "depth = [1, 1, 1, 1]"]
    model = metablock.build("seg_beit_large", edits=edits, input=SIZE, weights=given, dtype=torch.float64).eval()
    norm = partial(nn.LayerNorm, eps=1e-6)
    for layer in (0, 3):
        block = beit.Block(192, 3, qkv_bias=True, init_values=0.1, window_size=grid, norm_layer=norm).double().eval()
        own = {k.removeprefix(f"blocks.{layer}."): v for k, v in state.items() if k.startswith(f"blocks.{layer}.")}
        missing, unexpected = block.load_state_dict(own, strict=False)
        assert not unexpected
        assert all("bias" not in name or "k_bias" in name for name in missing)
        x = torch.randn(2, n, 192, dtype=torch.float64)
        ours = model.stages[layer].x.blocks[0]
        with torch.no_grad():
            assert relative_error(ours(x), block(x)) < 1e-9


@pytest.mark.parametrize(
    ("grid", "rows", "columns"),
    [
        ((16, 20), (slice(0, 14), slice(14, 16)), (slice(0, 14), slice(14, 20))),
        ((8, 12), (slice(0, 8),), (slice(0, 12),)),  # smaller than a window
    ],
)
def test_windows_are_filled_up_with_keys_of_zero(
    grid: tuple[int, int], rows: tuple[slice, ...], columns: tuple[slice, ...]
) -> None:
    """A map of 16 x 20 has four windows of 14; what fills them up has a logit of 0 for each query, and no value."""
    model = metablock.build("det_deit_tiny", edits=EDITS["det_deit_tiny"], input=(3, *(16 * g for g in grid))).double()
    token = model.stages[0].x.blocks[0].token
    x = torch.randn(1, *grid, 48, dtype=torch.float64)
    q, k, v = token.linear1(x).unflatten(-1, (3, 3, 16)).unbind(-3)
    expected = torch.zeros_like(x)
    for row in rows:
        for column in columns:
            a, b, e = (t[0, row, column].flatten(0, 1).transpose(0, 1) for t in (q, k, v))  # heads, n, 16
            logits = F.pad(a @ b.mT / 4, (0, 14 * 14 - b.shape[1]))
            seen = (logits.softmax(-1)[..., : b.shape[1]] @ e).transpose(0, 1)
            expected[0, row, column] = seen.reshape(row.stop - row.start, column.stop - column.start, 48)
    with torch.no_grad():
        torch.testing.assert_close(token(x), token.linear2(expected))
    assert hasattr(model.stages[0].x.blocks[1].token, "qkv")  # the last of an interaction sees all


@variants
def test_a_pyramid_leaves(variant: str) -> None:
    output = small(variant).eval()(torch.randn(1, *SIZE))
    assert [tuple(y.shape) for y in output] == [(1, 48, 16, 24), (1, 48, 8, 12), (1, 48, 4, 6), (1, 48, 2, 3)]


@variants
def test_a_step_of_training(variant: str) -> None:
    """The class token's row of the position table is never read."""
    model = small(variant).train()
    with torch.no_grad():
        for parameter in model.parameters():  # at first nothing is injected, and all read the same places
            parameter.add_(0.05 * torch.randn_like(parameter))
    sum((y * torch.randn_like(y)).mean() for y in model(torch.randn(2, *SIZE))).backward()
    for name, parameter in model.named_parameters():
        if name == "stem.embed.unused.weight":
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_nothing_is_injected_at_first() -> None:
    model = small("seg_deit_tiny").eval()
    x, *s = (torch.randn(2, h, w, 48) for h, w in [(4, 6), (8, 12), (4, 6), (2, 3)])
    s = [y.movedim(-1, 1) for y in s]
    inject = model.stages[0].x.inject
    with torch.no_grad():
        torch.testing.assert_close(inject(x, *s), x, rtol=0, atol=0)
        nn.init.ones_(inject.scale.weight)
        assert (inject(x, *s) - x).abs().max() > 0.01


def test_how_it_starts() -> None:
    model = small("seg_deit_tiny")
    state = model.state_dict()
    assert not state["stem.embed.position.weight"].any()
    assert state["stages.0.x.blocks.0.scale1.weight"].eq(1).all()
    assert state["stem.s.level_embed.0.weight"].std() == pytest.approx(1, abs=0.3)
    assert state["stem.c2.conv_bn.conv.weight"].std() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)
    assert state["head.f.deconv.weight"].std() == pytest.approx(math.sqrt(2 / (4 * 48)), rel=0.05)
    assert state["stages.0.s.extracts.0.ffn.dw.weight"].std() == pytest.approx(math.sqrt(2 / 9), rel=0.2)
    assert state["stages.0.s.extracts.0.ffn.linear1.weight"].std() == pytest.approx(0.02, rel=0.1)
    assert not state["stages.0.s.extracts.0.ffn.linear1.bias"].any()
    bound = math.sqrt(6 / 96)
    for name in ("v", "proj"):
        assert 0.95 * bound < state[f"stages.0.x.inject.msda.{name}.weight"].abs().max() <= bound
        assert not state[f"stages.0.x.inject.msda.{name}.bias"].any()
    assert state["stages.0.x.blocks.0.token.qkv.bias"].any()  # torch's own: a checkpoint is expected
    beit = small("seg_beit_large").state_dict()
    assert not beit["stages.0.x.blocks.0.token.pos.table.weight"].any()
    assert not beit["stages.0.x.blocks.0.token.v.bias"].any()
    assert beit["stages.0.x.blocks.0.token.q.weight"].std() == pytest.approx(0.02, rel=0.1)
    assert beit["stages.0.x.inject.scale.weight"].eq(1e-6).all()


def test_drop_rates() -> None:
    """Linear over the ViT's blocks; the extractors' networks have the full rate."""
    model = metablock.build("seg_deit_small", edits=["D = 48", "heads = 3"], input=SIZE)
    rates = {name: m.rate.item() for name, m in model.named_modules() if isinstance(m, DropPath)}
    blocks = [rate for name, rate in rates.items() if ".x.blocks." in name and name.endswith("drop")]
    assert blocks == pytest.approx([0.2 * i / 11 for i in range(12)])
    assert [rate for name, rate in rates.items() if ".s." in name] == pytest.approx([0.2] * 6)
    assert not [name for name in rates if "inject" in name]


def test_the_light_variant_has_one_interaction_of_attention_alone() -> None:
    names = small("seg_deit_light_base").state_dict()
    parts = {name.split(".")[5] for name in names if name.startswith("stages.0.s.")}
    assert parts == {"norm1", "msda"}
    assert not [name for name in names if name.startswith("stages.1")]


@pytest.mark.parametrize("token", ["pool(3)", "dw(3)", "hilo(heads)"])
def test_the_vit_s_mixer_may_be_any(token: str) -> None:
    output = small("seg_deit_tiny", f"token = {token}").eval()(torch.randn(1, *SIZE))
    assert all(isinstance(y, Tensor) and y.isfinite().all() for y in output)
