"""Tokens chosen and ordered, sources without weights, cascades, what is counted and never read."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.errors import SpecError
from metablock.language.check import check_names
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
GRIDS = [(7,), (3, 4), (2, 3, 2)]
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


def build(model: str, grid: tuple[int, ...] = (3, 4), c: int = 4) -> nn.Module:
    """A network of one expression."""
    size = ", ".join(map(str, (c, *grid)))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n")).eval()


def stream(lines: str, grid: tuple[int, ...] = (3, 4), c: int = 4) -> nn.Module:
    """A network of a map x and scores s."""
    size, kind = ", ".join(map(str, grid)), INPUTS[len(grid)]
    text = f"name: tiny\ninput:\n  x: {kind}({c}, {size})\n  s: {kind}(1, {size})\nmodel: |\n  x, s ->\n"
    return metablock.build(load_text(text + "".join(f"  {line.strip()}\n" for line in lines.split(";")))).eval()


def two(grid: tuple[int, ...], batch: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, 4, *grid), torch.rand(batch, 1, *grid)


@grids
@pytest.mark.parametrize("descending", [False, True])
def test_reorder(grid: tuple[int, ...], descending: bool) -> None:
    model = stream(f"return x >> reorder(s >> argsort(descending={str(descending).lower()}))", grid)
    x, s = two(grid)
    order = s.flatten(1).argsort(1, descending=descending)
    expected = torch.stack([image.flatten(1).T[places] for image, places in zip(x, order, strict=True)])
    torch.testing.assert_close(model(x, s), expected)


@grids
def test_restore_is_the_inverse(grid: tuple[int, ...]) -> None:
    model = stream("o = s >> argsort; return x >> reorder(o) >> restore(o)", grid)
    x, s = two(grid)
    torch.testing.assert_close(model(x, s).movedim(-1, 1), x)


def test_equal_scores_keep_their_order() -> None:
    model = stream("o = s >> argsort; return x >> reorder(o)")
    x, s = two((3, 4))
    torch.testing.assert_close(model(x, torch.zeros_like(s)), x.flatten(2).mT)


@grids
@pytest.mark.parametrize("cut", ["reorder(o) >> first(3)", "reorder(o >> first(3))"])
def test_masked_autoencoding(grid: tuple[int, ...], cut: str) -> None:
    """MAE: some tokens, in the order of their noise, are encoded; the others are a learned token, at their places."""
    model = stream(f"o = s >> argsort; y = x >> {cut} >> linear(6); return y >> restore(o, fill=learned(1))", grid)
    w = dict(model.named_parameters())
    (fill,) = [p for name, p in w.items() if "fill" in name]
    assert fill.shape == (1, 1, 6)
    x, s = two(grid)
    visible = s.flatten(1).argsort(1).argsort(1) < 3
    encoded = F.linear(x.flatten(2).mT, w["y.linear.weight"], w["y.linear.bias"])
    expected = torch.where(visible.unsqueeze(-1), encoded, fill)
    result = model(x, s)
    assert result.shape == (3, *grid, 6)
    torch.testing.assert_close(result.flatten(1, -2), expected)
    model(x, s).square().sum().backward()
    assert fill.grad is not None


def test_restore_with_a_token_for_each_that_is_missing() -> None:
    model = stream("o = s >> argsort; y = x >> reorder(o); return y >> first(5) >> restore(o, fill=y >> rest(5))")
    x, s = two((3, 4))
    torch.testing.assert_close(model(x, s).movedim(-1, 1), x)


def test_a_mask_of_what_was_kept() -> None:
    model = stream("o = s >> argsort; return x >> zeros(4, 1) >> restore(o, fill=ones(1, 1))")
    x, s = two((3, 4))
    expected = (s.flatten(1).argsort(1).argsort(1) >= 4).to(x.dtype)
    torch.testing.assert_close(model(x, s).flatten(1), expected)


def test_order_inside_windows_is_each_window_s() -> None:
    lines = "o = s >> windows(2) >> argsort; return x >> windows(2) >> reorder(o) >> restore(o) >> merge"
    x, s = two((4, 6))
    torch.testing.assert_close(stream(lines, (4, 6))(x, s).movedim(-1, 1), x)


@grids
def test_top(grid: tuple[int, ...]) -> None:
    """The best tokens, best first; by a wire or a module; of a list all members by one order."""
    x, s = two(grid)
    best = s.flatten(1).topk(3).indices
    expected = torch.stack([image.flatten(1).T[places] for image, places in zip(x, best, strict=True)])
    torch.testing.assert_close(stream("return x >> top(3, by=s)", grid)(x, s), expected)
    scores, tokens = stream("return [s, x] >> top(3, by=s)", grid)(x, s)
    torch.testing.assert_close(scores[..., 0], s.flatten(1).topk(3).values)
    torch.testing.assert_close(tokens, expected)
    assert build("top(3, by=linear(1))", grid)(x).shape == (3, 3, 4)
    with pytest.raises(SpecError, match="there are not 13 tokens, but"):
        stream("return x >> top(13, by=s)", grid)


def test_a_list_in_the_order_of_its_first() -> None:
    x, s = two((3, 4))
    model = stream("y = x >> linear(6); return [x, y] >> reorder((a, b -> a >> linear(1) >> argsort))")
    few, wide = model(x, s)
    w = dict(model.named_parameters())
    torch.testing.assert_close(wide, F.linear(few, w["y.weight"], w["y.bias"]))


def test_stop() -> None:
    """The same values and no gradient: to a wire, inside a chain, to the members of a list."""
    x, s = (value.requires_grad_() for value in two((3, 4)))
    torch.testing.assert_close(stream("return x * (s >> stop)")(x, s), x * s)
    for lines in (
        "return x * (s >> stop)",
        "a, b = [s, s] >> stop; return x + a * b",
        "return x * (s >> linear(1) >> stop >> tanh)",
    ):
        x.grad = s.grad = None
        stream(lines)(x, s).square().sum().backward()
        assert s.grad is None
        assert x.grad is not None
    x.grad = None
    model = build("linear(4) >> stop >> linear(3)")
    model(x).sum().backward()
    assert x.grad is None
    assert [parameter.grad is None for parameter in model.parameters()] == [True, True, False, False]


@grids
def test_first_and_rest(grid: tuple[int, ...]) -> None:
    x = torch.randn(2, 4, *grid)
    t = x.flatten(2).mT
    torch.testing.assert_close(build("first(3)", grid)(x), t[:, :3])
    torch.testing.assert_close(build("rest(3)", grid)(x), t[:, 3:])
    torch.testing.assert_close(build(f"first({math.prod(grid)})", grid)(x), t)
    torch.testing.assert_close(build("rest(0)", grid)(x), t)
    torch.testing.assert_close(build(f"join(id, rest({math.prod(grid)}))", grid)(x).flatten(1, -2), t)
    torch.testing.assert_close(build("join(first(0), id)", grid)(x).flatten(1, -2), t)


# Sources, lists, what is not read


@grids
def test_zeros_and_ones(grid: tuple[int, ...]) -> None:
    x = torch.randn(2, 4, *grid)
    assert torch.equal(build("zeros(3)", grid)(x), torch.zeros(2, 3, 4))
    assert torch.equal(build("ones(3, 5)", grid)(x), torch.ones(2, 3, 5))
    assert torch.equal(build("x -> [x, x] >> zeros(2)", grid)(x), torch.zeros(2, 2, 4))
    assert not build("zeros(3)", grid).state_dict()
    torch.testing.assert_close(build("id * (ones(1, 4) >> scale(2))", grid)(x), 2 * x)
    torch.testing.assert_close(build("id - ones(1, 1)", grid)(x), x - 1)
    torch.testing.assert_close(build("linear(c) >> id + ones(1)", grid).eval()(x).shape, torch.Size([2, *grid, 4]))


def test_learned_of_another_width() -> None:
    model = build("join(learned(2, 6), linear(6)) >> take(1)")
    (token,) = [p for p in model.parameters() if p.dim() == 3]
    torch.testing.assert_close(model(torch.randn(2, 4, 3, 4)), token[:, 1].expand(2, 6))


def test_flatten_channel_by_channel_and_token_by_token() -> None:
    x = torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(build("flatten", (3, 5))(x), x.flatten(1))
    torch.testing.assert_close(build('flatten(order="n c")', (3, 5))(x), x.flatten(2).mT.flatten(1))
    token = build('class_token >> flatten(order="n c")', (3, 5))
    expected = torch.cat([next(token.parameters()).expand(2, -1, -1), x.flatten(2).mT], 1).flatten(1)
    torch.testing.assert_close(token(x), expected)


@grids
def test_cascade(grid: tuple[int, ...]) -> None:
    """Each part sees its channels and what the part before it gave; `part` counts."""
    model, x = build("cascade(linear(c) >> times(1 + part), parts=2)", grid), torch.randn(2, 4, *grid)
    w = dict(model.named_parameters())
    assert sorted(w) == [f"linear.{i}.{name}" for i in range(2) for name in ("bias", "weight")]
    a, b = x.flatten(2).mT.chunk(2, -1)
    a = F.linear(a, w["linear.0.weight"], w["linear.0.bias"])
    b = 2 * F.linear(a + b, w["linear.1.weight"], w["linear.1.bias"])
    torch.testing.assert_close(model(x).flatten(1, -2), torch.cat([a, b], -1))


def test_cascade_of_heads() -> None:
    """EfficientViT's token mixer: packed projections, keys of 3 channels, a kernel for each head."""
    lines = (
        "q, k, v = conv_bn(6 + c) >> chunk(3, sizes=[3, 3, c])",
        "return attention(1, q=q >> dw_bn(kernels[part]), k=k, v=v, proj=id)",
    )
    text = "name: t\ninput: image(6, 5)\nlet:\n  kernels: [3, 5]\n  head: |\n" + "".join(f"    {line}\n" for line in lines)
    model = metablock.build(load_text(f"{text}model: cascade(head, parts=2)\n")).eval()
    names = {name: tuple(p.shape) for name, p in model.named_parameters()}
    kernels = [f"head.{i}.attention.q.dw_bn.dw.weight" for i in range(2)]
    assert [names[name] for name in kernels] == [(3, 1, 3, 3), (3, 1, 5, 5)]
    assert model(torch.randn(2, 6, 5, 5)).shape == (2, 5, 5, 6)


def test_absent_modules() -> None:
    x = torch.randn(2, 4, 3, 4)
    torch.testing.assert_close(build("res(cascade(none, parts=2))")(x), x)
    torch.testing.assert_close(build("|\n  y = [id, id] >> each(none)\n  return id + y")(x), x)
    torch.testing.assert_close(build("res(steps(none))")(x), x)


def test_unused_is_counted_and_never_read() -> None:
    model, x = build("unused(5) >> unused(2, 3) >> frozen(unused(7))"), torch.randn(2, 4, 3, 4)
    assert sorted(tuple(p.shape) for p in model.parameters()) == [(2, 3), (5,), (7,)]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 11
    torch.testing.assert_close(model(x), x)


def test_knob_is_a_number_that_training_sets() -> None:
    from metablock.operators.softmax import anneal

    model, x = build("id * knob(0.5, start=2)"), torch.randn(2, 4, 3, 4)
    assert not model.state_dict()
    torch.testing.assert_close(model(x), x / 2)
    torch.testing.assert_close(model.train()(x), 2 * x)
    assert anneal(model, 0.75) == 1
    torch.testing.assert_close(model(x), 0.75 * x)
    torch.testing.assert_close(model.eval()(x), x / 2)
    fixed = build("id * knob(0.5)").train()
    torch.testing.assert_close(fixed(x), x / 2)
    assert anneal(fixed, 3.0) == 0
    with pytest.raises(SpecError, match="this knob has one number"):
        fixed.knob.anneal(3.0)


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("argsort", "tokens are ordered by one score each, here tokens 3x4 x 4", "linear(1) >> argsort"),
        ("linear(1) >> class_token >> argsort", "1 prefix token(s) among those of `argsort`", "patches >> argsort"),
        ("linear(1) >> argsort >> linear(c)", "this is an order of 12 tokens", "reorder(order)"),
        ("id + (linear(1) >> argsort)", "this is an order of 12 tokens", "reorder(order)"),
        ("linear(1) >> argsort >> take(0)", "this is an order of 12 tokens", "reorder(order)"),
        ("reorder(linear(1))", "tokens 3x4 x 1 is no order", "`argsort` makes an order"),
        ("reorder(none)", "'order' of 'reorder' cannot be `none`", "`id` passes on"),
        ("x -> x >> first(3) >> reorder(x >> linear(1) >> argsort)", "an order of 12 tokens meets 3", "the same tokens"),
        (
            "x -> x >> join(id, id, prefix=0) >> restore(x >> linear(1) >> argsort)",
            "24 tokens meet an order of 12",
            "what `reorder` gave",
        ),
        ("x -> x >> restore(x >> linear(1) >> argsort >> first(3))", "this is 3 of an order of 12 tokens", "the order itself"),
        (
            "x -> x >> first(3) >> restore(x >> linear(1) >> argsort >> rest(2) >> rest(7), fill=ones(1))",
            "this is 3 of an order of 12",
            "`fill=`",
        ),
        ("(linear(1) >> argsort) / 2", "an order is no number", "reorder(order)"),
        ("x -> x >> first(3) >> restore(x >> linear(1) >> argsort)", "9 tokens are missing", "fill=learned(1)"),
        (
            "x -> x >> first(3) >> restore(x >> linear(1) >> argsort, fill=learned(1, 6))",
            "`fill=` gives tokens 1 x 6 for 9 tokens of 4 channels",
            "one token of that width",
        ),
        ("class_token >> reorder(linear(1) >> argsort)", "1 prefix token(s) among those of `reorder`", "`join` them after"),
        ("first(13)", "there are not 13 tokens, but 12", "between 0 and"),
        ("rest(-1)", "there are not -1 tokens, but 12", "between 0 and"),
        ("class_token >> first(2)", "1 prefix token(s) among those of `first`", "patches >> first"),
        ("global_pool >> first(1)", "this is a vector of 4", "global_pool"),
        ("zeros(0)", "0 tokens of 4 channels", "at least 1"),
        ("ones(2, 0)", "2 tokens of 0 channels", "at least 1"),
        ("learned(1, 0)", "1 learned tokens of 0 channels", "at least 1"),
        ('flatten(order="c y x")', 'unknown order "c y x"', '"n c"'),
        ("cascade(linear(c), parts=3)", "3 equal parts of 4 channels", "divides the width"),
        ("cascade(linear(c + 1), parts=2)", "two widths do not meet", "linear(2)"),
        ("unused(0)", "an unused parameter of 0 numbers", "at least 1"),
        ("unused(2, 0)", "an unused parameter of 2x0 numbers", "at least 1"),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(model)
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("<spec>:3:")
    assert message in first
    assert hint in last


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("depth * (class_token >> attention(2))", "class_token"),
        ("depth * learned(1)", "learned"),
        ("2 * (conv(c) >> learned(4))", "learned"),
        ("class_token >> depth * attention(2)", "class_token"),
        ("depth * res(attention(2, query=id + learned(1)))", None),
        ("depth * (linear(1) >> argsort)", None),
        ("depth * res(id * learned(1))", None),
        ("depth * attention(2)", None),
    ],
)
def test_a_source_inside_a_repeat(body: str, wrong: str | None) -> None:
    spec = load_text(f"name: tiny\ninput: image(4, 8)\nstem: class_token\nstages:\n  depth: [2, 3]\n  body: {body}\n")
    problems = [problem for problem in check_names(spec) if "inside a repeat" in problem.message]
    assert len(problems) == (wrong is not None)
    for problem in problems:
        assert problem.message == f"`{wrong}` inside a repeat begins anew in every copy"
        assert problem.span is not None
        assert "put it in the stem" in (problem.hint or "")


@pytest.mark.parametrize("model", ["none", "first(0)", "|\n  x -> \n  return x, none", "|\n  x -> \n  return a = x, b = none"])
def test_a_network_gives_something(model: str) -> None:
    with pytest.raises(metablock.MetablockError, match="the network gives what is absent") as caught:
        build(model)
    assert str(caught.value).startswith("<spec>:3:")


def test_sources_where_a_list_arrives() -> None:
    """The queries of a decoder, in a stream of several values."""
    model = stream("q = learned(3, 6); return x >> linear(6) >> q + ones(3, 6) * knob(2)")
    (token,) = [p for p in model.parameters() if p.dim() == 3]
    x, s = two((3, 4))
    torch.testing.assert_close(model(x, s), (token + 2).expand(3, -1, -1))


def test_one_token_meets_a_map() -> None:
    """Added as a vector is, whatever the extents: in a batch of as many as the map has rows, too."""
    x = torch.randn(3, 4, 3, 5)
    for grid, model in (
        ((3, 5), "id + learned(1)"),
        ((3, 5), "learned(1) + id"),
        ((3, 5), "layer_norm(affine=false) >> learned(1) + id"),
    ):
        built = build(model, grid)
        (token,) = built.parameters()
        before = F.layer_norm(x.movedim(1, -1), (4,)).movedim(-1, 1) if "norm" in model else x
        result = built(x)
        torch.testing.assert_close(
            result if result.shape == x.shape else result.movedim(-1, 1), before + token[0, 0, :, None, None]
        )
    both = build("learned(1) + (global_pool >> ones(1))", (3, 5))(x)
    assert both.shape == (3, 1, 4)
    assert build("adaptive_avg_pool(1) + learned(1)", (3, 5))(x).shape == (3, 4, 1, 1)
