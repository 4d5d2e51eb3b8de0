"""Every composite operator has a docstring with a summary, its arguments and an example."""

from __future__ import annotations

import doctest
import inspect
import re

import pytest

from metablock.errors import MetablockError, SpecError
from metablock.language.registry import OPERATORS
from metablock.lowering.example import shape_of

COMPOSITE = sorted(
    name for name, operator in OPERATORS.items() if not operator.leaf and operator.module.startswith("metablock.forms.")
)


def test_composite_operators_are_the_functions_of_their_files():
    assert len(COMPOSITE) >= 37
    assert "attention" in COMPOSITE and "conv" not in COMPOSITE


@pytest.mark.parametrize("name", COMPOSITE)
def test_a_composite_operator_has_an_example(name: str):
    operator = OPERATORS[name]
    examples = doctest.DocTestParser().get_examples(operator.schema.doc)
    assert any(re.search(rf"\b{name}\b", example.source) for example in examples)
    assert operator.schema.doc == inspect.getdoc(operator.load())


@pytest.mark.parametrize("name", COMPOSITE)
def test_a_docstring_begins_with_a_summary_of_one_line(name: str):
    summary, blank, *_ = OPERATORS[name].schema.doc.splitlines()
    assert summary.endswith(".") and not blank and ">>>" not in summary
    assert ":func:" not in summary  # `metablock list --operators` prints it as it is


@pytest.mark.parametrize("name", COMPOSITE)
def test_a_docstring_describes_every_argument(name: str):
    schema = OPERATORS[name].schema
    described = {word for line in schema.doc.splitlines() if ": " in line for word in line.strip().partition(":")[0].split(", ")}
    names = [*schema.names(), *([schema.variadic] if schema.variadic else [])]
    in_summary = [argument for argument in names if f"``{argument}``" in schema.doc.splitlines()[0]]
    assert set(names) <= described | set(in_summary)


# shape_of


@pytest.mark.parametrize(
    ("expression", "input", "shape"),
    [
        ("id", "64x14x14", "map 64 x 14x14"),
        ("id", "map 64 x 14x14", "map 64 x 14x14"),
        ("id", "tokens 14x14 x 64", "tokens 14x14 x 64"),
        ("conv(8, 3, stride=2)", "tokens 14x14 x 64", "map 8 x 7x7"),
        ("id", "tokens 2 + 49 x 8", "tokens 2 + 49 x 8"),
        ("linear(3)", "vector of 8", "vector of 3"),
        ("conv(4, 3)", "1x8x8x8", "map 4 x 8x8x8"),
        ("conv(4, 3)", "12x500", "map 4 x 500"),
        ("[id, [global_pool]]", "8x4x4", "[map 8 x 4x4, [vector of 8]]"),
        ("x -> return a = x, b = x >> conv(4)", "8x4x4", "a: map 8 x 4x4, b: map 4 x 4x4"),
        ("windows(2) >> windows(1)", "8x4x4", "tokens 1x1 x 8 in 16 windows"),
    ],
)
def test_shape_of(expression: str, input: str, shape: str):
    assert shape_of(expression, input) == shape


def test_what_shape_of_refuses():
    with pytest.raises(MetablockError, match="'64 by 14' is not a shape\n  write `64x14x14`"):
        shape_of("id", "64 by 14")
    with pytest.raises(SpecError, match=r"<example>:4:3: unknown operator or name 'atention'"):
        shape_of("atention(4)")
