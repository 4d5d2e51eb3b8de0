"""How long a study takes, from a few steps of its base."""

from __future__ import annotations

import statistics
import time

import torch

from ..api import assemble
from ..front import front
from ..language.spec import Spec
from .data import Data
from .losses import loss, soft_targets
from .recipe import Recipe
from .training import logits_of, optimizer_of

_STEPS = 5


def seconds_per_step(spec: Spec, data: Data, recipe: Recipe, device: str) -> float:
    """The median of a few steps on one batch, the first of which does not count. Augmentation is not in it."""
    model = assemble(*front(spec, large=True), device=device).train()
    optimizer = optimizer_of(model, recipe)
    x, y = data.train.get(range(min(recipe.batch, len(data.train))))
    x, targets = x.to(device), soft_targets(y, data.classes, recipe.smoothing).to(device)
    times = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        value = torch.stack([loss(recipe, logits, targets) for logits in logits_of(model(x))]).mean()
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if x.device.type != "cpu":
            torch.accelerator.synchronize(x.device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
