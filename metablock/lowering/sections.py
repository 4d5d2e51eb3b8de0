"""Sections: what a tracer asks the network for, since it stands outside the expression that is traced."""

from __future__ import annotations

from typing import Protocol

from ..errors import Span
from ..language import ast as e
from ..language.scope import Bound
from .ir import ValueTree


class Sections(Protocol):
    """What a tracer asks the network for: parts that stand outside the expression."""

    def section(self, name: str, x: ValueTree, span: Span | None, results: list[ValueTree] | None = None) -> ValueTree:
        """`stem`, `stages` or `head` applied; ``results`` collects what each stage returns."""
        ...

    def shared(self, bound: Bound, x: ValueTree, node: e.Node) -> ValueTree:
        """A module of `shared` applied."""
        ...
