"""The emitter: writes steps and modules into the open subgraph. It knows operators and shapes, not expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count
from math import prod
from typing import Any

from ..errors import Span, error
from ..language.param_names import TAKEN
from ..language.printer import number
from ..language.registry import OPERATORS, Operator
from ..shape import Feature, Layout
from . import layouts
from .context import ContextStack, Draft
from .ir import (
    Child,
    InlineOp,
    ModuleCall,
    ModuleList,
    ModuleNode,
    Step,
    Subgraph,
    Value,
    ValueTree,
    flat_values,
    inputs_of,
    same_computation,
    single,
)

MAX_STEPS = 20_000
MAX_WIDTH = 1_000_000


class Emitter:
    """Writes into the open subgraph of a context.

    Args:
        context: whose open subgraph is written into.
        first: the id of the first value.
        large: lifts the caps on sizes.
    """

    def __init__(self, context: ContextStack | None = None, *, first: int = 0, large: bool = False):
        self.context = context or ContextStack()
        self.large = large
        self._ids = count(first)
        self._steps = 0

    @property
    def steps(self) -> list[Step]:
        """The steps of the open subgraph."""
        return self.context.now.draft.subgraph.steps

    # Values and steps

    def value(self, feature: Feature) -> Value:
        """A fresh value."""
        return Value(next(self._ids), feature)

    def inline(self, template: str, inputs: Sequence[Value], feature: Feature) -> Value:
        """An expression on values: ``inline("{0} + {1}", [a, b], a.feature)``."""
        output = self.value(feature)
        self.steps.append(InlineOp(template, tuple(inputs), output))
        return output

    def call(self, operator: str, name: str, inputs: Sequence[Value], feature: Feature | None = None, **args: Any) -> Value:
        """A module applied to these values, registered under ``name``. The first value is cast to a layout that it takes.

        The operator's rule gives the shape, unless ``feature`` does.
        """
        return self.call_with_results(operator, name, inputs, feature, (), **args)[0]

    def call_with_results(
        self,
        operator: str,
        name: str,
        inputs: Sequence[Value],
        feature: Feature | None,
        further: tuple[Feature, ...],
        **args: Any,
    ) -> list[Value]:
        """A module that returns ``further`` values beside the first."""
        entry = OPERATORS.get(operator) or _inner(operator)
        cls = entry.load()
        first = self.cast(inputs[0], *cls.takes) if inputs else None
        complete = {param.name: args.get(param.name, param.default) for param in entry.schema.params}
        facts: dict[str, Any] = {}
        for fact in entry.schema.context:
            facts[fact] = args[fact] if fact in args else getattr(first.feature, fact) if first else None
        if feature is None and first is not None:
            feature = _output_shape(cls, complete, first.feature, [value.feature for value in inputs[1:]])
        assert feature is not None
        self.budget(feature)
        trainable = self.context.now.trainable
        text = written(entry, complete)
        path = self.add(name, ModuleNode(entry.name, entry.module, entry.attribute, facts, complete, trainable, text))
        outputs = [self.value(shape) for shape in (feature, *further)]
        arguments = (first, *inputs[1:]) if first is not None else ()
        self.steps.append(ModuleCall(path, arguments, outputs if further else outputs[0]))
        return outputs

    def budget(self, feature: Feature | None = None) -> None:
        """Counts one operator against the caps. Raises SpecError for one too many, or for a shape that is empty or too wide."""
        self._steps += 1
        if feature is not None and min((feature.c, *feature.grid)) < 1:
            raise error(f"nothing is left: {feature}", hint="widths and extents are at least 1")
        if self.large:
            return
        if self._steps > MAX_STEPS:
            raise error(f"the network has more than {MAX_STEPS} operators", hint="lower a repeat; --allow-large lifts the limit")
        if feature is not None and feature.c > MAX_WIDTH:
            raise error(f"a width of {feature.c} channels", hint="lower it; --allow-large lifts the limit")

    # Layouts, and values that meet

    def cast(self, value: Value, *wanted: Layout) -> Value:
        """The value in one of these layouts: as it is if it fits, else in the first that can be reached.

        A cast that the open subgraph holds already is used again.
        """
        known, result = self.context.now.draft.casts, value
        for template, feature in layouts.casts(value.feature, wanted):
            key = (value.id, feature.layout)
            if key not in known:
                known[key] = self.inline(template, [result], feature)
            result = known[key]
        return result

    def together(self, *values: Value) -> list[Value]:
        """These values in the same windows: one from outside is repeated for each window of its image."""
        around = max((value.feature.around for value in values), key=len)
        return [self._repeated(value, around) for value in values]

    def _repeated(self, value: Value, around: tuple[tuple[int, ...], ...]) -> Value:
        times = layouts.repeats(value.feature, around)
        if times is None:
            return value
        return self.inline(f"{{0}}.repeat_interleave({times}, dim=0)", [value], value.feature.with_(around=around))

    def binary(self, op: str, left: Value, right: Value) -> Value:
        """``left op right``, element by element; a vector, or a single channel, is spread over the other side."""
        left, right = self.together(left, right)
        a, b = left.feature, right.feature
        if b.n > 1 and layouts.becomes_vector(a, b):
            left = self._as_vector(left)
        if layouts.becomes_vector(b, a):
            right = self._as_vector(right)
        a, b = left.feature, right.feature
        if a.layout != b.layout and "vector" not in (a.layout, b.layout):
            layout = layouts.meeting_layout(a, b)
            left, right = self.cast(left, layout), self.cast(right, layout)
        template, feature = layouts.elementwise(op, left.feature, right.feature)
        return self.inline(template, [left, right], feature)

    def _as_vector(self, value: Value) -> Value:
        return self.inline("{0}.flatten(1)", [value], value.feature.with_(layout="vector", grid=(), prefix=0))

    def concat(self, values: Sequence[Value]) -> Value:
        """Channels side by side."""
        if len(values) == 1:
            return values[0]
        first, *others = self.together(*values)
        aligned = [first, *(self.cast(other, first.feature.layout) for other in others)]
        template, feature = layouts.concatenation([value.feature for value in aligned])
        return self.inline(template, aligned, feature)

    def split(self, value: Value, sizes: Sequence[int]) -> list[Value]:
        """Channels divided into parts of these sizes. Raises SpecError where they do not add up."""
        f = value.feature
        if sum(sizes) != f.c:
            total = f"{' + '.join(map(str, sizes))} = {sum(sizes)}"
            raise error(f"parts of {total} channels, {f.c} arrive", hint="the sizes must add up")
        outputs = [self.value(f.with_(c=size)) for size in sizes]
        self.steps.append(InlineOp(f"{{0}}.split({list(sizes)}, dim={layouts.channel_axis(f)})", (value,), outputs))
        return outputs

    def take_tokens(self, value: Value, start: int, stop: int, *, prefix: int = 0, grid: tuple[int, ...]) -> Value:
        """A range of tokens, as tokens with this prefix and grid."""
        tokens = self.cast(value, "tokens")
        assert prefix + prod(grid) == stop - start
        template = f"{{0}}[:, {start or ''}:{stop if stop < tokens.feature.n else ''}]"
        return self.inline(template, [tokens], tokens.feature.with_(prefix=prefix, grid=grid))

    # Subgraphs and children

    def add(self, name: str, child: Child) -> tuple[str, ...]:
        """Registers a child of the open subgraph and returns its path; ``blocks.3`` goes into a numbered list."""
        names = [part + "_" if part in TAKEN else part for part in name.split(".")]
        holder: Subgraph | ModuleList = self.context.now.draft.subgraph
        for part in names[:-1]:
            below = holder.children.setdefault(part, ModuleList())
            assert isinstance(below, ModuleList)
            holder = below
        last = names[-1]
        while last in holder.children:
            last += "_"
        holder.children[last] = child
        return (*names[:-1], last)

    def number(self, name: str) -> str:
        """An automatic name for a part that the text does not mention; numbered from the second on."""
        taken = self.context.now.draft.taken
        taken[name] += 1
        return name if taken[name] == 1 else f"{name}{taken[name]}"

    @contextmanager
    def open(self, name: str, text: str, x: ValueTree, region: str | None = None, span: Span | None = None) -> Iterator[Subgraph]:
        """A subgraph below the open one. One without children of its own is dissolved: its steps become the parent's.

        With ``region="blocks"`` it is no region itself: what it repeats are blocks.
        """
        parent, blocks = self.context.now.draft.subgraph, region == "blocks"
        subgraph = Subgraph(text=text, inputs=tuple(flat_values(x)), region=None if blocks else region, span=span)
        with self.context.push(draft=Draft(subgraph), unit="block" if blocks else None):
            yield subgraph
        if subgraph.children or subgraph.pinned:
            path = self.add(name, subgraph)
            parent.steps.append(ModuleCall(path, (), subgraph.output))
        else:
            parent.steps.extend(subgraph.steps)

    def mark(self) -> Callable[[], None]:
        """Notes how far the open subgraph is filled; the function it returns removes all that came since."""
        draft = self.context.now.draft
        steps, casts, children = len(draft.subgraph.steps), len(draft.casts), _child_names(draft.subgraph)

        def undo() -> None:
            del draft.subgraph.steps[steps:]
            _remove_others(draft.subgraph, children)
            for key in list(draft.casts)[casts:]:
                del draft.casts[key]

        return undo

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
        """Applies a part whose modules belong to ``owner`` and are built once. Raises SpecError if it comes out differently.

        ``first`` is what the first use got: a later value is cast to the same layouts, so that casts do not differ. ``path``
        leads to the owner's children, from the open subgraph or, with ``root``, from the root of the network.
        """
        x = self._like(x, first)
        outer, holder, unit = self.steps, Subgraph(), self.context.now.unit
        with self.context.push(draft=Draft(holder), unit=None if unit == "line" else unit):
            output = make(x)
        for name, child in holder.children.items():
            if not same_computation(owner.children.setdefault(name, child), child):
                hint = "give each use a module of its own in `let`"
                raise error("a module that is built once is used on two shapes that do not fit it", span, hint)
        for step in holder.steps:
            if isinstance(step, ModuleCall) and not step.shared:
                inputs = tuple(inputs_of(holder, step))
                step = ModuleCall((*path, *step.child), inputs, step.output, shared=True, root=root)
            outer.append(step)
        return output

    def alike(self, values: ValueTree, make: Callable[[Value], Value]) -> ValueTree:
        """What the same modules return for a value, or for each of a list."""
        if isinstance(values, Value):
            return make(values)
        members = [single(member) for member in values]
        if len(members) == 1:
            return [make(members[0])]
        owner = self.context.now.draft.subgraph
        return [self.reuse(owner, (), lambda x: make(single(x)), member, members[0], None) for member in members]

    def _like(self, x: ValueTree, first: ValueTree) -> ValueTree:
        if isinstance(x, Value) and isinstance(first, Value):
            wanted = first.feature.layout
            spatial = {x.feature.layout, wanted} <= {"map", "grid", "tokens"}
            return self.cast(x, wanted) if spatial and (not x.feature.prefix or wanted == "tokens") else x
        if isinstance(x, (list, tuple)) and isinstance(first, (list, tuple)) and len(first) == len(x):
            return [self._like(a, b) for a, b in zip(x, first, strict=True)]
        return x


_ChildNames = dict[str, Any]


def _child_names(holder: Subgraph | ModuleList) -> _ChildNames:
    """The names of the children; of numbered lists also what they hold."""
    return {name: _child_names(child) if isinstance(child, ModuleList) else {} for name, child in holder.children.items()}


def _remove_others(holder: Subgraph | ModuleList, names: _ChildNames) -> None:
    for name, child in list(holder.children.items()):
        if name not in names:
            del holder.children[name]
        elif isinstance(child, ModuleList):
            _remove_others(child, names[name])


@cache
def _inner(operator: str) -> Operator:
    """Leaves that only composite operators use: ``attend.Attend``."""
    file, _, attribute = operator.partition(".")
    return Operator(file, f"metablock.operators.{file}", attribute, leaf=True)


def _output_shape(cls: Any, args: dict[str, Any], first: Feature, others: list[Feature]) -> Feature:
    """By the operator's rule, which takes those arguments that it names; without a rule the shape stays."""
    rule = getattr(cls, "shape", None)
    if rule is None:
        return first
    code = rule.__code__
    accepted = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    result: Feature = rule(first, *others, **{name: value for name, value in args.items() if name in accepted})
    return result


def written(entry: Operator, args: dict[str, Any]) -> str:
    """A module as a person would write it, without arguments that have their default: ``conv(64, 7, stride=4)``."""
    parts, positional = [], True
    for place, param in enumerate(entry.schema.params):
        positional = positional and place < 2
        value = args[param.name]
        if value == param.default and not param.required:
            positional = False
            continue
        text = _word(value)
        parts.append(text if positional else f"{param.name}={text}")
    return f"{entry.name}({', '.join(parts)})" if parts else entry.name


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, float):
        value = float(f"{value:.6g}")
    return number(value) if isinstance(value, (int, float)) else f'"{value}"' if isinstance(value, str) else str(value)
