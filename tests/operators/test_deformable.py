"""The core of deformable attention against its definition, one number at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaves import build, feature, inputs, shape
from metablock.errors import SpecError
from oracles import randomised_state

NAME = "attend_deformable.AttendDeformable"
pytestmark = pytest.mark.usefixtures("float64")


def read(v: Tensor, y: float, x: float) -> Tensor:
    """What lies between the pixels of one map, ``(h, w, e)``: bilinear, 0 outside."""
    result = torch.zeros(v.shape[-1])
    top, left = math.floor(y), math.floor(x)
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < v.shape[0] and 0 <= j < v.shape[1]:
                result += (1 - abs(y - i)) * (1 - abs(x - j)) * v[i, j]
    return result


def defined(module: Any, x: Tensor, *values: Tensor) -> Tensor:
    """Eq. 3 of Deformable DETR for queries that stand on a grid."""
    b, h, w, _ = x.shape
    heads, levels, points = module.heads, module.levels, module.points
    offsets = module.offsets(x).view(b, h, w, heads, levels, points, 2)
    logits = module.weights(x).view(b, h, w, heads, levels * points)
    e = values[0].shape[-1] // heads
    result = torch.zeros(b, h, w, heads * e)
    for n in range(b):
        for i in range(h):
            for j in range(w):
                for m in range(heads):
                    share = logits[n, i, j, m].softmax(0)
                    for level, v in enumerate(values):
                        part, rows, columns = v[n, :, :, m * e : (m + 1) * e], *v.shape[1:3]
                        for p in range(points):
                            dx, dy = offsets[n, i, j, m, level, p].tolist()
                            # Fractions of the map; pixel k reaches from k to k + 1 and has its value in the middle.
                            column = ((j + 0.5) / w + dx / columns) * columns - 0.5
                            row = ((i + 0.5) / h + dy / rows) * rows - 0.5
                            result[n, i, j, m * e : (m + 1) * e] += share[level * points + p] * read(part, row, column)
    return result


@pytest.mark.parametrize(
    ("grids", "heads", "points"), [([(4, 3)], 2, 4), ([(6, 2), (3, 5), (1, 2)], 3, 2), ([(2, 2), (5, 4)], 1, 1)]
)
def test_as_defined(grids: list[tuple[int, int]], heads: int, points: int) -> None:
    x, values = feature("grid", 6, 3, 4), [feature("grid", 12, *grid) for grid in grids]
    module = build(NAME, x, heads=heads, points=points, levels=len(grids))
    assert shape(NAME, x, *values, heads=heads) == x.with_(c=12)
    randomised_state(module)
    nn.init.normal_(module.offsets.weight, std=0.6)  # some leave the map
    query, *given = inputs(x, *values)
    assert module.offsets(query).abs().max() > 3
    with torch.no_grad():
        torch.testing.assert_close(module(query, *given), defined(module, query, *given), rtol=1e-10, atol=1e-10)


def test_it_starts_in_directions() -> None:
    """Head m looks at 2 pi m / heads, point p at p + 1 pixels along the longer axis, at all levels alike; weights are equal."""
    module = build(NAME, feature("grid", 6, 2, 2), heads=8, points=3, levels=2)
    bias = module.offsets.bias.view(8, 2, 3, 2)
    s = torch.tensor([[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]], dtype=torch.float64)
    for level in range(2):
        for point in range(3):
            torch.testing.assert_close(bias[:, level, point], s * (point + 1), rtol=0, atol=1e-5)
    others = [module.offsets.weight, module.weights.weight, module.weights.bias]
    assert not any(parameter.any() for parameter in others)


def test_gradients() -> None:
    """By finite differences: of queries, values and weights."""
    x, *values = inputs(feature("grid", 4, 2, 3), feature("grid", 4, 3, 4), feature("grid", 4, 2, 2), batch=1)
    module = build(NAME, feature("grid", 4, 2, 3), heads=2, points=2, levels=2)
    randomised_state(module)
    parameters = dict(module.named_parameters())

    def run(x: Tensor, first: Tensor, second: Tensor, *rest: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(parameters, rest, strict=True)), (x, first, second))

    arguments = [t.detach().requires_grad_() for t in (x, *values, *parameters.values())]
    assert torch.autograd.gradcheck(run, arguments, fast_mode=True)


def test_places_are_exact_in_low_precision() -> None:
    """On a map of 64 bfloat16 is a quarter pixel wrong: places are float32, what is read has that precision."""
    x, v = feature("grid", 4, 1, 64), feature("grid", 4, 1, 64)
    module = build(NAME, x, heads=1, points=1).bfloat16()
    nn.init.constant_(module.offsets.bias, 0)
    query, value = (t.bfloat16() for t in inputs(x, v, batch=1))
    found = module(query, value)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, value)


def test_any_offset_is_survived() -> None:
    x = feature("grid", 4, 2, 3)
    module = build(NAME, x, heads=2)
    nn.init.constant_(module.offsets.bias, 1e30)
    assert not module(*inputs(x, x)).any()


def test_what_does_not_fit() -> None:
    with pytest.raises(SpecError, match="works in 2 dimensions, not in 1"):
        shape(NAME, feature("grid", 4, 5), feature("grid", 4, 5), heads=2)
    with pytest.raises(SpecError, match="works in 2 dimensions, not in 3"):
        shape(NAME, feature("grid", 4, 5, 5), feature("grid", 4, 2, 2, 2), heads=2)
    with pytest.raises(SpecError, match="3 heads do not divide 4 channels"):
        shape(NAME, feature("grid", 4, 5, 5), feature("grid", 4, 2, 2), heads=3)
