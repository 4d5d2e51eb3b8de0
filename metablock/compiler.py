"""Compilation by region: one graph for each distinct block, however often it is repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .module import Block


def regions(module: nn.Module) -> Iterator[Block]:
    """The parts that are compiled as units: stem, downsampling, blocks, ends, head; outermost only."""
    if isinstance(module, Block) and module.region:
        yield module
        return
    for child in module.children():
        yield from regions(child)


def distinct(model: nn.Module) -> int:
    """How many different regions a model has: the graphs that it needs for one mode."""
    return len({type(region) for region in regions(model)})


def compile(model: nn.Module, *, fullgraph: bool = True, dynamic: bool = False, **options: Any) -> nn.Module:
    """Compiles a built model in place and returns it.

    Each distinct region becomes one graph that all its copies run, with their own weights. What joins the regions stays
    eager. The model remains
    an ordinary module: it can be copied and saved (copies are eager until compiled again), trained, hooked.

    Args:
        model: from :func:`metablock.build`.
        fullgraph: a graph break is an error.
        dynamic: whether sizes are symbols in the graphs; by default another batch size makes further graphs.
        options: further arguments of ``torch.compile`` (``mode``, ``backend``, ``options``).
    """
    compiled: dict[type[Block], Callable[..., Any]] = {}
    for region in regions(model):
        cls = type(region)
        if cls not in compiled:
            compiled[cls] = torch.compile(cls.enter, fullgraph=fullgraph, dynamic=dynamic, **options)  # type: ignore[attr-defined]
        region._compiled_call_impl = partial(_enter, compiled[cls], region)
    return model


def _enter(function: Callable[..., Any], region: Block, *args: Any) -> Any:
    """Copies of a block see the same strides, whatever made their input, and so share one graph."""
    return function(region, *[_settled(a) for a in args])


def _settled(value: Any) -> Any:
    if isinstance(value, Tensor) and not value.is_contiguous():
        if value.dim() == 4:
            return value.contiguous(memory_format=torch.channels_last)
        if value.dim() == 5:
            return value.contiguous(memory_format=torch.channels_last_3d)
    return value
