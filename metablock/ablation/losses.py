"""Losses on soft targets, each a mean over the batch. Written out, so that the normaliser is explicit."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .recipe import Recipe


def soft_targets(y: Tensor, classes: int, smoothing: float) -> Tensor:
    """Labels ``(b,)`` as distributions ``(b, classes)``: ``1 - s`` on the class, and ``s / classes`` on all of them."""
    return F.one_hot(y, classes).float() * (1 - smoothing) + smoothing / classes


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """``-sum t log softmax(x)``, a mean over the batch; float32 whatever the logits are."""
    return -(targets * F.log_softmax(logits.float(), dim=-1)).sum(-1).mean()


def bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of each class, a mean over batch and classes."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets)


def focal(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """The sigmoid form of RetinaNet (arXiv 1708.02002, eq. 5), a mean over batch and classes; ``alpha`` -1: no weights."""
    x = logits.float()
    p = x.sigmoid()
    each = F.binary_cross_entropy_with_logits(x, targets, reduction="none")
    weight = (1 - (p * targets + (1 - p) * (1 - targets))) ** gamma
    if alpha >= 0:
        weight = weight * (alpha * targets + (1 - alpha) * (1 - targets))
    return (weight * each).mean()


def loss(recipe: Recipe, logits: Tensor, targets: Tensor) -> Tensor:
    """The recipe's loss of logits ``(b, classes)`` and soft targets of the same shape."""
    if recipe.loss == "focal":
        return focal(logits, targets, recipe.focal_alpha, recipe.focal_gamma)
    return bce(logits, targets) if recipe.loss == "bce" else cross_entropy(logits, targets)


def distillation(recipe: Recipe, logits: Tensor, teacher: Tensor) -> Tensor:
    """The teacher's part (DeiT, arXiv 2012.12877, sec. 4): hard, cross entropy with its class; soft, the divergence at a
    temperature, which the official code divides by batch and classes."""
    if recipe.distill == "hard":
        return F.cross_entropy(logits.float(), teacher.argmax(-1))
    t = recipe.distill_temperature
    ours, theirs = F.log_softmax(logits.float() / t, -1), F.log_softmax(teacher.float() / t, -1)
    return F.kl_div(ours, theirs, reduction="sum", log_target=True) * t * t / logits.numel()
