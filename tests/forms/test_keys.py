"""Attention's keys: masks, norms, factors, unions and neighbourhoods, against plain arithmetic."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
GRIDS = [(7,), (5, 4), (3, 4, 3)]
PLAIN = "q=id, k=id, v=id, proj=id"
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


def build(model: str, grid: tuple[int, ...] = (5, 4), c: int = 8) -> nn.Module:
    """A network of one expression."""
    size = ", ".join(map(str, (c, *grid)))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n")).eval()


def heads(x: Tensor, n: int = 2) -> Tensor:
    """A map, or what is on a grid of tokens, as ``(b, heads, tokens, channels)``."""
    return x.flatten(2).unflatten(1, (n, -1)).mT


def flat(x: Tensor) -> Tensor:
    """Tokens of heads as ``(b, tokens, channels)``."""
    return x.transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return flat((q @ k.mT * q.shape[-1] ** -0.5 + bias).softmax(-1) @ v)


def check(model: nn.Module, x: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(model(x).flatten(1, -2), expected)


# Masks


@grids
def test_mask_leaves_keys_out(grid: tuple[int, ...]) -> None:
    size = ", ".join(map(str, grid))
    inputs = f"input:\n  x: {INPUTS[len(grid)]}(8, {size})\n  valid: {INPUTS[len(grid)]}(1, {size})\n"
    text = f"name: tiny\n{inputs}model: x, valid -> x >> attention(2, {PLAIN}, mask=valid)\n"
    model = metablock.build(load_text(text)).eval()
    x, valid = torch.randn(3, 8, *grid), (torch.rand(3, 1, *grid) > 0.4).to(torch.float64)
    valid.flatten(2)[:, :, 0] = 1
    t = heads(x)
    bias = torch.where(valid.flatten(2)[:, :, None] > 0, 0.0, -math.inf)
    torch.testing.assert_close(model(x, valid).flatten(1, -2), attend(t, t, t, bias))
    alone = torch.zeros_like(valid)
    alone.flatten(2)[:, :, 1] = 1
    expected = x.flatten(2)[:, :, 1:2].mT.expand(-1, math.prod(grid), -1)
    torch.testing.assert_close(model(x, alone).flatten(1, -2), expected)


def test_mask_with_a_position_bias_and_a_class_token() -> None:
    inputs = "input:\n  x: image(8, 3, 4)\n  valid: image(1, 3, 4)\n"
    body = f"x >> attention(2, {PLAIN}, pos=relative_bias, mask=valid)"
    model = metablock.build(load_text(f"name: tiny\n{inputs}model: x, valid -> {body}\n")).eval()
    nn.init.normal_(model.attention.pos.table.weight)
    x, valid = torch.randn(2, 8, 3, 4), torch.ones(2, 1, 3, 4)
    valid[:, :, 1:] = 0
    bias = model.attention.pos.table() + torch.where(valid.flatten(2)[:, :, None] > 0, 0.0, -math.inf)
    torch.testing.assert_close(model(x, valid).flatten(1, -2), attend(heads(x), heads(x), heads(x), bias))
    body = f"x >> class_token >> attention(2, {PLAIN}, mask=join(ones(1, 1), valid))"
    model = metablock.build(load_text(f"name: tiny\n{inputs}model: x, valid -> {body}\n")).eval()
    nothing = model(x, torch.zeros_like(valid))
    token = next(iter(model.parameters())).expand(2, 13, -1)
    torch.testing.assert_close(nothing, token)


def test_mask_from_outside_a_window() -> None:
    """A mask that was cut into the same windows; one for each window of its image."""
    inputs = "input:\n  x: image(4, 4, 6)\n  valid: image(1, 4, 6)\n"
    body = f"x >> windows(2) >> attention(1, {PLAIN}, mask=valid >> windows(2)) >> merge"
    model = metablock.build(load_text(f"name: tiny\n{inputs}model: x, valid -> {body}\n")).eval()
    x, valid = torch.randn(2, 4, 4, 6), torch.ones(2, 1, 4, 6)
    valid[:, :, ::2, 1::2] = 0
    cut = x[:, :, 2:, 2:4]
    bias = torch.where(valid[:, :, 2:, 2:4].flatten(2)[:, :, None] > 0, 0.0, -math.inf)
    expected = attend(heads(cut, 1), heads(cut, 1), heads(cut, 1), bias)
    torch.testing.assert_close(model(x, valid)[:, 2:, 2:4].flatten(1, 2), expected)


# What is done to queries and keys


@grids
@pytest.mark.parametrize("prefix", [False, True])
def test_qk_norm_is_a_head_s(grid: tuple[int, ...], prefix: bool) -> None:
    before = "class_token >> " if prefix else ""
    model = build(f"{before}attention(2, {PLAIN}, qk_norm=layer_norm)", grid)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter)
    x, w = torch.randn(2, 8, *grid), dict(model.named_parameters())
    assert {name: tuple(p.shape) for name, p in w.items() if "norm" in name} == {
        f"attention.{who}_norm.{what}": (4,) for who in "qk" for what in ("weight", "bias")
    }
    t = x.flatten(2).mT
    if prefix:
        t = torch.cat([next(p for name, p in w.items() if "learned" in name).expand(2, -1, -1), t], 1)
    t = t.unflatten(-1, (2, 4)).transpose(1, 2)
    q, k = (F.layer_norm(t, (4,), w[f"attention.{n}_norm.weight"], w[f"attention.{n}_norm.bias"]) for n in "qk")
    check(model, x, attend(q, k, t)) if not prefix else torch.testing.assert_close(model(x), attend(q, k, t))


@grids
def test_cosine_attention_with_a_learned_temperature(grid: tuple[int, ...]) -> None:
    """TransNeXt's: unit vectors, a learned offset of the query, a factor a head."""
    options = "qk_norm=l2norm, query=id + learned(1), scale=ones(1, 2) >> scale(3) >> softplus"
    model = build(f"attention(2, {PLAIN}, {options})", grid)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    x, w = torch.randn(2, 8, *grid), dict(model.named_parameters())
    assert {name: tuple(p.shape) for name, p in w.items()} == {
        "attention.query.learned.weight": (1, 1, 8),
        "attention.scale.scale.weight": (2,),
    }
    t = heads(x)
    unit = t / t.norm(dim=-1, keepdim=True)
    q = unit + w["attention.query.learned.weight"].unflatten(-1, (2, 4)).transpose(1, 2)
    logits = q @ unit.mT * F.softplus(w["attention.scale.scale.weight"])[:, None, None]
    check(model, x, flat(logits.softmax(-1) @ t))


@pytest.mark.parametrize(("scale", "factor"), [("linear(1)", 1), ("linear(2)", 2), ("global_pool >> linear(2)", 2)])
def test_a_factor_for_each_query(scale: str, factor: int) -> None:
    model = build(f"attention(2, {PLAIN}, scale={scale})")
    x, w = torch.randn(2, 8, 5, 4), dict(model.named_parameters())
    (weight,), (bias,) = ([p for name, p in w.items() if name.endswith(end)] for end in ("weight", "bias"))
    seen = x.flatten(2).mT if "pool" not in scale else x.mean((2, 3)).unsqueeze(1)
    scales = F.linear(seen, weight, bias).mT.unsqueeze(-1)  # b, factor, N or 1, 1
    assert scales.shape[1] == factor
    t = heads(x)
    check(model, x, flat((t @ t.mT * scales).softmax(-1) @ t))


def test_a_number_as_scale_stays_a_number() -> None:
    assert "repeat_interleave" not in build("attention(2, scale=0.5)").attention.source
    assert build("attention(2, scale=0.5)").attention.attend.scale == 0.5


def test_a_knob_as_scale() -> None:
    from metablock.operators.softmax import anneal

    model, x = build(f"attention(2, {PLAIN}, scale=knob(0.5, start=2))"), torch.randn(2, 8, 5, 4)
    t = heads(x)
    check(model, x, flat((t @ t.mT * 0.5).softmax(-1) @ t))
    check(model.train(), x, flat((t @ t.mT * 2).softmax(-1) @ t))
    assert anneal(model, 3.0) == 1
    check(model, x, flat((t @ t.mT * 3).softmax(-1) @ t))
    check(model.eval(), x, flat((t @ t.mT * 0.5).softmax(-1) @ t))


# Unions


@grids
def test_one_softmax_over_a_union(grid: tuple[int, ...]) -> None:
    model = build("attention(2, over=[id, avg_pool(2, stride=2, padding=0)])", grid)
    x, w = torch.randn(2, 8, *grid), dict(model.named_parameters())
    assert sorted({name.split(".")[1] for name in w}) == ["kv", "proj", "q"]
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(grid)]
    t = [x.flatten(2).mT, pool(x, 2).flatten(2).mT]
    q = F.linear(t[0], w["attention.q.weight"], w["attention.q.bias"])
    k, v = F.linear(torch.cat(t, 1), w["attention.kv.weight"], w["attention.kv.bias"]).chunk(2, -1)
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in (q, k, v))
    check(model, x, F.linear(attend(q, k, v), w["attention.proj.weight"], w["attention.proj.bias"]))


def test_a_union_with_biases_masks_and_norms() -> None:
    inputs = "input:\n  x: image(8, 3, 4)\n  z: signal(8, 5)\n  valid: signal(1, 5)\n"
    options = "qk_norm=layer_norm, pos=[relative_bias, none], mask=[none, valid], k=linear(c, bias=false), v=id, q=id, proj=id"
    model = metablock.build(
        load_text(f"name: t\n{inputs}model: x, z, valid -> x >> attention(2, over=[id, z], {options})\n")
    ).eval()
    w = dict(model.named_parameters())
    assert sorted(name.removeprefix("attention.") for name in w) == [
        "k.weight", "k_norm.bias", "k_norm.weight", "pos.0.table.weight", "q_norm.bias", "q_norm.weight",
    ]  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    x, z, valid = torch.randn(2, 8, 3, 4), torch.randn(2, 8, 5), torch.tensor([[[1, 1, 0, 1, 0]], [[0, 0, 1, 1, 1]]]).double()
    v = torch.cat([heads(x), heads(z)], 2)
    k = F.linear(flat(v), w["attention.k.weight"]).unflatten(-1, (2, 4)).transpose(1, 2)
    q, k = (
        F.layer_norm(t, (4,), w[f"attention.{n}_norm.weight"], w[f"attention.{n}_norm.bias"])
        for t, n in ((heads(x), "q"), (k, "k"))
    )
    position = torch.cat([model.attention.pos[0].table(), torch.zeros(2, 12, 5)], -1)
    present = torch.cat([torch.ones(2, 1, 12), valid], -1).unsqueeze(1)
    torch.testing.assert_close(
        model(x, z, valid).flatten(1, 2), attend(q, k, v, position + torch.where(present > 0, 0.0, -math.inf))
    )


def test_members_of_a_union_may_be_absent_or_a_list() -> None:
    x = torch.randn(2, 8, 5, 4)
    for over in ("[id, none]", "[none, id]"):
        one, other = (
            build(f"attention(2, over={over}, pos=[relative_bias, relative_bias])"),
            build("attention(2, over=id, pos=relative_bias)"),
        )
        other.load_state_dict({name.replace("pos.0", "pos").replace("pos.1", "pos"): p for name, p in one.state_dict().items()})
        torch.testing.assert_close(one(x), other(x))
    both = build(f"x -> x >> attention(2, over=[x, x] >> each(linear(c)), {PLAIN})")
    one = build(f"attention(2, over=linear(c), {PLAIN})")
    one.load_state_dict(
        {"attention.over.weight": both.attention.over.linear.weight, "attention.over.bias": both.attention.over.linear.bias}
    )
    torch.testing.assert_close(one(x), both(x))  # each key twice is each key once


# Neighbourhoods


def seen(place: tuple[int, ...], grid: tuple[int, ...], size: int, border: str, dilation: int) -> list[tuple[int, ...] | None]:
    """Where a query's neighbours stand; None beyond the border."""
    axes = []
    for p, g in zip(place, grid, strict=True):
        start = p - dilation * (size // 2)
        if border == "clamp":
            start = min(max(start, 0), g - size)
        axes.append([start + dilation * i for i in range(size)])
    return [at if all(0 <= a < g for a, g in zip(at, grid, strict=True)) else None for at in itertools.product(*axes)]


def near(x: Tensor, size: int, border: str, dilation: int = 1, table: Tensor | None = None, far: Tensor | None = None) -> Tensor:
    """Query by query. ``table[i]``: the bias of neighbour i; ``far (b, heads, M, d)`` are further keys."""
    grid = tuple(x.shape[2:])
    result = torch.empty_like(x)
    t = x.unflatten(1, (2, -1))
    for place in itertools.product(*map(range, grid)):
        q = t[:, :, :, *place].unsqueeze(2)
        keys, bias = [], []
        for number, at in enumerate(seen(place, grid, size, border, dilation)):
            if at is None and border == "mask":
                continue
            keys.append(t[:, :, :, *at] if at is not None else torch.zeros(*t.shape[:3]))
            if table is not None and border == "clamp":
                number = 0
                for a, p in zip(at, place, strict=True):
                    number = number * (2 * size - 1) + a - p + size - 1
            bias.append(torch.zeros(2) if table is None else table[number])
        k, b = torch.stack(keys, 2), torch.stack(bias, -1)[:, None]
        if far is not None:
            k, b = torch.cat([k, far], 2), torch.cat([b, torch.zeros(2, 1, far.shape[2])], -1)
        result[:, :, *place] = attend(q, k, k, b).squeeze(1)
    return result.flatten(2).mT


@grids
@pytest.mark.parametrize(("border", "dilation"), [("mask", 1), ("mask", 2), ("zeros", 1), ("zeros", 2), ("clamp", 1)])
def test_neighbours(grid: tuple[int, ...], border: str, dilation: int) -> None:
    model = build(f'attention(2, over=near(3, border="{border}", dilation={dilation}), {PLAIN})', grid)
    x = torch.randn(2, 8, *grid)
    check(model, x, near(x, 3, border, dilation))


def test_neighbours_of_one_projection() -> None:
    """With `near` alone the keys come from what arrives: `qkv=` is `q=` and `kv=` packed."""
    packed, apart = build("attention(2, over=near(3), qkv=linear(3 * c))"), build("attention(2, over=near(3))")
    ours, theirs = packed.state_dict(), apart.state_dict()
    for name in ("weight", "bias"):
        ours[f"attention.qkv.{name}"] = torch.cat([theirs[f"attention.{part}.{name}"] for part in ("q", "kv")])
        ours[f"attention.proj.{name}"] = theirs[f"attention.proj.{name}"]
    packed.load_state_dict(ours)
    x = torch.randn(2, 8, 5, 4)
    torch.testing.assert_close(packed(x), apart(x))


@grids
@pytest.mark.parametrize("border", ["mask", "clamp"])
def test_neighbours_with_a_bias(grid: tuple[int, ...], border: str) -> None:
    model = build(f'attention(2, over=near(3, border="{border}"), pos=relative_bias, {PLAIN})', grid)
    table = model.attention.pos.table.weight
    assert tuple(table.shape) == ((5 if border == "clamp" else 3) ** len(grid), 2)
    nn.init.normal_(table)
    x = torch.randn(2, 8, *grid)
    check(model, x, near(x, 3, border, table=table))


def test_neighbours_and_a_pooled_map() -> None:
    """TransNeXt's union; it may be written in any order."""
    x = torch.randn(2, 8, 5, 4)
    pooled = heads(F.adaptive_avg_pool2d(x, 2))
    for over, pos in (
        ("[near(3), adaptive_avg_pool(2)]", "[relative_bias, none]"),
        ("[adaptive_avg_pool(2), near(3)]", "[none, relative_bias]"),
    ):
        model = build(f"attention(2, over={over}, pos={pos}, {PLAIN})")
        (table,) = model.parameters()
        nn.init.normal_(table)
        check(model, x, near(x, 3, "mask", table=table, far=pooled))


def test_a_whole_neighbourhood_is_attention() -> None:
    x = torch.randn(2, 8, 5, 3)
    whole, clamped = build("attention(2)", (5, 3)), build('attention(2, over=near([5, 3], border="clamp"))', (5, 3))
    state = whole.state_dict()
    for end in ("weight", "bias"):
        qkv = state.pop(f"attention.qkv.{end}")
        state |= {f"attention.q.{end}": qkv[:8], f"attention.kv.{end}": qkv[8:]}
    clamped.load_state_dict(state)
    torch.testing.assert_close(whole(x), clamped(x))


def test_neighbours_are_counted() -> None:
    from metablock.backend.costs import macs

    model = build("attention(2, over=[near(3), adaptive_avg_pool(2)])").to("meta")
    n, c, keys = 20, 8, 9 + 4
    expected = 2 * n * keys * c + 2 * n * c * c + (n + 4) * c * 2 * c
    assert macs(model, torch.empty(1, 8, 5, 4, device="meta"))[""] == expected


# Weights outside the softmax, and numbers of keys


@grids
@pytest.mark.parametrize("border", ["mask", "zeros", "clamp"])
def test_weights_outside_the_softmax(grid: tuple[int, ...], border: str) -> None:
    """They see the normed queries without offset and factor; beyond the border they weigh zeros."""
    k = 3 ** len(grid)
    options = f"qk_norm=l2norm, query=id + learned(1), scale=5, extra=conv({2 * k}, groups=2)"
    model = build(f'attention(2, over=near(3, border="{border}"), {PLAIN}, {options})', grid)
    w = {name.removeprefix("attention."): p for name, p in model.named_parameters()}
    for parameter in w.values():
        nn.init.normal_(parameter)
    assert {name: p.shape[:2] for name, p in w.items()} == {
        "extra.weight": (2 * k, 4), "extra.bias": (2 * k,), "query.learned.weight": (1, 1),
    }  # fmt: skip
    x = torch.randn(2, 8, *grid)
    plain = build(f'attention(2, over=near(3, border="{border}"), {PLAIN}, qk_norm=l2norm, query=id + learned(1), scale=5)', grid)
    plain.load_state_dict({name: p for name, p in model.state_dict().items() if "extra" not in name})
    t = x.unflatten(1, (2, 4))
    unit = t / t.norm(dim=2, keepdim=True)
    added = torch.zeros(2, 2, 4, *grid)
    for place in itertools.product(*map(range, grid)):
        weights = torch.einsum("bhd,hkd->bhk", unit[:, :, :, *place], w["extra.weight"].view(2, k, 4)) + w["extra.bias"].view(
            2, k
        )
        for number, at in enumerate(seen(place, grid, 3, border, 1)):
            if at is not None:
                added[:, :, :, *place] += weights[:, :, number, None] * t[:, :, :, *at]
    check(model, x, plain(x).flatten(1, -2) + added.flatten(1, 2).flatten(2).mT)


def test_weights_outside_the_softmax_in_a_union() -> None:
    x = torch.randn(2, 8, 5, 4)
    pool = "adaptive_avg_pool(2)"
    for over, extra in (
        (f"[near(3), {pool}]", "[conv(18, groups=2), none]"),
        (f"[{pool}, near(3)]", "[none, conv(18, groups=2)]"),
    ):
        both = build(f"attention(2, over={over}, {PLAIN}, extra={extra})")
        nn.init.normal_(next(both.parameters()))
        alone, without = (
            build(f"attention(2, over={o}, {PLAIN}{e})") for o, e in (("near(3)", ", extra=conv(18, groups=2)"), (over, ""))
        )
        alone.load_state_dict({name.replace(".0", "").replace(".1", ""): p for name, p in both.state_dict().items()})
        torch.testing.assert_close(both(x) - without(x), alone(x) - build(f"attention(2, over=near(3), {PLAIN})")(x))


@grids
@pytest.mark.parametrize(("border", "dilation"), [("mask", 1), ("mask", 2), ("zeros", 1), ("clamp", 1)])
def test_number_of_keys(grid: tuple[int, ...], border: str, dilation: int) -> None:
    """Logits times the logarithm of the number of keys: 2 pooled ones and those neighbours that exist."""
    options = f'over=[near(3, border="{border}", dilation={dilation}), adaptive_avg_pool(1)]'
    model = build(f"attention(2, {options}, {PLAIN}, scale=keys_seen >> log)", grid)
    plain = build(f"attention(2, {options}, {PLAIN}, scale=knob(1))", grid)
    counts = model.attention.scale.keys_seen(torch.empty(3, *grid, 8))
    assert counts.shape[0] == 3
    for place in itertools.product(*map(range, grid)):
        n = sum(at is not None or border == "zeros" for at in seen(place, grid, 3, border, dilation)) + 1
        assert (counts.expand(3, *grid, 1)[:, *place] if border == "mask" else counts).unique().item() == n
        if place == (0,) * len(grid):
            x = torch.randn(2, 8, *grid)
            plain.attention.scale.value.fill_(math.log(n))
            torch.testing.assert_close(model(x)[:, *place], plain(x)[:, *place])


def test_number_of_keys_with_a_prefix_and_in_windows() -> None:
    x = torch.randn(2, 8, 4, 4)
    for before, after, n in (("class_token >> ", "", 17), ("window(2, ", ")", 4), ("", "", 16)):
        one = build(f"{before}attention(2, {PLAIN}, scale=ones(1, 2) * (keys_seen >> log)){after}", (4, 4))
        other = build(f"{before}attention(2, {PLAIN}, scale={math.log(n)}){after}", (4, 4))
        torch.testing.assert_close(one(x), other(x))


def test_absent_member_beside_one_with_parts() -> None:
    x = torch.randn(2, 8, 5, 4)
    model = build("attention(2, over=[none, linear(c) >> gelu], pos=[relative_bias, none], extra=[conv(18, groups=2), none])")
    other = build("attention(2, over=linear(c) >> gelu)")
    other.load_state_dict(dict(zip(other.state_dict(), model.state_dict().values(), strict=True)))
    torch.testing.assert_close(model(x), other(x))


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("attention(2, proj=none)", "'proj' of 'attention' cannot be `none`", "`id` passes on what arrives"),
        ("attention(2, q=none)", "'q' of 'attention' cannot be `none`", "leave it out for the default"),
        ("attention(2, mask=linear(2))", "`mask=` gives tokens 5x4 x 2, the keys are tokens 5x4 x 8", "one channel"),
        ("attention(2, mask=linear(1) >> avg_pool(2, stride=2))", "`mask=` gives tokens 2x2 x 1", "a token for each key"),
        ("x -> x >> class_token >> attention(2, mask=x >> pw(1))", "`mask=` gives tokens 5x4 x 1", "join(ones(1, 1), mask)"),
        ("attention(2, mask=near(3))", "`near` is not where attention's keys come from", "over=near(3)"),
        ("attention(2, qk_norm=linear(3))", "`qk_norm=` makes tokens 5x4x2 x 3 of tokens 5x4x2 x 4", "keep the shape"),
        ("attention(2, query=linear(3))", "`query=` makes tokens 5x4 x 3", "keep the shape"),
        ("attention(2, scale=linear(3))", "`scale=` gives tokens 5x4 x 3", "2: one a head"),
        ("attention(2, scale=linear(1) >> avg_pool(2, stride=2))", "two shapes do not meet", "the same extents"),
        ("attention(2, over=[none])", "`over=` gives no keys", "leave it out"),
        ("attention(2, over=[id, linear(4)])", "the members of `over=` are 8 and 4 wide", "bring them to one width"),
        ("attention(2, over=[id, id], pos=relative_bias)", "`pos=` is one for 2 members", "pos=[a, none]"),
        ("attention(2, over=[id, id], pos=[relative_bias])", "`pos=` has 1 entries, `over=` more", "pos=[a, none]"),
        ("attention(2, over=[id, id], mask=linear(1))", "`mask=` is one for 2 members", "mask=[a, none]"),
        ("attention(2, over=[id, id], value=id)", "`value=` sees the values of one source", "add them"),
        ("near(3)", "`near` is not where attention's keys come from", "attention(heads, over=near(3))"),
        ("attention(2, over=near(2))", "a neighbourhood of 2 on 2 axes", "one odd number"),
        ("attention(2, over=near([3, 3, 3]))", "a neighbourhood of [3, 3, 3] on 2 axes", "one an axis"),
        ('attention(2, over=near(3, border="torn"))', 'unknown border "torn"', '"mask", "zeros", "cut" or "clamp"'),
        ('attention(2, over=near(7, border="clamp"))', "a neighbourhood of 7x7 does not fit tokens 5x4 x 8", '"mask"'),
        ('attention(2, over=near(3, border="clamp", dilation=2))', "a dilation of 2", '1 for the border "clamp"'),
        ("attention(2, over=near(3, dilation=0))", "a dilation of 0", "at least 1"),
        ("attention(2, over=near(3) >> linear(c))", "`near` is not the last of its chain", "project what it sees"),
        ("attention(2, over=[near(3), near(5)])", "two neighbourhoods in one attention", "choose one"),
        ("class_token >> attention(2, over=patches >> near(3))", "`near` needs queries, keys and values on one grid", "prefix"),
        (
            "attention(2, q=avg_pool(2, stride=2), over=near(3))",
            "`near` needs queries, keys and values on one grid",
            "what arrives",
        ),
        ("attention(2, over=near(3), mask=linear(1))", "`mask=` does not reach a neighbourhood", "near(n, border=...)"),
        ("attention(2, over=near(3), pos=agent_bias)", "`pos=` gives tokens 20x20 x 2", "position bias"),
        ("attention(2, over=near(3), pos=relative_bias(mirror=true))", "neighbours has no mirrored form", "leave out `mirror=`"),
        ("attention(2, extra=conv(18))", "`extra=` are weights of neighbours", "over=near(3)"),
        ("attention(2, over=near(3), extra=conv(9))", "`extra=` gives tokens 5x4 x 9", "2 heads and 9 neighbours"),
        ("attention(2, over=[near(3), id], extra=conv(18))", "`extra=` is one for 2 members", "extra=[a, none]"),
        ("attention(2, query=keys_seen)", "`keys_seen` is not in the scale of an attention", "scale=keys_seen >> log"),
        ('window(2, attention(2, over=near(3)), shift=1, fit="pad")', "neighbours, in a shifted window", "shift by 0"),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(model)
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("<spec>:3:")
    assert message in first
    assert hint in last
