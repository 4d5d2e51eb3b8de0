"""What shapes and arguments have to say: a table of mistakes, each with its message, place and hint."""

from __future__ import annotations

import pytest

from metablock.errors import SpecError
from metablock.front import front, parse_input
from metablock.language.load import load_text
from metablock.lowering.ir import flat_values
from metablock.shape import Feature


def final(expression: str, input: str = "image(8, 16)", let: str = "", **options) -> Feature:
    """The shape that an expression leaves."""
    text = f"name: s\ninput: {input}\n" + (f"let:\n{let}\n" if let else "") + f"stem: |\n  {expression}\nstages: {{body: id}}\n"
    return next(flat_values(front(load_text(text, "s.yaml"), **options).ir.output)).feature


@pytest.mark.parametrize(
    ("expression", "shape"),
    [
        ("conv(4, 3, stride=2)", "map 4 x 8x8"),
        ("conv(4, 7, stride=4)", "map 4 x 4x4"),
        ("linear(4)", "tokens 16x16 x 4"),
        ("linear(4) >> dw(3)", "map 4 x 16x16"),
        ("global_pool >> linear(3)", "vector of 3"),
        ("class_token", "tokens 1 + 16x16 x 8"),
        ("class_token >> take(0)", "vector of 8"),
        ("join(learned(2), learned(1), id) >> patches", "tokens 16x16 x 8"),
        ("id || conv(3) || global_pool >> linear(2)", None),
        ("id || conv(3)", "map 11 x 16x16"),
        ("id * (global_pool >> linear(c) >> sigmoid)", "map 8 x 16x16"),
        ("(linear(4) >> gelu) * linear(4)", "tokens 16x16 x 4"),
        ("split(conv(3), conv(5))", "map 8 x 16x16"),
        ("split(conv(3), conv(5), sizes=[2, 6])", "map 8 x 16x16"),
        ("split(conv(c + part), parts=4)", "map 14 x 16x16"),
        ("window(4, attention(2))", "tokens 16x16 x 8"),
        ("transposed(linear(c))", "tokens 16x16 x 8"),
        ("mean(conv(3), conv(3))", "map 3 x 16x16"),
        ("unfold(2, stride=2) >> linear(16)", "tokens 8x8 x 16"),
        ("none + conv(3)", "map 3 x 16x16"),
        ("0 * conv(3)", "map 8 x 16x16"),
        ("conv(3) if c > 4 else conv(5)", "map 3 x 16x16"),
        ("conv(round8(11)) >> conv(max(c, 2) // 2)", "map 4 x 16x16"),
        ("conv(3) - conv(3)", "map 3 x 16x16"),
        ("-conv(3) / 2", "map 3 x 16x16"),
    ],
)
def test_shapes(expression: str, shape: str | None) -> None:
    if shape is None:
        with pytest.raises(SpecError):
            final(expression)
        return
    assert str(final(expression)) == shape


def test_rank_follows_the_input() -> None:
    assert str(final("dw(3, stride=2)", "signal(8, 15)")) == "map 8 x 8"
    assert str(final("dw(3, stride=2)", "volume(8, 15, 16, 8)")) == "map 8 x 8x8x4"
    assert str(final("dw(3, stride=2)", input="image(8, 16)")) == "map 8 x 8x8"
    text = "name: s\ninput: image(3, 8)\nstages: {body: conv(4)}\n"
    assert next(flat_values(front(load_text(text), input=parse_input("3x5")).ir.output)).feature.grid == (5,)


@pytest.mark.parametrize(
    ("expression", "message", "place", "hint"),
    [
        ("attention(3)", "3 heads do not divide 8 channels", "attention(3)", "choose another number of heads, or give `head_dim=`"),
        ("attention(2.5)", "'heads' of 'attention' must be a whole number, `2.5` is 2.5", "2.5", "round it: `int(x)`, or divide with `//`"),
        ("conv(relu)", "'out' of 'conv' must be a whole number, `relu` is a module", "relu", None),
        ("conv([3, 4])", "'out' of 'conv' must be a whole number, `[3, 4]` is a list", "[3, 4]", "choose an entry: `[3, 4][0]`"),
        ("linear(4, 3)", "'bias' of 'linear' must be true or false, `3` is 3", "3", "it is linear(out, bias=true)"),
        ("gelu(3)", "'approximate' of 'gelu' must be a word in quotes, `3` is 3", "3", None),
        ("res(3)", "'a' of 'res' must be a module, `3` is 3", "3", None),
        ("3", "'3' is a number or word where a module is needed", "3", "write `times(x)` to scale what arrives"),
        ("relu >> c", "'c' is a number or word where a module is needed", "c", None),
        ("2 / relu", "a number and a module do not meet in '/'", "2 / relu", "write `relu ** -1 >> times(2)`"),
        ("2 ** relu", "a number and a module do not meet in '**'", "2 ** relu", "a number is added, subtracted, divides, or is the exponent: `1 - a`, `a / 2`, `a ** 2`; `times(x)` scales"),
        ("relu / gelu", "modules do not meet in '/'", "relu / gelu", "multiply by the inverse: `a * gelu ** -1`"),
        ("relu ** gelu", "modules do not meet in '**'", "relu ** gelu", "outputs are added, subtracted, multiplied; or divided by a number"),
        ("x -> return 2 * x", "2 * x: a number repeats a module, 'x' is a value", "2 * x", "write `x >> times(2)` to scale it"),
        ("x -> return 0.5 * x", "0.5 * x: a number repeats a module, 'x' is a value", "0.5 * x", "write `x >> times(0.5)` to scale it"),
        ("x -> return 3 * [x, x]", "3 * [x, x]: a number repeats a module, '[x, x]' is a value", "3 * [x, x]", "write `[x, x] >> times(3)` to scale it"),
        ("x -> return x * 2", "a module and a number do not meet in '*'", "2", "write `x >> times(2)` to scale it"),
        ("clip", "`clip` without a bound", "clip", "give one: `clip(0, 1)`, `clip(high=6)`"),
        ("clip(2, 1)", "`clip` from 2 to 1", "clip(2, 1)", "the lower bound comes first"),
        ("maximum(1, 2)", "`maximum` of numbers alone", "maximum(1, 2)", "`max(a, b)` is that of numbers"),
        ("minimum(id, conv(4))", "two widths do not meet: map 8 x 16x16 and map 4 x 16x16", "minimum(id, conv(4))", None),
        ("true * relu", "a truth value and a module do not meet", "true", "write `a if test else id` for a module that may be left out"),
        ("steps(true * relu)", "a truth value and a module do not meet", "true", None),
        ("(2 > 1) * relu", "a truth value and a module do not meet", "(2 > 1)", None),
        ("id >> sum", "'sum' is a function of numbers, not of modules", "sum", "`sum([a, b])` adds outputs"),
        ("max(relu, sigmoid)", "'max' is a function of numbers, not of modules", "max(relu, sigmoid)", "here it is `maximum(a, b)`"),
        ("relu[0]", "only a list has entries", "relu", "one value comes out here"),
        ("chunk(2)[3]", "there is no entry 3 in a list of 2", "chunk(2)[3]", "entries are numbered from 0; -1 is the last"),
        ("relu(3)", "'relu' takes no arguments", "3", "write `relu` without brackets"),
        ("res(dw(3) >> join)", "'join' needs at least one module", "join", "it is join(..., prefix=none)"),
        ("mean", "'mean' needs at least one module", "mean", "it is mean(...)"),
        ("split", "'split' needs at least one module", "split", None),
        ("join(prefix=0)", "'join' needs at least one module", "join(prefix=0)", None),
        ("relu * 2", "a module and a number do not meet in '*'", "2", "write `>> times(x)` to scale, `n * a` to repeat"),
        ("relu // gelu", "modules do not meet in '//'", "relu // gelu", None),
        ("0.5 * relu", "0.5 * a module: only a whole number repeats", "0.5 * relu", "write `>> times(x)` to scale"),
        ("id + conv(c, 3, stride=2)", "two shapes do not meet: map 8 x 16x16 and map 8 x 8x8", None, None),
        ("res(conv(4))", "two widths do not meet: map 8 x 16x16 and map 4 x 16x16", "res(conv(4))", None),
        ("id + learned(256, 8)", "two shapes do not meet: map 8 x 16x16 and tokens 256 x 8", "id + learned(256, 8)", "`learned(256, 8)` at line 4 has no grid: `>> grid(16, 16)` gives it one"),
        ("learned(256, 8) + id", "two shapes do not meet: tokens 256 x 8 and map 8 x 16x16", "learned(256, 8) + id", "`learned(256, 8)` at line 4 has no grid: `>> grid(16, 16)` gives it one"),
        ("res(attention(2, proj=relu >> linear(c), v=linear(4)))", "two widths do not meet: map 8 x 16x16 and tokens 16x16 x 4", None, "both sides must have the same width; end the second with `linear(8)` (in an argument, `c` is the width that enters it), or give `skip=`"),
        ('flatten(order="n c") >> spread(4)', "a sequence of tokens is needed here, this is a vector of 2048", "spread(4)", "a vector has no extents: `flatten(order=\"n c\")` at line 4 dropped the grid"),
        ("id || avg_pool(2, stride=2)", "map 8 x 16x16 and map 8 x 8x8 cannot be concatenated", None, "they need the same extents"),
        ("class_token >> dw(3)", "1 prefix token(s) have no place on a map", "dw(3)", None),
        ("global_pool >> dw(3)", "a map is needed here, this is a vector of 8", None, "a vector has no extents: `global_pool` at line 4 dropped the grid"),
        ("conv(8, 3, groups=3)", "3 groups do not divide 8 channels in and 8 out", None, None),
        ("window(5, attention(2))", "windows of 5x5 do not divide a map of 16x16", None, None),
        ("split(id, id, id)", "3 equal parts of 8 channels", None, "give `sizes=[...]`"),
        ("linear(9) >> chunk(2)", "2 equal parts of 9 channels", "chunk(2)", "give `sizes=[...]`"),
        ("relative_bias", "`relative_bias` is not inside an attention", "relative_bias", "write `attention(heads, pos=relative_bias)`"),
        ("[id, id] >> conv(3)", "'conv' takes one value, a list arrives", "conv(3)", "`each(...)` applies one module to every member"),
        ("conv([1, 2][5])", "there is no entry 5 in a list of 2", "[1, 2][5]", "entries are numbered from 0; -1 is the last"),
        ("conv(4 // 0)", "division by zero", "4 // 0", "guard it: `max(x, 1)`"),
        ("conv(stage)", "`stage` has no meaning outside the stages", "stage", None),
        ("conv(max(relu))", "'max' works on numbers", "max(relu)", None),
        ("conv(range(2, 3, 4, 5))", "'range' does not take these arguments", None, None),
        ("conv(c.c)", "only a wire has attributes", "c.c", None),
        ("relu if relu else gelu", "a module is neither true nor false", "relu", None),
        ("relu if relu == 2 else gelu", "a test compares numbers, not modules", "relu == 2", None),
        ('relu if "a" < 2 else gelu', "a word and a number cannot be compared with <", None, None),
        ('conv("a" + 2)', "a word + a number has no meaning", None, None),
        ("each(relu)", "`each` works on a list, one value arrives", "each(relu)", None),
        ("res(relu, drop=1.5)", "a drop rate of 1.5", "1.5", "rates are between 0 and 1"),
        ("sum(relu)", "`sum` adds the members of a list", None, None),
    ],
)  # fmt: skip
def test_mistakes(expression: str, message: str, place: str | None, hint: str | None) -> None:
    with pytest.raises(SpecError) as caught:
        final(expression)
    found = {p.message: p for p in caught.value.problems}
    assert message in found, str(caught.value)
    problem = found[message]
    assert problem.span is not None and problem.span.text.name == "s.yaml"
    assert place is None or problem.span.content == place
    assert problem.hint and hint in (None, problem.hint)


def test_the_same_problem_is_reported_once() -> None:
    text = "name: s\ninput: image(4, 8)\nstages:\n  depth: [2, 2]\n  dim: [4, 8]\n  down: conv(dim)\n  body: depth * res(attention(3))\n"
    with pytest.raises(SpecError) as caught:
        front(load_text(text))
    assert [p.message for p in caught.value.problems] == ["3 heads do not divide 4 channels"]


def test_blocks_after_a_bad_one_are_still_checked() -> None:
    text = "name: s\ninput: image(4, 8)\nlet:\n  a: attention(3)\n  b: conv(9, groups=2)\nstages:\n  depth: 2\n  body: depth * res(a) >> res(b)\n"
    with pytest.raises(SpecError) as caught:
        front(load_text(text))
    assert [p.message for p in caught.value.problems] == [
        "3 heads do not divide 4 channels",
        "2 groups do not divide 4 channels in and 9 out",
    ]


def test_a_binding_may_wrap_the_operator_of_its_name() -> None:
    assert str(final("window(1)", let="  window(shift=0): window(4, attention(2), shift=shift)")) == "tokens 16x16 x 8"


def test_a_list_as_scale_is_a_located_problem() -> None:
    with pytest.raises(SpecError, match="one value is needed here, this is a list"):
        final("res(conv(c), scale=[id])")
