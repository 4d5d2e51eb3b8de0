"""Text pairs: an expression as someone may write it, and its canonical text. And every message, with its place and its hint."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metablock.errors import Problem, SpecError
from metablock.language import ast as e
from metablock.language.parser import (
    MAX_DEPTH,
    build,
    expression,
    mistakes,
    parse_edit,
    parse_header,
    parse_target,
    parse_value,
    whole,
)
from metablock.language.printer import show

PAIRS = {
    # atoms
    "x": "x",
    "(x)": "x",
    "((x))": "x",
    "2.50": "2.5",
    "1E-06": "1e-6",
    "007": "7",
    '"same"': '"same"',
    '"a # b"': '"a # b"',
    "[]": "[]",
    "[1,2 ,3,]": "[1, 2, 3]",
    "[*x, -1]": "[*x, -1]",
    "[*(x >> f)]": "[*x >> f]",
    "[f(i) for i in range(n)]": "[f(i) for i in range(n)]",
    "[a >> b for i in x if y else z]": "[a >> b for i in x if y else z]",
    "[i for i in x if (i > 0 and not j)]": "[i for i in x if i > 0 and not j]",
    "[i for i in (x if y else z) if i]": "[i for i in (x if y else z) if i]",
    "[i for i in a >> b if i or j]": "[i for i in a >> b if i or j]",
    # white space and comments
    "a\n  >> b   # and then\n>> c": "a >> b >> c",
    "f(  # arguments\n  x,\n  y=1,\n)": "f(x, y=1)",
    "(a>>b)||c": "(a >> b) || c",
    # calls, subscripts, attributes
    "f(x)": "f(x)",
    "f(x, k = 3,)": "f(x, k=3)",
    "f(x)(y)": "f(x)(y)",
    "x[0][-1]": "x[0][-1]",
    "x[ 1 : ]": "x[1:]",
    "x[:2]": "x[:2]",
    "x[:]": "x[:]",
    "x[n-1 : n+1]": "x[n - 1:n + 1]",
    "x.c": "x.c",
    "x[0].grid[1]": "x[0].grid[1]",
    "(a >> b)[0]": "(a >> b)[0]",
    # from tight to loose
    "a ** b ** c": "a ** b**c",
    "(a ** b) ** c": "(a**b) ** c",
    "-a ** 2": "-a**2",
    "(-a) ** 2": "(-a)**2",
    "2 ** -1": "2**-1",
    "--a": "--a",
    "-a * b": "-a * b",
    "-(a * b)": "-(a * b)",
    "a * b / c // d % e": "a * b / c // d % e",
    "a * (b * c)": "a * (b * c)",
    "a / (b * c)": "a / (b * c)",
    "a + b * c": "a + b * c",
    "(a + b) * c": "(a + b) * c",
    "a - (b - c)": "a - (b - c)",
    "(a - b) - c": "a - b - c",
    "a + b >> c": "a + b >> c",
    "a + (b >> c)": "a + (b >> c)",
    "id + dw(3) >> gelu": "id + dw(3) >> gelu",
    "a >> b >> c": "a >> b >> c",
    "(a >> b) >> c": "(a >> b) >> c",  # parentheses make one block
    "a >> (b >> c)": "a >> (b >> c)",
    "a || b + c || d": "a || b + c || d",
    "a >> (b || c)": "a >> (b || c)",
    "2 * a >> b": "2 * a >> b",
    "2 * (a >> b)": "2 * (a >> b)",
    "depth * (token >> channel)": "depth * (token >> channel)",
    "a >> b if c == d else e >> f": "a >> b if c == d else e >> f",
    "(a >> b) if x else c": "a >> b if x else c",
    "a if x else b if y else c": "a if x else b if y else c",
    "(a if x else b) if y else c": "(a if x else b) if y else c",
    "a >> (b if x else c)": "a >> (b if x else c)",
    "f(a if x else b, k=c if y else d)": "f(a if x else b, k=c if y else d)",
    # tests
    "a if not x else b": "a if not x else b",
    "a if x == 1 and y or z else b": "a if x == 1 and y or z else b",
    "a if x and (y or z) else b": "a if x and (y or z) else b",
    "a if (x == 1) and not (y < 2) else b": "a if x == 1 and not y < 2 else b",
    "a if not (x and y) else b": "a if not (x and y) else b",
    "a if not not x else b": "a if not not x else b",
    "a if (x == y) == z else b": "a if (x == y) == z else b",
    "a if x + 1 >= y * 2 else b": "a if x + 1 >= y * 2 else b",
    "f(flag=(x > 1))": "f(flag=(x > 1))",
    "(not x)": "(not x)",
    # streams
    "x -> y": "x -> y",
    "x,z->x>>f": "x, z -> x >> f",
    "x -> return x": "x ->\nreturn x",
    "x -> y = x >> f return y": "x ->\ny = x >> f\nreturn y",
    "q, k = f return q, k": "q, k = f\nreturn q, k",
    "return a = x, b = y": "return a = x, b = y",
    "x ->\n  y = x  # kept\n    >> f\n  return (y)": "x ->\ny = x >> f\nreturn y",
    "return a if x else b, c": "return a if x else b, c",
}


@pytest.mark.parametrize(("text", "shown"), PAIRS.items(), ids=PAIRS)
def test_pairs(text: str, shown: str):
    assert show(expression(text)) == shown
    assert expression(shown) == expression(text)


def test_operators_bind_as_they_should():
    tree = expression("-x ** 2 * y + z >> f if a or b and not c == d else g")
    assert isinstance(tree, e.Conditional)
    assert isinstance(tree.then, e.Chain)
    total = tree.then.items[0]
    assert isinstance(total, e.Binary)
    assert total.op == "+"
    assert isinstance(total.left, e.Binary)
    assert total.left.left == e.Negative(e.Binary("**", e.Name("x"), e.Number(2)))
    assert isinstance(tree.test, e.Logic)
    assert tree.test.op == "or"
    right = tree.test.right
    assert right == e.Logic("and", e.Name("b"), e.Not(e.Compare("==", e.Name("c"), e.Name("d"))))


def test_whole_numbers_stay_whole():
    assert expression("12") == e.Number(12)
    assert isinstance(expression("12.0"), e.Number)
    assert repr(expression("12.0")) == "Number(value=12.0)"
    assert repr(expression("1e3")) == "Number(value=1000.0)"
    assert repr(expression("9" * 30)) == "Number(value=1e+30)"


@pytest.mark.parametrize(
    ("text", "part", "place"),
    [
        ("a >> f(x, k=3)", e.Argument, "x"),
        ("a >> f(k=3)", e.Argument, "k=3"),
        ("a >> f(x)[1]", e.Index, "f(x)[1]"),
        ("(a + b) * c", e.Chain, None),
        ("(a + b) * c", e.Binary, "(a + b) * c"),
        ("x[1:n]", e.Slice, "1:n"),
        ("a if x == y else b", e.Compare, "x == y"),
        ("a if not x else b", e.Not, "not x"),
        ("x, y -> z = f(x) return z, y", e.Assign, "z = f(x)"),
        ("x, y -> z = f(x) return z, y", e.StreamBody, "z = f(x) return z, y"),
        ("x, y -> z = f(x) return z, y", e.Function, "x, y -> z = f(x) return z, y"),
        (" a.c ", e.Attribute, "a.c"),
        ("[a, *b]", e.Splice, "*b"),
        ("-a", e.Negative, "-a"),
    ],
)
def test_nodes_know_their_place(text: str, part: type[e.Node], place: str | None):
    found = next((node for node in e.walk(expression(text)) if isinstance(node, part)), None)
    assert (found.span.content if found and found.span else None) == place


def test_places_are_those_of_the_file():
    text = whole("name: a\nbody: x >> f(2)\n", "file.yaml")
    tree = parse_value(text.part(14, 23))
    assert [node.span.start for node in e.walk(tree) if isinstance(node, (e.Name, e.Number)) and node.span] == [14, 19, 21]


def test_headers():
    assert parse_header(whole("ffn(r = 4, act=gelu >> id)", "")) == e.Header(
        "ffn",
        (
            e.Parameter("r", e.Number(4)),
            e.Parameter("act", e.Chain((e.Name("gelu"), e.Name("id")))),
        ),
    )
    assert parse_header(whole(" block ", "")) == e.Header("block")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token", "token"),
        ("f(r=2)", "f(r=2)"),
        ("stages.token", "stages.token"),
        ("stages[*].token", "stages.token"),
        ("stages[-1].token", "stages[-1].token"),
        ("stages[1 :].token", "stages[1:].token"),
        ("stages[:].x", "stages[:].x"),
    ],
)
def test_targets(text: str, shown: str):
    target = parse_target(whole(text, ""))
    assert show(target) == shown
    assert parse_edit(whole(f"{text} = a if x == y else b", "")) == (target, expression("a if x == y else b"))


def test_threads_do_not_mix():
    texts = [f"x{i} >> f(" + "y >> " * 30 + f"z, k={i})" for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: show(expression(text)), texts)) == texts


# (what it is, the text, what the message marks, the message, the hint). A mark that occurs twice counts from the right.
_KEY = "a key is a name, or a name with parameters: `ffn(r=4)`"
_TARGET = "write `token = ...`, `stages[2].token = ...`"
_WORD = "it is a word of the language, not a name"
_MISSING = "write what is missing, or remove one"
_FOLLOWS = "write what follows, or remove it"
_POINT = "a number has digits on both sides of its point: `0.5`; a wire's width is `x.c`"
_TEST = "write `a if x == y else b`, or parentheses around the test"
_LOGIC = "write `a if x and y else b`, or parentheses around the test"
_SEVERAL = "several outputs are a list, `x -> [a, b]`, or lines with `return a, b`"
_LIST = "a list is written `[a, b]`"
_LINE = "a stream has lines `name = ...`, the last one is `return ...`"
_PARAMETER = "a parameter is a name: `ffn(r=4)`; without parameters there are no brackets"
_EQUAL = "equal is `==`; a name is given a value in `f(name=x)` and on a stream's line"
_SLICE = "part of a list is written `x[1:3]`; keys belong to YAML"
_MIX = "write `(a >> b) || c` or `a >> (b || c)`"
_BRACES = "braces belong to YAML; a list is written `[a, b]`"
_OPERATOR = "`>>` applies, `,` separates arguments"
_ELSE = "write `a if test else b`, with `id` or `none` where nothing is meant"
_FIRST = "put it before those with a default"
_ONE_STAGE = "write `token`, or `stages[2].token` for one stage"
_OUTPUTS = "all outputs have names, or none has: `return logits = x, boxes = y`"
_ABSENT = "write `id` for a module that does nothing, `none` for one that is not there"
MISTAKES = [
    # characters
    ("value", "a | b", "|", "'|' is not an operator", "channels are concatenated with `||`"),
    ("value", "a & b", "&", "'&' is not an operator", "tests are joined with `and`"),
    ("value", "a ^ b", "^", "'^' is not an operator", "powers are written `**`"),
    ("value", "a if !b else c", "!", "'!' is not an operator", "a test is negated with `not`, unequal is `!=`"),
    ("value", "f('same)", "'", "a string stands in double quotes", 'write `"word"`'),
    ("value", 'f("same)', '"', "this string is never closed", 'it ends with `"` on the same line'),
    ("value", "{a", "{", "'{' cannot stand here", _BRACES),
    ("value", "a}", "}", "'}' cannot stand here", _BRACES),
    ("value", "größe", "ö", "'ö' cannot stand in a name", "names are made of a-z, A-Z, 0-9 and _"),
    ("value", "a @ b", "@", "unexpected character '@'", "remove it"),
    ("value", "a \x00 b", "\x00", "unexpected character U+0000", "remove it"),
    # the end
    ("value", "", "", "an expression is missing", _ABSENT),
    ("value", " # a", " ", "an expression is missing", _ABSENT),
    ("header", "", "", "a name is missing", _KEY),
    ("target", "", "", "a name is missing", _KEY),
    ("edit", "", "", "a name is missing", _TARGET),
    ("target", "stages[0]", "]", "a column of the stages is missing", "write `stages[0].token`"),
    ("edit", "stages[0] = x", "=", "a column of the stages is missing", "write `stages[0].token`"),
    ("edit", "token", "token", "the edit has no '='", _TARGET),
    ("edit", "stages[0].token", "token", "the edit has no '='", _TARGET),
    ("value", "a, b", ",", "a comma outside brackets", _LIST),
    ("value", "a, b >> c", ",", "a comma outside brackets", _LIST),
    ("value", "x -> x, x >> y", ",", "a comma outside brackets", _SEVERAL),
    ("value", "x -> x, y", ",", "a comma outside brackets", _SEVERAL),
    ("value", "x -> x, f(y)", ",", "a comma outside brackets", _SEVERAL),
    (
        "value",
        "foo f = 3 return f",
        "foo",
        "'foo' begins no line of a stream",
        "a line is `name = ...`, `shared name = ...` (built once) or `let name = ...` (a recipe)",
    ),
    (
        "value",
        "shared f(q) = a return f",
        "q",
        "a shared module takes no parameters",
        "`let f(a) = ...` is a recipe with parameters; each use of it builds anew",
    ),
    ("value", "let _ = 3 return id", "_", "`let _` declares nothing", "give it a name, or drop the line"),
    ("value", "let f(q, q) = 3 return f", "q", "the parameter 'q' stands twice", "give each parameter a name of its own"),
    ("value", "shared f", "f", "the line `shared f` has no '='", "write `shared f = ...`"),
    ("value", "let f(a=3) return id", "f", "the line `let f` has no '='", "write `let f = ...`"),
    ("value", "norm conv(c)", "conv", "an operator is missing before 'conv'", "`>>` applies, `,` separates arguments"),
    ("value", "res(norm token)", "token", "an operator is missing before 'token'", "`>>` applies, `,` separates arguments"),
    (
        "value",
        "res((y = dw))",
        "(",
        "the stream in these parentheses has no `return`",
        "its last words say what comes out: `(y = dw(3) return y * y)`; equal is `==`",
    ),
    (
        "value",
        "(a = b)",
        "(",
        "the stream in these parentheses has no `return`",
        "its last words say what comes out: `(y = dw(3) return y * y)`; equal is `==`",
    ),
    ("value", "(a, b)", ",", "unexpected ','", "a list is written `[a, b]`"),
    (
        "value",
        "(a, b -> a, b)",
        ",",
        "a comma outside brackets",
        "several outputs are a list, `(x -> [a, b])`, or lines with `return a, b`",
    ),
    ("value", "(*ts)", "*", "`*` stands before a list only inside a call or a list", "write `f(*x)` or `[*x, y]`"),
    ("value", "f(x=*ts)", "*", "`*` stands before a list only inside a call or a list", "write `f(*x)` or `[*x, y]`"),
    ("value", "a if b", "if", "this `if` has no `else`", _ELSE),
    ("value", "f(a if b, c)", "if", "this `if` has no `else`", _ELSE),
    ("value", "[a if b]", "if", "this `if` has no `else`", _ELSE),
    ("value", "f(a, [b]", "(", "this '(' is never closed", "close it, after what belongs to it"),
    ("value", "[f(a)", "[", "this '[' is never closed", "close it, after what belongs to it"),
    ("header", "ffn(r=4", "(", "this '(' is never closed", "close it, after what belongs to it"),
    ("value", "y = f(x)", ")", "the stream has no `return`", "its last line says what comes out: `return x`"),
    ("value", "x -> y = x >> f", "f", "the stream has no `return`", "its last line says what comes out: `return x`"),
    (
        "value",
        "return x return x",
        "return",
        "a stream has one `return`, its last line",
        "several outputs are written `return a, b`",
    ),
    ("value", "a >>", ">>", "the expression ends after '>>'", _FOLLOWS),
    ("value", "a >>  # and?", ">>", "the expression ends after '>>'", _FOLLOWS),
    ("value", "x ->", "->", "the expression ends after '->'", _FOLLOWS),
    ("value", "y = x return", "return", "the expression ends after 'return'", _FOLLOWS),
    ("value", "1.", ".", "the expression ends after '.'", _FOLLOWS),
    ("edit", "token =", "=", "the expression ends after '='", _FOLLOWS),
    # keys and targets
    ("header", "my-norm", "-", "unexpected '-'", _KEY),
    ("header", "3x", "3", "unexpected '3'", _KEY),
    ("header", "if", "if", "unexpected 'if'", _KEY),
    ("header", "stages[0].x", "[", "unexpected '['", _KEY),
    ("target", "a = b", "=", "unexpected '='", _KEY),
    ("edit", "a.b.c = d", ".", "unexpected '.'", _TARGET),
    ("edit", "token == x", "==", "unexpected '=='", _TARGET),
    ("header", "ffn()", ")", "unexpected ')'", _PARAMETER),
    ("header", "ffn(4)", "4", "unexpected '4'", _PARAMETER),
    ("edit", "ffn(a, 4) = x", "4", "unexpected '4'", _PARAMETER),
    ("header", "ffn(a, a)", "a", "the parameter 'a' stands twice", "give each parameter a name of its own"),
    ("header", "ffn(a=1, b)", "b", "the parameter 'b' has no default and follows one that has", _FIRST),
    ("target", "blocks[1].token", "blocks", "'blocks' has no slots of its own", _ONE_STAGE),
    # brackets, commas, colons
    ("value", "a >> b)", ")", "unexpected ')'", "no bracket is open here: remove it"),
    ("value", "f(a, [b)", ")", "')' does not close '['", "close each bracket with its own kind"),
    ("value", "(a, b)", ",", "unexpected ','", _LIST),
    ("value", "f(a), b", ",", "unexpected ','", _LIST),
    ("value", "f(a: b)", ":", "unexpected ':'", _SLICE),
    ("value", "shared: f = a return f", ":", "unexpected ':'", "a stream's line has no colon: `shared f = ...`"),
    (
        "value",
        "shared f, g = a return f",
        ",",
        "a line declares one name",
        "write `shared f = ...`, the next on a line of its own",
    ),
    ("value", "x[1:2:3]", ":", "unexpected ':'", _SLICE),
    ("value", "f(,)", ",", "nothing stands between '(' and ','", _MISSING),
    ("value", "f(a,, b)", ",", "nothing stands between ',' and ','", _MISSING),
    ("value", "()", ")", "nothing stands between '(' and ')'", _MISSING),
    ("value", "x[]", "]", "nothing stands between '[' and ']'", _MISSING),
    ("value", "f()", "()", "empty call brackets", "write `f` without them"),
    ("value", "layer_norm(\n)", "(\n)", "empty call brackets", "write `layer_norm` without them"),
    ("value", "f(a=1, 2)", "2", "a positional argument stands after a keyword argument", "put it first, or name it"),
    ("value", "f(a=1, a=2)", "a=2", "argument 'a' is given twice", "remove one of them"),
    # operators and words
    ("value", "a >> b || c", "||", "`>>` and `||` do not mix without parentheses", _MIX),
    ("value", "f(x, a || (b) >> c)", ">>", "`>>` and `||` do not mix without parentheses", _MIX),
    ("value", "y = a\ny >> f", ">>", "unexpected '>>'", _LINE),
    ("value", "y = a\ny.c", ".", "unexpected '.'", _LINE),
    ("value", "a if b = c else d", "=", "'=' cannot stand here", _EQUAL),
    ("value", "f(a) = b", "=", "'=' cannot stand here", _EQUAL),
    ("value", "return a, b = c", "=", "'=' cannot stand here", _OUTPUTS),
    (
        "value",
        "f(x -> y)",
        "->",
        "a stream cannot begin here",
        "inside an expression it stands in parentheses: `(x -> x * x)`, `each((x -> x * x))`",
    ),
    ("value", "a and b", "and", "'and' stands only in a test", _LOGIC),
    ("value", "not a", "not", "'not' stands only in a test", _LOGIC),
    ("value", "a for b in c", "for", "'for' stands only in a list", "write `[f(i) for i in range(n)]`"),
    ("value", "a else b", "else", "this `else` has no `if`", "write `a if test else b`"),
    ("value", "in >> a", "in", "'in' cannot stand here", _WORD),
    ("value", "x.return", "return", "'return' cannot stand here", _WORD),
    ("value", "a > b", ">", "'>' stands only in a test", "a sequence is written `a >> b`"),
    ("value", "a == b", "==", "'==' stands only in a test", _TEST),
    ("value", "a if x < y < z else b", "<", "two comparisons in one", "join them: `x < y and y < z`"),
    ("value", ".5", ".", "unexpected '.'", _POINT),
    ("value", "x.5", "5", "unexpected '5'", _POINT),
    ("value", "3x", "x", "an operator is missing before 'x'", _OPERATOR),
    ("value", "f(a b)", "b", "an operator is missing before 'b'", _OPERATOR),
    ("value", 'a "b"', '"b"', 'an operator is missing before "b"', _OPERATOR),
    ("value", "+ a", "+", "unexpected '+'", "an expression begins with a name, a number or a bracket"),
    ("value", "a >> >> b", ">>", "nothing stands between '>>' and '>>'", _MISSING),
    (
        "value",
        "f(**a)",
        "**",
        "`**` spreads no list: it is a power",
        "`f(*x)` spreads the list x; arguments by name are written out",
    ),
    ("value", "[a for x]", "]", "unexpected ']'", "what stands before it is not complete"),
    # what the grammar lets pass
    ("value", "x, x -> y", "x", "the name 'x' stands twice", "give each value a name of its own"),
    ("value", "return a = x, a = y", "a = y", "the output 'a' stands twice", "give each output a name of its own"),
    ("value", "9" * 400, "9" * 400, "this number is too large", "at most about 1e308"),
    ("value", "-" * 100 + "x", "x", f"an expression nested more than {MAX_DEPTH} deep", "name its parts in `let`"),
]
PARSERS = {"value": parse_value, "header": parse_header, "target": parse_target, "edit": parse_edit}


def problems(what: str, text: str) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        PARSERS[what](whole(f"key: {text}\n", "file.yaml").part(5, 5 + len(text)))
    return caught.value.problems


@pytest.mark.parametrize(("what", "text", "marked", "message", "hint"), MISTAKES, ids=[f"{m[0]}-{m[1][:30]}" for m in MISTAKES])
def test_mistakes(what: str, text: str, marked: str, message: str, hint: str):
    [problem] = problems(what, text)
    assert problem.message == message
    assert problem.hint == hint
    assert problem.span is not None
    assert (problem.span.content if marked else "") == marked
    assert problem.span.start - 5 == text.rindex(marked) if marked.strip() else problem.span.start == 5


def test_every_message_is_read():
    """Each rule, and each message that the builder adds, has spoken above."""
    said = [mistake[3] for mistake in MISTAKES]
    for module in (mistakes, build):
        source = Path(module.__file__).read_text(encoding="utf-8")
        messages = re.findall(r'(?:_Mistake\(|_wrong\(|message = |_once\(names, )\s*f?"([^"]+)"', source)
        assert len(messages) > 5
        for words in messages:
            pattern = re.sub(r"\\{.*?\\}", ".+", re.escape(words))
            assert any(re.fullmatch(pattern, message) for message in said), words
    for message, _ in mistakes._CHARACTERS.values():
        assert message in said


def test_all_of_them_at_once():
    found = problems("value", "f() >> g(a=1, a=2, 3)")
    assert [problem.message for problem in found] == [
        "empty call brackets",
        "argument 'a' is given twice",
        "a positional argument stands after a keyword argument",
    ]


@pytest.mark.parametrize(
    "text", ["(" * 50_000, "[" * 50_000 + "]" * 50_000, "-" * 50_000 + "x", "f(" * 20_000 + "x" + ")" * 20_000]
)
def test_hostile_nesting_gives_a_message(text: str):
    with pytest.raises(SpecError):
        expression(text)


def test_parentheses_cost_no_depth():
    assert expression("(" * 500 + "x" + ")" * 500) == e.Name("x")
