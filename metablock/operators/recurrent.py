"""Recurrent layers along a sequence: torch's own."""

from __future__ import annotations

from torch import nn

from .rules.recurrent import GruRule, LstmRule


class Lstm(LstmRule):
    """A long short-term memory along a sequence: ``(b, n, c) -> (b, n, out)``. Makes torch's ``nn.LSTM``.

    ``i, f, o = sigmoid(...)``, ``g = tanh(...)`` of ``W_ih x_t + b_ih + W_hh h_(t-1) + b_hh``; ``s_t = f * s_(t-1) + i * g``;
    ``h_t = o * tanh(s_t)``. State and output start as zeros. The module's own ``forward`` returns ``(output, states)``; a network
    goes on with the output.

    Args:
        out: channels of the output, of one direction.
        over: the axis of a grid that the sequence runs along: ``"rows"`` (each row is a sequence, along the last axis),
            ``"columns"`` (along the axis before it), or an axis by number. All other axes are sequences of their own. By default
            all tokens in a row are one sequence, prefix tokens first.
        bidirectional: a second one runs backward; the outputs stand side by side, ``2 * out`` channels.
        bias: whether ``b_ih`` and ``b_hh`` are there.

    Multiply-accumulates of a position and direction: ``4 * out * (c + out)``. On a GPU torch calls cuDNN.

    Hochreiter and Schmidhuber 1997. Initial values are torch's: uniform within ``1 / sqrt(out)``.

    Example:
        >>> import torch
        >>> Lstm(8, out=4, bidirectional=True)(torch.zeros(2, 5, 8))[0].shape
        torch.Size([2, 5, 8])
    """

    def __new__(  # type: ignore[misc]
        cls, c: int, *, out: int, over: str | int | None = None, bidirectional: bool = False, bias: bool = True
    ) -> nn.LSTM:
        return nn.LSTM(c, out, bias=bias, batch_first=True, bidirectional=bidirectional)


class Gru(GruRule):
    """A gated recurrent unit along a sequence: ``(b, n, c) -> (b, n, out)``. Makes torch's ``nn.GRU``.

    ``r, z = sigmoid(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)``, ``g = tanh(W_ig x_t + b_ig + r * (W_hg h_(t-1) + b_hg))``;
    ``h_t = (1 - z) * g + z * h_(t-1)``. The output starts as zeros. The module's own ``forward`` returns ``(output, states)``; a
    network goes on with the output.

    Args:
        out: channels of the output, of one direction.
        over: the axis of a grid that the sequence runs along: ``"rows"`` (each row is a sequence, along the last axis),
            ``"columns"`` (along the axis before it), or an axis by number. All other axes are sequences of their own. By default
            all tokens in a row are one sequence, prefix tokens first.
        bidirectional: a second one runs backward; the outputs stand side by side, ``2 * out`` channels.
        bias: whether the constants are there.

    Multiply-accumulates of a position and direction: ``3 * out * (c + out)``. On a GPU torch calls cuDNN.

    Cho et al. 2014 (arXiv 1406.1078), with ``r`` applied behind the product, as cuDNN does. Initial values are torch's: uniform
    within ``1 / sqrt(out)``.

    Example:
        >>> import torch
        >>> Gru(8, out=4)(torch.zeros(2, 5, 8))[0].shape
        torch.Size([2, 5, 4])
    """

    def __new__(  # type: ignore[misc]
        cls, c: int, *, out: int, over: str | int | None = None, bidirectional: bool = False, bias: bool = True
    ) -> nn.GRU:
        return nn.GRU(c, out, bias=bias, batch_first=True, bidirectional=bidirectional)
