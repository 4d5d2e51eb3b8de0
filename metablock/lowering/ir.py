"""The typed IR: what a network does, subgraph by subgraph, before a module exists. Data only, no torch.

A :class:`Subgraph` becomes a module whose ``forward`` is the straight line of its steps. A :class:`Value` has a known shape; a
subgraph may read values of the subgraphs around it, and they become further arguments of its ``forward``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import Span, error
from ..shape import Feature


@dataclass(frozen=True)
class Value:
    """A tensor that will be: computed once, of a known shape, named by a number that is unique in its network."""

    id: int
    feature: Feature

    @property
    def c(self) -> int:
        """Its number of channels."""
        return self.feature.c


# A value, a list of values, named values, or None for an absent module.
ValueTree = Any


@dataclass(frozen=True)
class ModuleNode:
    """A module: its operator, class and arguments; ``text`` is how a person would write it: ``conv(64, 7, stride=4)``."""

    operator: str
    module: str
    attribute: str
    context: Mapping[str, Any]
    args: Mapping[str, Any]
    trainable: bool = True
    text: str = field(default="", compare=False)


@dataclass(frozen=True)
class ModuleCall:
    """Applies a child, named by its path below the subgraph.

    A child that is used once takes its free values, and ``inputs`` is empty for a subgraph. One that is ``shared`` lists its
    inputs with each use, and with ``root`` its path starts at the root of the network.
    """

    child: tuple[str, ...]
    inputs: tuple[Value, ...]
    output: ValueTree
    shared: bool = False
    root: bool = False


@dataclass(frozen=True)
class InlineOp:
    """An expression on values: ``{0}``, ``{1}`` ... stand for the inputs."""

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

    Attributes:
        text: the expression of the spec.
        inputs: the values that arrive.
        children: the parts by name.
        steps: what ``forward`` does, in order.
        output: what it returns.
        region: what it is for the compiler, if it is compiled as a unit: ``stem``, ``down``, ``block`` ...
        prediction: of a root: what inference returns instead of ``output``, by the further ``prediction_steps``.
        pinned: values that arrive stay arguments even where they are not read.
        unlimited: of a root: the caps on sizes are lifted.
        span: its place in the spec.
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

    @property
    def all_steps(self) -> list[Step]:
        """The steps of training and those of prediction."""
        return [*self.steps, *self.prediction_steps]

    def child(self, path: tuple[str, ...]) -> Child:
        """The child at a path of names below this subgraph."""
        part: Child = self
        for name in path:
            assert not isinstance(part, ModuleNode)
            part = part.children[name]
        return part


Child = ModuleNode | Subgraph | ModuleList


# Value trees


def flat_values(tree: ValueTree) -> Iterator[Value]:
    """All values of a tree, in order."""
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from flat_values(item)
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from flat_values(item)


def single(tree: ValueTree) -> Value:
    """The tree itself, which must be one value. Raises SpecError for a list, or what is absent."""
    if not isinstance(tree, Value):
        absent = "a value is needed here, this is absent"
        raise error(absent if tree is None else "one value is needed here, this is a list", hint="choose a member: `x[0]`")
    return tree


def width(tree: ValueTree) -> int | None:
    """The channels of the first value of a tree, None where there is none: what ``c`` means behind it."""
    return next((value.c for value in flat_values(tree)), None)


# Who reads what


def free_values(subgraph: Subgraph, known: dict[int, list[Value]] | None = None) -> list[Value]:
    """The arguments of a subgraph's ``forward``: what arrives, then the values of subgraphs around it that are read inside.

    ``known`` caches the answers by the subgraphs' identities; the IR must not change while it is in use.
    """
    if known is None:
        known = {}
    if id(subgraph) in known:
        return known[id(subgraph)]
    computed: set[int] = set()
    read: dict[int, Value] = {}

    def note(inputs: Iterable[Value]) -> None:
        for value in inputs:
            if value.id not in computed:
                read.setdefault(value.id, value)

    for step in subgraph.all_steps:
        note(inputs_of(subgraph, step, known))
        computed.update(value.id for value in flat_values(step.output))
    note(flat_values([subgraph.output, subgraph.prediction]))
    declared = [value for value in dict.fromkeys(subgraph.inputs) if value.id in read or subgraph.pinned]
    known[id(subgraph)] = declared + [value for value in read.values() if value not in declared]
    return known[id(subgraph)]


def inputs_of(subgraph: Subgraph, step: Step, known: dict[int, list[Value]] | None = None) -> Sequence[Value]:
    """What a step of a subgraph reads; ``known`` as for :func:`free_values`."""
    if isinstance(step, ModuleCall) and not step.shared:
        child = subgraph.child(step.child)
        if isinstance(child, Subgraph):
            return free_values(child, known)
    return step.inputs


def steps_for(subgraph: Subgraph, steps: Sequence[Step], outputs: Sequence[Value], known: Collection[int] = ()) -> list[Step]:
    """The steps that ``outputs`` depend on, in order. Values whose ids are in ``known`` count as already available."""
    wanted, chosen = {value.id for value in outputs}.difference(known), list[Step]()
    for step in reversed(steps):
        if any(value.id in wanted for value in flat_values(step.output)):
            wanted |= {value.id for value in inputs_of(subgraph, step)}.difference(known)
            chosen.insert(0, step)
    return chosen


def next_id(root: Subgraph) -> int:
    """The first id that is larger than those of all values below."""
    ids = (
        value.id
        for _, subgraph in subgraphs(root)
        for step in subgraph.all_steps
        for value in [*flat_values(step.output), *step.inputs]
    )
    return 1 + max(ids, default=max((value.id for value in root.inputs), default=-1))


# Parts


def same_computation(a: Child, b: Child) -> bool:
    """Whether two parts have the same operators and steps, whatever the ids of their values."""
    if isinstance(a, ModuleNode) or isinstance(b, ModuleNode):
        return a == b
    if type(a) is not type(b) or list(a.children) != list(b.children):
        return False
    if isinstance(a, Subgraph) and isinstance(b, Subgraph) and [_action(s) for s in a.steps] != [_action(s) for s in b.steps]:
        return False
    return all(same_computation(a.children[name], b.children[name]) for name in a.children)


def _action(step: Step) -> object:
    return step.child if isinstance(step, ModuleCall) else step.template


def module_nodes(child: Child, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], ModuleNode]]:
    """All module nodes below, with their paths."""
    if isinstance(child, ModuleNode):
        yield path, child
    else:
        for name, below in child.children.items():
            yield from module_nodes(below, (*path, name))


def subgraphs(child: Child, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Subgraph]]:
    """This subgraph and all below, with their paths, outermost first."""
    if isinstance(child, Subgraph):
        yield path, child
    if not isinstance(child, ModuleNode):
        for name, below in child.children.items():
            yield from subgraphs(below, (*path, name))
