"""Mamba's selective scan as an operator: the kernel of mamba_ssm on a GPU, the recurrence in plain torch elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import metablock
from metablock.errors import error
from metablock.operators.recurrence import linear_recurrence
from metablock.shape import Feature

# Where the kernel runs.
DEVICES = ("cuda",)


@metablock.operator
class SelectiveScan(nn.Module):
    """``h_t = exp(-d_t e^A) h_(t-1) + d_t u_t k_t``, ``y_t = q_t h_t + D u_t``: ``(b, n, 2 m + 2 state) -> (b, n, m)``.

    What enters stands side by side: ``u`` and ``d``, m channels each, then ``k`` and ``q``. Each of the m channels has a state of
    its own. Gu and Dao 2023, Eq. 2 and Sec. 3.2 (arXiv 2312.00752).

    Args:
        state: numbers in the state of a channel.
    """

    takes = ("tokens",)
    roles = {"A_log": "table", "D": "scale"}

    def __init__(self, c: int, *, state: int = 16):
        super().__init__()
        self.width, self.state = (c - 2 * state) // 2, state
        self.A_log = nn.Parameter(torch.empty(self.width, state))
        self.D = nn.Parameter(torch.empty(self.width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.A_log.copy_(torch.arange(1, self.state + 1).log().expand_as(self.A_log))
            self.D.fill_(1)

    @staticmethod
    def shape(x: Feature, *, state: int) -> Feature:
        if x.c <= 2 * state or x.c % 2:
            hint = "`concat(u, d, k, q)`: u and d are as wide, k and q are `state`"
            raise error(f"{x.c} channels for states of {state}", hint=hint)
        return x.with_(c=(x.c - 2 * state) // 2)

    def forward(self, x: Tensor) -> Tensor:
        u, d, k, q = x.split([self.width, self.width, self.state, self.state], -1)
        return selective_scan(u, d, -self.A_log.exp(), k, q, self.D)


def selective_scan(u: Tensor, d: Tensor, a: Tensor, k: Tensor, q: Tensor, skip: Tensor) -> Tensor:
    """``u``, ``d`` (b, n, m), ``a`` (m, state), ``k``, ``q`` (b, n, state), ``skip`` (m): gives (b, n, m)."""
    kernel = mamba_kernel() if u.device.type in DEVICES and not torch.compiler.is_compiling() else None
    if kernel is not None:  # it takes (b, channels, n)
        return kernel(u.mT, d.mT, a.float(), k.mT, q.mT, skip.float()).mT
    keep = (d.unsqueeze(-1) * a).exp().flatten(-2)
    add = ((d * u).unsqueeze(-1) * k.unsqueeze(-2)).flatten(-2)
    states = linear_recurrence(keep, add).unflatten(-1, a.shape)
    return (states @ q.unsqueeze(-1)).squeeze(-1) + u * skip


torch.fx.wrap("selective_scan")


def mamba_kernel() -> Callable[..., Tensor] | None:
    """The function of mamba_ssm; None where that is not installed."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None
    return selective_scan_fn  # type: ignore[no-any-return]
