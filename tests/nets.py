"""Small networks of tests: one with a table of positions, a relative bias and foreign names; those of one expression."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import metablock
from metablock.backend.block import Block
from metablock.language.load import load_text
from oracles import randomised_state

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

# A plain ViT, small, with the parts that methods take.
SMALL_VIT = """
name: small_vit
input: image(3, 32)
classes: 5
let:
  embed: conv(48, 8, stride=8)
  norm: layer_norm(1e-6)
stem: embed >> class_token >> position
stages: {depth: 2, body: depth * (res(norm >> attention(3)) >> res(norm >> mlp(4)))}
head: norm >> take(0) >> linear(classes)
"""


def net(**arguments: Any) -> Block:
    return metablock.build(load_text(NET), **arguments)


def plain(model: nn.Module) -> dict[str, Tensor]:
    """The tensors without what a state dict says beside them."""
    return dict(model.state_dict())


def equal(model: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


INPUTS = {1: "signal", 2: "image", 3: "volume"}


def expression_net(model: str, grid: tuple[int, ...], c: int = 8) -> nn.Module:
    """A network of one expression, with random weights, in evaluation mode."""
    size = ", ".join(map(str, (c, *grid)))
    network = metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n"))
    randomised_state(network)
    return network.eval()


def part(model: nn.Module, name: str) -> nn.Module:
    """The first module of this name inside a network."""
    return next(module for path, module in model.named_modules() if f".{path}".endswith(f".{name}"))


def heads_apart(x: Tensor, heads: int = 2) -> Tensor:
    """``(b, ..., h * d) -> (b, h, N, d)``."""
    return x.flatten(1, -2).unflatten(-1, (heads, -1)).transpose(1, 2)
