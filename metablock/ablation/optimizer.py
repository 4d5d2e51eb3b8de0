"""The optimiser of a recipe and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..backend.block import Block
from ..backend.layers import layers
from ..backend.roles import decayed
from ..errors import MetablockError
from .recipe import Recipe


def optimizer_of(model: Block, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser that a recipe names, for the trainable parameters of a network.

    Parameters are grouped by weight decay (matrices and kernels have it; norms, biases, scales, tables and tokens do not, see
    :func:`metablock.roles`) and by the factor on the learning rate, which falls with the distance from the head in layers
    (``layer_decay``, see :func:`metablock.backend.layers.layers`). A group's ``factor`` holds it.

    Raises:
        MetablockError: nothing in the network is trained.

    >>> import metablock
    >>> optimizer = optimizer_of(metablock.build("resnet18", input="3x32x32"), Recipe(weight_decay=0.1))
    >>> [(group["weight_decay"], len(group["params"])) for group in optimizer.param_groups]
    [(0.1, 21), (0.0, 41)]
    """
    numbers, matrices = layers(model), decayed(model)
    last = max(numbers.values(), default=0)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = recipe.weight_decay if name in matrices else 0.0, recipe.layer_decay ** (last - numbers[name])
            groups.setdefault(key, []).append(parameter)
    options = [{"params": params, "weight_decay": decay, "factor": factor} for (decay, factor), params in groups.items()]
    if not options:
        raise MetablockError("the network has no parameter that is trained", "take a part out of `frozen(...)`")
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(options, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    return torch.optim.AdamW(options, lr=recipe.lr, betas=(recipe.momentum, recipe.beta2))


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of one step: a linear warm-up, then the recipe's schedule.

    Args:
        recipe: gives peak, warm-up and schedule.
        step: counted from 0 over the whole training.
        steps: per epoch.

    >>> chosen = Recipe(lr=1.0, epochs=4, warmup=1, schedule="cosine")
    >>> [round(learning_rate(chosen, step, steps=2), 3) for step in range(8)]
    [0.5, 1.0, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]
    """
    peak = recipe.lr * (recipe.batch / recipe.lr_batch if recipe.lr_batch else 1)
    warm, total = recipe.warmup * steps, recipe.epochs * steps
    if step < warm:
        rate = peak * (step + 1) / warm if warm >= 1 else peak
    elif recipe.schedule == "cosine":
        rate = recipe.min_lr + (peak - recipe.min_lr) * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
    else:
        rate = peak
    return min(rate, peak)
