"""Nothing is allocated for a spec that asks for too much."""

from __future__ import annotations

import pytest

import metablock
from metablock.errors import MetablockError
from metablock.language.load import load_text


def build(body: str, input: str = "image(4, 8)", **options):
    return metablock.build(load_text(f"name: big\ninput: {input}\nstages:\n  depth: 1\n  body: depth * ({body})\n"), **options)


@pytest.mark.parametrize(
    ("body", "input", "message"),
    [
        ("1000000 * conv(c)", "image(4, 8)", "1000000 copies of a module"),
        ("conv(2000000)", "image(4, 8)", "a width of 2000000 channels"),
        ("conv(400000) >> conv(400000)", "image(4, 8)", "parameters; at most"),
        ("conv(64)", "image(4, 70000)", "an input of map 4 x 70000x70000"),
        ("conv(64)", "image(4, 8192)", "elements for one input"),
        ("conv(4096, 31) >> conv(4096, 31)", "image(64, 400)", "multiply-accumulates; at most"),
        ("100 * (100 * (100 * conv(c)))", "image(4, 8)", "more than 20000 operators"),
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
    with pytest.raises(MetablockError, match="more than 20000 operators"):
        metablock.build(load_text(text), device="meta")


def test_large_lifts_them() -> None:
    model = build("conv(12000) >> conv(2)", "image(4, 8)", device="meta", large=True)
    assert sum(p.numel() for p in model.parameters()) == 12000 * 5 + 12001 * 2
