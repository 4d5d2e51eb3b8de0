"""The context: what surrounds the expression that is being lowered. A frozen record; one context manager pushes and pops it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import prod
from typing import Any, Literal

from .draft import Draft
from .ir import Subgraph, Value


@dataclass(frozen=True)
class Near:
    """How the operator ``near`` selects keys: each query has its neighbours.

    Attributes:
        size: extents of a neighbourhood, one number an axis.
        border: what stands beyond the border of the map: ``mask``, ``zeros``, ``cut`` or ``clamp``.
        dilation: the distance between neighbours, in tokens.
        side: ``both``, or ``past``: the query is the last of its neighbours on each axis.
        source: the id of the value whose tokens they are.
    """

    size: tuple[int, ...]
    border: str
    dilation: int
    side: str
    source: int

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of a leaf that reads neighbours."""
        sizes: dict[str, Any] = {"size": list(self.size), "border": self.border, "dilation": self.dilation}
        return sizes if self.side == "both" else sizes | {"side": self.side}

    @property
    def count(self) -> int:
        """The number of neighbours of a query."""
        return prod(self.size)

    def reach(self, grid: tuple[int, ...]) -> int:
        """The number of neighbours that take part, those in the border included."""
        count = 1
        for size, extent in zip(self.size, grid, strict=True):
            far = (extent - 1) // self.dilation if self.border == "cut" else size
            ahead = 0 if self.side == "past" else size // 2
            count *= min(size - 1 - ahead, far) + min(ahead, far) + 1
        return count


@dataclass(frozen=True)
class Past:
    """How the operator ``past`` selects keys: each query has itself and those before it.

    Attributes:
        source: the id of the value whose tokens they are.
    """

    source: int


@dataclass(frozen=True)
class Routed:
    """How the operator ``routed`` selects keys: each region has the keys of the regions that match it best.

    Attributes:
        regions: number of regions along each axis.
        top: number of regions that a region attends to.
        size: extents of a region, in tokens.
    """

    regions: tuple[int, ...]
    top: int
    size: tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """The attention that a position bias belongs to.

    Attributes:
        heads: its number of heads.
        queries, keys: both token sets, after their projections.
        near: how keys are selected, if each query has its neighbours.
        plain: the queries before ``query=`` and ``scale=`` of the attention.
        outside: whether the keys stand outside the queries' window, and are repeated for it.
    """

    heads: int
    queries: Value
    keys: Value
    near: Near | None = None
    plain: Value | None = None
    outside: bool = False


@dataclass(frozen=True)
class Scaled:
    """The attention that a ``scale=`` expression belongs to.

    Attributes:
        queries: its queries.
        near: how some of the keys are selected, if each query has its neighbours.
        past: whether some of the keys are the query itself and those before it.
        far: number of the keys that all queries share.
    """

    queries: Value
    near: Near | None
    past: bool
    far: int


@dataclass(frozen=True)
class Rotary:
    """The attention that a ``rotary=`` expression belongs to.

    Attributes:
        heads: its number of heads.
        head_dim: channels of a head of its queries and keys.
    """

    heads: int
    head_dim: int


@dataclass(frozen=True)
class ShiftedWindow:
    """The shifted window around an expression.

    Attributes:
        grid: extents of the map that was rolled, padding included.
        size: extents of the window.
        shift: by how many tokens the map was rolled along each axis.
    """

    grid: tuple[int, ...]
    size: tuple[int, ...]
    shift: tuple[int, ...]


@dataclass
class BlockCount:
    """The number of blocks so far: ``index`` in the stage, ``layer`` in the network; what the two words mean in a spec.

    >>> blocks = BlockCount()
    >>> blocks.advance()
    >>> blocks
    BlockCount(index=1, layer=1)
    """

    index: int = 0
    layer: int = 0

    def advance(self) -> None:
        """Counts one more block."""
        self.index += 1
        self.layer += 1


@dataclass(frozen=True)
class Context:
    """What surrounds an expression.

    Attributes:
        draft: the open subgraph, which steps are written into.
        blocks: the counter behind the words ``index`` and ``layer``.
        path: leads to it from the root of the network.
        stage, stage_subgraph: the number of the stage and its subgraph; None outside the stages.
        part: the number of the copy that ``split(a, parts=n)`` or ``cascade`` is lowering.
        depth: how many modules stand around the expression.
        copies: inside a repeat that stands outside the stages: its copies are what ``index`` and ``layer`` count.
        unit: the compile unit of a line of a stream: a ``"block"`` in a stage's body, a ``"line"`` in `model`.
        trainable: False inside ``frozen``.
        constant: True inside ``constant``.
        turned: True inside ``transposed``.
        role: what all parameters are, if not what their operators say: ``table`` inside ``continuous_bias``.
        labels: the parameter names of the named arguments of the inline operator that is being applied.
        window: the innermost window around, if it is shifted.
        selections: inside ``over=`` of attention: how ``near``, ``past`` and ``routed`` select keys, by the ids
            of their results.
        pair: the attention around, inside its ``pos=``.
        scaled: the attention around, inside its ``scale=``.
        rotary: the attention around, inside its ``rotary=``.
        share: of the samples that the next module or subgraph sees, an expert of ``route``.
    """

    draft: Draft = field(default_factory=Draft)
    path: tuple[str, ...] = ()
    blocks: BlockCount = field(default_factory=BlockCount)
    stage: int | None = None
    stage_subgraph: Subgraph | None = None
    part: int = 0
    depth: int = 0
    copies: bool = False
    unit: Literal["block", "line"] | None = None
    trainable: bool = True
    constant: bool = False
    turned: bool = False
    role: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    window: ShiftedWindow | None = None
    selections: dict[int, Near | Past | Routed] | None = None
    pair: Pair | None = None
    scaled: Scaled | None = None
    rotary: Rotary | None = None
    share: Fraction | None = None


class ContextStack:
    """Holds the present context, ``now``. :meth:`push` is the only way to change it."""

    def __init__(self) -> None:
        self.now = Context()

    @contextmanager
    def push(self, **changes: Any) -> Iterator[Context]:
        """Replaces fields of the context while the `with` block runs, and restores it afterwards, also after an exception.

        Args:
            changes: new values of fields of :class:`Context`.

        Yields:
            The new context.

        >>> stack = ContextStack()
        >>> with stack.push(part=2):
        ...     stack.now.part
        2
        >>> stack.now.part
        0
        """
        outer = self.now
        self.now = replace(outer, **changes)
        try:
            yield self.now
        finally:
            self.now = outer
