"""Streams, lists of wires, shared modules, sections that are used twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import metablock
from metablock.errors import SpecError
from metablock.language.load import load_text


def build(let: str = "", body: str = "", head: str = "global_pool", rest: str = "", **options):
    text = f"name: s\ninput: image(4, 8)\n{rest}\n" + (f"let:\n{let}\n" if let else "")
    if body:
        text += f"stages:\n  body: |\n{body}\n"
    return metablock.build(load_text(text + f"head: {head}\n", "s.yaml"), classes=3, **options)


def x(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 4, 8, 8)


def test_lines_and_targets_name_parameters() -> None:
    model = build(body="    q, k = conv(2 * c) >> chunk(2)\n    y = q * k >> conv(c)\n    return y + id")
    assert list(model.state_dict()) == [
        f"stages.0.{name}" for name in ("qk.conv.weight", "qk.conv.bias", "y.conv.weight", "y.conv.bias")
    ]
    q, k = model.stages[0].qk(v := x())
    torch.testing.assert_close(model.stages[0](v), model.stages[0].y(q, k) + v)


def test_wires_are_values_and_bindings_recipes() -> None:
    model = build(let="  f: conv(c)", body="    y = f\n    return y + y + f + f")
    assert len(list(model.parameters())) == 2 * 3
    v, stage = x(), model.stages[0]
    torch.testing.assert_close(stage(v), 2 * stage.y(v) + stage.f1(v) + stage.f2(v))


def test_a_name_may_be_assigned_again() -> None:
    model = build(body="    a -> \n    a = a >> conv(6)\n    a = a >> conv(c)\n    return a")
    assert [tuple(p.shape[:2]) for n, p in model.named_parameters() if n.endswith("weight")] == [(6, 4), (4, 6)]


def test_c_is_the_first_wire_s_width_and_x_c_a_wire_s() -> None:
    model = build(body="    a ->\n    b = a >> conv(6)\n    return b >> conv(c) >> conv(b.c)")
    assert [p.shape[0] for n, p in model.named_parameters() if n.endswith("weight")] == [6, 4, 6]


def test_streams_travel_as_lists() -> None:
    body = "    a ->\n    a, b = [a, a >> conv(6)] >> swap\n    return [a, b] >> swap"
    model = build(let="  swap: |\n    u, v -> [v, u]", body=body, head="a, b -> b >> global_pool")
    assert model(x()).shape == (2, 6)


def test_each_shares_and_comprehensions_do_not() -> None:
    each = build(
        body="    a ->\n    y = [a, a >> avg_pool(2, stride=2)] >> each(conv(6))\n    return y[0] + (y[1] >> upsample(2))"
    )
    own = build(body="    a ->\n    y = [a >> conv(6 + i) for i in range(2)]\n    return y[0] || y[1]")
    assert [p.shape[0] for p in each.parameters()] == [6, 6]
    assert sorted({p.shape[0] for p in own.parameters()}) == [6, 7]
    assert own(x()).shape == (2, 13)


def test_each_refuses_what_does_not_fit() -> None:
    with pytest.raises(SpecError, match="built once is used on two shapes"):
        build(body="    a ->\n    y = [a, a >> conv(6)] >> each(conv(6))\n    return y[0] + y[1]")


def test_steps_collects_what_every_copy_gives() -> None:
    model = build(body="    y = steps(3 * conv(c))\n    return y[0] + y[1] + y[2]")
    assert len(list(model.parameters())) == 6
    assert model(x()).shape == (2, 4)


def test_shared_is_built_once() -> None:
    model = build(rest="shared:\n  f: conv(c)", body="    return f >> relu >> f")
    assert list(model.state_dict()) == ["shared.f.weight", "shared.f.bias"]
    f, v = model.shared["f"], x()
    torch.testing.assert_close(model.stages[0](v), f(f(v).relu()))


def test_shared_inside_blocks_is_linked_not_registered_twice() -> None:
    let = "  block: res(norm >> f)"
    model = metablock.build(
        load_text(
            f"name: s\ninput: image(4, 8)\nlet:\n{let}\n  norm: group_norm(1)\nstages:\n  depth: 3\n  shared: {{f: conv(c)}}\n  body: depth * block\n"
        )
    )
    names = list(model.state_dict())
    assert sum("f.weight" in name for name in names) == 1
    assert len({id(block.links["stages.0.shared.f"]) for block in model.stages[0].blocks}) == 1
    model(x()).sum().backward()
    assert model.stages[0].shared["f"].weight.grad is not None


def test_shared_refuses_two_shapes() -> None:
    with pytest.raises(SpecError, match="two shapes that do not fit"):
        build(rest="shared:\n  f: conv(6)", body="    return f >> f")


def test_model_composes_sections_and_may_use_one_twice() -> None:
    text = (
        "name: s\ninput: image(4, 8)\nstem: conv(6)\nstages:\n  depth: 2\n  drop: ramp(0.2)\n  body: depth * res(conv(c))\n"
        "model: |\n  a ->\n  y = a >> stem >> stages\n  z = y >> stages\n  return first = y >> global_pool, second = z >> global_pool\n"
        "predict: p, q -> (p + q) / 2\n"
    )
    model = metablock.build(load_text(text))
    assert len(list(model.parameters())) == 2 * 3
    v = x()
    training = model.train()(v)
    assert list(training) == ["first", "second"]
    model.eval()
    y = model.stages[0](model.stem(v))
    expected = (y.mean((2, 3)) + model.stages[0](y).mean((2, 3))) / 2
    torch.testing.assert_close(model(v), expected)


def test_blocks_of_a_stream_are_its_repeats() -> None:
    text = "name: s\ninput: image(4, 8)\nlet:\n  f: conv(c + index)\nstages:\n  depth: 3\n  body: |\n    a ->\n    return a >> depth * f\n"
    model = metablock.build(load_text(text))
    assert [p.shape[0] for n, p in model.named_parameters() if n.endswith("weight")] == [4, 5, 7]
    assert "stages.0.fs.2.weight" in model.state_dict()


def test_blocks_stand_in_the_lines_of_a_stream_too() -> None:
    """A line without a repeat is compiled as one block, one with a repeat has as many as it repeats."""
    lines = "a ->\n    b = a >> conv(c) >> relu\n    a = a >> depth * f\n    return (b >> f) + a"
    text = (
        f"name: s\ninput: image(4, 8)\nlet:\n  f: linear(4 + layer) >> linear(4)\nstages:\n  depth: 3\n  body: |\n    {lines}\n"
    )
    model = metablock.build(load_text(text))
    regions = [name for name, module in model.named_modules() if getattr(module, "region", None) == "block"]
    assert regions == ["stages.0.b", "stages.0.a.fs.0", "stages.0.a.fs.1", "stages.0.a.fs.2", "stages.0.f"]
    assert [p.shape[0] for n, p in model.named_parameters() if n.endswith("linear1.weight")] == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    y = conv(c)\n    return id", "the wire 'y' is never read"),
        ("    a, b ->\n    return a + b", r"1 value\(s\) arrive, 2 are named"),
        ("    p, q = conv(c)\n    return p + q", r"1 value\(s\) for 2 names"),
        ("    return [id, id] >> conv(c)", "takes one value, a list arrives"),
        ("    return 1.5 * conv(c)", "only a whole number repeats"),
        ("    return id + (conv(c, stride=2))", "two shapes do not meet"),
        ("    return id + conv(c + 1)", "two widths do not meet"),
        ("    return conv(c) >> take(64)", "there is no token 64: 64 arrive"),
        ("    return split(id, id, sizes=[1, 2])", r"parts of 1 \+ 2 = 3 channels, 4 arrive"),
        ("    return 100000000 * conv(c)", "100000000 copies"),
        ("    return conv(c, 11, padding=0)", "does not fit"),
    ],
)
def test_problems_have_places(body: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        build(body=body)
    assert all(problem.span is not None for problem in caught.value.problems)


def test_a_member_of_what_a_module_returns() -> None:
    """`(x >> chunk(3))[1]`, `chunk(3)[1]` and a wire's `y[1]` are one network; each index builds a module of its own."""
    head, third = "name: n\ninput: image(4, 6)\n", "let:\n  third(i): x -> (x >> linear(6) >> chunk(3))[i]\n"
    texts = [
        "model: (linear(6) >> chunk(3))[1]\n",
        f"{third}model: third(1)\n",
        "model: |\n  x ->\n  y = x >> linear(6) >> chunk(3)\n  return y[1]\n",
        "model: linear(6) >> chunk(3)[1]\n",
    ]
    x = torch.randn(2, 4, 6, 6)
    outputs = []
    for text in texts:
        spec = load_text(head + text)
        model = metablock.build(spec)
        for p in model.parameters():
            torch.nn.init.constant_(p, 0.1)
            p.data[2:4] += torch.arange(2.0).reshape(2, *[1] * (p.dim() - 1))
        outputs.append(model(x))
        assert outputs[-1].shape == (2, 6, 6, 2)
        torch.testing.assert_close(outputs[-1], outputs[0])
    two = metablock.build(
        load_text("name: n\ninput: image(4, 6)\nlet: {pair: linear(6) >> chunk(2)}\nmodel: pair[0] >> pair[1]\n")
    )
    assert [name for name, _ in two.named_parameters()][::2] == ["pair1.linear.weight", "pair2.linear.weight"]
    rows = metablock.build(load_text("name: n\ninput: image(4, 6)\nmodel: attention(2, row=0)[0] >> attention(2, row=0)[-1]\n"))
    assert {name.split(".")[0] for name, _ in rows.named_parameters()} == {"attention1", "attention2"}
    part = metablock.build(load_text("name: n\ninput: image(4, 6)\nmodel: chunk(4)[1:3] >> each(relu)\n"))
    torch.testing.assert_close(torch.cat(part(x), 1), x[:, 1:3].relu())


@pytest.mark.parametrize(
    ("expression", "value"),
    [("1 - sigmoid", lambda x: 1 - x.sigmoid()), ("relu - 0.5", lambda x: x.relu() - 0.5), ("2 + relu", lambda x: 2 + x.relu()),
     ("id * (1 - sigmoid) + 1", lambda x: x * (1 - x.sigmoid()) + 1), ("-1 - id", lambda x: -1 - x)],
)  # fmt: skip
def test_a_number_beside_a_module(expression: str, value: Callable[[torch.Tensor], torch.Tensor]) -> None:
    model = metablock.build(load_text(f"name: n\ninput: image(4, 6)\nmodel: {expression}\n"), dtype=torch.float64)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(model(x), value(x))
    assert model(x).dtype == torch.float64
