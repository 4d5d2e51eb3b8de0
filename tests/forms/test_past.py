"""Keys up to the query: causal attention, and neighbourhoods that end at the query, against plain arithmetic."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.backend.costs import macs
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
GRIDS = [(7,), (5, 4), (3, 4, 3)]
PLAIN = "q=id, k=id, v=id, proj=id"
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


def build(model: str, grid: tuple[int, ...] = (7,), c: int = 8) -> nn.Module:
    """A network of one expression, all its weights random."""
    size = ", ".join(map(str, (c, *grid)))
    model = metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n")).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


def heads(x: Tensor, n: int = 2) -> Tensor:
    """A map as ``(b, heads, tokens, channels)``."""
    return x.flatten(2).unflatten(1, (n, -1)).mT


def flat(x: Tensor) -> Tensor:
    """Tokens of heads as ``(b, tokens, channels)``."""
    return x.transpose(1, 2).flatten(2)


def triangle(n: int) -> Tensor:
    """0 up to the query, minus infinity behind it."""
    return torch.full((n, n), -math.inf).triu(1)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return flat((q @ k.mT * q.shape[-1] ** -0.5 + bias).softmax(-1) @ v)


def check(model: nn.Module, x: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(model(x).flatten(1, -2), expected)


@grids
def test_past(grid: tuple[int, ...]) -> None:
    """Of a map row by row; by the kernel's own flag, without a mask."""
    x = torch.randn(2, 8, *grid)
    t = heads(x)
    model = build(f"attention(2, over=past, {PLAIN})", grid)
    check(model, x, attend(t, t, t, triangle(t.shape[2])))
    recorded = []
    original = nn.functional.scaled_dot_product_attention

    def kernel(*args: object, **options: object) -> Tensor:
        recorded.append(args[3:])
        return original(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "scaled_dot_product_attention", kernel)
        model(x)
    assert recorded == [(None, 0.0, True)]


def test_past_of_one_projection() -> None:
    packed, apart = build("attention(2, over=past, qkv=linear(3 * c))"), build("attention(2, over=past)")
    ours, theirs = packed.state_dict(), apart.state_dict()
    for name in ("weight", "bias"):
        ours[f"attention.qkv.{name}"] = torch.cat([theirs[f"attention.{part}.{name}"] for part in ("q", "kv")])
        ours[f"attention.proj.{name}"] = theirs[f"attention.proj.{name}"]
    packed.load_state_dict(ours)
    x = torch.randn(2, 8, 7)
    torch.testing.assert_close(packed(x), apart(x))


def test_past_with_prefix_tokens() -> None:
    """They come first: the class token sees itself, and all tokens see it."""
    x = torch.randn(2, 8, 7)
    model = build(f"class_token >> attention(2, over=past, {PLAIN})")
    t = heads(torch.cat([dict(model.named_parameters())["class_token.learned.weight"].expand(2, -1, -1).mT, x], 2))
    check(model, x, attend(t, t, t, triangle(8)))


@pytest.mark.parametrize("source", ["[past, adaptive_avg_pool(2)]", "[adaptive_avg_pool(2), past]"])
def test_past_and_further_keys(source: str) -> None:
    x = torch.randn(2, 8, 6)
    t, far = heads(x), heads(nn.functional.adaptive_avg_pool1d(x, 2))
    both = torch.cat([t, far], 2)
    bias = torch.cat([triangle(6), torch.zeros(6, 2)], 1)
    check(build(f"attention(2, over={source}, {PLAIN})", (6,)), x, attend(t, both, both, bias))


@pytest.mark.parametrize("row", [None, 5])
@pytest.mark.parametrize("biased", [False, True])
def test_past_with_a_mask_and_a_bias(biased: bool, row: int | None) -> None:
    x, n = torch.randn(2, 8, 7), 7
    t = heads(x)
    valid = torch.ones(2, 1, n)
    valid[:, :, 3] = 0
    options = ", pos=relative_bias" * biased + (f", row={row}" if row else "")
    inputs = "input:\n  x: signal(8, 7)\n  valid: signal(1, 7)\n"
    text = f"name: tiny\n{inputs}model: x, valid -> x >> attention(2, over=past, {PLAIN}, mask=valid{options})\n"
    model = metablock.build(load_text(text)).eval()
    bias = triangle(n) + torch.where(valid[:, None] > 0, 0.0, -math.inf)
    if biased:
        table = next(module for name, module in model.named_modules() if name.endswith("pos.table"))
        nn.init.normal_(table.weight)
        bias = bias + table()
    result = model(x, valid)
    torch.testing.assert_close(result[0] if row else result, attend(t, t, t, bias))
    if row:
        torch.testing.assert_close(result[1].flatten(1), (t @ t.mT * 0.5 + bias).softmax(-1)[:, :, row].mean(1))


def test_past_with_rotary_positions_and_shared_keys() -> None:
    """Behind a query nothing counts: neither other tokens nor their heads, which are fewer."""
    model, x = build("attention(4, over=past, qkv=linear(16), kv_heads=2, rotary=axial)"), torch.randn(2, 8, 7)
    plain = build("attention(4, qkv=linear(16), kv_heads=2, rotary=axial)")
    plain.load_state_dict(model.state_dict())
    for end in range(1, 8):
        torch.testing.assert_close(model(x)[:, end - 1], plain(x[..., :end])[:, end - 1])


@pytest.mark.parametrize("options", ["mix=linear(2)", "mix_after=linear(2)", 'norm="none"', 'norm="none", pos=relative_bias'])
def test_matrix_of_the_past(options: str) -> None:
    model, x = build(f"attention(2, over=past, {PLAIN}, {options})"), torch.randn(2, 8, 7)
    t = heads(x)
    logits = t @ t.mT * 0.5
    if "pos" in options:
        logits = logits + model.get_submodule("attention.pos.table")()
    mixed = model.get_submodule("attention.mix") if "mix=" in options else None
    if mixed is not None:
        logits = mixed(logits.movedim(1, -1)).movedim(-1, 1)
    ahead = triangle(7) < 0
    weights = logits.masked_fill(ahead, 0) if "norm" in options else logits.masked_fill(ahead, -math.inf).softmax(-1)
    if "mix_after" in options:
        weights = model.get_submodule("attention.mix_after")(weights.movedim(1, -1)).movedim(-1, 1)
    check(model, x, flat(weights @ t))


def test_past_in_shifted_windows() -> None:
    """Of a window's tokens those before the query that come from the same part of the map."""
    x = torch.randn(1, 8, 6)
    model = build(f"window(3, attention(2, over=past, {PLAIN}), shift=1)", (6,))
    result = model(x)
    for window in ([1, 2, 3], [4, 5], [0]):
        t = heads(x[..., window])
        torch.testing.assert_close(result[:, window], attend(t, t, t, triangle(len(window))))


def test_number_of_keys_of_the_past() -> None:
    x = torch.randn(2, 8, 3, 4)
    for before, over, more in (("", "past", 0), ("class_token >> ", "past", 0), ("", "[past, adaptive_avg_pool(1)]", 1)):
        model = build(f"{before}attention(2, over={over}, {PLAIN}, scale=keys_seen >> log)", (3, 4))
        plain = build(f"{before}attention(2, over={over}, {PLAIN}, scale=knob(1))", (3, 4))
        plain.load_state_dict(model.state_dict(), strict=False)
        for i, row in enumerate(model(x).flatten(1, -2).unbind(1)):
            plain.attention.scale.value.fill_(math.log(i + 1 + more))
            torch.testing.assert_close(row, plain(x).flatten(1, -2)[:, i])


# Neighbourhoods


def neighbours(place: tuple[int, ...], grid: tuple[int, ...], size: int, dilation: int) -> list[tuple[int, ...] | None]:
    """Where the neighbours of a query stand that end at it; None beyond the border."""
    axes = [[p - dilation * (size - 1 - i) for i in range(size)] for p in place]
    return [at if all(0 <= a < g for a, g in zip(at, grid, strict=True)) else None for at in itertools.product(*axes)]


@grids
@pytest.mark.parametrize(("border", "size", "dilation"), [("mask", 2, 1), ("mask", 3, 2), ("zeros", 4, 1), ("cut", 9, 1)])
def test_neighbours_of_the_past(grid: tuple[int, ...], border: str, size: int, dilation: int) -> None:
    if len(grid) == 3:
        size = min(size, 4)
    model = build(f'attention(2, over=near({size}, side="past", border="{border}", dilation={dilation}), {PLAIN})', grid)
    x = torch.randn(2, 8, *grid)
    t, expected = x.unflatten(1, (2, -1)), torch.empty_like(x)
    for place in itertools.product(*map(range, grid)):
        q, keys = t[:, :, :, *place].unsqueeze(2), []
        for taps, at in zip(
            itertools.product(range(size), repeat=len(grid)), neighbours(place, grid, size, dilation), strict=True
        ):
            reached = all(dilation * (size - 1 - tap) < g for tap, g in zip(taps, grid, strict=True))
            if at is None and (border == "mask" or (border == "cut" and not reached)):
                continue
            keys.append(t[:, :, :, *at] if at is not None else torch.zeros(*t.shape[:3]))
        k = torch.stack(keys, 2)
        expected[:, :, *place] = attend(q, k, k).squeeze(1)
    check(model, x, expected.flatten(2).mT)


@pytest.mark.parametrize(("border", "side"), [("mask", "past"), ("cut", "past"), ("cut", "both"), ("zeros", "past")])
def test_number_of_neighbours(border: str, side: str) -> None:
    """Logits times the logarithm of the number of keys that take part: those that exist, or zeros, too."""
    grid, size = (3, 4), 9
    over = f'near({size}, side="{side}", border="{border}")'
    model, x = build(f"attention(2, over={over}, {PLAIN}, scale=keys_seen >> log)", grid), torch.randn(2, 8, *grid)
    plain = build(f"attention(2, over={over}, {PLAIN}, scale=knob(1))", grid)
    for place in itertools.product(*map(range, grid)):
        if border == "mask":
            count = math.prod(p + 1 for p in place)
        elif border == "cut":
            count = math.prod(g if side == "past" else 2 * g - 1 for g in grid)
        else:
            count = size**2
        plain.attention.scale.value.fill_(math.log(count))
        torch.testing.assert_close(model(x)[:, *place], plain(x)[:, *place])


def test_biases_of_a_past_neighbourhood() -> None:
    """The whole past as a neighbourhood: the table has a number for each distance."""
    x = torch.randn(2, 8, 7)
    model = build(f'attention(2, over=near(7, side="past"), {PLAIN}, pos=relative_bias)')
    table = model.attention.pos.table.weight  # from the farthest to the query itself
    assert table.shape == (7, 2)
    distance = (torch.arange(7)[:, None] - torch.arange(7)).clamp(min=0)
    bias = table[6 - distance].movedim(-1, 0) + triangle(7)
    t = heads(x)
    check(model, x, attend(t, t, t, bias))


@pytest.mark.parametrize("over", ["past", 'near(4, side="past")', 'near(4, side="past", border="cut")'])
def test_lengths_and_precisions(over: str) -> None:
    """What stands before a token decides it, at any length, compiled and in other precisions, with gradients."""
    model = build(f"2 * res(attention(2, over={over}))")
    x = torch.randn(2, 8, 7, requires_grad=True)
    whole = model(x)
    for n in (4, 6) if "cut" in over else (1, 3, 6):
        torch.testing.assert_close(model(x[..., :n]), whole[..., :n])
    whole[..., 2].sum().backward()
    assert x.grad is not None
    assert (x.grad[..., 3:] == 0).all()
    assert (x.grad[..., :3] != 0).all()
    with torch.no_grad():
        for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.1)):
            result = model.to(dtype)(x.to(dtype)).double()
            assert (result - whole).norm() / whole.norm() < tolerance
            model.double()


def test_past_compiles_for_any_length() -> None:
    model = build("res(attention(2, over=past))")
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
    for n in (7, 5, 9):
        x = torch.randn(2, 8, n)
        torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("past", "`past` is not where attention's keys come from", "attention(heads, over=past)"),
        ("attention(2, over=past >> linear(c))", "`past` is not the last of its chain", "project what it sees"),
        ("attention(2, over=[past, near(3)])", "two neighbourhoods in one attention", "choose one"),
        ("attention(2, over=adaptive_avg_pool(2) >> past)", "`past` needs queries, keys and values in one order", "same tokens"),
        (
            "attention(2, q=avg_pool(2, stride=2), over=past)",
            "`past` needs queries, keys and values in one order",
            "what arrives",
        ),
        ("attention(2, over=past, feature=relu)", "`feature=` where keys are left out", "`past`"),
        ("attention(2, over=past, logits=linear(14))", "`logits=` where keys are left out", "all keys of one"),
        ('attention(2, over=near(3, side="left"))', 'unknown side "left"', '"both" or "past"'),
        ('attention(2, over=near(3, side="past", border="clamp"))', 'border "clamp" of the past', 'the border "mask"'),
        ('attention(2, over=near([3, 3], side="past"))', "a neighbourhood of [3, 3] on 1 axis", "one number, or one an axis"),
        ("attention(2, over=near(4))", "a neighbourhood of 4 on 1 axis", "one odd number"),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(model)
    assert message in str(caught.value)
    assert hint in str(caught.value)


def test_past_is_counted_like_all_keys() -> None:
    x = torch.empty(1, 8, 7, device="meta", dtype=torch.float32)
    one, other = (build(f"attention(2, over={over})").float().to("meta") for over in ("past", "id"))
    assert macs(one, x) == macs(other, x)
