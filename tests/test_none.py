"""`none`: what leads to an absent module is not there either."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from metablock.language.load import load_text

MADE = """
name: made
input: image(4, 6, 6)
let:
  token: {token}
  norm: layer_norm
  block: res(norm >> token) >> res(norm >> dw(3))
stages:
  depth: [2]
  body: depth * block
"""


def block(token: str) -> nn.Module:
    model = metablock.build(load_text(MADE.format(token=token)))
    assert model(torch.randn(2, 4, 6, 6)).shape == (2, 4, 6, 6)
    return model.stages[0].blocks[0]


@pytest.mark.parametrize(
    "token",
    [
        "none",
        "pw(8) >> none",
        "none >> pw(8)",
        "pw(4) * none",  # a gate without its other side
        "none * pw(4)",
        "2 * dw(3) >> none",
        "linear(8) >> (pw(4) >> none) >> relu",
        "res(pw(4), skip=none) >> none",
        "(pw(4) >> none) + (none >> pw(4))",
        "none || (linear(2) >> none)",
        "pw(4) if index > 5 else none",
    ],
)
def test_nothing_is_left_of_a_branch(token: str) -> None:
    """Neither its modules nor the layout it had converted what arrives to."""
    found = block(token)
    assert [name for name, _ in found.named_parameters()] == ["norm2.weight", "norm2.bias", "dw.weight", "dw.bias"]
    assert "norm1" not in found.source


@pytest.mark.parametrize("token", ["pw(4) + none", "none + pw(4)", "none || pw(4)", "pw(4) - (linear(4) >> none)"])
def test_a_sum_keeps_what_is_there(token: str) -> None:
    names = [name for name, _ in block(token).named_parameters() if not name.startswith(("norm", "dw"))]
    assert [name.split(".")[-1] for name in names] == ["weight", "bias"]
