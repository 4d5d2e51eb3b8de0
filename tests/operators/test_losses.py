"""Losses: each against its formula, written out here or in torch, timm and torchvision: values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metablock.operators.losses import AverageLoss, BinaryCrossEntropy, CrossEntropy, DistillationLoss, FocalLoss, InfoNce
from oracles import relative_error, require

pytestmark = pytest.mark.usefixtures("float64")
B, N, K = 4, 6, 5
WEIGHT = [0.3, 1.0, 2.5, 0.7, 1.1]


def logits(*size: int) -> Tensor:
    return (3 * torch.randn(*(size or (B, K)))).requires_grad_()


def ids(*size: int) -> Tensor:
    return torch.randint(K, size or (B,))


def distributions(*size: int) -> Tensor:
    return torch.randn(*(size or (B, K))).softmax(-1)


def agree(loss: nn.Module, formula: Callable[[Tensor], Tensor], x: Tensor, *others: Tensor) -> None:
    """The loss of ``x`` has the value and the gradient of the formula."""
    value, wanted = loss(x, *others), formula(x)
    assert value.shape == (1, 1)
    assert relative_error(value.squeeze(), wanted) < 1e-12
    [ours], [theirs] = torch.autograd.grad(value.sum(), x), torch.autograd.grad(wanted, x)
    assert theirs.any()
    assert relative_error(ours, theirs) < 1e-10


# Cross entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("ignore", [None, 2, 255])
@pytest.mark.parametrize("size", [(B,), (B, N)], ids=str)
def test_cross_entropy_is_torch_s(
    size: tuple[int, ...], ignore: int | None, weight: list[float] | None, smoothing: float
) -> None:
    """Ignored positions count neither above nor below; the mean is one by the weights of the classes."""
    x, y = logits(*size, K), ids(*size)
    if ignore == 255:
        y.view(-1)[1::3] = 255
    options = {"label_smoothing": smoothing, "ignore_index": -100 if ignore is None else ignore}
    scale = None if weight is None else torch.tensor(weight)
    for over, reduction in (("tokens", "mean"), ("sum", "sum")):
        loss = CrossEntropy(over=over, smoothing=smoothing, ignore=ignore, weight=weight)
        agree(loss, lambda x, r=reduction: F.cross_entropy(x.reshape(-1, K), y.reshape(-1), scale, reduction=r, **options), x, y)


def test_weighted_and_smoothed_by_hand() -> None:
    """``[(1 - s) sum w_y nll + s / K sum_b sum_k w_k (-lp)] / sum_b w_y``."""
    x, y, w = logits(), ids(), torch.tensor(WEIGHT)

    def formula(x: Tensor) -> Tensor:
        log = x.log_softmax(-1)
        own = -(w[y] * log[range(B), y]).sum()
        return (0.8 * own - 0.2 / K * (w * log).sum()) / w[y].sum()

    agree(CrossEntropy(over="tokens", smoothing=0.2, weight=WEIGHT), formula, x, y)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_ignored_positions_stay_in_the_mean_over_all(weight: list[float] | None) -> None:
    """mmseg's mean: an ignored position is a zero among all positions."""
    x, y = logits(B, N, K), ids(B, N)
    y[:, ::2] = 255
    scale = torch.ones(K) if weight is None else torch.tensor(weight)

    def formula(x: Tensor) -> Tensor:
        log, total = x.log_softmax(-1), x.new_zeros(())
        for b in range(B):
            for n in range(N):
                if y[b, n] != 255:
                    total = total - scale[y[b, n]] * log[b, n, y[b, n]]
        return total / (B * N)

    agree(CrossEntropy(over="all", ignore=255, weight=weight), formula, x, y)
    agree(CrossEntropy(over="batch", ignore=255, weight=weight), lambda x: formula(x) * N, x, y)


def test_fairseq_s_smoothing_spreads_over_the_other_classes() -> None:
    """Summed over the tokens that are no padding; ``s' = s K / (K - 1)`` of torch's is the same."""
    x, y, eps = logits(B, N, K), ids(B, N), 0.1

    def formula(x: Tensor) -> Tensor:
        log, counts = x.log_softmax(-1).reshape(-1, K), y.reshape(-1) != 1
        nll = -log.gather(1, y.reshape(-1, 1))[counts].sum()
        smooth = -log.sum(-1)[counts].sum()
        each = eps / (K - 1)
        return (1 - eps - each) * nll + each * smooth

    agree(CrossEntropy(over="sum", smoothing=eps, spread="others", ignore=1), formula, x, y)
    torch_s = CrossEntropy(over="sum", smoothing=eps * K / (K - 1), ignore=1)
    agree(torch_s, formula, x, y)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_timm_s_cross_entropies(smoothing: float) -> None:
    timm = require("timm.loss")
    x, y, t = logits(), ids(), 1.5 * distributions()  # a mixture need not sum to 1
    agree(CrossEntropy(over="tokens", smoothing=smoothing), lambda x: timm.LabelSmoothingCrossEntropy(smoothing)(x, y), x, y)
    agree(CrossEntropy(over="batch"), lambda x: timm.SoftTargetCrossEntropy()(x, t), x, t)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_distributions(weight: list[float] | None, smoothing: float) -> None:
    """``-sum_k w_k q_k lp_k``, a plain mean over the examples."""
    x, t = logits(), distributions()
    scale = None if weight is None else torch.tensor(weight)
    for over in ("tokens", "all", "batch"):
        loss = CrossEntropy(over=over, weight=weight, smoothing=smoothing)
        agree(loss, lambda x: F.cross_entropy(x, t, scale, label_smoothing=smoothing), x, t)


def test_hard_targets_and_temperature() -> None:
    x, t = logits(), logits().detach()
    agree(CrossEntropy(over="batch", hard=True), lambda x: F.cross_entropy(x, t.argmax(-1)), x, t)
    loss = CrossEntropy(over="batch", temperature=0.1)
    agree(loss, lambda x: F.cross_entropy(x / 0.1, t.softmax(-1)), x, t.softmax(-1))


@pytest.mark.parametrize("soft", [False, True], ids=["ids", "distributions"])
def test_where(soft: bool) -> None:
    """Positions with 0 count neither above nor below."""
    x, where = logits(B, N, K), torch.zeros(B, N, 1)
    where[:, 1:4] = 1
    t = distributions(B, N, K) if soft else ids(B, N)
    counts = where.squeeze(-1).bool()
    agree(CrossEntropy(over="tokens"), lambda x: F.cross_entropy(x[counts], t[counts]), x, t, where)
    agree(CrossEntropy(over="all"), lambda x: F.cross_entropy(x[counts], t[counts]) / 2, x, t, where)
    if not soft:
        t[:, 2] = 3
        loss = CrossEntropy(over="tokens", ignore=3, weight=WEIGHT)
        agree(loss, lambda x: F.cross_entropy(x[counts], t[counts], torch.tensor(WEIGHT), ignore_index=3), x, t, where)


# Each class by itself


@pytest.mark.parametrize("positive", [None, 3.0, WEIGHT], ids=["plain", "number", "each"])
def test_binary_cross_entropy(positive: list[float] | float | None) -> None:
    """``-[p t log s + (1 - t) log(1 - s)]``; a mean divides by all entries."""
    x, t = logits(), torch.rand(B, K)
    p = torch.tensor(1.0 if positive is None else positive)

    def formula(x: Tensor) -> Tensor:
        s = x.sigmoid()
        return -(p * t * s.log() + (1 - t) * (1 - s).log()).sum()

    for over, divisor in (("sum", 1), ("batch", B), ("all", B * K)):
        loss = BinaryCrossEntropy(over=over, pos_weight=positive)
        agree(loss, lambda x, d=divisor: formula(x) / d, x, t)
    [grad] = torch.autograd.grad(BinaryCrossEntropy(over="all", pos_weight=positive)(x, t).sum(), x)
    weight = None if positive is None else p.expand(K)
    [theirs] = torch.autograd.grad(F.binary_cross_entropy_with_logits(x, t, pos_weight=weight), x)
    assert relative_error(grad, theirs) < 1e-12


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_timm_s_binary_cross_entropy(smoothing: float) -> None:
    timm = require("timm.loss")
    x, y, t = logits(), ids(), torch.rand(B, K)
    agree(BinaryCrossEntropy(over="all", smoothing=smoothing), lambda x: timm.BinaryCrossEntropy(smoothing)(x, y), x, y)
    summed = timm.BinaryCrossEntropy(smoothing, sum_classes=True)
    agree(BinaryCrossEntropy(over="batch", smoothing=smoothing), lambda x: summed(x, y), x, y)
    agree(BinaryCrossEntropy(over="all", smoothing=smoothing), lambda x: timm.BinaryCrossEntropy(smoothing)(x, t), x, t)


@pytest.mark.parametrize("gamma", [2.0, 1.5, 0.0])
@pytest.mark.parametrize("alpha", [0.25, 0.6, -1.0])
def test_focal_is_torchvision_s(alpha: float, gamma: float) -> None:
    focal_loss = require("torchvision.ops").sigmoid_focal_loss
    x, y, soft = logits(B, N, K), ids(B, N), torch.rand(B, N, K)
    hot = F.one_hot(y, K).to(x.dtype)
    for target, dense in ((y, hot), (soft, soft)):
        for over, divisor in (("sum", 1), ("batch", B), ("all", B * N * K)):
            loss = FocalLoss(over=over, alpha=alpha, gamma=gamma)
            agree(loss, lambda x, t=dense, d=divisor: focal_loss(x, t, alpha, gamma, "sum") / d, x, target)


def test_focal_over_the_positives() -> None:
    """RetinaNet's: the sum over all anchors by the number of those with a class, at least one."""
    x, t = logits(B, N, K), torch.zeros(B, N, K)
    t[0, 0, 1] = t[2, 3, 4] = t[3, 5, 0] = 1

    def formula(x: Tensor) -> Tensor:
        p = x.sigmoid()
        positive, negative = -0.25 * (1 - p) ** 2 * p.log(), -0.75 * p**2 * (1 - p).log()
        return torch.where(t == 1, positive, negative).sum()

    agree(FocalLoss(over="positives"), lambda x: formula(x) / 3, x, t)
    t.zero_()
    agree(FocalLoss(over="positives"), formula, x, t)


def test_focal_of_certain_logits_has_a_gradient() -> None:
    for gamma in (0.5, 1.0, 2.0):
        x = torch.tensor([[60.0, -60.0]], dtype=torch.float32, requires_grad=True)
        FocalLoss(over="sum", gamma=gamma)(x, torch.tensor([0])).sum().backward()
        assert x.grad is not None and x.grad.isfinite().all()


# Two networks


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_is_deit_s(temperature: float) -> None:
    """``sum p (log p - log q) T^2``, by all entries; none of the gradient enters the teacher."""
    x, teacher, t = logits(), logits(), temperature

    def formula(x: Tensor) -> Tensor:
        p = (teacher / t).softmax(-1).detach()
        return (p * (p.log() - (x / t).softmax(-1).log())).sum() * t * t

    for over, divisor in (("sum", 1), ("batch", B), ("all", B * K)):
        agree(DistillationLoss(over=over, temperature=t), lambda x, d=divisor: formula(x) / d, x, teacher)
    DistillationLoss(over="all", temperature=t)(x, teacher).sum().backward()
    assert teacher.grad is None


def test_info_nce() -> None:
    """``-log(exp(q_i k_i / T) / sum_j exp(q_i k_j / T))``, the mean over i; the keys get no gradient."""
    q, k = logits(), logits()

    def formula(q: Tensor) -> Tensor:
        total = q.new_zeros(())
        for i in range(B):
            row = [(q[i] * k[j].detach()).sum() / 0.2 for j in range(B)]
            total = total - row[i] + torch.stack(row).logsumexp(0)
        return total / B

    agree(InfoNce(temperature=0.2), formula, q, k)
    InfoNce(temperature=0.2)(q, k).sum().backward()
    assert k.grad is None


# Means


def test_average() -> None:
    x, weight = logits(B, N, K), torch.rand(B, N, 1)
    for over, divisor in (("all", B * N * K), ("batch", B), ("sum", 1)):
        agree(AverageLoss(over=over), lambda x, d=divisor: x.sum() / d, x)
    for over, divisor in (("weight", weight.sum()), ("all", B * N), ("batch", B), ("sum", 1)):
        agree(AverageLoss(over=over), lambda x, d=divisor: (x.mean(-1) * weight.squeeze(-1)).sum() / d, x, weight)


# Precision

HALVES: dict[str, tuple[nn.Module, Callable[[], tuple[Tensor, ...]]]] = {
    "ids": (CrossEntropy(over="tokens", smoothing=0.1, weight=WEIGHT), lambda: (ids(64),)),
    "distributions": (CrossEntropy(over="batch"), lambda: (distributions(64, K),)),
    "binary": (BinaryCrossEntropy(over="all", smoothing=0.1, pos_weight=WEIGHT), lambda: (ids(64),)),
    "focal": (FocalLoss(over="positives"), lambda: (ids(64),)),
    "distill": (DistillationLoss(over="all", temperature=2.0), lambda: (torch.randn(64, K),)),
    "info_nce": (InfoNce(temperature=0.2), lambda: (torch.randn(64, K),)),
}


@pytest.mark.parametrize("autocast", [False, True], ids=["half", "autocast"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", HALVES)
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype, autocast: bool) -> None:
    loss, others = HALVES[name]
    x = torch.randn(64, K).to(dtype)
    data = [other.to(dtype) if other.is_floating_point() else other for other in others()]
    exact = loss(x.double(), *[other.double() if other.is_floating_point() else other for other in data])
    with torch.autocast("cpu", dtype, enabled=autocast):
        value = loss(x, *data)
    assert value.dtype == torch.float32
    assert relative_error(value, exact) < 1e-6
    assert math.isfinite(value.item())
