"""Deformable attention as the language writes it: from one map or several, to one or several."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.backend.costs import macs
from metablock.errors import SpecError
from metablock.language.load import load_text
from oracles import randomised_state

pytestmark = pytest.mark.usefixtures("float64")

LISTS = """
name: tiny
input: image(6, 16, 8)
model: |
  x ->
  s = [x >> avg_pool(2, stride=2), x >> avg_pool(4, stride=4)]
  y = x >> deformable(3, over=s, ratio=0.5, points=2)
  z = s >> deformable(2, over=y)
  return [y, *z]
"""


def build(model: str, size: str = "image(6, 8, 4)") -> nn.Module:
    return metablock.build(load_text(f"name: tiny\ninput: {size}\nmodel: {model}\n"))


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items() if name.endswith("weight")}


def test_projections_are_shared_by_maps_and_by_queries() -> None:
    model = metablock.build(load_text(LISTS)).eval()
    assert shapes(model) == {
        "y.v.weight": (3, 6),
        "y.attend.offsets.weight": (3 * 2 * 2 * 2, 6),  # heads, levels, points, axes
        "y.attend.weights.weight": (3 * 2 * 2, 6),
        "y.proj.weight": (6, 3),
        "z.v.weight": (6, 6),
        "z.attend.offsets.weight": (2 * 1 * 4 * 2, 6),
        "z.attend.weights.weight": (2 * 1 * 4, 6),
        "z.proj.weight": (6, 6),
    }
    randomised_state(model)
    x = torch.randn(2, 6, 16, 8)
    answers = model(x)
    assert [tuple(y.shape) for y in answers] == [(2, 16, 8, 6), (2, 8, 4, 6), (2, 4, 2, 6)]

    pools = [nn.functional.avg_pool2d(x, k).movedim(1, -1) for k in (2, 4)]
    y = model.y.proj(model.y.attend(x.movedim(1, -1), *(model.y.v(s) for s in pools)))
    torch.testing.assert_close(answers[0], y)
    for s, z in zip(pools, answers[1:], strict=True):
        torch.testing.assert_close(model.z.proj(model.z.attend(s, model.z.v(y))), z)


def test_values_are_projected_once() -> None:
    model = metablock.build(load_text(LISTS), device="meta")
    read, s = 128, 32 + 8
    image = torch.empty(1, 6, 16, 8, device="meta")
    counted = macs(model, image)
    assert counted["y"] == s * 6 * 3 + read * 6 * (24 + 12) + read * 3 * 6  # sampling is not counted
    assert counted["z"] == read * 6 * 6 + s * 6 * (16 + 8) + s * 6 * 6


def test_a_map_reads_itself_by_default() -> None:
    model = build("deformable(2) >> id").eval()
    randomised_state(model)
    x = torch.randn(2, 6, 8, 4)
    inner, last = model.deformable, x.movedim(1, -1)
    torch.testing.assert_close(model(x), inner.proj(inner.attend(last, inner.v(last))))


def test_projections_of_one_s_own() -> None:
    model = build("deformable(2, v=id, proj=conv(4)) >> id")
    assert shapes(model).keys() == {f"deformable.{n}.weight" for n in ("attend.offsets", "attend.weights", "proj")}
    assert model(torch.randn(2, 6, 8, 4)).shape == (2, 4, 8, 4)


def test_inside_windows_outer_maps_are_repeated() -> None:
    model = build("|\n  x ->\n  return x >> window(4, deformable(2, over=x >> avg_pool(2, stride=2)))").eval()
    randomised_state(model)
    x = torch.randn(2, 6, 8, 4)
    names = [name for name, module in model.named_modules() if name.endswith("attend")]
    assert len(names) == 1
    inner = model.get_submodule(names[0].rpartition(".")[0])
    values = inner.v(nn.functional.avg_pool2d(x, 2).movedim(1, -1))
    halves = [inner.proj(inner.attend(half.movedim(1, -1), values)) for half in x.chunk(2, 2)]
    torch.testing.assert_close(model(x), torch.cat(halves, 1))


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("deformable(4) >> id", "4 heads do not divide 6 channels of the values", "`ratio=`"),
        ("deformable(2, ratio=0.1) >> id", "2 heads do not divide 0 channels", "another number"),
        ("deformable(4, v=linear(6), ratio=2.0) >> id", "4 heads do not divide 6 channels", "another number"),
        ("deformable(0) >> id", "`heads=` of deformable attention is 0", "at least 1"),
        ("deformable(2, points=0) >> id", "`points=` of deformable attention is 0", "at least 1"),
        ("deformable(2, over=id >> none) >> id", "`over=` gives no values", "leave it out"),
        ("deformable(2, over=[id, conv(4)]) >> id", "the values are 6 and 4 wide", "one width"),
        ("id >> [id, conv(4)] >> deformable(2)", "the queries are 6 and 4 wide", "one width"),
        ("deformable(2, over=global_pool) >> id", "a grid of tokens is needed here", "`global_pool` at line 3 dropped the grid"),
        ("x -> [x, x] >> deformable(2, at=x) >> (a, b -> a)", "`at=` is of one set of queries", "its own grid"),
        ("x -> x >> deformable(2, at=x >> pw(3))", "the places of tokens 8x4 x 6 are tokens 8x4 x 3", "for each query"),
        ("x -> x >> deformable(2, mask=x)", "the masks of tokens 8x4 x 6 are", "one channel"),
        ("x -> x >> deformable(2, mask=[x >> pw(1), x >> pw(1)])", "the masks of tokens 8x4 x 6 are", "one channel"),
        (
            "x -> y = x >> avg_pool(2, stride=2) return y >> deformable(2, over=x, mask=x >> pw(1))",
            "queries on other grids than the masks",
            "`at=`",
        ),
        ("class_token >> deformable(2)", "1 prefix token\\(s\\) have no place", "patches"),
    ],
)
def test_what_does_not_fit_is_said_at_its_place(model: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError, match=rf"<spec>:3:\d+: {message}(.|\n)*{hint}"):
        build(model)


def total(values: tuple[Tensor, ...]) -> Tensor:
    return sum((y.square().mean() for y in values), torch.zeros(()))


def test_it_trains() -> None:
    model = metablock.build(load_text(LISTS)).train()
    randomised_state(model)
    total(model(torch.randn(2, 6, 16, 8))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def alike(model: nn.Module, other: nn.Module) -> None:
    """Gives both the same random weights."""
    state = randomised_state(model)
    other.load_state_dict(state)


def test_places_that_are_given() -> None:
    own = build("deformable(2) >> linear(6)").eval()
    at = build('x -> x >> deformable(2, at=x >> coordinates("centers", reverse=true)) >> linear(6)').eval()
    # Boxes of 2 points / extent: parts of a box are then the pixels of the map.
    boxes = build(
        'x -> at = (x >> coordinates("centers", reverse=true)) || ((ones(1, 1) >> times(2)) || ones(1, 1)) '
        "return x >> deformable(2, at=at) >> linear(6)"
    ).eval()
    alike(own, at), alike(own, boxes)
    x = torch.randn(2, 6, 8, 4)
    torch.testing.assert_close(at(x), own(x))
    torch.testing.assert_close(boxes(x), own(x))
    rows = build("x -> q = x >> tokens return q >> deformable(2, over=x, at=q >> linear(2) >> sigmoid)").eval()
    assert rows(x).shape == (2, 32, 6)


def test_padding_changes_nothing_inside_the_picture() -> None:
    text = "name: tiny\ninput: image(6, 8, 4{})\nmodel: |\n  x ->\n  return x >> pw(6) >> deformable(2{})\n"
    padded = metablock.build(load_text(text.format(", padded=true", ", mask=x.valid"))).eval()
    plain = metablock.build(load_text(text.format("", ""))).eval()
    alike(plain, padded)
    x = torch.randn(2, 6, 10, 7)
    valid = torch.zeros(2, 1, 10, 7)
    valid[:, :, :8, :4] = 1
    torch.testing.assert_close(padded(x, valid)[:, :8, :4], plain(x[:, :, :8, :4]))
    torch.testing.assert_close(padded(x), plain(x))
