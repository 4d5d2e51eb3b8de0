"""Context: what surrounds the expression that is being lowered. A frozen value, pushed and popped by one context manager."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..shape import Layout
from .ir import Subgraph, Value


@dataclass(frozen=True)
class Near:
    """Keys that are the neighbours of their query: how many an axis, what stands beyond the border, how far apart."""

    size: tuple[int, ...]
    border: str
    dilation: int


@dataclass(frozen=True)
class Routed:
    """Keys of the regions that suit a query's region best: how many regions an axis, how many of them, their extents."""

    regions: tuple[int, ...]
    top: int
    size: tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """What a position bias sees: the heads and both token sets of the attention it belongs to."""

    heads: int
    queries: Value
    keys: Value
    near: Near | None = None


@dataclass(frozen=True)
class Scaled:
    """What a factor on the queries sees: the queries, their neighbours, and how many other keys they all attend to."""

    queries: Value
    near: Near | None
    far: int


@dataclass(frozen=True)
class ShiftedWindow:
    """What attention inside a shifted window sees: the extents of the rolled (padded) map, of the window, and the shift."""

    grid: tuple[int, ...]
    size: tuple[int, ...]
    shift: tuple[int, ...]


@dataclass
class Draft:
    """A subgraph while it is filled: the casts that were emitted into it, and how often each automatic name was taken."""

    subgraph: Subgraph = field(default_factory=Subgraph)
    casts: dict[tuple[int, Layout], Value] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)


@dataclass
class BlockCount:
    """Counts blocks as they are emitted: ``index`` within the stage, ``layer`` within the network."""

    index: int = 0
    layer: int = 0

    def advance(self) -> None:
        self.index += 1
        self.layer += 1


@dataclass(frozen=True)
class Context:
    """What surrounds an expression.

    Attributes:
        draft: the open subgraph: steps are written into it.
        blocks: the counter behind the words ``index`` and ``layer``.
        stage, stage_subgraph: inside the stages: the number of the stage, and its subgraph.
        part: the copy that ``split(a, parts=n)`` is making.
        depth: how many modules stand around.
        unit: what a line of a stream is for the compiler: a ``"block"`` in a stage's body, a ``"line"`` in `model`.
        trainable: False inside ``frozen``.
        labels: the parameter names of the named arguments of the inline operator that is being applied.
        window: the shifted window around, if any.
        selections: inside ``over=`` of attention: the keys that ``near`` and ``routed`` select, by the ids of their results.
        pair: inside a position bias.
        scaled: inside ``scale=`` of attention.
    """

    draft: Draft = field(default_factory=Draft)
    blocks: BlockCount = field(default_factory=BlockCount)
    stage: int | None = None
    stage_subgraph: Subgraph | None = None
    part: int = 0
    depth: int = 0
    unit: Literal["block", "line"] | None = None
    trainable: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    window: ShiftedWindow | None = None
    selections: dict[int, Near | Routed] | None = None
    pair: Pair | None = None
    scaled: Scaled | None = None


class ContextStack:
    """The context that holds now. :meth:`push` is the only way to change it."""

    def __init__(self) -> None:
        self.now = Context()

    @contextmanager
    def push(self, **changes: Any) -> Iterator[Context]:
        """A context with some fields replaced, until the block ends, however it ends."""
        outer = self.now
        self.now = replace(outer, **changes)
        try:
            yield self.now
        finally:
            self.now = outer
