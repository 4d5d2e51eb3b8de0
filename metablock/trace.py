"""From expressions to levels: every module an expression names is placed, with the shape that enters it.

Two movements alternate. :meth:`Tracer.place` puts an expression under a name: it follows bindings and choices until an operator
or a compound stands there, and makes a leaf or a level. :meth:`Tracer.inline` walks a compound inside the level that is open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import expr as e
from .arguments import Arg, check_arguments
from .errors import Span, SpecError, error
from .evaluate import Evaluator
from .graph import Items, Level, Run, Value, Wire, arguments, same, wires
from .labels import Label, labels
from .levels import Levels, in_library
from .printer import show
from .registry import OPERATORS, Operator
from .scope import Bound, Closure, Scope, Section, Word, given
from .spec import Spec

MAX_REPEATS = 10_000
MAX_NESTED = 60
ABSENT = None


class Tracer(Levels):
    """Traces one network. ``evaluate`` has the numbers, ``level`` is the one being filled."""

    def __init__(self, spec: Spec, stages: int, large: bool = False):
        super().__init__(large)
        self.evaluate = Evaluator(spec, stages)
        self.spec = spec
        self.given: dict[str, str] = {}
        self._nested = 0
        self._labels: dict[int, Label] = {}
        self._labelled: set[int] = set()
        self._kept: list[e.Node] = []

    # Placing an expression under a name

    def place(self, node: e.Node, scope: Scope, x: Value, name: str, region: str | None = None) -> Value:
        """Applies an expression to ``x``; what it makes stands under ``name``."""
        self._nested += 1
        try:
            if self._nested > MAX_NESTED:
                raise error(f"modules stand more than {MAX_NESTED} deep inside each other", node.span, "use fewer bindings in between")
            return self._place(node, scope, x, name, region)
        finally:
            self._nested -= 1

    def _place(self, node: e.Node, scope: Scope, x: Value, name: str, region: str | None) -> Value:
        first, use = node, node  # `use`: the last that is not in the library; errors point there, and it is what is shown
        while True:
            step = self._reduce(node, scope, x)
            if not isinstance(step, Closure):
                return step[0]
            if step.node is node:
                break
            node, scope = step.node, step.scope
            use = use if in_library(node.span) else node
        with self.located(use.span):
            return self._build(node, scope, x, name, region, first if not isinstance(first, e.Name) else use)

    def _build(self, node: e.Node, scope: Scope, x: Value, name: str, region: str | None, written: e.Node) -> Value:
        """An operator, or the level of a compound. ``written`` is how a person would call it."""
        with self.located(node.span):
            operator = self._operator(node, scope)
            if operator is not None and not operator.inline:
                given_args = check_arguments(self, operator, node, scope)
                if operator.leaf:
                    if not isinstance(x, Wire):
                        raise error(
                            f"'{operator.name}' takes one value, a list arrives",
                            hint="`each(...)` applies one module to every member",
                        )
                    return self.leaf(operator.name, name, [x], **given_args)
                with self.open(name, show(written), x, region, node.span) as level:
                    level.output = operator.load()(self, x, *given_args.pop("*", ()), **given_args)
                return level.output
        with self.open(name, show(written), x, region, node.span) as level:
            self.relabel(node)
            level.output = self.inline(node, scope, x)
        return level.output

    def _reduce(self, node: e.Node, scope: Scope, x: Value) -> Closure | tuple[Value]:
        """One step from a name, a choice or a call to what it stands for; a tuple holds a finished value."""
        match node:
            case e.Name(id=name):
                found = self.evaluate.names.find(name, scope, node.span)
                if isinstance(found, Word):
                    if name == "id":
                        return (x,)
                    if name == "none":
                        return (ABSENT,)
                    raise _no_module(node)
                if isinstance(found, Bound):
                    return self._follow(found, {}, node, x)
                if isinstance(found, Closure):
                    return Closure(found.node, found.scope.with_c(_width(x)))
                if isinstance(found, Operator):
                    return Closure(node, scope)
                if isinstance(found, Section):
                    return (self.section(found.name, x, node.span),)
                if found is None or isinstance(found, (Wire, list, tuple)):
                    return (found,)
                raise _no_module(node)
            case e.Call(func=e.Name(id=name)):
                found = self.evaluate.names.find(name, scope, node.func.span)
                if isinstance(found, Bound):
                    return self._follow(found, self.evaluate.arguments(found.binding, node, scope), node, x)
                if isinstance(found, Word) and name != "sum":
                    raise _no_module(node)
                if isinstance(found, (Closure, Wire)):
                    raise error(
                        f"'{name}' takes no arguments", node.span, "`f(x)` gives arguments to a recipe; data flows with `>>`"
                    )
                return Closure(node, scope)
            case e.Call():
                raise error("only a name can be called", node.func.span, "data flows with `>>`")
            case e.Choice():
                return Closure(node.then if self.evaluate.test(node.test, scope) else node.other, scope)
            case e.Index() | e.Attribute():
                value = self.evaluate.value(node, scope)
                if isinstance(value, Closure) and value.node is not node:
                    return Closure(value.node, value.scope.with_c(_width(x)))
                if value is ABSENT or isinstance(value, (Wire, list)):
                    return (value,)
                raise _no_module(node)
        return Closure(node, scope)

    def _follow(self, found: Bound, values: dict[str, Any], node: e.Node, x: Value) -> Closure | tuple[Value]:
        binding = found.binding
        if found.table.endswith("shared"):
            return (self.shared(found, x, node),)
        self.evaluate.arguments(binding, e.Call(node, (), span=node.span), Scope()) if not values and isinstance(
            node, e.Name
        ) else None
        inner = Scope(c=_width(x), hide=(found.table, binding.name))
        inner = inner.bind(**given(binding.params, values, inner))
        body = binding.body
        if found.table == "columns":
            if self.evaluate.place.stage is None:
                raise error(
                    f"the column '{binding.name}' is a list outside the stages",
                    node.span,
                    f"choose an entry: `{binding.name}[0]`",
                )
            body = self.evaluate.entry(binding, self.evaluate.place.stage)
        return Closure(body, inner)

    def _operator(self, node: e.Node, scope: Scope) -> Operator | None:
        name = node if isinstance(node, e.Name) else node.func if isinstance(node, e.Call) else None
        if not isinstance(name, e.Name):
            return None
        found = self.evaluate.names.find(name.id, scope, name.span)
        return found if isinstance(found, Operator) else None

    # What forms use

    def apply(self, arg: Arg | None, x: Value, suffix: str = "") -> Value:
        """An argument applied to a value; `c` is the width that enters it."""
        if arg is None:
            return ABSENT
        scope = arg.scope.with_c(_width(x))
        if arg.label is not None:
            return self.place(arg.node, scope, x, f"{arg.label}{suffix}")
        return self.inline(arg.node, scope, x, f"{arg.suffix}{suffix}")

    def rate(self, arg: Arg | None) -> float | None:
        """A drop rate: the argument, or what ``drop`` means here; None where it is written as 0 or absent."""
        node = e.Name("drop") if arg is None else arg.node
        scope = Scope() if arg is None else arg.scope
        literal = node
        if arg is None:
            found = self.evaluate.names.find("drop", scope, None)
            if isinstance(found, Bound) and found.table == "columns" and self.evaluate.place.stage is not None:
                literal = self.evaluate.entry(found.binding, self.evaluate.place.stage)
            elif not isinstance(found, Bound) or found.table == "columns":
                return None
        value = self.evaluate.value(node, scope)
        if value is None or (isinstance(literal, e.Number) and literal.value == 0):
            return None
        if not isinstance(value, (int, float)):
            raise error("a drop rate is a number", node.span, "`drop: ramp(0.1)` is a column; `res(..., drop=0.1)` an argument")
        return float(value)

    def once(self, arg: Arg, members: list[Value]) -> list[Value]:
        """One module on every member of a list (``each``)."""
        return [self.reuse(self.level, (), lambda x: self.apply(arg, x), member, members[0], arg.span) for member in members]

    def outputs(self, arg: Arg, x: Value) -> list[Value]:
        """The values after every copy of a repeat, every stage, or every item of a chain (``steps``)."""
        node, scope = arg.node, arg.scope.with_c(_width(x))
        results: list[Value] = []
        if isinstance(node, e.Binary) and node.op == "*":
            n = self.evaluate.value(node.left, scope)
            if isinstance(n, int):
                self.repeat(n, node.right, scope, x, "", node.span, results)
                return results
        if isinstance(node, e.Name) and isinstance(self.evaluate.names.find(node.id, scope, node.span), Section):
            self.section(node.id, x, node.span, results)
            return results
        for item in node.items if isinstance(node, e.Sequence) else (node,):
            x = self.inline(item, scope, x)
            results.append(x)
        return results

    def section(self, name: str, x: Value, span: Span | None, results: list[Value] | None = None) -> Value:
        """`stem`, `stages` or `head` applied; :class:`metablock.network.Network` knows them."""
        raise NotImplementedError

    def shared(self, found: Bound, x: Value, node: e.Node) -> Value:
        """A module of `shared` applied; :class:`metablock.network.Network` knows them."""
        raise NotImplementedError

    # Walking a compound inside the open level

    def relabel(self, node: e.Node) -> None:
        """Decides the names of everything in the text of one slot."""
        if id(node) not in self._labelled:
            self._labelled.add(id(node))
            self._kept.append(node)
            self._labels.update(labels(node, self._is_inline))

    def _is_inline(self, name: str) -> bool:
        bound = any(name in table for table in self.evaluate.names.tables.values())
        return not bound and name in OPERATORS and OPERATORS[name].inline

    def label(self, node: e.Node, otherwise: str = "part") -> Label:
        """The name of an occurrence in the text of the open level."""
        return self._labels.get(id(node)) or Label(otherwise)

    def inline(self, node: e.Node, scope: Scope, x: Value, suffix: str = "") -> Value:
        """Applies a compound to ``x``; what it names becomes children of the open level."""
        match node:
            case e.Sequence(items=items):
                undo = self.mark()
                for item in items:
                    x = self.inline(item, scope, x, suffix)
                    if x is ABSENT:
                        undo()
                        return ABSENT
                return x
            case e.Call() if (operator := self._operator(node, scope)) is not None and operator.inline:
                with self.located(node.span):
                    arguments = check_arguments(self, operator, node, scope, suffix)
                    return operator.load()(self, x, *arguments.pop("*", ()), **arguments)
            case e.Name() if (operator := self._operator(node, scope)) is not None and operator.inline:
                with self.located(node.span):
                    return operator.load()(self, x, **check_arguments(self, operator, node, scope, suffix))
            case e.Call(func=e.Name(id="sum"), args=args):
                return self._sum(node, args[0].value, scope, x, suffix)
            case e.Name() | e.Call() | e.Index():
                region = "block" if self.counting else None
                return self.place(node, scope, x, f"{self.label(node, _own_name(node))}{suffix}", region)
            case e.Attribute() | e.Number() | e.String() | e.Compare() | e.Logic() | e.Not():
                raise _no_module(node)
            case e.Choice():
                return self.inline(node.then if self.evaluate.test(node.test, scope) else node.other, scope, x, suffix)
            case e.Concat(items=items):
                parts = [self.inline(item, scope, x, suffix) for item in items]
                present = [part for part in parts if part is not ABSENT]
                with self.located(node.span):
                    return self.concat([self.single(part) for part in present]) if present else ABSENT
            case e.Negative(value=value):
                inner = self.single(self.inline(value, scope, x, suffix))
                return self.do("-{0}", [inner], inner.feature)
            case e.Binary():
                return self._binary(node, scope, x, suffix)
            case e.List(items=items):
                return self._list(items, scope, x, suffix)
            case e.Comprehension():
                return [
                    self.inline(node.item, inner, x, f"{suffix}.{i}") for i, inner in enumerate(self.evaluate.loop(node, scope))
                ]
            case e.Function():
                return self._function(node, scope, x)
            case e.Block():
                return self._block(node, scope, x)
        raise _no_module(node)

    def _list(self, items: tuple[e.Node, ...], scope: Scope, x: Value, suffix: str) -> list[Value]:
        result: list[Value] = []
        for item in items:
            if isinstance(item, e.Splice):
                value = self.inline(item.value, scope, x, suffix)
                if not isinstance(value, (list, tuple)):
                    raise error("`*` in a list needs a list", item.span, "remove the `*`")
                result.extend(value)
            else:
                result.append(self.inline(item, scope, x, suffix))
        return result

    def _sum(self, node: e.Node, source: e.Node, scope: Scope, x: Value, suffix: str) -> Value:
        members = self.inline(source, scope, x, suffix)
        if not isinstance(members, (list, tuple)) or not members:
            raise error("`sum` adds the members of a list", node.span, "write `sum([a, b])`")
        total = members[0]
        with self.located(node.span):
            for member in members[1:]:
                total = self.binary("+", self.single(total), self.single(member))
        return total

    def _binary(self, node: e.Binary, scope: Scope, x: Value, suffix: str) -> Value:
        left = self.evaluate.value(node.left, scope)
        if isinstance(left, bool) or left is ABSENT or not isinstance(left, (int, float)):
            return self._combine(node, scope, x, suffix)
        right = self.evaluate.value(node.right, scope)
        if isinstance(right, (int, float)):
            raise _no_module(node)
        if node.op != "*":
            raise error(
                f"a number and a module do not meet in '{node.op}'", node.span, "write `times(x)` to scale, `id` for what arrives"
            )
        if isinstance(left, float):
            raise error(f"{show(node.left)} * a module: only a whole number repeats", node.span, "write `>> times(x)` to scale")
        return self.repeat(left, node.right, scope, x, suffix, node.span)

    def _combine(self, node: e.Binary, scope: Scope, x: Value, suffix: str) -> Value:
        undo = self.mark()
        left = self.inline(node.left, scope, x, suffix)
        number = self.evaluate.value(node.right, scope)
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            if node.op != "/":
                raise error(
                    f"a module and a number do not meet in '{node.op}'",
                    node.right.span,
                    "write `>> times(x)` to scale, `n * a` to repeat",
                )
            value = self.single(left)
            return self.do(f"{{0}} / {number!r}", [value], value.feature)
        right = self.inline(node.right, scope, x, suffix)
        if node.op not in "+-*":
            raise error(
                f"modules do not meet in '{node.op}'",
                node.span,
                "outputs are added, subtracted, multiplied; or divided by a number",
            )
        if left is ABSENT or right is ABSENT:
            if node.op == "*":
                undo()
                return ABSENT
            if left is ABSENT and node.op == "-" and right is not ABSENT:
                return self.do("-{0}", [self.single(right)], self.single(right).feature)
            return right if left is ABSENT else left
        with self.located(node.span):
            return self.binary(node.op, self.single(left), self.single(right))

    def repeat(
        self, n: int, node: e.Node, scope: Scope, x: Value, suffix: str, span: Span | None, results: list[Value] | None = None
    ) -> Value:
        """``n`` copies in sequence, each with its own weights. ``results`` collects what each gives."""
        if n < 0 or (n > MAX_REPEATS and not self.large):
            raise error(
                f"{n} copies of a module", span, f"a repeat is between 0 and {MAX_REPEATS}; --allow-large lifts the limit"
            )
        named = isinstance(node, (e.Name, e.Call)) and id(node) in self._labels
        name = f"{self.label(node).plural() if named else 'repeat'}{suffix}"
        counting = self.counting
        for i in range(n):
            self.budget()
            x = self.place(node, scope.with_c(_width(x)), x, f"{name}.{i}", "block" if counting else None)
            if x is ABSENT:
                return ABSENT
            if results is not None:
                results.append(x)
            if counting:
                self.evaluate.place.index += 1
                self.evaluate.place.layer += 1
        return x

    # Streams

    def _function(self, node: e.Function, scope: Scope, x: Value) -> Value:
        values = list(x) if isinstance(x, (list, tuple)) and len(node.params) > 1 else [x]
        if len(values) != len(node.params):
            raise error(
                f"{len(values)} value(s) arrive, {len(node.params)} are named",
                node.span,
                f"the stream begins with `{', '.join(node.params)} ->`",
            )
        inner = scope.bind(**dict(zip(node.params, values, strict=True)))
        return self.inline(node.body, inner, x)

    def _block(self, node: e.Block, scope: Scope, x: Value) -> Value:
        for line in node.lines:
            value = self._line(line, scope, x)
            if len(line.targets) == 1:
                scope = scope.bind(**{line.targets[0]: value})
                continue
            if not isinstance(value, (list, tuple)) or len(value) != len(line.targets):
                got = len(value) if isinstance(value, (list, tuple)) else 1
                raise error(f"{got} value(s) for {len(line.targets)} names", line.span, "`chunk(3)` divides channels into three")
            scope = scope.bind(**dict(zip(line.targets, value, strict=True)))
        outputs = [self.inline(output, scope, x) for output in node.outputs]
        if node.names:
            return dict(zip(node.names, outputs, strict=True))
        return outputs[0] if len(outputs) == 1 else outputs

    def _line(self, line: e.Assign, scope: Scope, x: Value) -> Value:
        """One line. Wires that lead a chain are where its data comes from, not part of what gets the name."""
        number = self.evaluate.value(line.value, scope)
        if isinstance(number, (int, float, str)):
            return number
        node = line.value
        items = list(node.items) if isinstance(node, e.Sequence) else [node]
        while len(items) > 1 and self._is_wire(items[0], scope):
            x = self.inline(items.pop(0), scope, x)
        rest = items[0] if len(items) == 1 else e.Sequence(tuple(items), span=node.span)
        self._kept.append(rest)
        if any(isinstance(n, e.Name) and isinstance(self._meaning(n, scope), Section) for n in e.walk(rest)):
            self.relabel(rest)  # `stem`, `stages`, `head` stand where they are, not below the line's name
            return self.inline(rest, scope, x)
        return self.place(rest, scope, x, str(self._labels.get(id(line.value), "wire")))

    def _meaning(self, node: e.Name, scope: Scope) -> object:
        known = node.id in self.evaluate.names.sections
        return self.evaluate.names.find(node.id, scope, node.span) if known else None

    def _is_wire(self, node: e.Node, scope: Scope) -> bool:
        if isinstance(node, (e.Name, e.Index)):
            value = self.evaluate.value(node, scope)
            return isinstance(value, (Wire, list))
        return isinstance(node, e.List)


def _own_name(node: e.Node) -> str:
    node = node.func if isinstance(node, e.Call) else node.base if isinstance(node, e.Index) else node
    return node.id if isinstance(node, e.Name) else "part"


def _width(x: Value) -> int | None:
    return next((wire.c for wire in wires(x)), None)


def _no_module(node: e.Node) -> SpecError:
    return error(
        f"'{show(node)}' is a number or word where a module is needed", node.span, "write `times(x)` to scale what arrives"
    )
