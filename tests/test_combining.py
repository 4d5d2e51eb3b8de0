"""``+``, ``-``, ``*`` and ``||`` of any two layouts: the shape that is declared is the shape that comes out."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

import metablock
from metablock.errors import SpecError
from metablock.language.load import load_text
from metablock.lowering.ir import Value

# By kind: an expression on the map `x`.
OPERANDS = {
    "map": "x >> conv(6, 3)",
    "grid": "x >> linear(6)",
    "tokens": "x >> linear(6) >> join(learned(1), id)",
    "vector": "x >> global_pool >> linear(6)",
    "one pixel": "x >> adaptive_avg_pool(1) >> conv(6, 1)",
    "one token": "x >> global_pool >> linear(6) >> learned(1, 6)",
    "one channel": "x >> conv(1, 1)",
    "a number": "x >> knob(0.5)",
}
PAIRS = list(product(OPERANDS, OPERANDS))


def network(a: str, b: str, op: str) -> metablock.backend.block.Block:
    both = f"{op}(a, b)" if op.isidentifier() else f"a {op} b"
    text = f"name: t\ninput: image(3, 4, 6)\nmodel: |\n  x ->\n  a = {OPERANDS[a]}\n  b = {OPERANDS[b]}\n  return a, b, {both}\n"
    return metablock.build(load_text(text)).eval()


def positions(x: Tensor, value: Value) -> Tensor:
    """Channels last, one row per position: ``(b, n, c)``."""
    if value.feature.layout == "map":
        return x.flatten(2).transpose(1, 2)
    return x.unsqueeze(1) if value.feature.layout == "vector" else x.reshape(x.shape[0], -1, x.shape[-1])


# Tokens with a prefix have no place on a map.
REFUSED = {frozenset({"tokens", other}) for other in ("map", "grid", "one channel")}
COMPUTED = {"+": torch.add, "-": torch.sub, "*": torch.mul, "maximum": torch.maximum, "minimum": torch.minimum}


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=[f"{a} and {b}" for a, b in PAIRS])
def test_declared_and_actual_shapes(a: str, b: str) -> None:
    for op in (*COMPUTED, "||"):
        if frozenset({a, b}) in REFUSED:
            with pytest.raises(SpecError):
                network(a, b, op)
            continue
        model, x = network(a, b, op), torch.randn(2, 3, 4, 6)
        with torch.no_grad():
            outputs = model(x)
        for value, output in zip(model.ir.output, outputs, strict=True):
            assert tuple(output.shape) == value.feature.size(2), (op, str(value.feature), tuple(output.shape))
        left, right, result = (positions(output, value) for value, output in zip(model.ir.output, outputs, strict=True))
        n = max(left.shape[1], right.shape[1])
        expected = torch.cat([left.expand(-1, n, -1), right.expand(-1, n, -1)], -1) if op == "||" else COMPUTED[op](left, right)
        torch.testing.assert_close(result, expected)


def test_a_vector_and_a_learned_token_are_a_vector() -> None:
    text = "name: t\ninput: image(3, 8)\nlet:\n  lab: id * learned(1, 1)\nmodel: global_pool >> lab >> linear(10)"
    model = metablock.build(load_text(text))
    assert str(model.ir.output.feature) == "vector of 10" and model(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_a_vector_spreads_at_any_size_and_is_traced() -> None:
    text = "name: t\ninput: image(3, 8)\nmodel: |\n  x ->\n  y = x >> global_pool\n  return x || y"
    model = metablock.build(load_text(text)).eval()
    x = torch.randn(2, 3, 5, 7)
    expected = torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)], 1)
    assert torch.equal(model(x), expected)
    assert torch.equal(torch.fx.symbolic_trace(model)(x), expected)


FUNCTIONS = {
    "id + 0.1": lambda x: x + 0.1,
    "0.1 + id": lambda x: x + 0.1,
    "0.3 - id": lambda x: 0.3 - x,
    "id - 0.3": lambda x: x - 0.3,
    "id / 0.3": lambda x: x / 0.3,
    "id ** 2": lambda x: x * x,
    "relu ** 2": lambda x: x.relu() * x.relu(),
    "-id ** 3": lambda x: -(x * x * x),
    "abs ** 0.5": lambda x: x.abs().sqrt(),
    "(2 + id ** 2) ** -1": lambda x: 1 / (2 + x * x),
    "1 - id * (id + 2)": lambda x: 1 - x * (x + 2),
    "exp >> sqrt": lambda x: x.exp().sqrt(),
    "sin + cos": lambda x: x.sin() + x.cos(),
    "clip(-0.1, 0.3)": lambda x: x.clamp(-0.1, 0.3),
    "maximum(id, sin, -0.1)": lambda x: torch.stack([x, x.sin(), torch.full_like(x, -0.1)]).amax(0),
    "minimum(0.7, id, none, 0.1)": lambda x: x.clamp(max=0.1),
}


@pytest.mark.parametrize("expression", FUNCTIONS)
def test_numbers_and_functions(expression: str) -> None:
    """Exact in float64, finite where they are defined in bfloat16, one graph; the shape stays."""
    text = f"name: t\ninput: image(3, 4, 6)\nmodel: {expression}\n"
    model = metablock.build(load_text(text), dtype=torch.float64).eval()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    assert not model.state_dict()
    torch.testing.assert_close(model(x), FUNCTIONS[expression](x), rtol=1e-14, atol=1e-14)
    half = model.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16 and half.isfinite().all()
    assert str(model.ir.output.feature) == "map 3 x 4x6"


def test_a_power_of_a_wire_and_of_a_vector() -> None:
    text = (
        "name: t\ninput: image(3, 4, 6)\nmodel: |\n  x ->\n  k = 0.1\n  y = x >> global_pool\n  return y ** 2 + k, x ** 2 * y\n"
    )
    x = torch.randn(2, 3, 4, 6)
    y = x.mean((2, 3))
    first, second = metablock.build(load_text(text))(x)
    torch.testing.assert_close(first, y * y + 0.1)
    torch.testing.assert_close(second, x * x * y[..., None, None])
