"""The typed IR: what a network computes, subgraph by subgraph, before a module exists. Data only, no torch.

A :class:`Subgraph` becomes a module whose ``forward`` runs its steps in order. A step is a :class:`ModuleCall` or an
:class:`InlineOp`: it reads values and computes others. Each :class:`Value` has a known shape. A subgraph may read values of the
subgraphs around it: they become further arguments of its ``forward``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ..errors import Problem, Span, error
from ..shape import Feature
from .objective import Average, InputOrigin, Objective


@dataclass(frozen=True)
class Value:
    """A tensor of the network to be: computed once, of a known shape.

    Attributes:
        id: a number that no other value of the network has.
        feature: layout, channels and extents.
    """

    id: int
    feature: Feature

    @property
    def c(self) -> int:
        """The number of channels."""
        return self.feature.c


# A value, a list of trees, named trees in a dict, or None for the result of an absent module.
ValueTree = Any


@dataclass(frozen=True)
class ModuleNode:
    """One module: what the builder needs to construct it.

    Attributes:
        operator: its operator's name in a spec.
        module, attribute: the Python module and the class in it.
        context: positional arguments of the class, which the input supplies: ``c``, ``rank``, ``grid`` ...
        args: keyword arguments of the class, which the spec gives; complete, with the defaults.
        trainable: False inside ``frozen``.
        constant: True inside ``constant``: its weights become buffers.
        role: what all its parameters are, if the place decides that and not its class: ``table`` inside ``continuous_bias``.
        text: the call as a person would write it, ``conv(64, 7, stride=4)``; two nodes may be equal with different texts.
        span: the place in the spec.
        share: as of a :class:`Subgraph`.
    """

    operator: str
    module: str
    attribute: str
    context: Mapping[str, Any]
    args: Mapping[str, Any]
    trainable: bool = True
    role: str | None = None
    constant: bool = False
    text: str = field(default="", compare=False)
    span: Span | None = field(default=None, compare=False, repr=False)
    share: Fraction | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Loop:
    """How a child runs along sequences: sequences are the first inputs of the call, states the next."""

    sequences: int
    states: int
    reverse: bool = False


@dataclass(frozen=True)
class ModuleCall:
    """The step that applies a child of the subgraph.

    Attributes:
        child: the names that lead to the child.
        inputs: what it reads. Empty for a subgraph that is called once: that one reads its :func:`free_values`.
        output: what it computes.
        shared: the child is called from several places, and each call lists its inputs.
        root: the path starts at the root of the network, not at the subgraph of the step.
        loop: the child is called at every position of a sequence, and the call lists its inputs.
        near: of a module that a stream around the step holds: the length of the path that leads to the holder.
        weight: the step reads the child's weight, and does not call it.
    """

    child: tuple[str, ...]
    inputs: tuple[Value, ...]
    output: ValueTree
    shared: bool = False
    root: bool = False
    loop: Loop | None = None
    near: int | None = None
    weight: bool = False

    @property
    def once(self) -> bool:
        """Whether the child is called here alone, and once: it reads its free values, and the step has its output."""
        return not self.shared and self.loop is None


@dataclass(frozen=True)
class InlineOp:
    """The step that computes a Python expression on tensors.

    Attributes:
        template: the expression; ``{0}``, ``{1}`` ... stand for the inputs: ``{0} + {1}``.
        inputs: what it reads.
        output: what it computes.
    """

    template: str
    inputs: tuple[Value, ...]
    output: ValueTree


Step = ModuleCall | InlineOp


@dataclass
class ModuleList:
    """Children without a ``forward`` around them: copies of a repeat and stages by number, modules of `shared` by name."""

    children: dict[str, Child] = field(default_factory=dict)


@dataclass
class Subgraph:
    """A part of the network that becomes a module with a ``forward`` of its own.

    Attributes:
        text: the expression of the spec.
        inputs: the values that enter.
        masks: of the root: by the number of an input that may have padding its mask, which enters behind the inputs, or does not.
        children: the parts by name.
        steps: what ``forward`` computes, in order.
        output: what ``forward`` returns.
        region: the kind of compile unit (``stem``, ``down``, ``block`` ...); None for a part of another unit.
        prediction: of the root: what inference returns instead of ``output``, after the ``prediction_steps``.
        objective: of the root: its loss, if the spec states one.
        averages: of the root: the modules that are moving averages of others.
        sources: of the root of a method: where each input comes from.
        pinned: values that enter stay arguments of ``forward`` even if nothing reads them.
        unlimited: of the root: the caps on sizes are lifted.
        span: the place in the spec.
        numbers: what the calls in it were read as, for reports: by a call's id, the call and its arguments' values by name; None
            for a call that is read several times with different values.
        names: by a name in its text the parameter names of what it stands for, or `id`, `none`; for reports.
        doubts: of the root: what is allowed, but may not be meant, by kind and place.
        share: for how many of the samples its result counts, if not for all (an expert of ``route``); for counts of operations.
    """

    text: str = ""
    inputs: tuple[Value, ...] = ()
    masks: dict[int, Value] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    output: ValueTree = None
    region: str | None = None
    prediction: ValueTree = None
    prediction_steps: list[Step] = field(default_factory=list)
    objective: Objective | None = None
    averages: tuple[Average, ...] = ()
    sources: tuple[InputOrigin, ...] = ()
    pinned: bool = False
    unlimited: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)
    numbers: dict[int, tuple[Any, Mapping[str, Any] | None]] = field(default_factory=dict, compare=False, repr=False)
    names: dict[str, set[str]] = field(default_factory=dict, compare=False, repr=False)
    doubts: Mapping[object, Problem] = field(default_factory=dict, repr=False, compare=False)
    share: Fraction | None = field(default=None, compare=False)

    @property
    def all_steps(self) -> list[Step]:
        """The steps of training, then those of prediction."""
        return [*self.steps, *self.prediction_steps]

    def child(self, path: tuple[str, ...]) -> Child:
        """The child at a path of names below this subgraph. Raises KeyError if there is none."""
        part: Child = self
        for name in path:
            assert not isinstance(part, ModuleNode)
            part = part.children[name]
        return part


Child = ModuleNode | Subgraph | ModuleList


def is_stage(path: tuple[str, ...]) -> bool:
    """Whether a path from the root is that of a stage: ``stages.<number>``."""
    return len(path) == 2 and path[0] == "stages"


# Value trees


def flat_values(tree: ValueTree) -> Iterator[Value]:
    """All values of a tree, in order.

    >>> x, y = Value(0, Feature("vector", 8)), Value(1, Feature("vector", 4))
    >>> [value.id for value in flat_values({"a": x, "b": [None, y]})]
    [0, 1]
    """
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from flat_values(item)
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from flat_values(item)


def mapped(tree: ValueTree, function: Callable[[Value], Value]) -> ValueTree:
    """The tree of what a function makes of each value, in order."""
    if isinstance(tree, Value):
        return function(tree)
    if isinstance(tree, (list, tuple)):
        return [mapped(item, function) for item in tree]
    return {name: mapped(item, function) for name, item in tree.items()} if isinstance(tree, dict) else tree


def single(tree: ValueTree) -> Value:
    """The tree, if it is one value. Raises SpecError if it is a list or absent.

    >>> x = Value(0, Feature("vector", 8))
    >>> single(x) is x
    True
    >>> single([x, x])
    Traceback (most recent call last):
        ...
    metablock.errors.SpecError: one value is needed here, this is a list
      choose a member: `x[0]`
    """
    if not isinstance(tree, Value):
        absent = "a value is needed here, this is absent"
        raise error(absent if tree is None else "one value is needed here, this is a list", hint="choose a member: `x[0]`")
    return tree


def width(tree: ValueTree) -> int | None:
    """The channels of the first value of a tree, None without a value: what ``c`` means in an expression that it enters.

    >>> width([Value(0, Feature("vector", 8)), Value(1, Feature("vector", 4))]), width(None)
    (8, None)
    """
    return next((value.c for value in flat_values(tree)), None)


# Who reads what


def free_values(subgraph: Subgraph, known: dict[int, list[Value]] | None = None) -> list[Value]:
    """The arguments of a subgraph's ``forward``: the inputs that are read, then values of the subgraphs around that are read.

    Args:
        subgraph: the subgraph.
        known: a cache of the results by ``id(subgraph)``. The IR must not change while it is in use.

    >>> x, y, outside, product = (Value(i, Feature("vector", 8)) for i in range(4))
    >>> multiply = InlineOp("{0} * {1}", (outside, y), product)
    >>> [value.id for value in free_values(Subgraph(inputs=(x, y), steps=[multiply], output=product))]
    [1, 2]
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
    """The values that a step of a subgraph reads. ``known`` is the cache of :func:`free_values`."""
    if isinstance(step, ModuleCall) and step.once:
        child = subgraph.child(step.child)
        if isinstance(child, Subgraph):
            return free_values(child, known)
    return step.inputs


def steps_for(subgraph: Subgraph, steps: Sequence[Step], outputs: Sequence[Value], known: Collection[int] = ()) -> list[Step]:
    """The steps that ``outputs`` depend on, in order.

    Args:
        subgraph: the subgraph whose children the steps call.
        steps: steps to choose from, in order.
        outputs: the values to compute.
        known: ids of values that are available already.

    >>> x, y, z = (Value(i, Feature("vector", 8)) for i in range(3))
    >>> first, second = InlineOp("{0} + 1", (x,), y), InlineOp("{0} * 2", (y,), z)
    >>> steps_for(Subgraph(), [first, second], [y]) == [first]
    True
    >>> steps_for(Subgraph(), [first, second], [z], known={y.id}) == [second]
    True
    """
    wanted, chosen = {value.id for value in outputs}.difference(known), list[Step]()
    for step in reversed(steps):
        if any(value.id in wanted for value in flat_values(step.output)):
            wanted |= {value.id for value in inputs_of(subgraph, step)}.difference(known)
            chosen.insert(0, step)
    return chosen


def next_id(root: Subgraph) -> int:
    """The smallest id that is larger than those of all values of a network: the ``first`` of an emitter that extends it."""
    ids = (
        value.id
        for _, subgraph in subgraphs(root)
        for step in subgraph.all_steps
        for value in [*flat_values(step.output), *step.inputs]
    )
    return 1 + max(ids, default=max((value.id for value in root.inputs), default=-1))


# Parts


def same_computation(a: Child, b: Child) -> bool:
    """Whether two parts have the same modules and steps. The ids of their values may differ.

    >>> x, y, z = (Value(i, Feature("vector", 8)) for i in range(3))
    >>> a, b = (Subgraph(steps=[InlineOp("{0} + 1", (x,), output)], output=output) for output in (y, z))
    >>> same_computation(a, b), same_computation(a, Subgraph())
    (True, False)
    """
    if isinstance(a, ModuleNode) or isinstance(b, ModuleNode):
        return a == b
    if type(a) is not type(b) or list(a.children) != list(b.children):
        return False
    if isinstance(a, Subgraph) and isinstance(b, Subgraph) and [action(s) for s in a.steps] != [action(s) for s in b.steps]:
        return False
    return all(same_computation(a.children[name], b.children[name]) for name in a.children)


def action(step: Step) -> object:
    """What a step does, without its values: the child that it calls and how, or the template of its expression."""
    if isinstance(step, ModuleCall):
        return step.child if step.loop is None and not step.weight else (step.child, step.loop, step.weight)
    return step.template


def module_nodes(child: Child, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], ModuleNode]]:
    """Every module node below a part, with its path from there, in order of registration."""
    if isinstance(child, ModuleNode):
        yield path, child
    else:
        for name, below in child.children.items():
            yield from module_nodes(below, (*path, name))


def subgraphs(child: Child, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Subgraph]]:
    """Every subgraph of a part, itself included, with its path from there; outer ones come before inner ones."""
    if isinstance(child, Subgraph):
        yield path, child
    if not isinstance(child, ModuleNode):
        for name, below in child.children.items():
            yield from subgraphs(below, (*path, name))
