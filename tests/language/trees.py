"""Random expressions: every kind of node wherever the grammar lets it stand."""

from __future__ import annotations

from hypothesis import strategies as st

from metablock.language import ast as e

LANGUAGE = {"if", "else", "for", "in", "and", "or", "not", "return"}

names = st.one_of(
    st.sampled_from(["x", "c", "dim", "norm", "stages", "none"]),
    st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,4}\Z").filter(lambda name: name not in LANGUAGE),
)
numbers = st.one_of(
    st.integers(0, 10**18),
    st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    st.sampled_from([1e-5, 1e16, 0.1, 5e-324, 1.7976931348623157e308]),
).map(lambda value: e.Number(abs(value)))  # -0.0 has no text
# What YAML would take for its own, too.
words = st.one_of(
    st.sampled_from(["", "same", "a: b", "# c", "it's", "[x]", " -", "a, b"]),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters='"'), max_size=8),
)
atoms = st.one_of(names.map(e.Name), numbers, words.map(e.String))


distinct = st.lists(names, min_size=1, max_size=3, unique=True).map(tuple)


def tuples(part: st.SearchStrategy, least: int = 0, most: int = 3) -> st.SearchStrategy:
    return st.lists(part, min_size=least, max_size=most).map(tuple)


@st.composite
def calls(draw: st.DrawFn, part: st.SearchStrategy) -> e.Call:
    positional = [e.Argument(None, value) for value in draw(st.lists(part | part.map(e.Splice), max_size=2))]
    keywords = draw(st.lists(names, min_size=0 if positional else 1, max_size=2, unique=True))
    return e.Call(draw(part), tuple(positional + [e.Argument(name, draw(part)) for name in keywords]))


def streams(part: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(blocks(part), st.builds(e.Function, distinct, part | blocks(part)))


@st.composite
def blocks(draw: st.DrawFn, part: st.SearchStrategy) -> e.StreamBody:
    outputs = draw(tuples(part, 1))
    named = draw(st.booleans())
    labels = draw(st.lists(names, min_size=len(outputs), max_size=len(outputs), unique=True)) if named else ()
    return e.StreamBody(draw(tuples(lines(part))), outputs, tuple(labels))


@st.composite
def lines(draw: st.DrawFn, part: st.SearchStrategy) -> e.Assign:
    word = draw(st.sampled_from(["", "", "shared", "let"]))
    if not word:
        return e.Assign(draw(distinct), draw(part))
    params = draw(parameters(part)) if word == "let" else ()
    return e.Assign((draw(names.filter(lambda name: name != "_")),), draw(part), word, params)


@st.composite
def parameters(draw: st.DrawFn, part: st.SearchStrategy) -> tuple[e.Parameter, ...]:
    params = draw(st.lists(names, max_size=3, unique=True))
    first = draw(st.integers(0, len(params)))
    return tuple(e.Parameter(name, draw(part) if i >= first else None) for i, name in enumerate(params))


def compounds(part: st.SearchStrategy) -> st.SearchStrategy:
    optional = st.none() | part
    return st.one_of(
        tuples(part | part.map(e.Splice)).map(e.List),
        st.builds(e.Comprehension, part, names, part, optional),
        calls(part),
        st.builds(e.Index, part, part | st.builds(e.Slice, optional, optional)),
        st.builds(e.Attribute, part, names),
        part.map(e.Negative),
        st.builds(e.Binary, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), part, part),
        st.builds(e.Compare, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), part, part),
        st.builds(e.Logic, st.sampled_from(["and", "or"]), part, part),
        part.map(e.Not),
        st.builds(e.Conditional, part, part, part),
        tuples(part, 2).map(e.Chain),
        tuples(part, 2).map(e.Concat),
        streams(part),
    )


expressions = st.recursive(atoms, compounds, max_leaves=12)
values = expressions | streams(expressions)


@st.composite
def headers(draw: st.DrawFn) -> e.Header:
    return e.Header(draw(names), draw(parameters(expressions)))


optional = st.none() | expressions
targets = st.one_of(headers(), st.builds(e.StageTarget, optional | st.builds(e.Slice, optional, optional), names))
