"""Losses: numbers that a training minimises. Each says what it divides by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.losses import (
    AverageLossRule,
    BinaryCrossEntropyRule,
    CentreRule,
    CrossEntropyRule,
    DistillationLossRule,
    FocalLossRule,
    InfoNceRule,
)


def _number(value: Tensor) -> Tensor:
    return value.reshape(1, 1)


def _examples(x: Tensor) -> int:
    return x.shape[0]


class CrossEntropy(CrossEntropyRule, nn.Module):
    """``-sum_k q_k log softmax(x)_k`` of each position, in float32 at least; then a sum, divided by what ``over`` says.

    ``forward(x, target, [where])``: ``x (b, ..., K)``, channels last; ``target (b, ...)`` ids in int64, or distributions
    ``(b, ..., K)``; ``where (b, ..., 1)`` is 0 at positions that do not count. Returns ``(1, 1)``.

    Args:
        over: ``"tokens"``: the positions that are not ignored, by their weights; ``"all"``: all positions; ``"batch"``: the
            examples; ``"sum"``: nothing.
        smoothing: ``s``: a target ``q`` becomes ``(1 - s) q + s u``.
        spread: ``u`` is ``1 / K`` on ``"all"`` classes, or ``1 / (K - 1)`` on the ``"others"``.
        ignore: an id of positions without a target.
        weight: a weight a class; with distributions each term ``q_k`` has its weight, and the divisor has none.
        hard: distributions, or a teacher's logits, stand for the class of their largest entry.
        temperature: logits are divided by it.

    Example:
        >>> x = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> CrossEntropy(over="sum")(x, torch.tensor([0, 1])).round(decimals=4)
        tensor([[0.8201]])
    """

    def __init__(
        self,
        *,
        over: str,
        smoothing: float = 0.0,
        spread: str = "all",
        ignore: int | None = None,
        weight: list[float] | None = None,
        hard: bool = False,
        temperature: float = 1.0,
    ):
        super().__init__()
        self.over, self.smoothing, self.spread, self.ignore, self.hard = over, smoothing, spread, ignore, hard
        self.weight, self.temperature = weight, temperature

    def forward(self, x: Tensor, target: Tensor, where: Tensor | None = None) -> Tensor:
        classes = x.shape[-1]
        log = F.log_softmax(_single_or_double(x) / self.temperature, -1).reshape(-1, classes)
        batch = _examples(x)
        weight = None if self.weight is None else log.new_tensor(self.weight)
        mask = torch.ones_like(log[:, 0]) if where is None else where.reshape(-1).to(log.dtype)
        if target.dtype.is_floating_point and self.hard:
            target = target.argmax(-1)
        if target.dtype.is_floating_point:
            soft = self._smooth(_single_or_double(target).reshape(-1, classes))
            each, counted = -(soft * log * (1 if weight is None else weight)).sum(-1) * mask, mask.sum()
        else:
            target = target.reshape(-1)
            if self.ignore is not None:
                mask = mask * (target != self.ignore)
                target = target.masked_fill(target == self.ignore, 0)
            own = torch.ones_like(mask) if weight is None else weight[target]
            scaled = self._smooth(F.one_hot(target, classes).to(log.dtype)) * log
            if weight is not None:
                scaled = scaled * (weight if self.smoothing else own[:, None])
            each, counted = -scaled.sum(-1) * mask, (own * mask).sum()
        return _number(each.sum() / _divisor(self.over, counted, len(each), batch))

    def _smooth(self, target: Tensor) -> Tensor:
        if not self.smoothing:
            return target
        s, classes = self.smoothing, target.shape[-1]
        if self.spread == "others":
            return (1 - s) * target + s / (classes - 1) * (1 - target)
        return (1 - s) * target + s / classes


class BinaryCrossEntropy(BinaryCrossEntropyRule, nn.Module):
    """``-[p t log s(x) + (1 - t) log(1 - s(x))]`` of each entry, s the sigmoid; then a sum, divided by what ``over`` says.

    ``forward(x, target)``: ``x (b, ..., K)``, channels last; ``target`` ids ``(b, ...)`` or numbers ``(b, ..., K)`` in [0, 1].
    Returns ``(1, 1)``.

    Args:
        over: ``"all"``: all entries; ``"batch"``: the examples; ``"sum"``: nothing.
        smoothing: ids become ``1 - s + s / K`` on their class and ``s / K`` on the others, as in timm.
        pos_weight: p, the weight of the positive part: one number, or one a class.

    Example:
        >>> BinaryCrossEntropy(over="all")(torch.zeros(2, 3), torch.tensor([0, 2])).round(decimals=4)
        tensor([[0.6931]])
    """

    def __init__(self, *, over: str, smoothing: float = 0.0, pos_weight: list[float] | float | None = None):
        super().__init__()
        self.over, self.smoothing, self.pos_weight = over, smoothing, pos_weight

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        logits = _single_or_double(x)
        t = _multi_hot(target, logits, self.smoothing)
        positive = None if self.pos_weight is None else logits.new_tensor(self.pos_weight)
        total = F.binary_cross_entropy_with_logits(logits, t, pos_weight=positive, reduction="sum")
        return _number(total / _divisor(self.over, None, logits.numel(), _examples(x)))


class FocalLoss(FocalLossRule, nn.Module):
    """``alpha_t (1 - p_t)^gamma BCE(x, t)`` of each entry; then a sum, divided by what ``over`` says.

    RetinaNet, Lin et al. 2017, Eq. 5 (arXiv 1708.02002).

    ``forward(x, target)``: ``x (b, ..., K)``, channels last; ``target`` ids ``(b, ...)`` or numbers ``(b, ..., K)`` in [0, 1].
    Returns ``(1, 1)``.

    Args:
        over: ``"all"``: all entries; ``"positives"``: the entries with a positive target, at least one; ``"batch"``: the
            examples; ``"sum"``: nothing.
        alpha: weight of positive entries, ``1 - alpha`` that of the others; -1: no weights.
        gamma: how fast entries that are right lose their weight.

    Example:
        >>> FocalLoss(over="sum")(torch.zeros(1, 2), torch.tensor([0])).round(decimals=4)
        tensor([[0.1733]])
    """

    def __init__(self, *, over: str, alpha: float = 0.25, gamma: float = 2.0):
        super().__init__()
        self.over, self.alpha, self.gamma = over, alpha, gamma

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        logits = _single_or_double(x)
        t = _multi_hot(target, logits, 0.0)
        each = F.binary_cross_entropy_with_logits(logits, t, reduction="none")
        # 1 - p_t, by logarithms: a power of it has a gradient where the sigmoid is 0 or 1, too.
        wrong = torch.logaddexp(F.logsigmoid(logits) + (1 - t).log(), F.logsigmoid(-logits) + t.log())
        each = each * (self.gamma * wrong).exp()
        if self.alpha >= 0:
            each = each * (self.alpha * t + (1 - self.alpha) * (1 - t))
        positives = (t > 0).sum().clamp_min(1)
        return _number(each.sum() / _divisor(self.over, positives, each.numel(), _examples(x)))


class DistillationLoss(DistillationLossRule, nn.Module):
    """``T^2 KL(softmax(teacher / T) || softmax(x / T))``, summed, then divided by what ``over`` says.

    ``forward(x, teacher)``: logits ``(b, ..., K)``, channels last. Returns ``(1, 1)``. No gradient enters the teacher.

    Args:
        over: ``"all"``: all entries, as DeiT does; ``"batch"``: the examples; ``"sum"``: nothing.
        temperature: T.

    Knowledge distillation, Hinton et al. 2015 (arXiv 1503.02531).

    Example:
        >>> DistillationLoss(over="batch", temperature=1.0)(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]])).round(decimals=4)
        tensor([[0.3278]])
    """

    def __init__(self, *, over: str, temperature: float = 1.0):
        super().__init__()
        self.over, self.temperature = over, temperature

    def forward(self, x: Tensor, teacher: Tensor) -> Tensor:
        t = self.temperature
        ours, theirs = F.log_softmax(_single_or_double(x) / t, -1), F.log_softmax(_single_or_double(teacher.detach()) / t, -1)
        total = F.kl_div(ours, theirs, reduction="sum", log_target=True) * t * t
        return _number(total / _divisor(self.over, None, ours.numel(), _examples(x)))


class InfoNce(InfoNceRule, nn.Module):
    """``-log softmax_j(q_i k_j / T)_i``, the mean over the batch: the key of the same example is right, all others are wrong.

    ``forward(q, k)``: ``(b, d)`` both. Returns ``(1, 1)``. The keys are those of all processes; no gradient enters them.

    Args:
        temperature: T.

    Contrastive predictive coding, van den Oord et al. 2018, Eq. 4 (arXiv 1807.03748); with in-batch keys, MoCo v3, Chen et al.
    2021, Algorithm 1 (arXiv 2104.02057).

    Example:
        >>> InfoNce(temperature=1.0)(torch.eye(2), torch.eye(2)).round(decimals=4)
        tensor([[0.3133]])
    """

    def __init__(self, *, temperature: float = 1.0):
        super().__init__()
        self.temperature = temperature

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        k, first = rows_of_all(k.detach())
        with torch.autocast("cpu" if q.is_meta else q.device.type, enabled=False):
            logits = _single_or_double(q) @ _single_or_double(k).mT / self.temperature
        right = torch.arange(len(q), device=q.device) + first
        return _number(F.cross_entropy(logits, right))


class AverageLoss(AverageLossRule, nn.Module):
    """All entries of a value as one number: their sum, divided by what ``over`` says.

    ``forward(x, [weight])``: ``x (b, ..., c)``, channels last; a weight ``(b, ..., 1)`` of each position multiplies the mean over
    its channels. Returns ``(1, 1)``.

    Args:
        over: ``"all"``: all entries; ``"weight"``: the weights; ``"batch"``: the examples; ``"sum"``: nothing.

    Example:
        >>> AverageLoss(over="all")(torch.tensor([[1.0, 3.0]]))
        tensor([[2.]])
    """

    def __init__(self, *, over: str):
        super().__init__()
        self.over = over

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        if weight is None:
            return _number(x.sum() / _divisor(self.over, None, x.numel(), _examples(x)))
        each = x.mean(-1, keepdim=True) * weight
        return _number(each.sum() / _divisor(self.over, weight.sum(), each.numel(), _examples(x)))


class Centre(CentreRule, nn.Module):
    """``x`` minus a running mean of earlier batches, which training moves: ``m * mean + (1 - m) * batch mean`` of all processes.

    Shape ``(b, c) -> (b, c)``. No gradient passes.

    Args:
        momentum: m.

    DINO, Caron et al. 2021, Eq. 4 (arXiv 2104.14294).

    Example:
        >>> centre = Centre(2, momentum=0.5)
        >>> centre(torch.ones(1, 2)), centre(torch.ones(1, 2))
        (tensor([[1., 1.]]), tensor([[0.5000, 0.5000]]))
    """

    mean: Tensor

    def __init__(self, c: int, *, momentum: float = 0.9):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.empty(c))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.mean.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach()
        result = x - self.mean.to(x.dtype)
        if self.training:
            every, _ = rows_of_all(x)
            with torch.no_grad():
                self.mean.lerp_(every.mean(0).to(self.mean.dtype), 1 - self.momentum)
        return result


def rows_of_all(x: Tensor) -> tuple[Tensor, int]:
    """The rows of all processes, and the number of rows of earlier ones; in one process, what enters and 0."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x, 0
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts), dist.get_rank() * len(x)


def _single_or_double(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _multi_hot(target: Tensor, logits: Tensor, smoothing: float) -> Tensor:
    if target.dtype.is_floating_point:
        return target.to(logits.dtype)
    return F.one_hot(target, logits.shape[-1]).to(logits.dtype) * (1 - smoothing) + smoothing / logits.shape[-1]


def _divisor(over: str, counted: Tensor | None, entries: int, batch: int) -> Tensor | float:
    """What a sum is divided by; ``counted`` is the divisor of the words that count something."""
    if over == "all":
        return entries
    if over == "batch":
        return batch
    if over == "sum":
        return 1.0
    assert counted is not None
    return counted


__all__ = [
    "AverageLoss",
    "BinaryCrossEntropy",
    "Centre",
    "CrossEntropy",
    "DistillationLoss",
    "FocalLoss",
    "InfoNce",
    "rows_of_all",
]
