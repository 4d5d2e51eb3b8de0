"""Attention against torch's own, argument by argument."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
GRIDS = [(7,), (5, 4), (3, 4, 2)]


def build(model: str, grid: tuple[int, ...] = (5, 4), c: int = 8) -> nn.Module:
    """A network of one expression."""
    size = ", ".join(map(str, (c, *grid)))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n")).eval()


def tokens(x: Tensor) -> Tensor:
    """A map as the tokens torch wants: ``(n, b, c)``."""
    return x.flatten(2).permute(2, 0, 1)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """``multi_head_attention_forward`` on projected ``(n, b, c)``: its own projections are identities."""
    eye, zeros = torch.eye(q.shape[2]), torch.zeros(3 * q.shape[2])
    mask = None if bias is None else bias.repeat(q.shape[1], 1, 1)
    result, _ = F.multi_head_attention_forward(
        q, k, v, q.shape[2], heads, None, zeros, None, None, False, 0.0, eye, zeros[: q.shape[2]], False, attn_mask=mask,
        need_weights=False, use_separate_proj_weight=True, q_proj_weight=eye, k_proj_weight=eye, v_proj_weight=eye,
    )  # fmt: skip
    return result


def linear(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters, those of the attention by their names in it."""
    return {name.removeprefix("attention."): parameter for name, parameter in model.named_parameters()}


def check(model: nn.Module, x: Tensor, expected: Tensor) -> None:
    """The answer on the grid, or as tokens with a prefix, is ``(n, b, c)``."""
    result = model(x)
    torch.testing.assert_close(result.flatten(1, -2).transpose(0, 1), expected)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("heads", [1, 2, 8])
def test_self_attention(grid: tuple[int, ...], heads: int) -> None:
    model = build(f"attention({heads})", grid)
    assert {name: tuple(p.shape) for name, p in weights(model).items()} == {
        "qkv.weight": (24, 8),
        "qkv.bias": (24,),
        "proj.weight": (8, 8),
        "proj.bias": (8,),
    }
    x = torch.randn(2, 8, *grid)
    t, w = tokens(x), weights(model)
    expected, _ = F.multi_head_attention_forward(
        t, t, t, 8, heads, w["qkv.weight"], w["qkv.bias"], None, None, False, 0.0, w["proj.weight"], w["proj.bias"], False
    )
    check(model, x, expected)


def test_cross_attention_to_another_width() -> None:
    inputs = "input:\n  x: image(8, 5, 4)\n  z: image(6, 3, 7)\n"
    text = f"name: tiny\n{inputs}model: x, z -> x >> attention(2, over=z)\n"
    model = metablock.build(load_text(text)).eval()
    x, z, w = torch.randn(2, 8, 5, 4), torch.randn(2, 6, 3, 7), weights(model)
    k, v = w["kv.weight"].chunk(2)
    expected, _ = F.multi_head_attention_forward(
        tokens(x), tokens(z), tokens(z), 8, 2, None, torch.cat([w["q.bias"], w["kv.bias"]]), None, None, False, 0.0,
        w["proj.weight"], w["proj.bias"], False,
        use_separate_proj_weight=True, q_proj_weight=w["q.weight"], k_proj_weight=k, v_proj_weight=v,
    )  # fmt: skip
    torch.testing.assert_close(model(x, z).flatten(1, 2).transpose(0, 1), expected)


def test_over_a_reduction() -> None:
    """PVT: keys and values from a smaller map; the norm after it belongs to them alone."""
    model = build("attention(2, over=conv(c, 2, stride=2) >> layer_norm)", (6, 4))
    x, w = torch.randn(2, 8, 6, 4), weights(model)
    small = F.conv2d(x, w["over.conv.weight"], w["over.conv.bias"], stride=2)
    small = F.layer_norm(tokens(small), (8,), w["over.layer_norm.weight"], w["over.layer_norm.bias"])
    k, v = linear(small, w, "kv").chunk(2, -1)
    check(model, x, linear(attend(linear(tokens(x), w, "q"), k, v, 2), w, "proj"))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("q=linear(c)", ("q", "kv")),
        ("q=linear(12)", ("q", "kv")),  # the keys follow; so do the values, unless said otherwise
        ("k=linear(c)", ("q", "k", "v")),
        ("v=linear(c)", ("q", "k", "v")),
        ("kv=linear(2 * c)", ("q", "kv")),
        ("q=id", ("kv",)),
        ("q=id, k=id", ("v",)),
        ("q=linear(6, bias=false), k=linear(6, bias=false), v=linear(6, bias=false)", ("q", "k", "v")),
        ("qkv=linear(3 * c, bias=false)", ("qkv",)),
        ("q=id, k=id, v=id", ()),
        ("head_dim=3", ("qkv",)),
        ("head_dim=5, q=linear(10)", ("q", "kv")),
        ("over=id", ("q", "kv")),
        ("over=none", ("qkv",)),
    ],
)
def test_projections(arguments: str, names: tuple[str, ...]) -> None:
    model = build(f"attention(2, {arguments})")
    x, w = torch.randn(2, 8, 5, 4), weights(model)
    assert {name.partition(".")[0] for name in w} == {*names, "proj"}
    t = tokens(x)
    projections = {name: linear(t, w, name) for name in names}
    if "qkv" in projections:
        q, k, v = projections["qkv"].chunk(3, -1)
    else:
        q = projections.get("q", t)
        k, v = projections["kv"].chunk(2, -1) if "kv" in projections else (projections.get("k", t), projections.get("v", t))
    check(model, x, linear(attend(q, k, v, 2), w, "proj"))


@pytest.mark.parametrize("arguments", ["value_dim=5", "qkv=linear(2 * c + 10)", "kv=linear(c + 10)", "v=linear(10)"])
def test_values_of_another_width(arguments: str) -> None:
    """torch knows one width a head, so the values go through it in two parts, padded with zeros."""
    model = build(f"attention(2, {arguments})")
    x, w = torch.randn(2, 8, 5, 4), weights(model)
    projections = torch.cat([linear(tokens(x), w, name) for name in ("qkv", "q", "k", "kv", "v") if f"{name}.weight" in w], -1)
    q, k, v = projections.split([8, 8, 10], -1)
    a, b = F.pad(v.unflatten(-1, (2, 5)), (0, 3)).split(4, -1)
    out = torch.cat([attend(q, k, part.flatten(2), 2).unflatten(-1, (2, 4)) for part in (a, b)], -1)
    check(model, x, linear(out[..., :5].flatten(2), w, "proj"))


def test_scale() -> None:
    model = build("attention(2, scale=3)")
    x, w = torch.randn(2, 8, 5, 4), weights(model)
    q, k, v = linear(tokens(x), w, "qkv").chunk(3, -1)
    check(model, x, linear(attend(3 * 4**0.5 * q, k, v, 2), w, "proj"))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_position_bias(grid: tuple[int, ...]) -> None:
    model = build("attention(2, pos=relative_bias)", grid)
    nn.init.normal_(model.attention.pos.table.weight)
    x, w = torch.randn(2, 8, *grid), weights(model)
    q, k, v = linear(tokens(x), w, "qkv").chunk(3, -1)
    check(model, x, linear(attend(q, k, v, 2, model.attention.pos.table()), w, "proj"))


def test_value_branch() -> None:
    """A convolution of the values on their grid, added before the projection."""
    model = build("attention(2, value=dw(3))")
    x, w = torch.randn(2, 8, 5, 4), weights(model)
    q, k, v = linear(tokens(x), w, "qkv").chunk(3, -1)
    near = F.conv2d(v.permute(1, 2, 0).unflatten(2, (5, 4)), w["value.weight"], w["value.bias"], padding=1, groups=8)
    check(model, x, linear(attend(q, k, v, 2) + tokens(near), w, "proj"))


@pytest.mark.parametrize(("proj", "out"), [("id", None), ("linear(3)", "proj"), ("layer_norm >> linear(c)", "proj.linear")])
def test_last_projection(proj: str, out: str | None) -> None:
    model = build(f"attention(2, proj={proj})")
    x, w = torch.randn(2, 8, 5, 4), weights(model)
    result = attend(*linear(tokens(x), w, "qkv").chunk(3, -1), 2)
    if "layer_norm" in proj:
        result = F.layer_norm(result, (8,), w["proj.layer_norm.weight"], w["proj.layer_norm.bias"])
    check(model, x, result if out is None else linear(result, w, out))


def test_prefix_tokens_take_part() -> None:
    model = build("class_token >> attention(2)")
    x, w = torch.randn(2, 8, 5, 4), weights(model)
    (name,) = [name for name in w if "learned" in name]
    t = torch.cat([w[name].expand(2, -1, -1).transpose(0, 1), tokens(x)])
    check(model, x, linear(attend(*linear(t, w, "qkv").chunk(3, -1), 2), w, "proj"))


def test_class_attention() -> None:
    """One query that sees all tokens: the class token's."""
    model = build("class_token >> attention(2, q=prefix >> linear(c)) >> take(0)")
    x, w = torch.randn(2, 8, 5, 4), weights(model)
    (name,) = [name for name in w if "learned" in name]
    t = torch.cat([w[name].expand(2, -1, -1).transpose(0, 1), tokens(x)])
    k, v = linear(t, w, "kv").chunk(2, -1)
    expected = linear(attend(linear(t[:1], w, "q.linear"), k, v, 2), w, "proj")
    torch.testing.assert_close(model(x), expected[0])


def test_dropout_is_on_the_weights_and_in_training() -> None:
    model, x = build("attention(2, drop=0.5, q=id, k=id, v=id, proj=id)", (4,)), torch.zeros(1, 8, 4)
    x[:, 0] = 1  # all weights are a quarter: a channel is the number of kept keys, over the two that are kept on average
    assert torch.equal(model(x)[..., 0], torch.ones(1, 4))
    model.train()
    seen = torch.cat([model(x)[..., 0] for _ in range(50)])
    assert set(seen.flatten().tolist()) == {0.0, 0.5, 1.0, 1.5, 2.0}


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("attention(3)", "3 heads do not divide 8 channels", "head_dim="),
        ("attention(2, q=linear(7))", "2 heads do not divide 7 channels", "another number of heads"),
        ("attention(0)", "`heads=` of attention is 0", "at least 1"),
        ("attention(2, head_dim=0)", "`head_dim=` of attention is 0", "at least 1"),
        ("attention(2, value_dim=-1)", "`value_dim=` of attention is -1", "at least 1"),
        ("attention(c / 4)", "'heads' of 'attention' must be a whole number", "//"),
        ("attention(2, kv=linear(c))", "`kv=` gives 8 channels, the keys take 8", "the values'"),
        ("attention(2, qkv=linear(c))", "`qkv=` gives 8 channels, the queries and keys take 16", "the values'"),
        ("attention(2, kv=linear(c + 3))", "2 heads do not divide 3 channels of the values", "another number of heads"),
        ("attention(2, q=linear(4), k=linear(6), v=linear(4))", "queries are 4 wide, keys 6", "the same width"),
        ("attention(2, q=linear(6), head_dim=4)", "2 heads of 4 do not make 6 channels", "is the width of `q=`"),
        ("attention(2, k=avg_pool(2, stride=2), v=linear(c))", "4 keys meet 20 values", "the same extents"),
        ("attention(2, qkv=linear(3 * c), kv=linear(2 * c))", "`qkv=` stands for all three projections", "remove it"),
        ("attention(2, qkv=linear(3 * c), over=avg_pool(2))", "`qkv=` projects what arrives", "`q=` and `kv=`"),
        ("attention(2, qkv=linear(3 * c), over=avg_pool(1) >> near(3))", "`qkv=` projects what arrives", "`q=` and `kv=`"),
        ("attention(2, qkv=linear(3 * c), over=[near(3), avg_pool(2)])", "`qkv=` projects what arrives", "`q=` and `kv=`"),
        ("attention(2, kv=linear(2 * c), k=linear(c))", "`kv=` stands for both projections", "remove it"),
        ("attention(2, pos=linear(c))", "`pos=` gives tokens 5x4 x 8", "relative_bias"),
        ("attention(2, pos=relative_bias, over=avg_pool(2, stride=2))", "needs queries and keys on one grid", "self-attention"),
        (
            "join(learned(2), id) >> attention(2, pos=relative_bias)",
            "needs queries and keys on one grid",
            "one prefix token at most",
        ),
        ("id + relative_bias", "`relative_bias` is not inside an attention", "attention(heads, pos=relative_bias)"),
        ("global_pool >> attention(2)", "a sequence of tokens is needed here, this is a vector of 8", "global_pool"),
        ("x -> [x, x] >> attention(2)", "one value is needed here, this is a list", "x[0]"),
        ("attention(2, over=0.5)", "'over' of 'attention' must be a module", "it is attention(heads"),
        ("attention(2, heds=2)", "'attention' has no argument 'heds'", "did you mean 'heads'?"),
        ("attention", "'attention' needs the argument 'heads'", "it is attention(heads"),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(model)
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("<spec>:3:")
    assert message in first
    assert hint in last
