"""The shaped tree: what a network does, level by level, before a module exists. Data only, no torch.

A :class:`Level` becomes a module whose ``forward`` is the straight line of its steps. A wire is a value with a known shape; a
level may read wires of the levels around it, and they become further arguments of its ``forward``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import Span
from ..shape import Feature


@dataclass(frozen=True)
class Wire:
    """A value: computed once, named by a number that is unique in its network."""

    id: int
    feature: Feature

    @property
    def c(self) -> int:
        return self.feature.c


# A wire, a list of values, named values, or None for an absent module.
Value = Any


@dataclass(frozen=True)
class Leaf:
    """An operator with all its arguments; ``text`` is how it would be written: ``conv(64, 7, stride=4)``."""

    operator: str
    module: str
    attribute: str
    context: Mapping[str, Any]
    args: Mapping[str, Any]
    trainable: bool = True
    text: str = field(default="", compare=False)


@dataclass(frozen=True)
class Run:
    """Applies a child, named by its path below the level.

    A child that is used once takes its free wires, and ``inputs`` is empty for a level. One that is ``shared`` lists its
    inputs with each use, and
    with ``root`` its path starts at the root of the network.
    """

    child: tuple[str, ...]
    inputs: tuple[Wire, ...]
    output: Value
    shared: bool = False
    root: bool = False


@dataclass(frozen=True)
class Do:
    """An expression on wires: ``{0}``, ``{1}`` ... stand for the inputs."""

    template: str
    inputs: tuple[Wire, ...]
    output: Value


Step = Run | Do


@dataclass
class Items:
    """Children by number: the copies of a repeat, the stages."""

    children: dict[str, Child] = field(default_factory=dict)


@dataclass
class Level:
    """A named part of the network with parts of its own.

    ``inputs`` are the wires that arrive; ``pinned`` keeps those that are not read. ``region``: compiled as a unit.
    ``prediction``: what inference
    gives instead of ``output``, by further steps.
    """

    text: str = ""
    inputs: tuple[Wire, ...] = ()
    children: dict[str, Child] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    output: Value = None
    region: str | None = None
    prediction: Value = None
    prediction_steps: list[Step] = field(default_factory=list)
    pinned: bool = False
    span: Span | None = field(default=None, repr=False)

    def child(self, path: tuple[str, ...]) -> Child:
        """The child at a path of names below this level."""
        found: Child = self
        for name in path:
            assert not isinstance(found, Leaf)
            found = found.children[name]
        return found


Child = Leaf | Level | Items


def wires(value: Value) -> Iterator[Wire]:
    """All wires in a value, in order."""
    if isinstance(value, Wire):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from wires(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from wires(item)


def free(level: Level, known: dict[int, list[Wire]] | None = None) -> list[Wire]:
    """The arguments of a level's ``forward``: what arrives first, then the wires of levels around it that are read inside.

    ``known`` keeps the answers by the levels' identities, for as long as the tree stays as it is.
    """
    if known is None:
        known = {}
    if id(level) in known:
        return known[id(level)]
    made: set[int] = set()
    read: dict[int, Wire] = {}

    def note(inputs: Iterable[Wire]) -> None:
        for wire in inputs:
            if wire.id not in made:
                read.setdefault(wire.id, wire)

    for step in [*level.steps, *level.prediction_steps]:
        note(arguments(level, step, known))
        made.update(wire.id for wire in wires(step.output))
    note(wires([level.output, level.prediction]))
    declared = [wire for wire in dict.fromkeys(level.inputs) if wire.id in read or level.pinned]
    known[id(level)] = declared + [wire for wire in read.values() if wire not in declared]
    return known[id(level)]


def arguments(level: Level, step: Step, known: dict[int, list[Wire]] | None = None) -> Sequence[Wire]:
    """What a step of a level reads; ``known`` as for :func:`free`."""
    if isinstance(step, Run) and not step.shared:
        child = level.child(step.child)
        if isinstance(child, Level):
            return free(child, known)
    return step.inputs


def needed(level: Level, steps: Sequence[Step], outputs: Sequence[Wire], known: Collection[int] = ()) -> list[Step]:
    """The steps of these that give the outputs or what they are made of, in order; wires whose numbers are known need none."""
    wanted, kept = {wire.id for wire in outputs}.difference(known), list[Step]()
    for step in reversed(steps):
        if any(wire.id in wanted for wire in wires(step.output)):
            wanted |= {wire.id for wire in arguments(level, step)}.difference(known)
            kept.insert(0, step)
    return kept


def unused(root: Level) -> int:
    """The first number that is larger than those of all wires below."""
    every = (
        wire.id
        for _, level in levels(root)
        for step in [*level.steps, *level.prediction_steps]
        for wire in [*wires(step.output), *step.inputs]
    )
    return 1 + max(every, default=max((wire.id for wire in root.inputs), default=-1))


def same(a: Child, b: Child) -> bool:
    """Whether two parts have the same operators and do the same, whatever their wires are called."""
    if isinstance(a, Leaf) or isinstance(b, Leaf):
        return a == b
    if type(a) is not type(b) or list(a.children) != list(b.children):
        return False
    if isinstance(a, Level) and isinstance(b, Level) and [_what(s) for s in a.steps] != [_what(s) for s in b.steps]:
        return False
    return all(same(a.children[name], b.children[name]) for name in a.children)


def _what(step: Step) -> object:
    return step.child if isinstance(step, Run) else step.template


def leaves(child: Child, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Leaf]]:
    """All leaves below, with their paths."""
    if isinstance(child, Leaf):
        yield path, child
    else:
        for name, below in child.children.items():
            yield from leaves(below, (*path, name))


def levels(child: Child, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Level]]:
    """All levels below and this one, outermost first."""
    if isinstance(child, Level):
        yield path, child
    if not isinstance(child, Leaf):
        for name, below in child.children.items():
            yield from levels(below, (*path, name))
