"""Ids to channels."""

from __future__ import annotations

from torch import nn

from .rules.embedding import EmbeddingRule


class Embedding(EmbeddingRule):
    """A learned vector for each id, ``(b, n) -> (b, n, out)``: as many rows as there are ids. Makes torch's ``nn.Embedding``.

    Args:
        out: number of channels.
        padding: the row of the padding id, where the input states one (`tokens(vocab, n, padding=1)`): ``"zeros"``: it starts as
            zeros and has no gradient; ``"learned"``: as the others.

    Initial values are torch's, normal of std 1; a rule of `init:` leaves a row of zeros as it is.

    Example:
        >>> import torch
        >>> table = Embedding(100, 0, out=8)
        >>> table(torch.tensor([[3, 0]])).shape, table.weight[0].abs().sum().item()
        (torch.Size([1, 2, 8]), 0.0)
    """

    def __new__(cls, c: int, padding_id: int | None, *, out: int, padding: str = "zeros") -> nn.Embedding:  # type: ignore[misc]
        return nn.Embedding(c, out, padding_idx=padding_id if padding == "zeros" else None)
