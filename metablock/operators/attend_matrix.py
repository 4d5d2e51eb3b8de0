"""Attention in steps, where the matrix of its logits or weights is seen between them; or none is needed."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from .attend import up_to
from .rules.attend_matrix import AttendProductRule, LogitsRule, WeightedSumRule, WeightsRule


class AttendProduct(AttendProductRule, nn.Module):
    """``scale * q (k' v)`` for each head: the plain product, by a matrix of channels, without one of all pairs of tokens.

    ``forward(q, k, v)`` with ``q (b, ..., h * d)``, ``k (b, ..., h * d)``, ``v (b, ..., h * e)``; extents between the first and
    the last axis are flattened to tokens. Returns ``(b, ..., h * e)`` with the extents of ``q``.

    Args:
        heads: number of heads h: consecutive groups of channels.
        scale: factor on the product.

    Example:
        >>> import torch
        >>> q, k, v = torch.ones(1, 3, 8), torch.ones(1, 5, 8), torch.ones(1, 5, 4)
        >>> AttendProduct(heads=2)(q, k, v)[0, 0]
        tensor([20., 20., 20., 20.])
    """

    def __init__(self, *, heads: int, scale: float = 1.0):
        super().__init__()
        self.heads, self.scale = heads, scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        extents = q.shape[1:-1]
        q, k, v = (t.flatten(1, -2).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        x = (q * self.scale) @ (k.mT @ v)
        return x.transpose(1, 2).flatten(2).unflatten(1, extents)


class Logits(LogitsRule, nn.Module):
    """``scale * q k' + bias`` for each head: the matrix of queries and keys, a map with a channel a head.

    ``forward(q, k, [bias])`` with ``q (b, ..., h * d)`` of N tokens and ``k (b, ..., h * d)`` of M, ``bias (h, N, M)`` or
    ``(b, h, N, M)``. Returns ``(b, h, N, M)``; with ``over="channels"`` ``scale * q' k``, ``(b, h, d, d)``.

    Args:
        heads: number of heads h: consecutive groups of channels.
        scale: factor on the products.
        over: what the rows and columns of the matrix are: ``"tokens"`` or ``"channels"``.

    Example:
        >>> import torch
        >>> q, k = torch.ones(1, 3, 8), torch.ones(1, 5, 8)
        >>> Logits(heads=2)(q, k).shape, Logits(heads=2, over="channels")(q, q).shape
        (torch.Size([1, 2, 3, 5]), torch.Size([1, 2, 4, 4]))
    """

    def __init__(self, *, heads: int, scale: float = 1.0, over: str = "tokens"):
        super().__init__()
        self.heads, self.scale, self.order = heads, scale, (0, 2, 1, 3) if over == "tokens" else (0, 2, 3, 1)

    def forward(self, q: Tensor, k: Tensor, *bias: Tensor) -> Tensor:
        q, k = (t.flatten(1, -2).unflatten(-1, (self.heads, -1)).permute(self.order) for t in (q, k))
        logits = (q * self.scale) @ k.mT
        return logits + bias[0].to(logits.dtype) if bias else logits


class Weights(WeightsRule, nn.Module):
    """Logits to attention weights: ``softmax(logits + mask)`` over the keys, or the logits themselves where keys are kept.

    ``forward(logits, [mask], [keep])`` with ``logits (b, h, N, M)``; ``mask``, for windows, is ``(windows, N, N)`` and the batch
    holds the windows of an image one after the other; ``keep``, ``(b, ..., 1)``, is 0 for keys that no query may read. Returns
    ``(b, h, N, M)``.

    Args:
        norm: ``"softmax"``; or ``"none"``: the weight of a key that is masked is 0, the others stay.
        windowed: whether ``forward`` takes ``mask``.
        masked: whether ``forward`` takes ``keep``.
        causal: whether a query reads only the keys up to its own number, and those after the first N.

    Example:
        >>> import torch
        >>> Weights(masked=True)(torch.zeros(1, 1, 1, 3), torch.tensor([[[1.0], [1.0], [0.0]]]))
        tensor([[[[0.5000, 0.5000, 0.0000]]]])
    """

    def __init__(self, *, norm: str = "softmax", windowed: bool = False, masked: bool = False, causal: bool = False):
        super().__init__()
        self.norm, self.windowed, self.masked, self.causal = norm, windowed, masked, causal

    def forward(self, logits: Tensor, *masks: Tensor) -> Tensor:
        plain = self.norm == "none"
        if self.windowed:
            mask = masks[0].to(logits.dtype).unsqueeze(1)
            apart = logits.unflatten(0, (-1, mask.shape[0]))
            logits = (apart * (mask == 0) if plain else apart + mask).flatten(0, 1)
        if self.masked:
            lost = masks[-1].flatten(1, -2)[:, None, None, :, 0] == 0
            logits = logits.masked_fill(lost, 0.0 if plain else -math.inf)
        if self.causal:
            logits = logits.masked_fill(~up_to(logits, logits.mT), 0.0 if plain else -math.inf)
        return logits if plain else logits.softmax(-1)


class WeightedSum(WeightedSumRule, nn.Module):
    """``weights v`` for each head.

    ``forward(weights, v, q)`` with ``weights (b, h, N, M)`` and ``v (b, ..., h * e)`` of M tokens; of ``q``, of N tokens, only
    the extents matter. Returns ``(b, ..., h * e)`` with these. With ``over="channels"`` ``weights`` are ``(b, h, e, e)`` and mix
    the channels of each token of ``v``.

    Args:
        drop: dropout on the attention weights.
        over: what the weights are between: ``"tokens"`` or ``"channels"``.

    Example:
        >>> import torch
        >>> weights, v, q = torch.ones(1, 2, 3, 5), torch.ones(1, 5, 8), torch.ones(1, 3, 8)
        >>> WeightedSum()(weights, v, q).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, *, drop: float = 0.0, over: str = "tokens"):
        super().__init__()
        self.drop, self.tokens = drop, over == "tokens"

    def forward(self, weights: Tensor, v: Tensor, q: Tensor) -> Tensor:
        weights = F.dropout(weights, self.drop, self.training)
        v = v.flatten(1, -2).unflatten(-1, (weights.shape[1], -1))
        x = (
            (weights @ v.transpose(1, 2)).transpose(1, 2)
            if self.tokens
            else (weights @ v.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        )
        return x.flatten(2).unflatten(1, q.shape[1:-1])
