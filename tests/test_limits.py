"""Nothing is allocated for a spec that asks for too much."""

from __future__ import annotations

from pathlib import Path

import pytest

import metablock
from metablock.errors import MetablockError
from metablock.front import front
from metablock.language.budget import FILE, reading
from metablock.language.load import load_file, load_text
from metablock.report.check import problems_of


def build(body: str, input: str = "image(4, 8)", **options):
    return metablock.build(load_text(f"name: big\ninput: {input}\nstages:\n  depth: 1\n  body: depth * ({body})\n"), **options)


@pytest.mark.parametrize(
    ("body", "input", "message"),
    [
        ("1000000 * conv(c)", "image(4, 8)", "1000000 copies of a module"),
        ("conv(2000000)", "image(4, 8)", "a width of 2000000 channels"),
        ("conv(400000) >> conv(400000)", "image(4, 8)", "parameters; at most"),
        ("global_pool >> linear(400000) >> (shared f = linear(c) return f >> f)", "image(4, 8)", "parameters; at most"),
        ("conv(64)", "image(4, 70000)", "an input of map 4 x 70000x70000"),
        ("conv(64)", "image(4, 8192)", "elements for one input"),
        ("conv(4096, 31) >> conv(4096, 31)", "image(64, 400)", "multiply-accumulates; at most"),
        ("100 * (100 * (100 * conv(c)))", "image(4, 8)", "more than 10000 operators"),
        ("int(1e300 * 1e300) * conv(c)", "image(4, 8)", "too large for a number"),
        ("10 ** 99 * conv(c)", "image(4, 8)", "too large for a number"),
    ],
)
def test_caps(body: str, input: str, message: str) -> None:
    with pytest.raises(MetablockError, match=message):
        build(body, input, device="meta")


def test_doubling_bindings_end() -> None:
    """a + a, of b + b, of c + c ...: small in the file, 2 ** 40 operators in the network."""
    lets = "\n".join(f"  f{i}: f{i + 1} + f{i + 1}" for i in range(40))
    text = f"name: big\ninput: image(4, 8)\nlet:\n{lets}\n  f40: conv(c)\nhead: f0\nstages: {{body: id}}\n"
    with pytest.raises(MetablockError, match="more than 200,000 steps to read"):
        metablock.build(load_text(text), device="meta")


@pytest.mark.parametrize("first", ["3", "c", "grid[0]", "layers", "'[1, 2, 3][stage]'"])
def test_bindings_that_are_numbers_are_computed_once(first: str) -> None:
    """Forty doublings are forty additions, and each stage has the numbers of its own."""
    lets = f"  a0: {first}\n" + "".join(f"  a{i + 1}: a{i} + a{i}\n" for i in range(40))
    text = f"name: n\ninput: image(4, 8)\nlet:\n{lets}stages: {{depth: [1, 1], body: depth * conv(4 + a40 // 2**40)}}\n"
    with reading(5000):
        output = front(load_text(text)).ir.output
    assert output.feature.c == 4 + {"3": 3, "c": output.feature.c - 4, "grid[0]": 8, "layers": 2}.get(first, 2)


@pytest.mark.parametrize("path", [*sorted(Path("architectures").glob("*.yaml")), *sorted(Path("examples").glob("*.yaml"))])
def test_what_ships_is_far_below_the_budget(path: Path) -> None:
    """`check` has nothing to say of them, unused rules included, and that takes little."""
    with reading(FILE) as budget:
        assert not problems_of(load_file(path))
    assert budget.left > FILE // 3


def test_the_budget_does_not_depend_on_the_machine() -> None:
    def spent() -> int:
        with reading(FILE) as budget:
            front("resnet18")
        return budget.left

    assert spent() == spent()


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ("conv(8, 400001)", "conv(8, 400001)"),
        ("conv(8) >> unused(100000, 1000000)", "unused(100000, 1000000)"),
        ("200 * linear(16384)", "linear(16384)"),
    ],
)
def test_check_counts_weights(body: str, place: str) -> None:
    """Weights that no wide value shows; `check` says it with the place."""
    text = f"name: big\ninput: image(4, 8)\nstages:\n  depth: 1\n  body: depth * ({body})\n"
    (problem,) = problems_of(load_text(text))
    assert "parameters; at most 20,000,000,000" in problem.message
    assert problem.span is not None and place in problem.span.content


def test_large_lifts_them() -> None:
    model = build("conv(12000) >> conv(2)", "image(4, 8)", device="meta", large=True)
    assert sum(p.numel() for p in model.parameters()) == 12000 * 5 + 12001 * 2
