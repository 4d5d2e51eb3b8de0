"""Rotary positions: against pair-by-pair rotation and timm's, for all algorithms of attention, prefix tokens and keys elsewhere."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.backend.costs import macs
from metablock.errors import MetablockError
from metablock.language.load import load_text
from metablock.writers.outputs import write
from oracles import check_gradients, randomised_state, relative_error, require

INPUTS = {1: "signal", 2: "image", 3: "volume"}
PLAIN = "q=id, k=id, v=id, proj=id"
MIXED = "coordinates >> linear(c // 2, bias=false)"


def build(model: str, grid: tuple[int, ...] = (4, 6), c: int = 16, dtype: torch.dtype = torch.float64) -> nn.Module:
    size = ", ".join(map(str, (c, *grid)))
    network = metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n"), dtype=dtype)
    randomised_state(network)
    return network.eval()


def axial(grid: tuple[int, ...], pairs: int, theta: float = 100.0) -> Tensor:
    """The angles of each token, axis by axis: ``(N, pairs)``."""
    bands = pairs // len(grid)
    places = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in grid), indexing="ij"), -1).flatten(0, -2).double()
    return (places[..., None] * theta ** (-torch.arange(bands) / bands).double()).flatten(1)


def turn(x: Tensor, angles: Tensor, halves: bool = False) -> Tensor:
    """Rotates pairs as complex numbers: ``(..., N, d)`` by ``(..., N, d / 2)``."""
    a, b = x.chunk(2, -1) if halves else (x[..., 0::2], x[..., 1::2])
    turned = torch.complex(a, b) * torch.polar(torch.ones_like(angles), angles)
    parts = turned.real, turned.imag
    return torch.cat(parts, -1) if halves else torch.stack(parts, -1).flatten(-2)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v


def heads_of(x: Tensor, heads: int = 2) -> Tensor:
    """``(b, c, *grid) -> (b, heads, N, d)``."""
    return x.flatten(2).unflatten(1, (heads, -1)).mT


def joined(x: Tensor) -> Tensor:
    """``(b, heads, N, d) -> (b, N, c)``."""
    return x.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("pairs", ["adjacent", "halves"])
@pytest.mark.parametrize(("grid", "c"), [((9,), 16), ((4, 6), 16), ((2, 3, 4), 24)])
def test_axial(grid: tuple[int, ...], c: int, pairs: str) -> None:
    x = torch.randn(2, c, *grid, dtype=torch.float64)
    ours = build(f'attention(2, {PLAIN}, rotary=axial, pairs="{pairs}")', grid, c)(x)
    h, angles = heads_of(x), axial(grid, c // 4)
    q = turn(h, angles, pairs == "halves")
    torch.testing.assert_close(ours.flatten(1, -2), joined(attend(q, q, h)))


def test_prefix_tokens_are_left_alone() -> None:
    model = build(f"join(learned(2), id) >> attention(2, {PLAIN}, rotary=axial)")
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        first = model.learned.weight.expand(2, -1, -1).mT
        h = heads_of(torch.cat([first, x.flatten(2)], 2))
        q = torch.cat([h[:, :, :2], turn(h[:, :, 2:], axial((4, 6), 4))], 2)
        torch.testing.assert_close(model(x), joined(attend(q, q, h)))


def test_only_offsets_matter() -> None:
    """The products of queries and keys are those of a grid that stands elsewhere."""
    x = torch.randn(1, 16, 4, 6, dtype=torch.float64)
    here = build(f"attention(2, {PLAIN}, rotary=axial)")
    there = build(f"attention(2, {PLAIN}, rotary=(coordinates + 5) >> linear(4, bias=false))")
    with torch.no_grad():
        weight = torch.zeros(4, 2, dtype=torch.float64)
        weight[0, 0] = weight[2, 1] = 1
        weight[1, 0] = weight[3, 1] = 0.1
        there.attention.rotary.linear.weight.copy_(weight)
        torch.testing.assert_close(there(x), here(x))
        assert relative_error(build(f"attention(2, {PLAIN})")(x), here(x)) > 0.01


def test_frequencies_of_each_head() -> None:
    """Queries and keys have one set of frequencies, each head its own."""
    model = build(f"attention(2, {PLAIN}, rotary={MIXED})")
    assert [name for name, _ in model.named_parameters()] == ["attention.rotary.linear.weight"]
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    places = torch.cartesian_prod(torch.arange(4.0), torch.arange(6.0)).double()
    angles = (places @ model.attention.rotary.linear.weight.detach().mT).unflatten(-1, (2, 4)).transpose(0, 1)
    q = turn(heads_of(x), angles)
    torch.testing.assert_close(model(x).flatten(1, -2), joined(attend(q, q, heads_of(x))))
    model(x).square().sum().backward()
    check_gradients(model, moved=True)


def test_keys_from_elsewhere_have_the_places_of_their_own_grid() -> None:
    model = build(f"attention(2, {PLAIN}, over=avg_pool(2, stride=2), rotary={MIXED})")
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    pooled = torch.nn.functional.avg_pool2d(x, 2)
    weight = model.attention.rotary.linear.weight.detach()

    def angles(grid: tuple[int, int]) -> Tensor:
        places = torch.cartesian_prod(*(torch.arange(float(n)) for n in grid)).double()
        return (places @ weight.mT).unflatten(-1, (2, 4)).transpose(0, 1)

    q, k = turn(heads_of(x), angles((4, 6))), turn(heads_of(pooled), angles((2, 3)))
    torch.testing.assert_close(model(x).flatten(1, -2), joined(attend(q, k, heads_of(pooled))))


def test_after_the_norm_of_queries_and_keys() -> None:
    model = build(f"attention(2, {PLAIN}, qk_norm=layer_norm, query=id + 0.5, scale=2, rotary=axial)")
    x, norms = torch.randn(2, 16, 4, 6, dtype=torch.float64), model.attention
    q, k = norms.q_norm(heads_of(x)) + 0.5, norms.k_norm(heads_of(x))
    q, k = (turn(t, axial((4, 6), 4)) for t in (q, k))
    expected = (2 * q @ k.mT).softmax(-1) @ heads_of(x)
    torch.testing.assert_close(model(x).flatten(1, -2), joined(expected))


def test_neighbours_are_rotated_by_their_own_places() -> None:
    """Where a neighbourhood holds the whole map, neighbours are all keys."""
    x = torch.randn(2, 16, 3, 3, dtype=torch.float64)
    whole = build(f"attention(2, {PLAIN}, rotary=axial)", (3, 3))(x)
    near = build(f'attention(2, {PLAIN}, over=near(3, border="clamp"), rotary=axial)', (3, 3))(x)
    torch.testing.assert_close(near, whole)
    routed = build(f"attention(2, {PLAIN}, over=routed(9, 3), rotary=axial)", (3, 3))(x)
    torch.testing.assert_close(routed, whole)


def test_fewer_heads_of_keys() -> None:
    """The same as keys that are repeated for the queries' heads; with talking heads and without a softmax, too."""
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    model = build("attention(2, kv_heads=1, qkv=linear(32), rotary=axial, proj=id)")
    q, k, v = model.attention.qkv(x.movedim(1, -1)).flatten(1, 2).split([16, 8, 8], -1)
    q = turn(q.unflatten(-1, (2, 8)).transpose(1, 2), axial((4, 6), 4))
    k, v = turn(k, axial((4, 6), 4))[:, None], v[:, None]
    torch.testing.assert_close(model(x).flatten(1, -2), joined(attend(q, k, v)))
    plain = build(f'attention(2, {PLAIN}, norm="none", scale=1, rotary=axial)')(x)
    q = turn(heads_of(x), axial((4, 6), 4))
    torch.testing.assert_close(plain.flatten(1, -2), joined(q @ q.mT @ heads_of(x)))


def test_a_union_of_keys() -> None:
    model = build(f"attention(2, {PLAIN}, over=[near(3), avg_pool(2, stride=2)], rotary={MIXED})")
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    assert model(x).shape == (2, 4, 6, 16) and len(list(model.parameters())) == 1


def test_windows_count_from_their_corners() -> None:
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    whole = build(f"window(2, attention(2, {PLAIN}, rotary=axial))")(x)
    one = build(f"attention(2, {PLAIN}, rotary=axial)", (2, 2))
    torch.testing.assert_close(whole[:, 2:, 4:], one(x[:, :, 2:, 4:]))
    shifted = build(f"window(2, attention(2, {PLAIN}, rotary=axial), shift=1)")
    assert shifted(x).isfinite().all()


def test_linear_attention() -> None:
    """Features are rotated in the numerator, and not in the denominator."""
    model = build(f"attention(2, {PLAIN}, feature=elu + 1, eps=0, rotary=axial)")
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    h = heads_of(x)
    f = torch.nn.functional.elu(h) + 1
    turned = turn(f, axial((4, 6), 4))
    expected = turned @ turned.mT @ h / (f @ f.mT).sum(-1, keepdim=True)
    torch.testing.assert_close(model(x).flatten(1, -2), joined(expected))


def test_angles_of_a_wire() -> None:
    """Data from outside `rotary=` may take part: then each image has angles of its own."""
    text = f"|\n  x ->\n  a = x >> linear(4)\n  return x >> attention(2, {PLAIN}, rotary=axial + a)"
    model, x = build(text), torch.randn(2, 16, 4, 6, dtype=torch.float64)
    angles = axial((4, 6), 4) + model.a(x.movedim(1, -1)).flatten(1, 2)
    q = turn(heads_of(x), angles[:, None])
    torch.testing.assert_close(model(x).flatten(1, -2), joined(attend(q, q, heads_of(x))))
    text = f"|\n  x ->\n  a = x >> linear(4) >> windows(2)\n  return x >> windows(2) >> attention(2, {PLAIN}, rotary=a) >> merge"
    assert build(text)(x).shape == (2, 4, 6, 16)


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temperature": 10000.0}, "axial(10000)"),
        ({"temperature": 100.0, "grid_indexing": "xy"}, "axial(reverse=true)"),
        ({"temperature": 100.0, "ref_feat_shape": [16, 14]}, "axial(extent=[16, 14])"),
        ({"dinov3": True}, 'axial(kind="signed_centers")'),
    ],
)
def test_timms_embeddings(options: dict[str, object], text: str, halves: bool) -> None:
    """timm computes in float32."""
    layers = require("timm.layers.pos_embed_sincos")
    options = dict(options)
    if options.pop("dinov3", False):
        theirs = layers.RotaryEmbeddingDinoV3(8, feat_shape=[4, 6], rotate_half=halves)
    else:
        theirs = layers.RotaryEmbeddingCat(8, in_pixels=False, feat_shape=[4, 6], rotate_half=halves, **options)
    x = torch.randn(2, 16, 4, 6)
    ours = build(f'attention(2, {PLAIN}, rotary={text}, pairs="{"halves" if halves else "adjacent"}")', dtype=torch.float32)
    q = layers.apply_rot_embed_cat(heads_of(x), theirs.get_embed([4, 6]), half=halves)
    assert relative_error(ours(x).flatten(1, -2), joined(attend(q, q, heads_of(x)))) < 1e-5


def test_half_precision() -> None:
    """Angles are those of float32, however far the tokens are from the first."""
    exact = build("attention(2, q=id, k=id, v=id, proj=id, rotary=axial(10000))", (2000,), dtype=torch.float32)
    x = torch.randn(1, 16, 2000)
    for dtype, bar in ((torch.float16, 2e-3), (torch.bfloat16, 2e-2)):
        half = copy.deepcopy(exact).to(dtype)(x.to(dtype))
        assert half.dtype == dtype
        assert relative_error(half, exact(x.to(dtype).float())) < bar
    with torch.autocast("cpu", torch.bfloat16):
        assert build(f"attention(2, rotary={MIXED})", dtype=torch.float32)(torch.randn(2, 16, 4, 6)).isfinite().all()


@pytest.mark.parametrize("rotary", ["axial", MIXED])
def test_compiled_traced_exported(rotary: str, tmp_path: Path) -> None:
    model = build(f"attention(2, rotary={rotary}) >> class_token >> attention(2, rotary={rotary})", dtype=torch.float32)
    x = torch.randn(2, 16, 4, 6)
    torch._dynamo.reset()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), model(x))
        torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), model(x))
        torch.testing.assert_close(metablock.export(model, dynamic=["batch"]).module()(x), model(x))
    assert copy.deepcopy(model).to("meta")(x.to("meta")).shape == (2, 25, 16)
    write(model, tmp_path / "m.py")


def test_any_size() -> None:
    model = build(f"attention(2, rotary={MIXED})")
    other = build(f"attention(2, rotary={MIXED})", (7, 3))
    x = torch.randn(1, 16, 7, 3, dtype=torch.float64)
    assert torch.equal(model(x), other(x))


def test_angles_are_computed_once_an_image_and_for_all_images() -> None:
    model = build(f"attention(2, {PLAIN}, rotary={MIXED})").to("meta")
    for batch in (1, 5):
        counted = macs(model, torch.empty(batch, 16, 4, 6, device="meta"))
        assert counted["attention.rotary"] == 24 * 2 * 8


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        (
            "attention(16, rotary=axial)",
            "rotary positions of heads of 1 channels",
            "pairs are rotated: an even number of channels",
        ),
        (
            "attention(8, rotary=axial)",
            "2 axes do not divide the 1 pairs of channels of a head",
            "heads of a multiple of 4 channels",
        ),
        (
            "attention(2, rotary=coordinates)",
            "`rotary=` gives tokens 4x6 x 2",
            "4 channels, one a pair of a head; or 8, for each of 2",
        ),
        ("attention(1, rotary=coordinates)", "`rotary=` gives tokens 4x6 x 2", "8 channels, one a pair of a head"),
        (
            "attention(2, rotary=linear(4))",
            "`rotary=` reads what arrives: angles are computed from places",
            "begin with `coordinates`",
        ),
        ("attention(2, rotary=linear(4) >> relu)", "`rotary=` reads what arrives", "`coordinates >> linear(c // 2, bias=false)`"),
        ("attention(2, over=[id, avg_pool(2, stride=2)], rotary=linear(4) >> relu)", "`rotary=` reads what arrives", None),
        (
            "attention(2, rotary=global_pool)",
            "`rotary=` gives vector of 16",
            "angles for each token that has a place on the grid",
        ),
        (
            "attention(2, rotary=avg_pool(2, stride=2))",
            "`rotary=` gives map 16 x 2x3, for tokens 4x6 x 16",
            "angles for each token",
        ),
        ("attention(2, logits=linear(48), rotary=axial)", "`rotary=` beside `logits=`", "leave out `rotary=`, or `logits=`"),
        ('attention(2, over="channels", rotary=axial)', '`rotary=` beside `over="channels"`', "leave out `rotary=`"),
        (
            f"attention(2, kv_heads=1, rotary={MIXED})",
            "`rotary=` gives angles for each of 2 heads, the keys have 1",
            "4 channels, the same angles for all heads; or leave out `kv_heads=`",
        ),
        ('attention(2, pairs="halves")', "`pairs=` without `rotary=`", "leave it out, or write `rotary=axial`"),
        ('attention(2, rotary=axial, pairs="half")', 'unknown pairs "half"', '"adjacent" or "halves"'),
        ("axial", "`axial` is not in the rotary positions of an attention", "write `attention(heads, rotary=axial)`"),
        ('attention(2, rotary=axial(kind="middle"))', 'unknown kind "middle"', "known:"),
        (
            'attention(2, rotary=axial(kind="unit", extent=16))',
            '`extent=` stretches indices, not "unit"',
            "leave one of the two out",
        ),
        ("attention(2, rotary=axial(extent=[3]))", "an extent of [3] on 2 axes", "one number from 1, or one an axis"),
        (
            "attention(2, over=[id, avg_pool(2)], feature=relu, rotary=axial)",
            "`rotary=` of several sources beside `feature=`",
            None,
        ),
    ],
)
def test_errors(model: str, message: str, hint: str | None) -> None:
    with pytest.raises(MetablockError) as caught:
        build(model)
    text = str(caught.value)
    assert message in text and (hint is None or hint in text) and "<spec>:3:" in text and "  " in text
