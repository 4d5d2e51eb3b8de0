"""Which ids of a sequence stand for a token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.valid import ValidRule


class Valid(ValidRule, nn.Module):
    """1 for each id that stands for a token, 0 for the padding id: ``(b, n) -> (b, n, 1)``, in the dtype of the network.

    Example:
        >>> Valid(1)(torch.tensor([[7, 1]]))
        tensor([[[1.],
                 [0.]]])
    """

    one: Tensor

    def __init__(self, padding_id: int | None):
        super().__init__()
        self.padding_id = padding_id
        self.register_buffer("one", torch.empty(()), persistent=False)  # has the dtype of the network
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.one.fill_(1)

    def forward(self, ids: Tensor) -> Tensor:
        here = torch.ones_like(ids) if self.padding_id is None else ids != self.padding_id
        return (here.to(self.one.dtype) * self.one).unsqueeze(-1)
