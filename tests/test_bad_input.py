"""A corpus of what people get wrong in networks: one problem each, at its place, with a hint."""

from __future__ import annotations

import pytest

from metablock.errors import Problem, SpecError
from metablock.front import check
from metablock.language.load import load_text


def spec(body: str, *sections: str, input: str = "image(8, 16, 16)") -> str:
    return "\n".join(["name: bad", f"input: {input}", *sections, "stages:", f"  body: {body}", ""])


def stream(*lines: str) -> str:
    return "|\n" + "\n".join(f"    {line}" for line in lines)


def problems(text: str) -> list[Problem]:
    try:
        return check(load_text(text))
    except SpecError as wrong:
        return list(wrong.problems)


# text, message, place (what the caret stands under), hint
CASES = {
    "cyclic let": (
        spec("a", "let:", "  a: b >> relu", "  b: a >> gelu"),
        "bindings use each other in a circle: a -> b -> a",
        "a",
        "break it with another name",
    ),
    "a cycle of three": (
        spec("a", "let:", "  a: b", "  b: d", "  d: conv(8) >> a"),
        "bindings use each other in a circle: a -> b -> d -> a",
        "a",
        "break it with another name",
    ),
    "a wire before it is bound": (
        spec(stream("x ->", "y = z >> relu", "z = x >> conv(8)", "return y + z")),
        "unknown name 'z'",
        "z",
        "names are bound in `let`; `metablock list --operators` shows the operators",
    ),
    "a wire that is never used": (
        spec(stream("x ->", "y = x >> relu", "z = x >> conv(8)", "return y")),
        "the wire 'z' is never read",
        "z = x >> conv(8)",
        "use it, or drop the line (its parts are named `z`)",
    ),
    "a stream returned twice": (
        spec(stream("x ->", "y = x >> relu", "return y, y")),
        "'y' is returned twice",
        "y",
        "return it once; `y >> id` is a second stream",
    ),
    "two returns": (
        spec(stream("x ->", "return x", "return x")),
        "a stream has one `return`, its last line",
        "return",
        "several outputs are written `return a, b`",
    ),
    "no return": (
        spec(stream("x ->", "y = x >> relu")),
        "the stream has no `return`",
        "relu",
        "its last line says what comes out: `return x`",
    ),
    "a shared module fed two shapes": (
        spec("one >> conv(16) >> one", "shared:", "  one: conv(8, 3)"),
        "a module that is built once is used on two shapes that do not fit it",
        "one",
        None,
    ),
    "split sizes that do not add up": (
        spec("split(id, relu, sizes=[4, 3])"),
        "parts of 4 + 3 = 7 channels, 8 arrive",
        "split(id, relu, sizes=[4, 3])",
        None,
    ),
    "a negative part": (
        spec("split(id, relu, sizes=[9, -1])"),
        "a part of -1 channels",
        "split(id, relu, sizes=[9, -1])",
        "each part has at least one channel",
    ),
    "sizes for other parts": (
        spec("split(id, relu, sizes=[4, 2, 2])"),
        "3 sizes for 2 parts",
        "split(id, relu, sizes=[4, 2, 2])",
        "one size a part",
    ),
    "residual sides of two widths": (
        spec("res(conv(16))"),
        "two widths do not meet: map 8 x 16x16 and map 16 x 16x16",
        "res(conv(16))",
        None,
    ),
    "residual sides of two extents": (
        spec("res(conv(c, 3, stride=2))"),
        "two shapes do not meet: map 8 x 16x16 and map 8 x 8x8",
        "res(conv(c, 3, stride=2))",
        None,
    ),
    "an odd size under a stride": (
        spec("res(conv(c, 3, stride=2), skip=avg_pool(2, stride=2))", input="image(8, 15, 15)"),
        "two shapes do not meet: map 8 x 7x7 and map 8 x 8x8",
        "res(conv(c, 3, stride=2), skip=avg_pool(2, stride=2))",
        None,
    ),
    "windows that do not cover an odd map": (
        spec("cut", "let:", "  cut: windows(4) >> relu >> merge", input="image(8, 15, 15)"),
        "windows of 4x4 do not cover a map of 15x15",
        "windows(4)",
        "choose another size, or `resize` the map",
    ),
    "a window larger than the map": (
        spec("cut", "let:", "  cut: windows(32) >> relu >> merge"),
        "windows of 32x32 do not cover a map of 16x16",
        "windows(32)",
        "choose another size, or `resize` the map",
    ),
    "a kernel larger than the map": (
        spec("conv(8, 31, padding=0)"),
        "a window of 31x31 does not fit a grid of 16x16",
        "conv(8, 31, padding=0)",
        None,
    ),
    "a map that shrinks away": (
        spec("avg_pool(16, stride=16, padding=0) >> max_pool(2, stride=2, padding=0)"),
        "a window of 2x2 does not fit a grid of 1x1",
        "max_pool(2, stride=2, padding=0)",
        None,
    ),
    "heads that do not divide": (
        spec("attention(3)"),
        "3 heads do not divide 8 channels",
        "attention(3)",
        "choose another number of heads, or give `head_dim=`",
    ),
    "no heads": (spec("attention(0)"), "`heads=` of attention is 0", "attention(0)", None),
    "a million blocks": (spec("1000000 * conv(c, 3)"), "1000000 blocks", None, None),
    "a million blocks in steps": (spec("1000 * (1000 * conv(c))"), "the network has more than 10000 operators", None, None),
    "a million blocks in a column": (
        "name: bad\ninput: image(3, 8)\nstages:\n  depth: [1000000]\n  body: depth * conv(c)\n",
        "1000000 blocks",
        None,
        None,
    ),
    "less than nothing": (spec("conv(-3)"), "nothing is left: map -3 x 16x16", "conv(-3)", "widths and extents are at least 1"),
    "an output by nothing": (spec("conv(4) / 0"), "division by zero", "0", "divide an output by a number other than 0"),
    "a size with a name": (
        "name: bad\ninput: image(size=16, channels=3)\nmodel: conv(4, 3)\n",
        "the sizes of an input have no names, this one is 'size'",
        "size=16",
        "write `image(3, 64)`",
    ),
    "nothing": (spec("linear(0)"), "nothing is left: tokens 16x16 x 0", "linear(0)", "widths and extents are at least 1"),
    "a kernel of no extent": (spec("conv(8, 0)"), "kernel, stride and dilation are at least 1", "conv(8, 0)", None),
    "more names than values": (
        spec(stream("x ->", "a, b = x >> relu", "return a + b")),
        "1 value(s) for 2 names",
        None,
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_corpus(name: str) -> None:
    text, message, place, hint = CASES[name]
    (found,) = problems(text)
    assert found.message == message
    assert found.span is not None and found.hint
    assert place is None or found.span.content == place
    assert hint is None or found.hint == hint
