"""Losses on soft targets. Each says what it averages over."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .recipe import Recipe


def soft_targets(y: Tensor, classes: int, smoothing: float) -> Tensor:
    """Labels ``(b,)``, int64, as distributions ``(b, classes)`` in float32: ``1 - s`` on the class plus ``s / classes`` on all.

    >>> import torch
    >>> soft_targets(torch.tensor([1]), classes=4, smoothing=0.2).tolist()[0]
    [0.05000000074505806, 0.8500000238418579, 0.05000000074505806, 0.05000000074505806]
    """
    return F.one_hot(y, classes).float() * (1 - smoothing) + smoothing / classes


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """``-sum t log softmax(x)`` over the classes, averaged over the batch; in float32 for logits of any type."""
    return -(targets * F.log_softmax(logits.float(), dim=-1)).sum(-1).mean()


def bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of each class, averaged over batch and classes; in float32."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets)


def focal(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """RetinaNet's focal loss (arXiv 1708.02002, eq. 5) with a sigmoid per class, averaged over batch and classes.

    ``alpha`` weighs the true class, ``1 - alpha`` the others; a negative one leaves the weights out.
    """
    x = logits.float()
    p = x.sigmoid()
    each = F.binary_cross_entropy_with_logits(x, targets, reduction="none")
    weight = (1 - (p * targets + (1 - p) * (1 - targets))) ** gamma
    if alpha >= 0:
        weight = weight * (alpha * targets + (1 - alpha) * (1 - targets))
    return (weight * each).mean()


def loss(recipe: Recipe, logits: Tensor, targets: Tensor) -> Tensor:
    """The recipe's loss, a scalar in float32, of logits ``(b, classes)`` and soft targets of the same shape."""
    if recipe.loss == "focal":
        return focal(logits, targets, recipe.focal_alpha, recipe.focal_gamma)
    return bce(logits, targets) if recipe.loss == "bce" else cross_entropy(logits, targets)


def distillation(recipe: Recipe, logits: Tensor, teacher: Tensor) -> Tensor:
    """The teacher's part of the loss (DeiT, arXiv 2012.12877, sec. 4), of student's and teacher's logits ``(b, classes)``.

    Hard: cross entropy with the teacher's class. Soft: Kullback-Leibler divergence at a temperature, divided by batch and
    classes as in the official code.
    """
    if recipe.distill == "hard":
        return F.cross_entropy(logits.float(), teacher.argmax(-1))
    t = recipe.distill_temperature
    ours, theirs = F.log_softmax(logits.float() / t, -1), F.log_softmax(teacher.float() / t, -1)
    return F.kl_div(ours, theirs, reduction="sum", log_target=True) * t * t / logits.numel()
