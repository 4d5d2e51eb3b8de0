"""Agent attention in its four hosts, which timm does not have.

Recorded outputs of the official code hold DeiT, PVT and Swin (tests/test_papers.py). Of Agent-CSWin nothing is recorded: its
stripes are computed here from a checkpoint with official names.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from oracles import randomised_state, recipe

# Small hosts: widths of 8 a head in three, of 64 in DeiT, which counts its heads by them.
PYRAMID = ["depth = [1, 1, 2, 2]", "dim = [8, 16, 32, 64]", "heads = [1, 2, 4, 8]"]
HOSTS = {
    "agent_swin_t": PYRAMID,
    "agent_swin_b": ["depth = [1, 1, 4, 2]", *PYRAMID[1:]],
    "agent_deit_t": ["depth = 2", "dim = 64"],
    "agent_deit_b": ["depth = 6", "dim = 64"],
    "agent_pvt_t": PYRAMID,
    "agent_cswin_t": ["depth = [1, 1, 2, 1]", "dim = [8, 16, 32, 64]", "heads = [1, 2, 4, 8]"],
}
hosts = pytest.mark.parametrize("variant", HOSTS)


def host(variant: str, input: tuple[int, ...] = (3, 64, 64), edits: tuple[str, ...] = (), **options: object) -> nn.Module:
    return metablock.build(
        "agent_attention", variant=variant, edits=[*HOSTS[variant], *edits], input=input, classes=10, **options
    )


def mixers(model: nn.Module) -> list[list[str]]:
    """What mixes the tokens in each block of each stage."""

    def kind(token: nn.Module) -> str:
        found = {"aggregate": "agent", "stripes1": "stripes", "value": "whole"}
        names = [found[name] for name in found if hasattr(token, name)]
        names += ["shifted" for name, _ in token.named_buffers() if name.endswith("mask")]
        return names[0] if names else "plain"

    return [[kind(block.token) for block in stage.blocks] for stage in model.stages]


@pytest.mark.parametrize(
    ("variant", "kinds"),
    [
        ("agent_swin_t", [["agent"], ["agent"], ["agent"] * 2, ["plain"] * 2]),
        ("agent_swin_b", [["agent"], ["agent"], ["agent", "agent", "plain", "shifted"], ["plain"] * 2]),
        ("agent_deit_b", [["agent"] * 4 + ["plain"] * 2]),
        ("agent_pvt_t", [["agent"], ["agent"], ["agent"] * 2, ["agent"] * 2]),
        ("agent_cswin_t", [["agent"], ["agent"], ["stripes"] * 2, ["whole"]]),
    ],
)
def test_where_the_agents_are(variant: str, kinds: list[list[str]]) -> None:
    assert mixers(host(variant, device="meta")) == kinds


@pytest.mark.parametrize(("size", "window"), [(224, 7), (288, 9), (384, 12)])
def test_windows_follow_the_input(size: int, window: int) -> None:
    """The official configurations give Swin's windows as 56, 72, 96: agents see the whole map, what is left sees an eighth."""
    model = metablock.build("agent_attention", variant="agent_swin_s", input=(3, size, size), device="meta")
    assert model.stages[2].blocks[0].token.attention.pos.table.weight.shape == ((2 * window - 1) ** 2, 12)
    axes = model.stages[0].blocks[0].token.aggregate.pos.table.axes
    assert [tuple(axis.shape) for axis in axes] == [(1, 3, 9, size // 4, 1), (1, 3, 9, 1, size // 4)]


def stripes(qkv: Tensor, near: list[Tensor], heads: int, s: int) -> Tensor:
    """Cross-shaped windows on ``(b, h, w, 3 c)``: half of the heads attend within columns of width s, the others within rows.

    Each half's convolution on the values sees its stripe alone.
    """
    b, h, w, c = (*qkv.shape[:3], qkv.shape[3] // 3)
    out = torch.zeros(b, h, w, c, dtype=qkv.dtype)
    upright = [(0, slice(None), slice(i, i + s)) for i in range(0, w, s)]
    across = [(1, slice(i, i + s), slice(None)) for i in range(0, h, s)]
    for half, rows, columns in upright + across:
        channels = slice(half * c // 2, (half + 1) * c // 2)
        stripe = qkv[:, rows, columns].unflatten(-1, (3, c))[..., channels]
        extents = stripe.shape[1:3]
        q, k, v = stripe.flatten(1, 2).unflatten(-1, (heads // 2, -1)).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
        lepe = F.conv2d(stripe[:, :, :, 2].movedim(-1, 1), near[0][channels], near[1][channels], padding=1, groups=c // 2)
        out[:, rows, columns, channels] = mixed.transpose(1, 2).flatten(2).unflatten(1, extents) + lepe.movedim(1, -1)
    return out


# A CSWin of one block, in stage 3, by its official names.
CSWIN = {
    "stage1_conv_embed.0": (8, 3, 7, 7),
    "stage1_conv_embed.2": (8,),
    **{f"merge{i}.conv": (8 * 2**i, 4 * 2**i, 3, 3) for i in (1, 2, 3)},
    **{f"merge{i}.norm": (8 * 2**i,) for i in (1, 2, 3)},
    "stage3.0.norm1": (32,),
    "stage3.0.qkv": (96, 32),
    "stage3.0.attns.0.get_v": (16, 1, 3, 3),
    "stage3.0.attns.1.get_v": (16, 1, 3, 3),
    "stage3.0.proj": (32, 32),
    "stage3.0.norm2": (32,),
    "stage3.0.mlp.fc1": (128, 32),
    "stage3.0.mlp.fc2": (32, 128),
    "norm": (64,),
    "head": (10, 64),
}


@pytest.mark.parametrize("input", [(3, 64, 64), (3, 96, 192)], ids=str)
def test_cross_shaped_windows(input: tuple[int, ...]) -> None:
    """One projection has the rows of q, k and v, each of both halves; ours has one a half, which the rules take apart."""
    weights = {f"{name}.weight": shape for name, shape in CSWIN.items()}
    state = recipe({**weights, **{f"{name}.bias": shape[:1] for name, shape in CSWIN.items()}})
    model = host("agent_cswin_t", input, ("depth = [0, 0, 1, 0]",), dtype=torch.float64, weights=state).eval()
    x = torch.randn(2, input[1] // 16, input[2] // 16, 32, dtype=torch.float64)
    near = [torch.cat([state[f"stage3.0.attns.{half}.get_v.{kind}"] for half in (0, 1)]) for kind in ("weight", "bias")]
    qkv = F.linear(x, state["stage3.0.qkv.weight"], state["stage3.0.qkv.bias"])
    expected = F.linear(stripes(qkv, near, 4, input[1] // 32), state["stage3.0.proj.weight"], state["stage3.0.proj.bias"])
    with torch.no_grad():
        torch.testing.assert_close(model.get_submodule("stages.2.blocks.0.token")(x), expected)


@hosts
def test_swapped(variant: str) -> None:
    """Every host takes another mixer, beside its class token where it has one."""
    token = "join(prefix, patches >> dw(3))" if "deit" in variant else "dw(3)"
    model = host(variant, edits=(f"token = {token}",))
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, 10)


@hosts
def test_training_step(variant: str) -> None:
    """All learn. In DeiT's last block, whose class token alone is read, what only reaches the patches gets a gradient of 0."""
    model = host(variant, edits=("drop = 0",)).train()
    randomised_state(model)
    F.cross_entropy(model(torch.randn(4, 3, 64, 64)), torch.arange(4)).backward()
    unread = ("broadcast.pos.table.weight", "broadcast.pos.table.axes", "token.dw.") if variant == "agent_deit_t" else ()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        last = name.startswith("stages.0.blocks.1.") and any(part in name for part in unread)
        assert bool(parameter.grad.abs().sum() > 0) != last, name
