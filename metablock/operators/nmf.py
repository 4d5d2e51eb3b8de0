"""Non-negative matrix factorisation as a layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.nmf import NMFRule

_SMALL = 1e-6


class NMF(NMFRule, nn.Module):
    """``y = v u``, a product of few non-negative rows that approximates ``x >= 0``: ``(b, ..., c) -> (b, ..., c)``.

    The rows of ``x``, one a token, are sums of ``bases`` rows of ``u``, with the coefficients ``v``. From drawn ``u`` of length
    one and ``v = softmax(x u')`` on, a step multiplies ``v`` by ``x u' / (v u u' + 1e-6)``, then ``u`` by
    ``v' x / (v' v u + 1e-6)``; in the end ``v`` is updated once more. Gradients flow through all steps.

    Args:
        bases: number of rows of ``u``.
        steps: number of steps in training.
        eval_steps: number of steps in evaluation.

    Lee and Seung 2001; as the ham of Hamburger, Geng et al. 2021 (arXiv 2109.04553), with the numbers of steps of SegNeXt, Guo et
    al. 2022 (arXiv 2209.08575). There ``u`` is drawn at each call. So it is here in training; in evaluation it always is the same
    draw, ``start`` (``bases, c``), a buffer outside the state dict, so that a network gives one answer.

    Example:
        >>> few = torch.rand(1, 30, 2) @ torch.rand(1, 2, 8)
        >>> nmf = NMF(8, bases=2, eval_steps=300).eval()
        >>> bool((nmf(few) - few).abs().max() < 0.01)
        True
    """

    start: Tensor

    def __init__(self, c: int, *, bases: int, steps: int = 6, eval_steps: int = 7):
        super().__init__()
        self.steps, self.eval_steps = steps, eval_steps
        self.register_buffer("start", torch.empty(bases, c), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        drawn = torch.rand(self.start.shape, generator=torch.Generator().manual_seed(0), device="cpu", dtype=torch.float64)
        self.start.copy_(F.normalize(drawn, dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1, -2)
        u = self.start.to(x.dtype).expand(rows.shape[0], -1, -1)
        if self.training:
            u = F.normalize(torch.rand_like(u), dim=-1)
        v = (rows @ u.mT).softmax(-1)
        for _ in range(self.steps if self.training else self.eval_steps):
            v = v * (rows @ u.mT) / (v @ (u @ u.mT) + _SMALL)
            u = u * (v.mT @ rows) / ((v.mT @ v) @ u + _SMALL)
        v = v * (rows @ u.mT) / (v @ (u @ u.mT) + _SMALL)
        return (v @ u).view_as(x)
