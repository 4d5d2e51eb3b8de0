"""The printer is the parser's exact inverse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from language.trees import headers, targets, values

from metablock.language import ast as e
from metablock.language.load import load_bindings, load_file
from metablock.language.parser import expression, parse_edit, parse_header, parse_target, whole
from metablock.language.printer import number, show
from metablock.language.resources import architectures, resource
from metablock.language.spec import Binding, EditSet, Spec

SKETCHES = Path(__file__).parent / "sketches"
FILES = {**architectures(), **{f"sketch of {path.stem}": path for path in sorted(SKETCHES.glob("*.yaml"))}}


@given(values)
def test_any_tree(tree: e.Node):
    text = show(tree)
    assert repr(expression(text)) == repr(tree)  # 1 == 1.0, but their texts differ
    assert show(expression(text)) == text


@given(headers())
def test_any_header(header: e.Header):
    assert parse_header(whole(show(header), "<key>")) == header


@settings(max_examples=50)
@given(targets, values)
def test_any_edit(target: e.Header | e.StageTarget, value: e.Node):
    assert parse_target(whole(show(target), "<key>")) == target
    assert parse_edit(whole(f"{show(target)} = {show(value)}", "--edit")) == (target, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (7, "7"), (1.0, "1.0"), (0.1, "0.1"), (1e-5, "1e-5"), (1e16, "1e16"), (2.5e-7, "2.5e-7"), (1e22, "1e22"),
        (1.4142135623730951, "1.4142135623730951"), (5e-324, "5e-324"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str):
    assert number(value) == text


def test_no_expression():
    with pytest.raises(TypeError, match="Assign is no expression"):
        show(e.Assign(("x",), e.Name("y")))


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_every_expression_of_a_file(path: Path):
    count = 0
    for node in every(load_file(path)):
        if isinstance(node, e.Splice):
            continue  # only the brackets of an expression hold it
        assert repr(expression(show(node))) == repr(node)
        count += 1
    assert count > 10


def test_every_standard_binding():
    for node in of_bindings(load_bindings(resource("standard.yaml"), "standard.yaml").values()):
        assert repr(expression(show(node))) == repr(node)


def every(spec: Spec) -> Iterator[e.Node]:
    """All expressions of a spec."""
    yield from (*spec.inputs.values(), *spec.sections.values(), *spec.init.values())
    for table in (spec.let, spec.shared, spec.columns, spec.stage_shared):
        yield from of_bindings(table.values())
    for edits in (*spec.traits.values(), *spec.variants.values()):
        yield from of_edits(edits)


def of_bindings(bindings: Iterator[Binding]) -> Iterator[e.Node]:
    for binding in bindings:
        assert parse_header(whole(show(binding.header), "<key>")) == binding.header
        # YAML's lists hold what an expression's cannot: streams.
        yield from binding.body.items if isinstance(binding.body, e.List) else [binding.body]


def of_edits(edits: EditSet) -> Iterator[e.Node]:
    yield from edits.init.values()
    for edit in edits.edits:
        assert parse_target(whole(show(edit.target), "<key>")) == edit.target
        if isinstance(edit.value, e.Node):
            yield from edit.value.items if isinstance(edit.value, e.List) else [edit.value]
        else:
            yield from of_bindings(edit.value.values())
