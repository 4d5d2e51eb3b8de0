"""Top-k routing: the weights of the chosen experts, and the mixture of their outputs. For the operator ``route``."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.route import GatesRule, MixtureRule, NoisyGatesRule


class Gates(GatesRule, nn.Module):
    """The softmax over the ``top`` largest logits of each sample, 0 elsewhere: ``(b, e) -> (b, e), (b, e)``.

    The second result is the load: 1 for each chosen expert, 0 for the others.

    Args:
        top: how many experts a sample has.

    Example:
        >>> gates, load = Gates(top=2)(torch.tensor([[0.0, 5.0, 5.0]]))
        >>> gates.tolist(), load.tolist()
        ([[0.0, 0.5, 0.5]], [[0.0, 1.0, 1.0]])
    """

    def __init__(self, *, top: int):
        super().__init__()
        self.top = top

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        gates = sparse_softmax(logits, self.top)
        return gates, (gates > 0).to(gates.dtype)


class NoisyGates(NoisyGatesRule, nn.Module):
    """As :class:`Gates`; in training noise is added to the logits: ``(b, e), (b, width) -> (b, e), (b, e)``.

    ``logits + z * (softplus(W r + b) + noise)`` with z normal, drawn from torch's generator of the device. In training the load
    is smooth: the probability that an expert is among the ``top`` if its noise were drawn again, which has a gradient.

    Args:
        experts: number of logits.
        width: channels of ``r``, what the router sees.
        top: how many experts a sample has.
        noise: the least standard deviation.

    Shazeer et al. 2017, Eq. 4 and 8 (arXiv 1701.06538). In evaluation, and where all experts are chosen, the load is that of
    :class:`Gates`.

    Example:
        >>> gates, load = NoisyGates(experts=4, width=8, top=2, noise=0.01)(torch.zeros(3, 4), torch.zeros(3, 8))
        >>> (gates > 0).sum(1).tolist(), bool((load > 0).all())
        ([2, 2, 2], True)
    """

    def __init__(self, *, experts: int, width: int, top: int, noise: float):
        super().__init__()
        self.experts, self.top, self.least = experts, top, noise
        self.deviation = nn.Linear(width, experts)

    def reset_parameters(self) -> None:
        self.deviation.reset_parameters()

    def forward(self, logits: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            gates = sparse_softmax(logits, self.top)
            return gates, (gates > 0).to(gates.dtype)
        deviation = F.softplus(self.deviation(seen)) + self.least
        noisy = logits + normal_like(logits) * deviation
        gates = sparse_softmax(noisy, self.top)
        if self.top == self.experts:
            return gates, (gates > 0).to(gates.dtype)
        return gates, chance(logits, noisy, deviation, self.top)


class Mixture(MixtureRule, nn.Module):
    """The outputs of all experts, merged by the weights of each sample: ``(b, e), e times (b, ...) -> (b, ...)``.

    Args:
        merge: ``"sum"``: ``sum_e g_e y_e``. ``"logsumexp"``: ``log(sum_e g_e exp(y_e))``, computed without overflow.

    An expert with the weight 0 takes no part, whatever its output is.

    Example:
        >>> Mixture()(torch.tensor([[0.25, 0.0, 0.75]]), *[torch.full((1, 2), y) for y in (0.0, torch.nan, 4.0)])
        tensor([[3., 3.]])
    """

    def __init__(self, *, merge: str = "sum"):
        super().__init__()
        self.merge = merge

    def forward(self, gates: Tensor, *outputs: Tensor) -> Tensor:
        return merged(gates, outputs, self.merge)


def sparse_softmax(logits: Tensor, top: int) -> Tensor:
    """The softmax over the largest ``top`` entries of each row, 0 elsewhere."""
    values, places = logits.topk(top, dim=1)
    return torch.zeros_like(logits).scatter(1, places, values.softmax(dim=1))


def normal_like(x: Tensor) -> Tensor:
    """Standard normal numbers."""
    return torch.randn_like(x)


def chance(clean: Tensor, noisy: Tensor, deviation: Tensor, top: int) -> Tensor:
    """The probability of each entry to be among the largest ``top`` if its own noise were drawn again, all other as they are."""
    largest = noisy.topk(top + 1, dim=1).values
    least, next_one = largest[:, top - 1 : top], largest[:, top : top + 1]
    # What an entry has to exceed: the largest of the others that may not be chosen beside it.
    threshold = torch.where(noisy > next_one, next_one, least)
    return 0.5 * (1 + torch.erf((clean - threshold) / (deviation * math.sqrt(2))))


def merged(gates: Tensor, outputs: tuple[Tensor, ...], merge: str) -> Tensor:
    """The outputs, merged by weights of each sample; see :class:`Mixture`."""
    axes = (1,) * (outputs[0].dim() - 1)
    weights = [weight.reshape(-1, *axes) for weight in gates.unbind(1)]
    if merge == "sum":
        parts = [torch.where(weight > 0, weight * y, 0) for weight, y in zip(weights, outputs, strict=True)]
        return torch.stack(parts).sum(0)
    chosen = [weight > 0 for weight in weights]
    logs = [torch.where(on, weight, 1).log() for on, weight in zip(chosen, weights, strict=True)]
    parts = [torch.where(on, y + log, -math.inf) for on, log, y in zip(chosen, logs, outputs, strict=True)]
    return torch.logsumexp(torch.stack(parts), 0)


torch.fx.wrap("sparse_softmax")
torch.fx.wrap("normal_like")
torch.fx.wrap("chance")
torch.fx.wrap("merged")
