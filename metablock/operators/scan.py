"""The loop of a recurrence: one module at every position of a sequence, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def scan(
    step: Callable[..., tuple[Tensor, ...]],
    sequences: Sequence[Tensor],
    states: Sequence[Tensor],
    others: Sequence[Tensor] = (),
    reverse: bool = False,
) -> Tensor:
    """The outputs of ``y_t, h_t = step(x_t, h_(t-1), ...)`` at the positions t of a sequence: ``(b, n, c)``.

    ``torch.fx`` records a call of this function as one node. ``torch.compile`` unrolls the loop.

    Args:
        step: takes what stands at a position, the states, the others; returns the output at the position and the new states.
        sequences: ``(b, n, ...)`` each.
        states: the states before the first position.
        others: what is the same at all positions.
        reverse: begins at the last position.

    Example:
        >>> total = scan(lambda x, h: (x + h, x + h), [torch.ones(1, 4, 1)], [torch.zeros(1, 1)])
        >>> total.flatten().tolist()
        [1.0, 2.0, 3.0, 4.0]
    """
    if isinstance(sequences[0], torch.fx.Proxy):
        proxy: Any = sequences[0].tracer.create_proxy("call_function", scan, (step, sequences, states, others, reverse), {})
        return proxy
    positions = list(zip(*[sequence.unbind(1) for sequence in sequences], strict=True))
    outputs: list[Tensor] = []
    for values in reversed(positions) if reverse else positions:
        output, *states = step(*values, *states, *others)
        outputs.append(output)
    return torch.stack(outputs[::-1] if reverse else outputs, 1)
