"""Biases that see the queries, biases of queries on a coarser grid, numbers and products: each against a loop or plain torch."""

from __future__ import annotations

import copy
import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from nets import expression_net, heads_apart, part
from torch import Tensor, nn

import metablock
from metablock.errors import MetablockError
from metablock.language.load import load_text
from metablock.operators.relative_keys import offsets
from oracles import randomised_state

pytestmark = pytest.mark.usefixtures("float64")
GRIDS = [(6,), (4, 6), (2, 4, 2)]
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


def build(model: str, grid: tuple[int, ...] = (4, 6), c: int = 8) -> nn.Module:
    return expression_net(model, grid, c)


def places(grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, grid)))


def attended(model: nn.Module, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float = 0.5) -> Tensor:
    weights = (scale * q @ k.mT + bias).softmax(-1)
    return part(model, "proj")((weights @ v).transpose(1, 2).flatten(2))


@grids
@pytest.mark.parametrize("side", ["same", "keys", "queries"])
def test_vectors_of_each_axis(grid: tuple[int, ...], side: str) -> None:
    """The unscaled queries times a vector an axis; the coarser grid's places are multiples of the finer one's."""
    pooled = tuple(n // 2 for n in grid)
    text = {"same": "over=id", "keys": "over=avg_pool(2, stride=2)", "queries": "q=avg_pool(2, stride=2) >> linear(c), over=id"}[
        side
    ]
    model, x = build(f"attention(2, {text}, scale=0.3, pos=relative_keys(std=1))", grid), torch.randn(2, 8, *grid)
    small = getattr(F, f"avg_pool{len(grid)}d")(x, 2)
    tokens, few = x.flatten(2).mT, small.flatten(2).mT
    q = heads_apart(part(model, "q.linear")(few) if side == "queries" else part(model, "q")(tokens))
    k, v = (heads_apart(t) for t in part(model, "kv")(few if side == "keys" else tokens).chunk(2, -1))
    queries, keys = (pooled if side == "queries" else grid), (pooled if side == "keys" else grid)
    bias = torch.zeros(2, 2, q.shape[2], k.shape[2])
    for (n, i), (m, j) in itertools.product(enumerate(places(queries)), enumerate(places(keys))):
        for axis, table in enumerate(part(model, "pos.table").axes):
            far = i[axis] * (1 + (side == "queries")) - j[axis] * (1 + (side == "keys"))
            last = (keys[axis] - 1) * (1 + (side == "keys"))
            bias[:, :, n, m] += q[:, :, n] @ table[far + last]
    assert [len(table) for table in part(model, "pos.table").axes] == [2 * n - 1 for n in grid]
    torch.testing.assert_close(model(x).flatten(1, -2), attended(model, q, k, v, bias, 0.3))


@grids
@pytest.mark.parametrize("prefix", [0, 2])
def test_joint_vectors(grid: tuple[int, ...], prefix: int) -> None:
    """One vector for each offset along all axes; class tokens have no place."""
    start = f"join(learned({prefix}), id) >> " if prefix else ""
    model, x = build(f'{start}attention(2, pos=relative_keys("joint", std=1))', grid), torch.randn(2, 8, *grid)
    tokens = x.flatten(2).mT
    if prefix:
        tokens = torch.cat([part(model, "learned").weight.expand(2, -1, -1), tokens], 1)
    q, k, v = (heads_apart(t) for t in part(model, "qkv")(tokens).chunk(3, -1))
    table = part(model, "pos.table").weight.unflatten(0, tuple(2 * n - 1 for n in grid))
    bias = torch.zeros(2, 2, tokens.shape[1], tokens.shape[1])
    for (n, i), (m, j) in itertools.product(enumerate(places(grid), prefix), enumerate(places(grid), prefix)):
        bias[:, :, n, m] = q[:, :, n] @ table[tuple(a - b + g - 1 for a, b, g in zip(i, j, grid, strict=True))]
    answer = model(x)
    torch.testing.assert_close(answer if prefix else answer.flatten(1, -2), attended(model, q, k, v, bias))


def test_transformer_xl() -> None:
    """Content and position have a bias of the queries each; a linear map makes vectors of offsets, for each head its own."""
    text = "attention(2, query=id + learned(1), pos=relative_keys(by=linear(8, bias=false), query=id + learned(1), scale=0.5))"
    model, x = build(text, (6,)), torch.randn(2, 8, 6)
    q, k, v = part(model, "qkv")(x.mT).chunk(3, -1)
    content, place = (heads_apart(q + part(model, f"{name}.learned").weight) for name in ("attention.query", "pos.query"))
    far = torch.arange(6.0)[:, None] - torch.arange(6.0)
    vectors = (far[..., None] * part(model, "pos.by").weight[:, 0]).unflatten(-1, (2, 4))
    bias = 0.5 * torch.einsum("bhid,ijhd->bhij", place, vectors)
    torch.testing.assert_close(model(x), attended(model, content, heads_apart(k), heads_apart(v), bias))


def test_vectors_that_heads_share_and_grids_that_differ() -> None:
    model, x = (
        build("attention(2, over=avg_pool(2, stride=2), pos=relative_keys(by=linear(6) >> gelu >> linear(4)))"),
        torch.randn(2, 8, 4, 6),
    )
    q = heads_apart(part(model, "q")(x.flatten(2).mT))
    k, v = (heads_apart(t) for t in part(model, "kv")(F.avg_pool2d(x, 2).flatten(2).mT).chunk(2, -1))
    by = nn.Sequential(part(model, "by.linear1"), nn.GELU(), part(model, "by.linear2"))
    y = offsets(4, 2)[:, None, :, None].expand(4, 6, 2, 3) - 3.0
    z = offsets(6, 3)[None, :, None, :].expand(4, 6, 2, 3) - 5.0
    vectors = by(torch.stack([y, z], -1)).flatten(0, 1).flatten(1, 2)
    torch.testing.assert_close(model(x).flatten(1, 2), attended(model, q, k, v, torch.einsum("bhid,ijd->bhij", q, vectors)))


@pytest.mark.parametrize(
    "others", ["row=0", "mix=linear(2)", 'norm="none"', "mask=join(zeros(2, 1), ones(22, 1), prefix=0)", "kv_heads=1", "drop=0.3"]
)  # fmt: skip
def test_beside_other_arguments(others: str) -> None:
    """A map of biases is to every argument what the same table would be, image by image."""
    text = f"x -> x >> attention(2, {others}, pos=relative_keys(std=1))" + "[0]" * ("row" in others)
    model, x = build(text), torch.randn(2, 8, 4, 6)
    biases: list[Tensor] = []
    part(model, "pos.table").register_forward_hook(lambda *args: biases.append(args[-1]))
    answer = model(x)
    plain = build(text.replace("relative_keys", "pair_bias"))
    state = {name: value for name, value in model.state_dict().items() if "axes" not in name}
    for i in range(2):
        table = {next(name for name in plain.state_dict() if name.endswith("pos.table.weight")): biases[0][i]}
        plain.load_state_dict(state | table)
        torch.testing.assert_close(plain(x[i : i + 1]), answer[i : i + 1])


@pytest.mark.parametrize("shift", [0, 1])
def test_in_windows(shift: int) -> None:
    """Each window has its own queries; the mask of a shifted window is added."""
    text = "window(2, attention(2, pos={}), shift={})"
    model, x = build(text.format("relative_keys(std=1)", shift)), torch.randn(2, 8, 4, 6)
    biases: list[Tensor] = []
    part(model, "pos.table").register_forward_hook(lambda *args: biases.append(args[-1]))
    answer = model(x)
    assert biases[0].shape == (12, 2, 4, 4)
    mixed = build(text.format("relative_keys(std=1), mix=id", shift))
    mixed.load_state_dict(model.state_dict())
    torch.testing.assert_close(mixed(x), answer)


def test_of_several_sources() -> None:
    """Tables beside maps, and sources without either."""
    text = "attention(2, over=[id, avg_pool(2, stride=2), learned(3)], pos=[{}, {}, none])"
    model, x = build(text.format("relative_bias(std=1)", "relative_keys(std=1)")), torch.randn(2, 8, 4, 6)
    biases: list[Tensor] = []
    for number in (0, 1):
        part(model, f"pos.{number}.table").register_forward_hook(lambda *args: biases.append(args[-1]))
    answer = model(x)
    q = heads_apart(part(model, "q")(x.flatten(2).mT))
    learned = part(model, "learned").weight.expand(2, -1, -1)
    keys = torch.cat([x.flatten(2).mT, F.avg_pool2d(x, 2).flatten(2).mT, learned], 1)
    k, v = (heads_apart(t) for t in part(model, "kv")(keys).chunk(2, -1))
    bias = torch.cat([biases[0].expand(2, -1, -1, -1), biases[1], torch.zeros(2, 2, 24, 3)], -1)
    torch.testing.assert_close(answer.flatten(1, 2), attended(model, q, k, v, bias))


# Queries on a coarser grid


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("grid", "stride"), [((7,), 2), ((4, 7), 2), ((5, 9), 3), ((4, 3, 2), 2)])
def test_a_bias_of_queries_on_a_coarser_grid(grid: tuple[int, ...], stride: int, mirror: bool) -> None:
    """LeViT's subsampling: a query stands on every second place of the keys' grid, and offsets are counted there."""
    text = f"attention(2, q=avg_pool(1, stride={stride}), over=id, pos=relative_bias(std=1, mirror={str(mirror).lower()}))"
    model, x = build(text, grid), torch.randn(2, 8, *grid)
    table = part(model, "pos.table")
    counts = tuple(n if mirror else 2 * n - 1 for n in grid)
    rows = table.weight.unflatten(0, counts)
    queries = [i for i in places(grid) if all(a % stride == 0 for a in i)]
    bias = torch.zeros(2, len(queries), len(places(grid)))
    for (n, i), (m, j) in itertools.product(enumerate(queries), enumerate(places(grid))):
        far = [a - b for a, b in zip(i, j, strict=True)]
        bias[:, n, m] = rows[tuple(abs(d) if mirror else d + g - 1 for d, g in zip(far, grid, strict=True))]
    q = x[(..., *[slice(None, None, stride)] * len(grid))].flatten(2).mT
    k, v = (heads_apart(t) for t in part(model, "kv")(x.flatten(2).mT).chunk(2, -1))
    torch.testing.assert_close(model(x).flatten(1, -2), attended(model, heads_apart(q), k, v, bias))


def test_a_stride_that_is_said() -> None:
    """Three queries of nine places may stand on every third, or on every fourth."""
    third, fourth = (
        build(f"attention(2, q=avg_pool(1, stride={s}), over=id, pos=relative_bias(stride={s}))", (9,)) for s in (3, 4)
    )
    assert third.attention.pos.table.index[2, 0] == 2 * 3 + 8
    assert fourth.attention.pos.table.index[2, 0] == 2 * 4 + 8


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("keys", "stride"), [((5,), 1), ((3, 5), 1), ((3, 3), 2), ((6, 9), [2, 1]), ((3, 2, 2), 1)])
def test_a_bias_between_two_grids(keys: tuple[int, ...], stride: int | list[int], mirror: bool) -> None:
    """The offset of query i and key j is `stride * i - j`; the table has those that occur, and no others."""
    grid, steps = (4, 7, 2)[: len(keys)], [stride] * len(keys) if isinstance(stride, int) else stride
    text = f"attention(2, over=resize({list(keys)}), pos=relative_bias(1, {str(mirror).lower()}, {stride}))"
    table = part(build(text, grid), "pos.table")
    pairs = list(itertools.product(enumerate(places(grid)), enumerate(places(keys))))
    far = {(n, m): [s * a - b for s, a, b in zip(steps, i, j, strict=True)] for (n, i), (m, j) in pairs}
    lows = [0 if mirror else 1 - k for k in keys]
    counts = [max(abs(d[axis]) if mirror else d[axis] for d in far.values()) - low + 1 for axis, low in enumerate(lows)]
    rows, bias = table.weight.unflatten(0, counts), torch.zeros(2, len(places(grid)), len(places(keys)))
    for (n, m), d in far.items():
        bias[:, n, m] = rows[tuple((abs(a) if mirror else a) - low for a, low in zip(d, lows, strict=True))]
    torch.testing.assert_close(table(), bias)
    assert not table.tables()
    assert table.resized(table.weight) is table.weight
    assert table.resized(table.weight[1:]) is None


def test_two_numbers_of_a_class_token() -> None:
    """MSG-Transformer: from it to all, itself too, and from all others to it."""
    model = build("class_token >> attention(2, pos=relative_bias(std=1, numbers=2))", (4, 3))
    table = part(model, "pos.table")
    weight, bias = table.weight, table()
    assert weight.shape == (7 * 5 + 2, 2)
    torch.testing.assert_close(bias[:, 0], weight[-2, :, None].expand(2, 13))
    torch.testing.assert_close(bias[:, 1:, 0], weight[-1, :, None].expand(2, 12))
    plain = part(build("attention(2, pos=relative_bias)", (4, 3)), "pos.table")
    plain.load_state_dict({"weight": weight[:-2].detach()})
    torch.testing.assert_close(bias[:, 1:, 1:], plain())
    assert table.tables()["weight"][0].extra == 2


def test_keys_of_a_window_s_own_pool_have_a_place_and_those_of_the_map_do_not() -> None:
    build("window(2, attention(2, over=adaptive_avg_pool(1), pos=relative_bias(stride=1)))")
    with pytest.raises(MetablockError, match="needs queries and keys on one grid"):
        build("x -> x >> window(2, attention(2, k=x, v=x, pos=relative_bias(stride=1)))")


# Numbers and products


def test_a_number_broadcasts() -> None:
    x = torch.randn(2, 8, 4, 6)
    model = build("id * scalar(0.1) + scalar")
    first, second = (p for _, p in sorted(model.named_parameters()))
    torch.testing.assert_close(model(x), x * first + second)
    assert (
        metablock.build(load_text("name: tiny\ninput: image(8, 4)\nmodel: scalar(0.5, 3)\n")).scalar.weight.tolist() == [0.5] * 3
    )


def test_a_temperature_a_head() -> None:
    model, x = build("attention(2, scale=scalar(1, heads) >> sigmoid)".replace("heads", "2")), torch.randn(2, 8, 4, 6)
    q, k, v = (heads_apart(t) for t in part(model, "qkv")(x.flatten(2).mT).chunk(3, -1))
    factor = part(model, "scale.scalar").weight.sigmoid()[:, None, None]
    torch.testing.assert_close(model(x).flatten(1, 2), attended(model, q * factor, k, v, torch.zeros(()), 1.0))


@grids
def test_products_of_two_streams(grid: tuple[int, ...]) -> None:
    model, x = build("x -> x >> matmul(x >> transpose) >> softmax >> matmul(x >> linear(5))", grid), torch.randn(2, 8, *grid)
    t = x.flatten(2).mT
    expected = (t @ t.mT).softmax(-1) @ part(model, "linear")(t)
    torch.testing.assert_close(model(x), expected.unflatten(1, grid))
    turned = build("x -> x >> transpose", grid)
    torch.testing.assert_close(turned(x), x.flatten(2))


def test_products_with_prefix_tokens() -> None:
    model, x = (
        build(
            "x -> y = x >> class_token; return y >> transpose >> matmul(y)".replace("; ", "\n  ").replace(
                "x -> ", "|\n  x ->\n  ", 1
            )
        ),
        torch.randn(2, 8, 4, 6),
    )
    y = torch.cat([part(model, "learned").weight.expand(2, -1, -1), x.flatten(2).mT], 1)
    torch.testing.assert_close(model(x), y.mT @ y)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("relative_keys", "`relative_keys` is not inside an attention", "attention(heads, pos=relative_keys)"),
        ('attention(2, pos=relative_keys("both"))', 'unknown axes "both"', '"apart" or "joint"'),
        ('attention(2, pos=relative_keys("joint", by=id))', "`axes=` beside `by=`", "one of them"),
        ("attention(2, over=near(3), pos=relative_keys)", "is not for neighbours", "`relative_bias`"),
        ("attention(2, over=learned(3), pos=relative_keys)", "needs queries and keys on grids", "another rank"),
        ("attention(2, pos=relative_keys(by=linear(5)))", "`by=` gives tokens 7x11 x 5 for 77 offsets", "8 channels, or in 4"),
        ("attention(2, pos=relative_keys(by=avg_pool(2, stride=2) >> linear(8)))", "for 77 offsets", "keep the offsets"),
        ("attention(2, pos=relative_keys(query=linear(4)))", "`query=` makes tokens 4x6 x 4", "keep the shape"),
        ("attention(2, pos=conv(3, 1))", "`pos=` gives map 3 x 4x6", "position bias"),
        ("attention(2, pos=relative_bias(stride=2))", "needs queries and keys on one grid", "subsampled"),
        ("attention(2, pos=relative_bias(stride=[1, 1, 1]))", "a stride of [1, 1, 1] on 2 axes", "one an axis"),
        ("attention(2, pos=relative_bias(numbers=1))", "1 bias(es) of a class token", "3: from it, to it, with itself"),
        ("attention(2, pos=relative_bias(numbers=2))", "and there is none", "leave it out"),
        ("attention(2, over=near(3), pos=relative_bias(stride=1))", "the table of neighbours has no stride", "`stride=`"),
        ("scalar(1, 0)", "0 learned numbers", "at least 1"),
        ("matmul(id)", "8 channels meet 24 tokens", "`transpose`"),
        ("matmul(global_pool)", "is needed here", "no extents"),
        ("global_pool >> transpose", "is needed here", "no extents"),
    ],
)  # fmt: skip
def test_errors(text: str, message: str, hint: str) -> None:
    with pytest.raises(MetablockError, match=re.escape(message)) as caught:
        build(text)
    assert hint in str(caught.value)


def test_traced_and_compiled() -> None:
    texts = [
        "attention(2, pos=relative_keys)", "attention(2, over=avg_pool(2, stride=2), pos=relative_keys(by=linear(8)))",
        'attention(2, scale=scalar(0.5, 2), pos=relative_keys("joint"))',
    ]  # fmt: skip
    body = " >> ".join(f"res({text})" for text in texts)
    stem = f"class_token >> {texts[0]} >> patches"
    model = metablock.build(load_text(f"name: tiny\ninput: image(8, 4, 6)\nstem: {stem}\nstages:\n  body: {body}"))
    randomised_state(model)
    x = torch.randn(2, 8, 4, 6)
    expected = model.eval()(x)
    traced = torch.fx.symbolic_trace(model)
    torch.testing.assert_close(traced(x), expected, rtol=0, atol=0)
    assert {name for name, _ in traced.named_parameters()} == {name for name, _ in model.named_parameters()}
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")(x), expected)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", max=9)},)).module()
    torch.testing.assert_close(program(torch.cat([x, x])), torch.cat([expected, expected]))
    model.train()(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
