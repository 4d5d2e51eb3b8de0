"""What keeps dynamo, torch's tracer, out of code without importing it: that takes as long as importing torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from torch.utils._python_dispatch import TorchDispatchMode

F = TypeVar("F", bound=Callable[..., object])


def compiles() -> bool:
    """Whether this process may compile: it has imported dynamo.

    >>> import torch._dynamo
    >>> compiles()
    True
    """
    return "torch._dynamo" in sys.modules


def constant_result(function: F) -> F:
    """Marks a function whose result is a constant of a graph: ``torch.compiler.assume_constant_result``.

    >>> constant_result(lambda: 3)()
    3
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


class EagerMode(TorchDispatchMode):
    """A dispatch mode around code that nothing compiles. torch's own class imports dynamo when it sees its first operator.

    >>> issubclass(EagerMode, TorchDispatchMode)
    True
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
