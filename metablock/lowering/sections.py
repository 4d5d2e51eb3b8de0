"""What the tracer needs of the network: the parts of a spec that stand outside the expression it lowers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..errors import Span
from ..language import ast as e
from .ir import Child, ValueTree
from .once import Once


class Sections(Protocol):
    """Lowers the sections of a spec, and its shared modules, where an expression names them."""

    def section(self, name: str, x: ValueTree, span: Span | None, results: list[ValueTree] | None = None) -> ValueTree:
        """Applies `stem`, `stages` or `head` to ``x``.

        Args:
            name: the section.
            x: what enters it.
            span: the place of the name, for messages.
            results: collects what each stage returns.
        """
        ...

    def hole(self, name: str, x: ValueTree, span: Span | None) -> ValueTree:
        """Applies the part of a backbone that a method takes under this name to ``x``."""
        ...

    def average(self, once: Once, node: e.Node, start: float, end: float) -> None:
        """Notes that the open subgraph is a moving average of a module that is built once."""
        ...

    def once(self, once: Once, x: ValueTree, node: e.Node) -> ValueTree:
        """Applies a module that is built once to ``x``. ``node`` is the expression that names it."""
        ...

    def built(self, once: Once, node: e.Node) -> tuple[Child, tuple[str, ...], int | None]:
        """A module that is built once and was applied, its path from the root, and the length of the path to what holds it."""
        ...

    def mark_shared(self) -> Callable[[], None]:
        """Returns a function that forgets the modules, built once, that are first used after this call."""
        ...
