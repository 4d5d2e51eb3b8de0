"""A small network with a table of positions, a relative bias and foreign names, for tests of weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import metablock
from metablock.backend.block import Block
from metablock.language.load import load_text

NET = """
name: net
input: image(3, 32)
classes: 5
stem: conv(8, 4, stride=4) >> position
stages:
  body: res(attention(2, pos=relative_bias))
head: global_pool >> linear(classes)
weights:
  theirs:
    stem.*: first.*
    stages.0.blocks.0.*: block.*
    head.linear.*: fc.*
"""


def net(**arguments: Any) -> Block:
    return metablock.build(load_text(NET), **arguments)


def plain(model: nn.Module) -> dict[str, Tensor]:
    """The tensors without what a state dict says beside them."""
    return dict(model.state_dict())


def equal(model: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
