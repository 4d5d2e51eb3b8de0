"""What can be said without shapes: a table of mistakes, each with its message, its place and its hint."""

from __future__ import annotations

import pytest
import torch

import metablock
from metablock.errors import SpecError
from metablock.front import check, resolved
from metablock.language.check import check_names
from metablock.language.edits import resolve
from metablock.language.format import show_spec
from metablock.language.load import load_text
from metablock.lowering.network import lower

GOOD = """
name: good
input: image(3, size)
let:
  size: 32
  norm: layer_norm
  ffn(r=4): linear(r * c) >> gelu >> linear(c)
  block: res(norm >> pool) >> res(norm >> ffn)
stem: conv(8, 4, stride=4)
stages:
  depth: [1, 2]
  dim: [8, 16]
  down: [id, conv_down]
  body: depth * block
head: norm >> global_pool >> linear(classes)
variants:
  small: {}
  large: {depth: [2, 4]}
facts:
  - [variant, params]
  - [small, 1]
""".replace("conv_down", "shrink").replace("  norm: layer_norm\n", "  norm: layer_norm\n  shrink: conv(dim, 2, stride=2)\n")


NONE = "the language has no such operator; one of your own is a plug-in: docs/plugins.md"


def problems(old: str, new: str) -> list[tuple[str, str, str | None]]:
    assert old in GOOD
    found = check_names(load_text(GOOD.replace(old, new, 1), "x.yaml"))
    return [(p.message, p.span.content if p.span else "", p.hint) for p in found]


def test_nothing_to_say() -> None:
    assert check(load_text(GOOD)) == []


@pytest.mark.parametrize(
    ("old", "new", "message", "place", "hint"),
    [
        ("gelu", "gelo", "unknown name 'gelo'", "gelo", "did you mean 'gelu'?"),
        ("linear(r * c)", "liner(r * c)", "unknown operator 'liner'", "liner", "did you mean 'linear'?"),
        ("gelu", "identity", "unknown name 'identity'", "identity", "did you mean 'id'?"),
        ("gelu", "swish", "unknown name 'swish'", "swish", "did you mean 'silu'?"),
        ("gelu", "leaky_relu", "unknown name 'leaky_relu'", "leaky_relu", NONE),
        ("gelu", "mish", "unknown name 'mish'", "mish", NONE),
        ("gelu", "square", "unknown name 'square'", "square", "here it is `a ** 2`"),
        ("gelu", "rope", "unknown name 'rope'", "rope", "rotary positions are an argument: `attention(2, rotary=axial)`"),
        ("gelu", "cat(relu, gelu)", "unknown operator 'cat'", "cat", "channels are concatenated with `concat(a, b)`, tokens with `join(a, b)`"),
        ("gelu", "clamp(0, 1)", "unknown operator 'clamp'", "clamp", "here it is `clip(0, 1)`"),
        ("gelu", "reshape(1, 2)", "unknown operator 'reshape'", "reshape", "operators convert layouts themselves: docs/language.md, section 6"),
        ("norm: layer_norm", "norm: lnorm(1e-6)", "unknown operator 'lnorm'", "lnorm", "did you mean 'l2norm'?"),
        ("norm: layer_norm", "norm: ffn2(4)", "unknown operator 'ffn2'", "ffn2", "did you mean 'ffn'?"),
        ("gelu", "xyzzy", "unknown name 'xyzzy'", "xyzzy", "names are bound in `let`; `metablock list --operators` shows the operators"),
        ("stride=2", "strid=2", "'conv' has no argument 'strid'", "strid=2", "did you mean 'stride'?"),
        ("linear(c)", "linear(c, true, 3)", "'linear' takes 2 arguments", "3", "it is linear(out, bias=true)"),
        ("linear(c)", "linear(bias=false)", "'linear' needs the argument 'out'", "linear(bias=false)", "it is linear(out, bias=true)"),
        ("norm >> ffn", "norm >> ffn(4, 5)", "'ffn' takes 1 argument", "5", "it takes r"),
        ("norm >> ffn", "norm >> ffn(s=5)", "'ffn' has no argument 's'", "s=5", "it takes r"),
        ("norm >> ffn", "norm >> ffn(4, r=5)", "argument 'r' is given twice", "r=5", "remove one of them"),
        ("norm >> ffn", "norm(3) >> ffn", "'norm' takes no arguments", "3", "remove the brackets"),
        ("norm >> ffn", "norm(k=3) >> ffn", "'norm' has no argument 'k'", "k=3", "remove the brackets"),
        ("ffn(r=4)", "ffn(r)", "'ffn' needs the argument 'r'", None, "it takes r"),
        ("  size: 32", "  size: 32\n  c: 3", "'c' is a word of the language and cannot be bound", "c", "choose another name"),
        ("ffn(r=4)", "ffn(index=4)", "'index' is a word of the language and cannot be bound", "index=4", "choose another name"),
        ("  size: 32", "  size: 32\n  conv: 3", "the number 'conv' hides the operator of this name", "conv", "give the number another name"),
        ("  size: 32", "  size: 32\n  dim: 3", "'dim' stands both in `let` and in `stages`", "dim", "keep one of them"),
        ("  size: 32", "  size: 32\n  spare: relu", "the binding 'spare' is never used", "spare", "remove it, or use it in a block, the stem or the head"),
        ("  dim: [8", "  width: [1, 2]\n  dim: [8", "the column 'width' is never used", "width", None),
        ("  norm: layer_norm", "  norm: other\n  other: norm", "bindings use each other in a circle: norm -> other -> norm", "norm", None),
        ("  norm: layer_norm", "  norm: norm", "'norm' uses itself, and there is no outer 'norm'", "norm", None),
        ("dim: [8, 16]", "dim: [8, 16, 32]", "column 'dim' has 3 entries, 'depth' has 2", "[8, 16, 32]", "one entry a stage, or one value for all"),
        ("large: {depth", "large: {dept", "'dept' names no slot or column of 'good'", "dept", "did you mean 'depth'?"),
        ("large: {depth", "large: {of: smal, depth", "'large' starts from unknown 'smal'", "large", "did you mean 'small'?"),
        ("large: {depth", "large: {of: large, depth", "variants start from each other: large -> large", "large", "remove one `of:`"),
        ("- [small, 1]", "- [smell, 1]", "facts of an unknown variant 'smell'", "smell", "did you mean 'small'?"),
        ("variants:", "model: x -> x >> stages >> head\nvariants:", "the section 'stem' is never used: the network is `model`", "stem", "name it there: `stem`, or remove it"),
        ("variants:", "traits:\n  wide: {dim: [16, 32]}\nvariants:", "the trait 'wide' is never used", "wide", "remove it, or start a variant `of` it"),
        ("variants:", "traits:\n  small: {dim: [16, 32]}\nvariants:", "'small' names both a trait and a variant", "small", "give the trait another name: `of:` means the variant"),
        ("  depth: [1, 2]", "  head: 4\n  depth: [1, 2]", "'head' is the name of a section, too", "head", "give it another name: an edit of 'head' would reach the section"),
        ("  size: 32", "  size: 32\n  stages: relu", "'stages' is the name of a section, too", "stages", None),
        ("conv(8, 4, stride=4)", "one_of(conv(8, 4, stride=4), conv(8, 8, stride=4))", "`one_of` stands in a section", None, "give the choice a name in `let`: `token: one_of(...)`"),
        ("norm >> ffn", "ffn >> join", "'join' needs at least one module", "join", "it is join(..., prefix=none)"),
        ("norm >> ffn", "ffn >> conv", "'conv' needs the argument 'out'", "conv", None),
        ("  body: depth * block", "  body: |\n    y, z, w = conv(3 * c) >> chunk(3)\n    return y", "the wires 'z' and 'w' are never read", "y, z, w = conv(3 * c) >> chunk(3)", "use them, or write `_` in their place"),
        ("image(3, size)", "picture(3, size)", "this is no input", "picture(3, size)", None),
        ("image(3, size)", "ids(3, size)", "this is no input", "ids(3, size)", None),
        ("image(3, size)", "image(3, siz)", "unknown name 'siz'", "siz", "did you mean 'size'?"),
        ("norm >> global_pool", "norm >> (relu)(3) >> global_pool", None, None, None),
        ("conv(8, 4, stride=4)", "relu >> conv(c, 3, groups=c)", "`groups=c` in the middle of a chain: `c` is the width at its start", "conv(c, 3, groups=c)", None),
        ("conv(8, 4, stride=4)", "relu >> conv(8, 3, groups=c)", "`groups=c` in the middle of a chain: `c` is the width at its start", "conv(8, 3, groups=c)", "write `groups=w`: `w` is the width that arrives"),
        ("  body: depth * block", "  body: |\n    y, z = conv(2 * c) >> chunk(2)\n    return y", "the wire 'z' is never read", "y, z = conv(2 * c) >> chunk(2)", "use it, or write `_` in its place"),
        ("  body: depth * block", "  body: |\n    _ = conv(c)\n    return depth * block", "the wire '_' is never read", "_ = conv(c)", "use it, or drop the line (its parts are named `_`)"),
        ("  body: depth * block", "  body: |\n    y, _ = conv(2 * c) >> chunk(2)\n    return y + _", "unknown name '_'", "_", "`_` discards a value: give the value a name to read it"),
        ("conv(8, 4, stride=4)", "c(3)", "'c' takes no arguments", "c(3)", "remove the brackets"),
        ("conv(8, 4, stride=4)", "(relu >> gelu)(3)", "only a name can be called", None, None),
        ("  body: depth * block", "  body: |\n    y = conv(c)\n    return depth * block", "the wire 'y' is never read", "y = conv(c)", None),
        ("  body: depth * block", "  body: |\n    c -> depth * block", "'c' is a word of the language and cannot be bound", None, None),
        ("  down: [", "  down: [relu, ", "column 'down' has 3 entries, 'depth' has 2", None, None),
    ],
)  # fmt: skip
def test_mistakes(old: str, new: str, message: str | None, place: str | None, hint: str | None) -> None:
    found = problems(old, new)
    if message is None:
        assert found
        return
    assert message in [text for text, _, _ in found], found
    _, where, said = next(p for p in found if p[0] == message)
    assert place is None or where == place
    assert hint is None or said == hint
    assert where and said


@pytest.mark.parametrize("call", ["ffn(4, 5)", "ffn(s=5)", "ffn(4, r=5)", "norm(3)", "norm(k=3)", "need"])
def test_lowering_says_it_in_the_same_words(call: str) -> None:
    """A call to a binding that nothing but lowering sees is reported as `check` would have."""
    spec = load_text(GOOD.replace("norm >> ffn", f"norm >> {call}").replace("  size: 32", "  size: 32\n  need(k): dw(k)"))
    checked = next(p for p in check_names(spec, unused=False))
    with pytest.raises(SpecError) as caught:
        lower(resolve(spec))
    assert [p.render() for p in caught.value.problems] == [checked.render()]


def test_all_at_once() -> None:
    wrong = GOOD.replace("gelu", "gelo").replace("stride=2", "strid=2").replace("layer_norm", "layer_nrm")
    messages = [p.message for p in check(load_text(wrong))]
    assert [m for m in messages if "unknown" in m or "no argument" in m] == [
        "unknown name 'layer_nrm'",
        "'conv' has no argument 'strid'",
        "unknown name 'gelo'",
    ]


def test_a_value_that_is_discarded() -> None:
    """`_` may stand several times, needs no reader, and adds nothing to the names of parameters."""
    text = "name: n\ninput: image(8, 4)\nmodel: |\n  {} = conv(12, 1) >> chunk(3)\n  return y >> dw(3)\n"
    discards = load_text(text.format("_, y, _"))
    assert check(discards) == []
    model = metablock.build(discards).eval()
    assert list(model.state_dict()) == ["y.conv.weight", "y.conv.bias", "dw.weight", "dw.bias"]
    x = torch.randn(1, 8, 4, 4)
    y = torch.nn.functional.conv2d(x, model.get_parameter("y.conv.weight"), model.get_parameter("y.conv.bias"))[:, 4:8]
    weight, bias = model.get_parameter("dw.weight"), model.get_parameter("dw.bias")
    torch.testing.assert_close(model(x), torch.nn.functional.conv2d(y, weight, bias, padding=1, groups=4))
    assert load_text(show_spec(discards)) == discards


def test_edits_may_leave_bindings_unused() -> None:
    spec = load_text(GOOD.replace("norm >> ffn", "norm >> relu"))
    assert [p.message for p in check_names(spec)] == ["the binding 'ffn' is never used"]
    assert check_names(spec, unused=False) == []


def test_an_edit_that_changes_nothing_is_a_mistake() -> None:
    with pytest.raises(SpecError, match="the edit of 'token' changes nothing: 'dy_resnet18' does not use it") as caught:
        resolved("dy_resnet18", edits=["token = pool(3)"])
    assert caught.value.problems[0].span.content == "token"
    assert "what it uses: depth" in (caught.value.problems[0].hint or "")


def test_a_name_that_a_stream_gives_to_a_value_makes_no_circle() -> None:
    """`agent_attention` has a wire `a`; a binding of that name that uses it is no circle."""
    spec = load_text("name: t\ninput: image(8, 8)\nlet:\n  a: agent_attention(2, agents=3)\nstages:\n  body: a\n")
    assert check(spec) == []


def test_a_column_that_is_called_like_a_section_is_one_mistake() -> None:
    """The edit that could have meant either is not reported again."""
    text = (
        GOOD.replace("  depth: [1, 2]", "  head: 8\n  depth: [1, 2]")
        .replace("dw(7)", "pw(head)")
        .replace("{depth: [2, 4]}", "{head: 5}")
    )
    messages = [p.message for p in check(load_text(text))]
    assert messages == ["'head' is the name of a section, too", "the column 'head' is never used"]


def test_a_drop_rate_without_a_residual() -> None:
    """`drop` is read by `res` and `drop_path`; in a network without them it does nothing."""
    idle = "name: n\ninput: image(3, 8)\nstages: {drop: 0.1, body: pw(3)}\n"
    assert [p.message for p in check(load_text(idle))] == ["the column 'drop' is never used"]
    for body in ("res(pw(3))", "x -> x + (x >> pw(3) >> drop_path)", "x -> x >> dropout(drop)"):
        assert check(load_text(idle.replace("body: pw(3)", f"body: '{body}'"))) == []


def test_a_word_that_is_bound_is_one_mistake() -> None:
    spec = load_text("name: n\ninput: image(3, 8)\nlet: {layers: 3}\nmodel: pw(layers) >> layers\n")
    assert [p.message for p in check(spec)] == ["'layers' is a word of the language and cannot be bound"]


@pytest.mark.parametrize("classes", ["0", "2.5", "-3", "true"])
def test_a_number_of_classes(classes: str) -> None:
    """It is looked at even where the network does not use it."""
    [problem] = check(load_text(f"name: n\ninput: image(3, 8)\nclasses: {classes}\nmodel: pw(3)\n"))
    assert problem.message in (f"{classes} classes", "True classes")
    assert problem.hint == "write a whole number from 1"


def test_a_misspelt_use_is_one_mistake() -> None:
    """What was meant, and what that uses, is not called unused."""
    messages = [
        p.message
        for p in check(load_text(GOOD.replace("depth * block", "depth * blok").replace("  depth:", "  drop: 0.1\n  depth:", 1)))
    ]
    assert messages == ["unknown name 'blok'"]


@pytest.mark.parametrize(
    ("let", "classes", "value"),
    [
        ("n: 3", "7", 7),
        ("n: 3", "2 * n - 1", 5),
        ("n: m // 2\n  m: 9", "n", 4),
        ("n: 10 / 3", "int(n)", 1000),
        ("n: n", "n", 1000),
    ],
)
def test_the_number_of_classes_without_shapes(let: str, classes: str, value: int) -> None:
    assert load_text(f"name: n\ninput: image(3, 8)\nlet:\n  {let}\nclasses: {classes}\nmodel: pw(classes)\n").classes == value
