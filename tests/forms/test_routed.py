"""Regions that choose the regions they attend to, against attention with everything else masked out."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.backend.costs import macs
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
PLAIN = "q=id, k=id, v=id, proj=id"
CASES = [((12,), [4]), ((6, 4), [3, 2]), ((4, 4), [4, 4]), ((4, 6, 2), [2, 3, 1])]


def build(model: str, grid: tuple[int, ...] = (6, 4)) -> nn.Module:
    """A network of one expression."""
    size = ", ".join(map(str, (8, *grid)))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n")).eval()


def dense(x: Tensor, regions: list[int], top: int, scale: float) -> Tensor:
    """Token by token: which region it stands in, and which regions that one chose. ``(b, N, c)``."""
    grid = x.shape[2:]
    sizes = [g // n for g, n in zip(grid, regions, strict=True)]
    names = list(itertools.product(*map(range, regions)))
    places = itertools.product(*map(range, grid))
    own = torch.tensor([names.index(tuple(p // s for p, s in zip(place, sizes, strict=True))) for place in places])
    t = x.flatten(2).mT
    means = torch.stack([t[:, own == region].mean(1) for region in range(len(names))], 1)
    chosen = (means @ means.mT).argsort(-1, descending=True)[:, :, :top]
    seen = torch.stack([torch.isin(own, image[region]) for image in chosen for region in own]).view(len(x), 1, len(own), len(own))
    q = t.unflatten(-1, (2, -1)).transpose(1, 2)
    logits = (q @ q.mT * scale).masked_fill(~seen, -math.inf)
    return (logits.softmax(-1) @ q).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("top", [1, 2])
@pytest.mark.parametrize(("grid", "regions"), CASES)
def test_against_a_mask(grid: tuple[int, ...], regions: list[int], top: int) -> None:
    x = torch.randn(3, 8, *grid)
    model = build(f"attention(2, over=routed({top}, {regions}), scale=0.7, {PLAIN})", grid)
    torch.testing.assert_close(model(x).flatten(1, -2), dense(x, regions, top, 0.7))


def test_all_regions_are_attention() -> None:
    x = torch.randn(2, 8, 6, 4)
    routed, whole = build("attention(2, over=routed(4, 2), value=dw(3))"), build("attention(2, over=id, value=dw(3))")
    routed.load_state_dict(whole.state_dict())
    torch.testing.assert_close(routed(x), whole(x))


def test_the_choice_has_no_gradient() -> None:
    """Keys that nobody chose get none; neither does anybody for being chosen."""
    q, k, v = (torch.randn(1, 4, 8, requires_grad=True) for _ in range(3))
    attend = metablock.operators.attend_routed.AttendRouted(regions=[4], top=1, heads=2)
    attend(q, k, v).sum().backward()
    assert q.grad.abs().max() < 1e-12  # a region has one token here: its softmax is 1
    assert k.grad.abs().max() < 1e-12
    assert v.grad.sum() == pytest.approx(4 * 8)


def test_costs() -> None:
    """The product of regions with regions, and of each token with the chosen tokens."""
    model = build(f"attention(2, over=routed(2, [3, 2]), {PLAIN})").to("meta")
    assert macs(model, torch.empty(1, 8, 6, 4, device="meta"))[""] == 6 * 6 * 8 + 2 * 24 * (2 * 4) * 8


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("routed(1)", "`routed` is not where attention's keys come from", "attention(heads, over=routed(4))"),
        ("attention(2, over=routed(1, 4))", "4x4 regions do not divide a map of 6x4", "another number"),
        ("attention(2, over=routed(1, [2, 2, 2]))", "[2, 2, 2] regions on 2 axes", "one an axis"),
        ("attention(2, over=routed(5, 2))", "the best 5 of 4 regions", "from 1 to 4"),
        ("attention(2, over=routed(0, 2))", "the best 0 of 4 regions", "from 1 to 4"),
        ("attention(2, over=routed(1, 2) >> linear(c))", "`routed` is not the last of its chain", "project what it sees"),
        ("attention(2, over=[routed(1, 2), id])", "`routed` keys in a union", "they stand alone"),
        ("attention(2, over=[routed(1, 2), near(3)])", "two neighbourhoods in one attention", "choose one"),
        ("attention(2, over=routed(1, 2), pos=relative_bias)", "`pos=` of `routed` keys", "leave out `pos=`"),
        ("attention(2, over=routed(1, 2), mask=linear(1))", "`mask=` of `routed` keys", "leave out `mask=`"),
        ("y, a = x >> attention(2, over=routed(1, 2), row=0); return y, a", "`row=` of `routed` keys", "leave out `row=`"),
        ("attention(2, over=routed(1, 2), extra=conv(18))", "`extra=` are weights of neighbours", "over=near(3)"),
        ("class_token >> attention(2, over=patches >> routed(1, 2))", "`routed` needs queries, keys and values on one", "prefix"),
        ("window(2, attention(2, over=routed(1, 2)), shift=1)", "`routed` keys in a shifted window", "shift by 0"),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    text = f"|\n  x ->\n  {model.replace('; ', chr(10) + '  ')}" if model.startswith("y") else model
    with pytest.raises(metablock.MetablockError) as caught:
        build(text)
    lines = str(caught.value).splitlines()
    assert message in lines[0]
    assert hint in lines[-1]
