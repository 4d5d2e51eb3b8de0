"""Modes of modules: a function that needs a model in evaluation gives it back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """The model is in evaluation while the block runs; afterwards each module is in its own mode again, also after an error.

    >>> model = nn.Sequential(nn.BatchNorm1d(3).eval(), nn.ReLU())
    >>> with evaluation(model):
    ...     model.training
    False
    >>> [part.training for part in model.modules()]
    [True, False, True]
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
