"""Estimates how long a study takes, from a few steps of its base."""

from __future__ import annotations

import torch
from torch import Tensor

from ..api import assemble
from ..backend.block import Block
from ..backend.objective import losses
from ..front import front
from ..language.spec import Spec
from .data import Data
from .losses import loss, soft_targets
from .optimizer import optimizer_of
from .recipe import Recipe
from .timing import median_seconds
from .training import logits_of


def seconds_per_step(spec: Spec, data: Data, recipe: Recipe, device: str) -> float:
    """The duration of a training step in seconds, without augmentation: the median of four steps on one batch.

    Args:
        spec: resolved, with the data's input and classes.
        data: gives the batch.
        recipe: says how large the batch is, which loss and which optimiser are used.
        device: ``cpu``, ``cuda``, ``mps``.

    >>> from metablock.ablation.data import load_data
    >>> from metablock.ablation.recipe import recipe
    >>> from metablock.front import parse_input, resolved
    >>> spec = resolved("poolformer_s12", edits=["depth = 1", "dim = [8, 8, 8, 8]"], classes=10, input="1x32x32")
    >>> seconds_per_step(spec, load_data("digits", parse_input("1x32x32")), recipe(batch=8), "cpu") > 0
    True
    """
    model = assemble(*front(spec, large=True), device=device).train()
    optimizer = optimizer_of(model, recipe)
    x, y = data.train.get(range(min(recipe.batch, len(data.train))))
    x, targets = x.to(device), soft_targets(y, data.classes, recipe.smoothing).to(device)

    def step() -> None:
        if model.ir.objective is not None:
            terms = losses(model, *_inputs(model, x), label=y.to(device), target=targets)
            torch.stack(list(terms.values())).sum().backward()
        else:
            torch.stack([loss(recipe, logits, targets) for logits in logits_of(model(x))]).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return median_seconds(step, x.device, repeats=4, warmup=1)


def _inputs(model: Block, x: Tensor) -> list[Tensor]:
    """What a network is given for a batch: it as every view, numbers without meaning for what is drawn or a teacher's."""
    sources = model.ir.sources
    if not sources:
        return [x]
    wide = [feature.size(len(x)) for feature in model.inputs]
    return [x if source.kind == "view" else torch.rand(size).to(x) for source, size in zip(sources, wide, strict=True)]
