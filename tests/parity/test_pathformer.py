"""Pathformer: what its page says beyond the recorded answer. (No library has it.)"""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from cases import SPECS, small
from torch.utils._pytree import tree_leaves

import metablock
from metablock.api import example
from metablock.backend.costs import macs

pytestmark = pytest.mark.usefixtures("float64")
# Multiply-accumulates of the official code for a batch of two, whose samples had chosen some patch sizes.
MEASURED = {
    "etth1_96": 18_991_680,
    "etth1_720": 16_292_256,
    "etth2_720": 268_275_008,
    "ettm1_96": 52_366_784,
    "ettm2_96": 183_694_400,
    "weather_96": 113_668_416,
    "electricity_96": 6_015_901_824,
    "traffic_96": 29_246_324_480,
}


@pytest.mark.parametrize("variant", MEASURED)
def test_counts_of_a_choice(variant: str) -> None:
    """Twice what all samples have, the two samples' experts, and once what no sample changes: for some choice, to the digit."""
    model = metablock.build(SPECS["pathformer"], variant=variant, device="meta")
    counted = macs(model, *[x.to("meta") for x in example(model)])
    top = next(part.top for part in model.modules() if hasattr(part, "top"))
    each = [[counted[f"stages.{i}.blocks.0.paths.experts.{e}"] * 4 // top for e in range(4)] for i in range(3)]
    same = sum(counted[f"stages.{i}.blocks.0.bases.base.{e}"] for i in range(3) for e in range(4))
    rest = counted[""] - same - sum(sum(experts) * top // 4 for experts in each)
    totals = {same + 2 * rest}
    for experts in each:
        choices = {sum(chosen) for chosen in combinations(experts, top)}
        totals = {total + a + b for total in totals for a in choices for b in choices}
    assert MEASURED[variant] in totals


def test_a_sample_does_not_depend_on_the_others() -> None:
    model = small("pathformer", "etth1_96", dtype=torch.float64).eval()
    x = torch.randn(3, 96, 3)
    whole, alone = tree_leaves(model(x)), [tree_leaves(model(x[i : i + 1])) for i in range(3)]
    for ours, theirs in zip(whole, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(ours, torch.cat(theirs))


def test_a_forecast_moves_with_its_series() -> None:
    """Mean and deviation of each variable leave at the entry and come back at the end."""
    model = small("pathformer", "etth1_96", dtype=torch.float64).eval()
    x = 100 * torch.randn(2, 96, 3)  # beside which the epsilon of the deviation is nothing
    shift, factor = torch.tensor([5.0, -3.0, 0.0]), torch.tensor([2.0, 0.5, 1.0])
    torch.testing.assert_close(model(factor * x + shift)["forecast"], factor * model(x)["forecast"] + shift, rtol=1e-6, atol=1e-6)


def test_the_season_is_the_strongest_frequencies() -> None:
    """Of a signal of four frequencies, a constant and the highest frequency, the three strongest of the four come back."""
    season = metablock.build(
        SPECS["pathformer"], edits=["N = 2", "stem = spread(N) >> grid(L, N) >> season", "model = stem"], dtype=torch.float64
    )
    t = torch.arange(96.0)
    waves = [
        a * torch.cos(2 * torch.pi * f * t / 96 + p) for f, a, p in ((3, 2.0, 0.5), (7, 1.0, 2.0), (20, 1.5, 0.1), (30, 0.5, 1.0))
    ]
    first, second = sum(waves) + 4 + 3 * (-1) ** t, waves[3]
    y = season(torch.stack([first, second], -1)[None])
    torch.testing.assert_close(y[0, ..., 0], torch.stack([waves[0] + waves[1] + waves[2], second], -1))
