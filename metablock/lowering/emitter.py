"""Levels while they are filled: children, leaves, budgets, and problems that get a place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ..errors import Span, SpecError, error
from ..language.param_names import TAKEN
from ..language.printer import number
from ..language.registry import OPERATORS, Operator
from ..language.standard import LIBRARY
from ..shape import Feature
from .ir import Child, ModuleCall, ModuleList, ModuleNode, Subgraph, Value, ValueTree, flat_values, inputs_of, same_computation
from .layouts import Combiner

MAX_STEPS = 20_000
MAX_WIDTH = 1_000_000


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
    """What a position bias knows: the heads and both token sets of the attention it belongs to."""

    heads: int
    queries: Value
    keys: Value
    near: Near | None = None


@dataclass(frozen=True)
class Seen:
    """What a factor on the queries knows: their neighbours, and how many other keys they all see."""

    queries: Value
    near: Near | None
    far: int


@dataclass(frozen=True)
class Mask:
    """What attention inside a shifted window knows: the map that was rolled (padded), the window, and the shift."""

    grid: tuple[int, ...]
    size: tuple[int, ...]
    shift: tuple[int, ...]


class Levels(Combiner):
    """Fills the open level. What a form may set aside for the forms inside it stands here: ``frozen``, ``pair``, ``mask``,
    ``near``, ``seen``."""

    def __init__(self, large: bool = False):
        super().__init__()
        self.large = large
        self.root = self.level
        self.counting = False
        self.composing = False  # the stream `model`: its lines are regions
        self.frozen = False
        self.pair: Pair | None = None
        self.mask: Mask | None = None
        self.near: dict[int, Near | Routed] | None = None  # by the wire that stands for them
        self.seen: Seen | None = None
        self._used: dict[tuple[int, str], int] = {}
        self._steps = 0

    def add(self, name: str, child: Child) -> tuple[str, ...]:
        """Registers a child of the open level; ``blocks.3`` goes into a numbered list."""
        names = [part + "_" if part in TAKEN else part for part in name.split(".")]
        holder: Subgraph | ModuleList = self.level
        for part in names[:-1]:
            found = holder.children.setdefault(part, ModuleList())
            assert isinstance(found, ModuleList)
            holder = found
        last = names[-1]
        while last in holder.children:
            last += "_"
        holder.children[last] = child
        return (*names[:-1], last)

    @contextmanager
    def open(self, name: str, text: str, x: ValueTree, region: str | None = None, span: Span | None = None) -> Iterator[Subgraph]:
        """A level below the open one. One without children of its own is dissolved: its steps are the parent's.

        With ``region="blocks"`` it is no region itself: what it repeats are blocks.
        """
        parent, counting = self.level, self.counting
        blocks = region == "blocks"
        level = self.fresh(text=text, inputs=tuple(flat_values(x)), region=None if blocks else region, span=span)
        self.level, self.counting = level, blocks
        try:
            yield level
        finally:
            self.level, self.counting = parent, counting
        if level.children or level.pinned:
            path = self.add(name, level)
            parent.steps.append(ModuleCall(path, (), level.output))
        else:
            parent.steps.extend(level.steps)

    def mark(self) -> Callable[[], None]:
        """Remembers how far the open level is filled; what it returns takes back all that came since."""
        level, steps, converted, children = self.level, len(self.level.steps), len(self._converted), _names(self.level)

        def undo() -> None:
            del level.steps[steps:]
            _forget(level, children)
            for key in list(self._converted)[converted:]:
                del self._converted[key]

        return undo

    def leaf(self, operator: str, name: str, inputs: list[Value], feature: Feature | None = None, **args: Any) -> Value:
        """An operator applied to these values. The first is converted to a layout that it takes."""
        return self.leaf_of_several(operator, name, inputs, feature, (), **args)[0]

    def leaf_of_several(
        self, operator: str, name: str, inputs: list[Value], feature: Feature | None, further: tuple[Feature, ...], **args: Any
    ) -> list[Value]:
        """An operator that gives ``further`` values beside the first."""
        entry = OPERATORS.get(operator) or _inner(operator)
        cls = entry.load()
        takes = cls.takes
        first = self.to(inputs[0], *takes) if inputs else None
        complete = {param.name: args.get(param.name, param.default) for param in entry.schema.params}
        context: dict[str, Any] = {}
        for known in entry.schema.context:
            context[known] = args[known] if known in args else getattr(first.feature, known) if first else None
        if feature is None and first is not None:
            rule = getattr(cls, "shape", None)
            used = {k: v for k, v in complete.items() if rule is not None and k in _accepted(rule)}
            feature = rule(first.feature, *[i.feature for i in inputs[1:]], **used) if rule else first.feature
        assert feature is not None
        self.budget(feature)
        leaf = ModuleNode(entry.name, entry.module, entry.attribute, context, complete, not self.frozen, shown(entry, complete))
        path = self.add(name, leaf)
        outputs = [self.wire(shape) for shape in (feature, *further)]
        self.level.steps.append(
            ModuleCall(path, tuple([first, *inputs[1:]] if first else []), outputs if further else outputs[0])
        )
        return outputs

    def budget(self, feature: Feature | None = None) -> None:
        self._steps += 1
        if feature is not None and min((feature.c, *feature.grid)) < 1:
            raise error(f"nothing is left: {feature}", hint="widths and extents are at least 1")
        if self.large:
            return
        if self._steps > MAX_STEPS:
            raise error(f"the network has more than {MAX_STEPS} operators", hint="lower a repeat; --large lifts the limit")
        if feature is not None and feature.c > MAX_WIDTH:
            raise error(f"a width of {feature.c} channels", hint="lower it; --large lifts the limit")

    def named(self, name: str) -> str:
        """A name for a part that the text does not mention; numbered from the second on."""
        key = (id(self.level), name)
        self._used[key] = self._used.get(key, 0) + 1
        return name if self._used[key] == 1 else f"{name}{self._used[key]}"

    def single(self, value: ValueTree) -> Value:
        """The value itself, which must not be a list."""
        if not isinstance(value, Value):
            raise error(
                "one value is needed here, this is a list" if value is not None else "a value is needed here, this is absent",
                hint="choose a member: `x[0]`",
            )
        return value

    def reuse(
        self,
        owner: Subgraph | ModuleList,
        path: tuple[str, ...],
        make: Callable[[ValueTree], ValueTree],
        x: ValueTree,
        first: ValueTree,
        span: Span | None,
        root: bool = False,
    ) -> ValueTree:
        """Applies a part whose modules belong to ``owner`` and are built once: traced anew, it must come out the same.

        ``first`` is what the first use got: a later value is brought into the same layouts, so that conversions do not differ.
        """
        outer, holder = self.level, self.fresh()
        x = self._like(x, first)
        self.level = holder
        try:
            output = make(x)
        finally:
            self.level = outer
        for name, child in holder.children.items():
            if not same_computation(owner.children.setdefault(name, child), child):
                hint = "give each use a module of its own in `let`"
                raise error("a module that is built once is used on two shapes that do not fit it", span, hint)
        for step in holder.steps:
            if isinstance(step, ModuleCall) and not step.shared:
                step = ModuleCall((*path, *step.child), tuple(inputs_of(holder, step)), step.output, shared=True, root=root)
            outer.steps.append(step)
        return output

    def alike(self, value: ValueTree, make: Callable[[Value], Value]) -> ValueTree:
        """What the same modules give for a value, or for each of a list."""
        if isinstance(value, Value):
            return make(value)
        members = [self.single(member) for member in value]
        if len(members) == 1:
            return [make(members[0])]
        return [self.reuse(self.level, (), lambda x: make(self.single(x)), member, members[0], None) for member in members]

    def _like(self, x: ValueTree, first: ValueTree) -> ValueTree:
        if isinstance(x, Value) and isinstance(first, Value):
            wanted = first.feature.layout
            spatial = {x.feature.layout, wanted} <= {"map", "grid", "tokens"}
            return self.to(x, wanted) if spatial and (not x.feature.prefix or wanted == "tokens") else x
        if isinstance(x, (list, tuple)) and isinstance(first, (list, tuple)) and len(first) == len(x):
            return [self._like(a, b) for a, b in zip(x, first, strict=True)]
        return x

    @contextmanager
    def located(self, span: Span | None) -> Iterator[None]:
        """Gives problems this place that have none of their own, or one in the standard library, which nobody here wrote."""
        try:
            yield
        except SpecError as wrong:
            if all(problem.span is not None and not in_library(problem.span) for problem in wrong.problems):
                raise
            raise SpecError(replace(problem, span=_nearer(problem.span, span)) for problem in wrong.problems) from None


def in_library(span: Span | None) -> bool:
    """Whether this is a place in the standard library."""
    return span is not None and span.text.name == LIBRARY


def _nearer(found: Span | None, span: Span | None) -> Span | None:
    if found is None:
        return span
    return span if span is not None and in_library(found) and not in_library(span) else found


_Names = dict[str, Any]


def _names(holder: Subgraph | ModuleList) -> _Names:
    """The names of the children; of numbered lists also what they hold."""
    return {name: _names(child) if isinstance(child, ModuleList) else {} for name, child in holder.children.items()}


def _forget(holder: Subgraph | ModuleList, known: _Names) -> None:
    for name, child in list(holder.children.items()):
        if name not in known:
            del holder.children[name]
        elif isinstance(child, ModuleList):
            _forget(child, known[name])


@cache
def _inner(operator: str) -> Operator:
    """Leaves that only forms use: ``attend.Attend``."""
    file, _, attribute = operator.partition(".")
    return Operator(file, f"metablock.operators.{file}", attribute, leaf=True)


def shown(entry: Operator, args: dict[str, Any]) -> str:
    """A leaf as a person would write it: what has its default is left out."""
    parts, positional = [], True
    for place, param in enumerate(entry.schema.params):
        positional = positional and place < 2
        if args[param.name] == param.default and not param.required:
            positional = False
            continue
        value = args[param.name]
        text = {None: "none", True: "true", False: "false"}.get(value) if value is None or isinstance(value, bool) else None
        value = float(f"{value:.6g}") if isinstance(value, float) else value
        text = text or (
            number(value) if isinstance(value, (int, float)) else f'"{value}"' if isinstance(value, str) else str(value)
        )
        parts.append(text if positional else f"{param.name}={text}")
    return f"{entry.name}({', '.join(parts)})" if parts else entry.name


def _accepted(rule: Any) -> set[str]:
    code = rule.__code__
    return set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
