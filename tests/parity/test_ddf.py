"""Decoupled dynamic filters against plain arithmetic on windows, as the paper defines them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from oracles import randomised_state

SMALL = ["depth = [1, 2, 1, 1]", "dim = [20, 16, 16, 16]"]


def filter_norm(f: Tensor) -> Tensor:
    """Over the last axis."""
    return (f - f.mean(-1, keepdim=True)) / (f.std(-1, keepdim=True) + 1e-10)


def filtered(mix: nn.Module, x: Tensor, stride: int, add: bool) -> Tensor:
    """The 9 neighbours of each place times both filters."""
    c = x.shape[1]
    place = filter_norm(mix.place.conv(x).movedim(1, -1)) * math.sqrt(2) / 3  # b, h, w, 9
    pooled = mix.chan.linear2(mix.chan.linear1(x.mean((2, 3))).relu())
    chan = filter_norm(pooled.unflatten(1, (c, 9))) * mix.chan.scale.weight.view(c, 9)
    place, chan = place.movedim(-1, 1)[:, None], chan[..., None, None]
    windows = F.unfold(x, 3, padding=1, stride=stride).unflatten(1, (c, 9)).unflatten(3, place.shape[3:])
    return (windows * (chan + place if add else chan * place)).sum(2)


@pytest.mark.parametrize("variant", ["ddf_mul_resnet50", "ddf_add_resnet50"])
def test_filters(variant: str) -> None:
    model = metablock.build("ddf", variant=variant, input="3x64x96", edits=SMALL, dtype=torch.float64).eval()
    model.load_state_dict(randomised_state(model))
    for stage, stride in ((0, 1), (1, 2)):
        mix = model.stages[stage].blocks[0].mix
        c = mix.place.conv.in_channels
        x = torch.randn(2, c, 12, 8, dtype=torch.float64)
        mix.check_sizes = False
        torch.testing.assert_close(mix(x).movedim(-1, 1), filtered(mix, x, stride, "add" in variant))


def test_initial_weights() -> None:
    model = metablock.build("ddf", input="3x64x64", edits=["depth = [1, 1, 1, 1]"])
    mix, block = model.stages[3].blocks[0].mix, model.stages[3].blocks[0]
    deviations = {
        mix.chan.scale.weight: math.sqrt(2) / 3,
        mix.chan.linear2.weight: math.sqrt(2 / 4608),
        mix.place.conv.weight: math.sqrt(2 / 9),
        block.reduce.conv.weight: math.sqrt(2 / 512),
    }
    for weight, deviation in deviations.items():
        assert weight.std().item() == pytest.approx(deviation, rel=0.05)
    assert block.expand.bn.weight.abs().max() == 0
    assert mix.chan.linear2.bias.abs().max() > 0  # torch's
