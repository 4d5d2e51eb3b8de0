"""The shaped tree: what a network does, level by level, before a module exists. Data only, no torch.

A :class:`Subgraph` becomes a module whose ``forward`` is the straight line of its steps. A wire is a value with a known shape; a
level may read wires of the levels around it, and they become further arguments of its ``forward``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import Span
from ..shape import Feature


@dataclass(frozen=True)
class Value:
    """A value: computed once, named by a number that is unique in its network."""

    id: int
    feature: Feature

    @property
    def c(self) -> int:
        return self.feature.c


# A wire, a list of values, named values, or None for an absent module.
ValueTree = Any


@dataclass(frozen=True)
class ModuleNode:
    """An operator with all its arguments; ``text`` is how it would be written: ``conv(64, 7, stride=4)``."""

    operator: str
    module: str
    attribute: str
    context: Mapping[str, Any]
    args: Mapping[str, Any]
    trainable: bool = True
    text: str = field(default="", compare=False)


@dataclass(frozen=True)
class ModuleCall:
    """Applies a child, named by its path below the level.

    A child that is used once takes its free wires, and ``inputs`` is empty for a level. One that is ``shared`` lists its
    inputs with each use, and
    with ``root`` its path starts at the root of the network.
    """

    child: tuple[str, ...]
    inputs: tuple[Value, ...]
    output: ValueTree
    shared: bool = False
    root: bool = False


@dataclass(frozen=True)
class InlineOp:
    """An expression on wires: ``{0}``, ``{1}`` ... stand for the inputs."""

    template: str
    inputs: tuple[Value, ...]
    output: ValueTree


Step = ModuleCall | InlineOp


@dataclass
class ModuleList:
    """Children by number: the copies of a repeat, the stages."""

    children: dict[str, Child] = field(default_factory=dict)


@dataclass
class Subgraph:
    """A named part of the network with parts of its own.

    ``inputs`` are the values that arrive; ``pinned`` keeps those that are not read. ``region``: compiled as a unit.
    ``prediction``: what inference returns instead of ``output``, by further steps. ``unlimited`` (of a root): the caps on sizes
    are lifted.
    """

    text: str = ""
    inputs: tuple[Value, ...] = ()
    children: dict[str, Child] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    output: ValueTree = None
    region: str | None = None
    prediction: ValueTree = None
    prediction_steps: list[Step] = field(default_factory=list)
    pinned: bool = False
    unlimited: bool = False
    span: Span | None = field(default=None, repr=False)

    def child(self, path: tuple[str, ...]) -> Child:
        """The child at a path of names below this level."""
        found: Child = self
        for name in path:
            assert not isinstance(found, ModuleNode)
            found = found.children[name]
        return found


Child = ModuleNode | Subgraph | ModuleList


def is_stage(path: tuple[str, ...]) -> bool:
    """Whether a path from the root is that of a stage: ``stages.<number>``."""
    return len(path) == 2 and path[0] == "stages"


def flat_values(value: ValueTree) -> Iterator[Value]:
    """All wires in a value, in order."""
    if isinstance(value, Value):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from flat_values(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from flat_values(item)


def free_values(level: Subgraph, known: dict[int, list[Value]] | None = None) -> list[Value]:
    """The arguments of a level's ``forward``: what arrives first, then the wires of levels around it that are read inside.

    ``known`` keeps the answers by the levels' identities, for as long as the tree stays as it is.
    """
    if known is None:
        known = {}
    if id(level) in known:
        return known[id(level)]
    made: set[int] = set()
    read: dict[int, Value] = {}

    def note(inputs: Iterable[Value]) -> None:
        for wire in inputs:
            if wire.id not in made:
                read.setdefault(wire.id, wire)

    for step in [*level.steps, *level.prediction_steps]:
        note(inputs_of(level, step, known))
        made.update(wire.id for wire in flat_values(step.output))
    note(flat_values([level.output, level.prediction]))
    declared = [wire for wire in dict.fromkeys(level.inputs) if wire.id in read or level.pinned]
    known[id(level)] = declared + [wire for wire in read.values() if wire not in declared]
    return known[id(level)]


def inputs_of(level: Subgraph, step: Step, known: dict[int, list[Value]] | None = None) -> Sequence[Value]:
    """What a step of a level reads; ``known`` as for :func:`free`."""
    if isinstance(step, ModuleCall) and not step.shared:
        child = level.child(step.child)
        if isinstance(child, Subgraph):
            return free_values(child, known)
    return step.inputs


def steps_for(level: Subgraph, steps: Sequence[Step], outputs: Sequence[Value], known: Collection[int] = ()) -> list[Step]:
    """The steps of these that give the outputs or what they are made of, in order; wires whose numbers are known need none."""
    wanted, kept = {wire.id for wire in outputs}.difference(known), list[Step]()
    for step in reversed(steps):
        if any(wire.id in wanted for wire in flat_values(step.output)):
            wanted |= {wire.id for wire in inputs_of(level, step)}.difference(known)
            kept.insert(0, step)
    return kept


def next_id(root: Subgraph) -> int:
    """The first number that is larger than those of all wires below."""
    every = (
        wire.id
        for _, level in subgraphs(root)
        for step in [*level.steps, *level.prediction_steps]
        for wire in [*flat_values(step.output), *step.inputs]
    )
    return 1 + max(every, default=max((wire.id for wire in root.inputs), default=-1))


def same_computation(a: Child, b: Child) -> bool:
    """Whether two parts have the same operators and do the same, whatever their wires are called."""
    if isinstance(a, ModuleNode) or isinstance(b, ModuleNode):
        return a == b
    if type(a) is not type(b) or list(a.children) != list(b.children):
        return False
    if isinstance(a, Subgraph) and isinstance(b, Subgraph) and [_what(s) for s in a.steps] != [_what(s) for s in b.steps]:
        return False
    return all(same_computation(a.children[name], b.children[name]) for name in a.children)


def _what(step: Step) -> object:
    return step.child if isinstance(step, ModuleCall) else step.template


def module_nodes(child: Child, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], ModuleNode]]:
    """All leaves below, with their paths."""
    if isinstance(child, ModuleNode):
        yield path, child
    else:
        for name, below in child.children.items():
            yield from module_nodes(below, (*path, name))


def subgraphs(child: Child, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Subgraph]]:
    """All levels below and this one, outermost first."""
    if isinstance(child, Subgraph):
        yield path, child
    if not isinstance(child, ModuleNode):
        for name, below in child.children.items():
            yield from subgraphs(below, (*path, name))
