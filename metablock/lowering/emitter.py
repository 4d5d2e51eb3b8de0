"""The emitter: writes steps and modules into the open subgraph. It knows operators and shapes, but not expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from math import prod
from typing import Any

from ..errors import AxesError, Problem, Span, error
from ..language.budget import spend
from ..shape import Feature, Layout
from . import layouts
from .context import ContextStack
from .draft import Draft
from .ir import (
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
    mapped,
    same_computation,
    single,
)
from .leaves import operator_of, output_shape
from .sequences import sequences, together
from .wiring import same_use, same_wiring
from .written import written

MAX_STEPS = 10_000
MAX_WIDTH = 1_000_000
_TWO_THINGS = "a module that is built once would compute two things"


class Emitter:
    """Writes steps and modules into the open subgraph of a context.

    Args:
        context: holds the open subgraph; by default a new context with an empty one.
        first: the id of the first value.
        large: lifts the caps on sizes.

    Attributes:
        place: the place in the spec of the modules that are written.
        doubts: what is allowed, but may not be meant, about the calls so far: one of a kind for each place.

    >>> ir = Emitter()
    >>> image = ir.value(Feature("map", 3, (32, 32)))
    >>> y = ir.call("conv", "stem", [image], out=8, kernel=3, stride=2)
    >>> str(y.feature), list(ir.context.now.draft.subgraph.children)
    ('map 8 x 16x16', ['stem'])
    """

    def __init__(self, context: ContextStack | None = None, *, first: int = 0, large: bool = False):
        self.context = context or ContextStack()
        self.large = large
        self.place: Span | None = None
        self.doubts: dict[object, Problem] = {}
        self._ids = count(first)
        self._steps = 0

    @property
    def steps(self) -> list[Step]:
        """The steps of the open subgraph."""
        return self.context.now.draft.subgraph.steps

    # Values and steps

    def value(self, feature: Feature) -> Value:
        """A new value of this shape. No step computes it yet."""
        return Value(next(self._ids), feature)

    def inline(self, template: str, inputs: Sequence[Value], feature: Feature) -> Value:
        """Writes a Python expression on tensors.

        Args:
            template: the expression; ``{0}``, ``{1}`` ... stand for the inputs.
            inputs: the values it reads.
            feature: the shape of its result.

        >>> ir = Emitter()
        >>> x = ir.value(Feature("map", 8, (4, 4)))
        >>> str(ir.inline("{0}.mean((2, 3))", [x], Feature("vector", 8)).feature)
        'vector of 8'
        """
        spend(2 + len(inputs) // 4)
        output = self.value(feature)
        self.steps.append(InlineOp(template, tuple(inputs), output))
        return output

    def call(self, operator: str, name: str, inputs: Sequence[Value], feature: Feature | None = None, **args: Any) -> Value:
        """Registers a module in the open subgraph and applies it.

        Args:
            operator: the name of a leaf operator in a spec, or ``file.Class`` of one that only composite operators use.
            name: the module's name, with an underscore behind it if it is taken.
            inputs: what it reads. The first is cast to a layout that the operator takes.
            feature: the shape of the result; by default the operator's own rule gives it.
            args: the operator's arguments; and positional ones of its class (``grid=``) that ``inputs[0]`` would supply wrongly.

        Raises:
            SpecError: the operator does not take this shape, or a cap on sizes is exceeded.
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
        """As :meth:`call`, for a module that returns several values. ``further`` are the shapes of all but the first."""
        now = self.context.now
        entry = operator_of(operator, now.constant, now.turned)
        rule = entry.rule()
        along = getattr(rule, "along", False)
        first, lines = sequences(self, inputs[0], args.get("over")) if along else (None, None)
        first = self.cast(inputs[0], *rule.takes) if inputs and not along else first
        complete = {param.name: args.get(param.name, param.default) for param in entry.schema.params}
        facts: dict[str, Any] = {}
        for fact in entry.schema.context:
            facts[fact] = args[fact] if fact in args else getattr(first.feature, fact) if first else None
        if feature is None and first is not None:
            try:
                feature = output_shape(rule, complete, first.feature, [value.feature for value in inputs[1:]])
            except AxesError as wrong:
                raise error(wrong.message, hint=f"{wrong.hint}{layouts.dropped(first.feature)}") from None
        assert feature is not None
        self.budget(feature)
        kind = (now.trainable, now.role, now.constant, written(entry, complete))
        node = ModuleNode(entry.name, entry.module, entry.attribute, facts, complete, *kind, self.place, now.share)
        path = now.draft.add(name, node)
        outputs = [self.value(shape) for shape in (feature, *further)]
        arguments = (first, *inputs[1:]) if first is not None else ()
        result: ValueTree = [outputs[0], None] if along else outputs if further else outputs[0]
        self.steps.append(ModuleCall(path, arguments, result))
        return outputs if lines is None else [together(self, outputs[0], lines)]

    def budget(self, feature: Feature | None = None) -> None:
        """Counts one operator. Raises SpecError if that is one too many, or if its result is empty or too wide."""
        self._steps += 1
        spend(10)
        if feature is not None and min((feature.c, *feature.grid)) < 1:
            raise error(f"nothing is left: {feature}", hint="widths and extents are at least 1")
        if self.large:
            return
        if self._steps > MAX_STEPS:
            raise error(f"the network has more than {MAX_STEPS} operators", hint="lower a repeat; --large lifts the limit")
        if feature is not None and feature.c > MAX_WIDTH:
            raise error(f"a width of {feature.c} channels", hint="lower it; --large lifts the limit")

    # Layout casts and broadcasting

    def cast(self, value: Value, *wanted: Layout) -> Value:
        """The value in one of several layouts: as it is, if it is in one of them, else in the first that it can reach.

        The open subgraph has each cast once, however often it is needed. Raises SpecError if no layout can be reached.

        >>> ir = Emitter()
        >>> x = ir.value(Feature("map", 8, (4, 4)))
        >>> tokens = ir.cast(x, "tokens")
        >>> ir.cast(x, "tokens") is tokens, [step.template for step in ir.steps]
        (True, ['{0}.movedim(1, -1)', '{0}.flatten(1, 2)'])
        """
        known, result = self.context.now.draft.casts, value
        for template, feature in layouts.casts(value.feature, wanted):
            key = (value.id, feature.layout)
            if key not in known:
                known[key] = self.inline(template, [result], feature)
            result = known[key]
        return result

    def together(self, *values: Value) -> list[Value]:
        """The values, all in the same windows: one from outside is repeated for each window of its image.

        Raises SpecError if two of them are in different windows.

        >>> ir = Emitter()
        >>> inside = ir.value(Feature("grid", 8, (7, 7), around=((2, 2),)))
        >>> _, repeated = ir.together(inside, ir.value(Feature("vector", 8)))
        >>> repeated.feature.windows
        4
        """
        around = max((value.feature.around for value in values), key=len)
        return [self._repeated(value, around) for value in values]

    def _repeated(self, value: Value, around: tuple[tuple[int, ...], ...]) -> Value:
        """The value in these windows, repeated for each of them if it comes from outside."""
        times = layouts.repeats(value.feature, around)
        if times is None:
            return value
        return self.inline(f"{{0}}.repeat_interleave({times}, dim=0)", [value], value.feature.with_(around=around))

    def binary(self, op: str, left: Value, right: Value) -> Value:
        """``left op right``, element by element. A vector, a single token or a single channel broadcasts over the other side.

        Raises SpecError if the extents or the widths differ otherwise.

        >>> ir = Emitter()
        >>> x, gate = ir.value(Feature("map", 8, (4, 4))), ir.value(Feature("vector", 8))
        >>> str(ir.binary("*", x, gate).feature), ir.steps[0].template
        ('map 8 x 4x4', '{0} * {1}[(...,) + (None,) * 2]')
        """
        left, right = self.together(left, right)
        a, b = left.feature, right.feature
        if (b.n > 1 or b.layout == "vector") and layouts.becomes_vector(a, b):
            left = self._as_vector(left)
        if layouts.becomes_vector(b, a):
            right = self._as_vector(right)
        a, b = left.feature, right.feature
        layouts.check_meeting(a, b)
        if a.layout != b.layout and "vector" not in (a.layout, b.layout):
            layout = layouts.meeting_layout(a, b)
            left, right = self.cast(left, layout), self.cast(right, layout)
        template, feature = layouts.elementwise(op, left.feature, right.feature)
        return self.inline(template, [left, right], feature)

    def _as_vector(self, value: Value) -> Value:
        """A value of one token as a vector."""
        return self.inline("{0}.flatten(1)", [value], value.feature.with_(layout="vector", grid=(), prefix=0))

    def concat(self, values: Sequence[Value]) -> Value:
        """The channels of all values, side by side, in the layout of the first that has extents.

        A vector or a single token is repeated at every position of the others. Raises SpecError if the extents differ.
        """
        if len(values) == 1:
            return values[0]
        aligned = self.together(*values)
        spatial = [value for value in aligned if value.feature.layout in ("map", "grid", "tokens")]
        over = next((value for value in spatial if value.feature.n > 1), spatial[0] if spatial else aligned[0])
        aligned = [self._alike(value, over) for value in aligned]
        template, feature = layouts.concatenation([value.feature for value in aligned])
        return self.inline(template, aligned, feature)

    def _alike(self, value: Value, over: Value) -> Value:
        """A value in the layout of another one, and at every position of it if the value has only one."""
        f, wanted = value.feature, over.feature
        elsewhere = (f.grid, f.prefix) != (wanted.grid, wanted.prefix)
        if f.layout in ("map", "grid", "tokens") and f.n == 1 and elsewhere:
            value = self._as_vector(value)
        if value.feature.layout == "vector" and wanted.layout in ("map", "grid", "tokens"):
            template, feature = layouts.spread(value.feature, wanted)
            return self.inline(template, [value, over], feature)
        if value.feature.layout in ("map", "grid", "tokens"):
            layouts.check_beside(wanted, value.feature)
        return self.cast(value, wanted.layout)

    def split(self, value: Value, sizes: Sequence[int]) -> list[Value]:
        """The channels of a value in parts of these sizes. Raises SpecError if the sizes do not add up to its width."""
        f = value.feature
        spend(10 * len(sizes))
        if sum(sizes) != f.c:
            total = f"{' + '.join(map(str, sizes))} = {sum(sizes)}"
            raise error(f"parts of {total} channels, {f.c} arrive", hint="the sizes must add up")
        axis, outputs = layouts.channel_axis(f), [self.value(f.with_(c=size)) for size in sizes]
        self.steps.append(InlineOp(f"{{0}}.split({list(sizes)}, dim={axis})", (value,), outputs))
        return outputs

    def take_tokens(self, value: Value, start: int, stop: int, *, prefix: int = 0, grid: tuple[int, ...]) -> Value:
        """The tokens from ``start`` up to ``stop``, prefix tokens counted, with a prefix and a grid of their own."""
        tokens = self.cast(value, "tokens")
        assert prefix + prod(grid) == stop - start
        template = f"{{0}}[:, {start or ''}:{stop if stop < tokens.feature.n else ''}]"
        return self.inline(template, [tokens], tokens.feature.with_(prefix=prefix, grid=grid))

    # Subgraphs and children

    @contextmanager
    def open(self, name: str, text: str, x: ValueTree, region: str | None = None, span: Span | None = None) -> Iterator[Subgraph]:
        """Opens a subgraph below the open one while the `with` block runs, then registers and calls it.

        A subgraph that is left without children is dissolved: its steps become the parent's.

        Args:
            name: the subgraph's name, as for :meth:`Draft.add`.
            text: the expression of the spec.
            x: what enters it.
            region: the kind of compile unit, if it is one. ``"blocks"``: it is none itself, but what it repeats are blocks.
            span: the place in the spec.

        Yields:
            The subgraph. The block has to set its ``output``.
        """
        outer, share, blocks = self.context.now.draft, self.context.now.share, region == "blocks"
        parent, place = outer.subgraph, outer.place(name)
        subgraph = Subgraph(text=text, inputs=tuple(flat_values(x)), region=None if blocks else region, span=span, share=share)
        outer.open.append(place[0])
        path = (*self.context.now.path, *place)
        try:
            with self.context.push(draft=Draft(subgraph), path=path, unit="block" if blocks else None, share=None) as inner:
                yield subgraph
        finally:
            outer.open.pop()
        outer.added += inner.draft.added
        if subgraph.children or subgraph.pinned or subgraph.share is not None:
            parent.steps.append(ModuleCall(self.context.now.draft.add(name, subgraph), (), subgraph.output))
        else:
            parent.steps.extend(map(self._here, subgraph.steps))

    def _here(self, step: Step) -> Step:
        """A step that comes into the open subgraph; what this one holds is called as its child."""
        now = self.context.now
        if isinstance(step, ModuleCall) and step.near == len(now.path) and not now.draft.borrowed:
            return replace(step, child=step.child[len(now.path) :], root=False, near=None)
        return step

    def reuse(
        self,
        owner: Subgraph | ModuleList,
        path: tuple[str, ...],
        make: Callable[[ValueTree], ValueTree],
        x: ValueTree,
        first: ValueTree,
        span: Span | None,
        root: bool = False,
        uses: list[Subgraph] | None = None,
        near: int | None = None,
    ) -> ValueTree:
        """Applies modules that are built once, the first time or again.

        Args:
            owner: the part that the modules are registered in.
            path, root: the names that lead to the owner, from the open subgraph or, with ``root``, from the root of the network.
            make: lowers the part: takes what enters and returns the output.
            x: what enters this time.
            first: what entered the first time; ``x`` is cast to the same layouts, so that both times have the same steps.
            span: the place of this use, for messages.
            uses: what the first use emitted, or empty: every use has to call the same modules in the same way.
            near: as :class:`ModuleCall` has it.

        Raises:
            SpecError: this use needs other modules or steps than the first.
        """
        x = self._like(x, first)
        outer, holder, unit = self.steps, Subgraph(), self.context.now.unit
        whole = path if root else (*self.context.now.path, *path)
        with self.context.push(draft=Draft(holder, borrowed=True), path=whole, unit=None if unit == "line" else unit) as inner:
            output = make(x)
        self.context.now.draft.added += inner.draft.added
        draft, hint = self.context.now.draft, "give each use a module of its own in `let`"
        for name, child in holder.children.items():
            first_use = draft.register(owner, name, child)
            if not same_computation(first_use, child):
                raise error("a module that is built once is used on two shapes that do not fit it", span, hint)
            if not same_wiring(first_use, child):
                raise error(_TWO_THINGS, span, hint)
        if uses is not None:
            holder.inputs, holder.output = tuple(flat_values(x)), output
            uses[:] = uses or [holder]
            if not same_use(uses[0], holder):
                raise error(_TWO_THINGS, span, hint)
        for step in holder.steps:
            if isinstance(step, ModuleCall) and not step.shared:
                reads = tuple(inputs_of(holder, step))
                step = replace(step, child=(*path, *step.child), inputs=reads, shared=True, root=root, near=near)
            outer.append(self._here(step))
        return output

    def apart(self, x: ValueTree, others: Iterable[Value] = ()) -> ValueTree:
        """``x``, where a value that stands in it twice, or is one of ``others``, has another name: what reads it reads two."""
        seen = [*others]

        def own(value: Value) -> Value:
            seen.append(value)
            return self.inline("{0}", [value], value.feature) if value in seen[:-1] else value

        return mapped(x, own)

    def alike(self, values: ValueTree, make: Callable[[Value], Value]) -> ValueTree:
        """Applies the same modules to a value, or to each value of a list, and returns as many values. ``make`` lowers them."""
        if isinstance(values, Value):
            return make(values)
        members = [single(member) for member in values]
        if len(members) == 1:
            return [make(members[0])]
        owner = self.context.now.draft.subgraph
        return [self.reuse(owner, (), lambda x: make(single(x)), member, members[0], None) for member in members]

    def _like(self, x: ValueTree, first: ValueTree) -> ValueTree:
        """``x`` in the layouts of ``first``, as far as it can be cast without losing its prefix."""
        if isinstance(x, Value) and isinstance(first, Value):
            wanted = first.feature.layout
            spatial = {x.feature.layout, wanted} <= {"map", "grid", "tokens"}
            return self.cast(x, wanted) if spatial and (not x.feature.prefix or wanted == "tokens") else x
        if isinstance(x, (list, tuple)) and isinstance(first, (list, tuple)) and len(first) == len(x):
            return [self._like(a, b) for a, b in zip(x, first, strict=True)]
        return x
