"""The attention matrix: mixed, without a softmax, between channels; fewer heads of keys. Each against plain torch."""

from __future__ import annotations

import copy
import importlib.util
import re
from math import inf
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from nets import expression_net, heads_apart, part
from torch import Tensor, nn

import metablock
from metablock.backend.costs import macs
from metablock.errors import MetablockError
from metablock.language.load import load_text
from oracles import randomised_state

pytestmark = pytest.mark.usefixtures("float64")
GRIDS = [(7,), (5, 4), (3, 4, 2)]
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


def build(model: str, grid: tuple[int, ...] = (5, 4), c: int = 8) -> nn.Module:
    return expression_net(model, grid, c)


def projected(model: nn.Module, x: Tensor, heads: int) -> list[Tensor]:
    return [heads_apart(t, heads) for t in part(model, "qkv")(x.flatten(2).mT).chunk(3, -1)]


def check(model: nn.Module, x: Tensor, answer: Tensor) -> None:
    """The output of the network is ``proj`` of the heads ``(b, h, N, e)``."""
    expected = part(model, "proj")(answer.transpose(1, 2).flatten(2))
    torch.testing.assert_close(model(x).flatten(1, -2), expected)


def mixed(f: nn.Module, matrix: Tensor) -> Tensor:
    """A linear map of the heads of a matrix."""
    return f(matrix.movedim(1, -1)).movedim(-1, 1)


# Fewer heads of keys and values


PROJECTIONS = ["", "over=id", "k=linear({0})", "v=linear({0})", "kv=linear(2 * {0})", "qkv=linear(8 + 2 * {0})", "head_dim=2"]


@pytest.mark.parametrize("kv", [1, 2, 4])
@pytest.mark.parametrize("projections", PROJECTIONS)
def test_grouped_queries(kv: int, projections: str) -> None:
    """The projections have their widths without being told, whichever of them are given."""
    model, x = (
        build(f"attention(4, {projections.format(2 * kv)}, kv_heads={kv})".replace("(4, ,", "(4,")),
        torch.randn(2, 8, 5, 4),
    )
    linears = [m for name, m in model.named_modules() if isinstance(m, nn.Linear) and not name.endswith("proj")]
    outputs = torch.cat([m(x.flatten(2).mT) for m in linears], -1)
    q, k, v = outputs.split([8, 2 * kv, 2 * kv], -1)
    check(model, x, F.scaled_dot_product_attention(heads_apart(q, 4), heads_apart(k, kv), heads_apart(v, kv), enable_gqa=True))


ALGORITHMS = [
    "", "row=3", "over=near(3)", "over=routed(1, 1)", "feature=relu", "mix=linear(4)", 'norm="none"', 'over="channels"',
    "qk_norm=layer_norm", "pos=relative_bias", "mask=join(ones(1, 1), zeros(2, 1), ones(17, 1), prefix=0)",
    "over=[id, avg_pool(2, stride=2)]", 'over="channels", mix=linear(4)',
]  # fmt: skip


@pytest.mark.parametrize("arguments", ALGORITHMS)
def test_every_algorithm_with_fewer_heads(arguments: str) -> None:
    """A head that is shared is as one that stands there several times."""
    text = f"attention(4, {arguments}, kv_heads=2)".replace("(4, ,", "(4,") + "[0]" * ("row" in arguments)
    grouped, plain = build(text), build(text.replace("kv_heads=2", "kv_heads=4"))
    state = grouped.state_dict()
    for name in (name for name in state if ".qkv." in name or ".kv." in name):
        *queries, k, v = state[name].tensor_split([len(state[name]) - 8, len(state[name]) - 4])
        twice = [t.unflatten(0, (2, 2)).repeat_interleave(2, 0).flatten(0, 1) for t in (k, v)]
        state[name] = torch.cat([*queries, *twice])
    plain.load_state_dict(state)
    x = torch.randn(2, 8, 5, 4)
    torch.testing.assert_close(grouped(x), plain(x))


def count(model: nn.Module, x: Tensor) -> dict[str, int]:
    return macs(model.to("meta"), x.to("meta"))


def test_grouped_queries_cost_less() -> None:
    """The projections are narrower; the products are as many."""
    counts = [count(build(f"attention(4, kv_heads={kv})"), torch.zeros(1, 8, 5, 4)) for kv in (1, 4)]
    assert counts[1]["attention.qkv"] == 20 * 8 * 24
    assert counts[0]["attention.qkv"] == 20 * 8 * 12
    assert counts[0]["attention.attend"] == counts[1]["attention.attend"] == 2 * 20 * 20 * 8


# The matrix, mixed


@grids
def test_talking_heads(grid: tuple[int, ...]) -> None:
    model, x = build("attention(2, mix=linear(2), mix_after=linear(c) >> linear(2, bias=false))", grid), torch.randn(2, 8, *grid)
    q, k, v = projected(model, x, 2)
    weights = mixed(part(model, "mix"), q @ k.mT / 2).softmax(-1)
    check(model, x, mixed(part(model, "mix_after.linear2"), mixed(part(model, "mix_after.linear1"), weights)) @ v)


def test_the_matrix_is_a_map() -> None:
    """DeepViT: a convolution and a batch norm on the maps of the heads, behind the softmax; a class token takes part."""
    model = build("class_token >> attention(2, mix_after=conv(c, 1, bias=false) >> batch_norm)")
    x = torch.randn(2, 8, 5, 4)
    tokens = model.class_token(x)
    q, k, v = (heads_apart(t, 2) for t in part(model, "qkv")(tokens).chunk(3, -1))
    after = part(model, "mix_after")
    weights = after.batch_norm(after.conv((q @ k.mT / 2).softmax(-1)))
    torch.testing.assert_close(model(x), part(model, "proj")((weights @ v).transpose(1, 2).flatten(2)))


def test_as_many_matrices_between_as_one_likes() -> None:
    model, x = build("attention(2, mix=linear(6), mix_after=linear(2))"), torch.randn(2, 8, 5, 4)
    q, k, v = projected(model, x, 2)
    check(model, x, mixed(part(model, "mix_after"), mixed(part(model, "mix"), q @ k.mT / 2).softmax(-1)) @ v)


MASK = "join(ones(1, 1), zeros(4, 1), ones(15, 1), prefix=0)"


def kept() -> Tensor:
    return torch.tensor([1.0] + 4 * [0.0] + 15 * [1.0]) != 0


def test_biases_before_the_mix_and_masks_behind_it() -> None:
    """A key that is masked has no weight, though the mix has a constant; the row is what the values are weighed by."""
    arguments = f"pos=pair_bias(std=1), mask={MASK}, scale=3, row=2, mix=linear(2), mix_after=linear(2, bias=false)"
    model = build(f"x -> x >> attention(2, {arguments})")
    x = torch.randn(2, 8, 5, 4)
    q, k, v = projected(model, x, 2)
    logits = mixed(part(model, "mix"), 3 * q @ k.mT + part(model, "pos.table").weight)
    weights = mixed(part(model, "mix_after"), logits.masked_fill(~kept(), -inf).softmax(-1))
    y, row = model(x)
    torch.testing.assert_close(y.flatten(1, 2), part(model, "proj")((weights @ v).transpose(1, 2).flatten(2)))
    torch.testing.assert_close(row.flatten(1), weights[:, :, 2].mean(1))
    assert row.shape == (2, 5, 4, 1)
    assert not row.flatten(1)[:, ~kept()].any()


@pytest.mark.parametrize("arguments", ["mix=id", "mix_after=id"])
@pytest.mark.parametrize(
    "others",
    ["", "pos=relative_bias(std=1)", f"mask={MASK}", "over=[id, avg_pool(2, stride=2)], pos=[relative_bias, none]", "scale=knob(0.3)",
     "q=avg_pool(2, stride=2), over=id", "value_dim=3", "value=dw(3)", "qk_norm=layer_norm, query=id + learned(1)"],
)  # fmt: skip
def test_a_mix_of_nothing_is_no_mix(arguments: str, others: str) -> None:
    """Every argument means the same in steps as by the fused kernel."""
    model, plain = (
        build(f"attention(2, {others}, {arguments})".replace("(2, ,", "(2,")),
        build(f"attention(2, {others})".replace("(2, )", "(2)")),
    )
    plain.load_state_dict(model.state_dict())
    x = torch.randn(2, 8, 5, 4)
    torch.testing.assert_close(model(x), plain(x))


@pytest.mark.parametrize("shift", [0, 2])
def test_windows(shift: int) -> None:
    """The mask of a shifted window comes behind the mix."""
    texts = [
        f"window([2, 4], attention(2, pos=relative_bias(std=1){mix}), shift=[{shift // 2}, {shift}])" for mix in (", mix=id", "")
    ]
    model, plain = (build(text, (4, 8)) for text in texts)
    plain.load_state_dict(model.state_dict())
    x = torch.randn(3, 8, 4, 8)
    torch.testing.assert_close(model(x), plain(x))


def test_dropped_weights() -> None:
    """Dropout is on what `mix_after` returns, and only in training."""
    model, x = build("attention(2, drop=0.5, mix_after=linear(2))"), torch.randn(2, 8, 5, 4)
    torch.testing.assert_close(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


# Without a softmax


def test_plain_product() -> None:
    """In the order of channels, which is what is counted; with more keys than queries, too."""
    model, x = build('attention(2, q=avg_pool(2, stride=2), over=id, scale=0.3, norm="none")', (8, 6)), torch.randn(2, 8, 8, 6)
    q = heads_apart(F.avg_pool2d(x, 2).flatten(2).mT, 2)
    k, v = (heads_apart(t, 2) for t in part(model, "kv")(x.flatten(2).mT).chunk(2, -1))
    check(model, x, 0.3 * (q @ k.mT) @ v)
    assert count(model, x)["attention.attend"] == 2 * 2 * (48 + 12) * 4 * 4


def test_factorised_attention() -> None:
    """CoaT: ``q (softmax(k)' v)``, the softmax over the tokens."""
    model = build('attention(2, k=linear(c) >> softmax(over="tokens"), norm="none")')
    x = torch.randn(2, 8, 5, 4)
    tokens = x.flatten(2).mT
    q, k, v = (heads_apart(part(model, name)(tokens), 2) for name in ("q", "k.linear", "v"))
    check(model, x, q @ (k.softmax(2).mT @ v) / 2)


@pytest.mark.parametrize("reason", ["pos=pair_bias", f"mask={MASK}", "mix=id", "drop=0.5", "row=1"])
def test_a_product_whose_matrix_is_needed(reason: str) -> None:
    model = build(f'x -> x >> attention(2, norm="none", {reason})')
    x = torch.randn(2, 8, 5, 4)
    q, k, v = projected(model, x, 2)
    weights = q @ k.mT / 2
    weights = weights + part(model, "pos.table").weight if "pos" in reason else weights
    weights = weights * kept() if "mask" in reason else weights
    y = model(x)
    if "row" in reason:
        torch.testing.assert_close(y[1].flatten(1), weights[:, :, 1].mean(1))
        y = y[0]
    torch.testing.assert_close(y.flatten(1, 2), part(model, "proj")((weights @ v).transpose(1, 2).flatten(2)))


def test_a_product_in_a_shifted_window() -> None:
    """Tokens that were no neighbours have weight 0: as if each region of the rolled map stood alone."""
    model = build('window([4, 4], attention(2, qkv=linear(24, bias=false), norm="none", proj=id), shift=[0, 2])', (4, 8))
    qkv, x = part(model, "qkv"), torch.randn(2, 8, 4, 8)
    rolled = x.roll(-2, 3)
    expected = torch.zeros(2, 4, 8, 8)
    for columns in (slice(0, 4), slice(4, 6), slice(6, 8)):
        q, k, v = (heads_apart(t, 2) for t in qkv(rolled[..., columns].flatten(2).mT).chunk(3, -1))
        y = ((q @ k.mT / 2) @ v).transpose(1, 2).flatten(2)
        expected[:, :, columns] = y.unflatten(1, expected[:, :, columns].shape[1:3])
    torch.testing.assert_close(model(x), expected.roll(2, 2))


# Between channels


@grids
def test_channel_attention(grid: tuple[int, ...]) -> None:
    """XCiT: the vectors that are compared are channels over the tokens, of length one; a factor a head."""
    text = 'attention(2, over="channels", qk_norm=l2norm(over="tokens"), scale=ones(1, 2) >> scale(2))'
    model, x = build(text, grid), torch.randn(2, 8, *grid)
    q, k, v = (t.mT for t in projected(model, x, 2))
    weights = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * part(model, "scale.scale").weight[:, None, None]
    check(model, x, (weights.softmax(-1) @ v).mT)


@pytest.mark.parametrize("name", ["", "mix=linear(2), mix_after=linear(2)", 'norm="none"', "drop=0.5", "value=dw(3)"])
def test_channel_attention_with_other_arguments(name: str) -> None:
    """The default scale is that of tokens (DaViT); talking heads, dropout and `value=` are as they are there."""
    model, x = build(f'attention(2, over="channels", {name})'.replace(", )", ")")), torch.randn(2, 8, 5, 4)
    q, k, v = (t.mT for t in projected(model, x, 2))
    weights = q @ k.mT / 2
    weights = mixed(part(model, "mix"), weights) if "mix" in name else weights
    weights = weights if "none" in name else weights.softmax(-1)
    weights = mixed(part(model, "mix_after"), weights) if "mix" in name else weights
    answer = (weights @ v).mT
    if "value" in name:
        values = v.flatten(1, 2).unflatten(-1, (5, 4))
        answer = answer + heads_apart(part(model, "value")(values).flatten(2).mT, 2)
    check(model, x, answer)


def test_prefix_tokens_of_channel_attention() -> None:
    model, x = build('class_token >> attention(2, over="channels")'), torch.randn(2, 8, 5, 4)
    q, k, v = (heads_apart(t, 2).mT for t in part(model, "qkv")(model.class_token(x)).chunk(3, -1))
    answer = ((q @ k.mT / 2).softmax(-1) @ v).mT
    torch.testing.assert_close(model(x), part(model, "proj")(answer.transpose(1, 2).flatten(2)))


def test_channel_attention_of_two_streams() -> None:
    """Keys and values of another stream, whose channels are compared with those of the queries."""
    text = "name: tiny\ninput:\n  x: image(8, 5, 4)\n  z: image(6, 5, 4)\n"
    model = metablock.build(
        load_text(text + 'model: x, z -> x >> attention(2, over="channels", k=z >> linear(8), v=z >> linear(8))\n')
    )
    randomised_state(model)
    x, z = torch.randn(2, 8, 5, 4), torch.randn(2, 6, 5, 4)
    t, s = x.flatten(2).mT, z.flatten(2).mT
    q, k, v = (heads_apart(y, 2).mT for y in (part(model, "q")(t), part(model, "k.linear")(s), part(model, "v.linear")(s)))
    answer = ((q @ k.mT / 2).softmax(-1) @ v).mT
    torch.testing.assert_close(model(x, z).flatten(1, 2), part(model, "proj")(answer.transpose(1, 2).flatten(2)))


def test_channel_attention_costs() -> None:
    model, x = build('attention(2, over="channels")'), torch.randn(1, 8, 5, 4)
    counts = count(model, x)
    assert counts["attention.logits"] == counts["attention.attend"] == 2 * 20 * 4 * 4


# What has no meaning


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("attention(4, kv_heads=3)", "3 heads of keys and values for 4 of the queries", "divides `heads`"),
        ("attention(4, kv_heads=0)", "`kv_heads=` of attention is 0", "at least 1"),
        ("attention(4, kv_heads=2, k=linear(c))", "queries are 8 wide, keys 8", "must end in 4 channels"),
        ("attention(4, kv_heads=2, v=linear(3))", "2 heads do not divide 3 channels of the values", "another number"),
        ("attention(4, kv_heads=2, value=id)", "`value=` sees values of 2 heads of 4", "what comes out"),
        ("attention(2, kv_heads=1, logits=linear(40))", "`kv_heads=` beside `logits=`", "leave out `kv_heads=`"),
        ('attention(2, over="keys")', '`over="keys"`', "without quotes"),
        ('attention(2, norm="sum")', 'unknown `norm="sum"`', '"softmax" or "none"'),
        ('attention(2, over="channels", pos=relative_bias)', '`pos=` beside `over="channels"`', "leave out `pos=`"),
        ('attention(2, over="channels", mask=ones(20, 1))', '`mask=` beside `over="channels"`', "leave out `mask=`"),
        ('attention(2, over="channels", row=0)', '`row=` beside `over="channels"`', "leave out `row=`"),
        ('attention(2, over="channels", extra=linear(9))', '`extra=` beside `over="channels"`', "leave out `extra=`"),
        ('attention(2, over="channels", feature=relu)', '`over="channels"` beside `feature=`', "one of them"),
        ('attention(2, over="channels", logits=linear(40))', '`over="channels"` beside `logits=`', "one of them"),
        ('attention(2, over="channels", value_dim=3)', "values are 6 wide, keys 8", "leave out `value_dim=`"),
        ('attention(2, over="channels", q=avg_pool(2, stride=2))', "4 queries meet 20 keys", "the same extents"),
        ("attention(2, mix=linear(2), feature=relu)", "`mix=` beside `feature=`", "leave out `mix=`"),
        ("attention(2, mix_after=linear(2), feature=relu)", "`mix_after=` beside `feature=`", "leave out `mix_after=`"),
        ('attention(2, norm="none", feature=relu)', "`norm=` beside `feature=`", "leave out `norm=`"),
        ("attention(2, mix=linear(2), logits=linear(40))", "`mix=` beside `logits=`", "leave out `mix=`"),
        ("attention(2, mix=linear(2), over=near(3))", "`mix=` of `near` keys", "leave out `mix=`"),
        ("attention(2, mix_after=id, over=routed(1, 1))", "`mix_after=` of `routed` keys", "leave out `mix_after=`"),
        ('attention(2, norm="none", over=near(3))', '`norm="none"` of `near` keys', "leave out `norm"),
        ("attention(2, mix=linear(3))", "`mix=` gives 3 heads, the values have 2", "end it in 2 channels"),
        ("attention(2, mix=linear(4), mix_after=id)", "`mix_after=` gives 4 heads", "end it in 2 channels"),
        ("attention(2, mix=avg_pool(2, stride=2))", "`mix=` makes map 2 x 10x10 of map 2 x 20x20", "keep the queries and the keys"),
        ("attention(2, mix=global_pool)", "a map is needed here", "no extents"),
        ('softmax(over="heads")', '`over=` of softmax is "heads"', '"channels" or "tokens"'),
        ('softmax(over="tokens", parts=2)', "`parts=` of a softmax over the tokens", "one of them"),
        ('global_pool >> l2norm(over="tokens")', "a vector has no tokens for `l2norm`", "before the pool"),
        ('l2norm(over="map")', '`over=` of l2norm is "map"', '"channels" or "tokens"'),
    ],
)  # fmt: skip
def test_errors(text: str, message: str, hint: str) -> None:
    with pytest.raises(MetablockError, match=re.escape(message)) as caught:
        build(text)
    assert hint in str(caught.value)


# The leaves alone


@pytest.mark.parametrize("prefix", [False, True])
def test_over_tokens_in_any_layout(prefix: bool) -> None:
    x = torch.randn(2, 8, 5, 4)
    for text, function in [('softmax(over="tokens")', torch.softmax), ('l2norm(over="tokens")', F.normalize)]:
        start = "class_token >> " if prefix else ""
        model = build(start + text)
        tokens = model.class_token(x) if prefix else x.flatten(2).mT
        answer = model(x)
        answer = answer if prefix else answer.flatten(2).mT if answer.shape == x.shape else answer.flatten(1, 2)
        torch.testing.assert_close(answer, function(tokens, dim=1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("text", ["attention(2, kv_heads=1)", "attention(2, mix=linear(2), pos=relative_bias)", 'attention(2, norm="none")',
                                  'attention(2, over="channels")'])  # fmt: skip
def test_half_precision(dtype: torch.dtype, text: str) -> None:
    model, x = build(text), torch.randn(2, 8, 5, 4)
    expected = model(x)
    answer = model.to(dtype)(x.to(dtype))
    assert answer.dtype == dtype
    assert (answer.double() - expected).abs().max() < 0.05 * expected.abs().max()


EVERY = [
    "attention(2, kv_heads=1)",
    "attention(2, mix=linear(2), mix_after=linear(2))",
    'attention(2, k=linear(c) >> softmax(over="tokens"), norm="none")',
    'attention(2, norm="none", drop=0.1, mask=ones(20, 1))',
    'attention(2, over="channels", qk_norm=l2norm(over="tokens"), scale=ones(1, 2) >> scale(2))',
]


def every(**arguments: object) -> nn.Module:
    network = load_text("name: tiny\ninput: image(8, 5, 4)\nstages:\n  body: " + " >> ".join(f"res({text})" for text in EVERY))
    return metablock.build(network, **arguments)


def test_traced_and_compiled() -> None:
    """One graph, the same numbers and gradients; a fixed batch is nowhere."""
    model = every()
    randomised_state(model)
    x = torch.randn(2, 8, 5, 4)
    model.eval()
    expected = model(x)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), expected, rtol=0, atol=0)
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", max=9)},)).module()
    torch.testing.assert_close(program(torch.cat([x, x])), torch.cat([expected, expected]))
    model.train()(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="the extra `onnx` is not installed")
def test_onnx(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    assert metablock.write(every(), tmp_path / "net.onnx", dynamic=("batch",)).startswith("onnxruntime: ")
