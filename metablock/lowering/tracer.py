"""From expressions to levels: every module an expression names is placed, with the shape that enters it.

Two movements alternate. :meth:`Tracer.place` puts an expression under a name: it follows bindings and choices until an operator
or a compound stands there, and makes a leaf or a level. :meth:`Tracer.inline` walks a compound inside the level that is open.
"""

from __future__ import annotations

from ..errors import Span, error
from ..language import ast as e
from ..language.printer import show
from ..language.scope import Scope, Section
from .arguments import check_arguments
from .ir import Value, ValueTree
from .placing import ABSENT, Placer, no_module, own_name, width

MAX_REPEATS = 10_000


class Tracer(Placer):
    """Traces expressions. ``evaluate`` has the numbers, ``level`` is the one being filled."""

    # Walking a compound inside the open level

    def inline(self, node: e.Node, scope: Scope, x: ValueTree, suffix: str = "") -> ValueTree:
        """Applies a compound to ``x``; what it names becomes children of the open level."""
        match node:
            case e.Chain(items=items):
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
                return self.place(node, scope, x, f"{self.label(node, own_name(node))}{suffix}", region)
            case e.Attribute() | e.Number() | e.String() | e.Compare() | e.Logic() | e.Not():
                raise no_module(node)
            case e.Conditional():
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
            case e.StreamBody():
                return self._block(node, scope, x)
        raise no_module(node)

    def _list(self, items: tuple[e.Node, ...], scope: Scope, x: ValueTree, suffix: str) -> list[ValueTree]:
        result: list[ValueTree] = []
        for item in items:
            if isinstance(item, e.Splice):
                value = self.inline(item.value, scope, x, suffix)
                if not isinstance(value, (list, tuple)):
                    raise error("`*` in a list needs a list", item.span, "remove the `*`")
                result.extend(value)
            else:
                result.append(self.inline(item, scope, x, suffix))
        return result

    def _sum(self, node: e.Node, source: e.Node, scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
        members = self.inline(source, scope, x, suffix)
        if not isinstance(members, (list, tuple)) or not members:
            raise error("`sum` adds the members of a list", node.span, "write `sum([a, b])`")
        total = members[0]
        with self.located(node.span):
            for member in members[1:]:
                total = self.binary("+", self.single(total), self.single(member))
        return total

    def _binary(self, node: e.Binary, scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
        left = self.evaluate.value(node.left, scope)
        if isinstance(left, bool) or left is ABSENT or not isinstance(left, (int, float)):
            return self._combine(node, scope, x, suffix)
        right = self.evaluate.value(node.right, scope)
        if isinstance(right, (int, float)):
            raise no_module(node)
        if node.op != "*":
            raise error(
                f"a number and a module do not meet in '{node.op}'", node.span, "write `times(x)` to scale, `id` for what arrives"
            )
        if isinstance(left, float):
            raise error(f"{show(node.left)} * a module: only a whole number repeats", node.span, "write `>> times(x)` to scale")
        return self.repeat(left, node.right, scope, x, suffix, node.span)

    def _combine(self, node: e.Binary, scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
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
        self,
        n: int,
        node: e.Node,
        scope: Scope,
        x: ValueTree,
        suffix: str,
        span: Span | None,
        results: list[ValueTree] | None = None,
    ) -> ValueTree:
        """``n`` copies in sequence, each with its own weights. ``results`` collects what each gives."""
        if n < 0 or (n > MAX_REPEATS and not self.large):
            raise error(f"{n} copies of a module", span, f"a repeat is between 0 and {MAX_REPEATS}; --large lifts the limit")
        named = isinstance(node, (e.Name, e.Call)) and id(node) in self._labels
        name = f"{self.label(node).plural() if named else 'repeat'}{suffix}"
        counting = self.counting
        for i in range(n):
            self.budget()
            x = self.place(node, scope.with_c(width(x)), x, f"{name}.{i}", "block" if counting else None)
            if x is ABSENT:
                return ABSENT
            if results is not None:
                results.append(x)
            if counting:
                self.evaluate.place.index += 1
                self.evaluate.place.layer += 1
        return x

    # Streams

    def _function(self, node: e.Function, scope: Scope, x: ValueTree) -> ValueTree:
        values = list(x) if isinstance(x, (list, tuple)) and len(node.params) > 1 else [x]
        if len(values) != len(node.params):
            raise error(
                f"{len(values)} value(s) arrive, {len(node.params)} are named",
                node.span,
                f"the stream begins with `{', '.join(node.params)} ->`",
            )
        inner = scope.bind(**dict(zip(node.params, values, strict=True)))
        return self.inline(node.body, inner, x)

    def _block(self, node: e.StreamBody, scope: Scope, x: ValueTree) -> ValueTree:
        for line in node.lines:
            value = self._line(line, scope, x)
            if len(line.targets) == 1:
                scope = scope.bind(**{line.targets[0]: value})
                continue
            if not isinstance(value, (list, tuple)) or len(value) != len(line.targets):
                got = len(value) if isinstance(value, (list, tuple)) else 1
                hint = "`chunk(n)` gives n, `attention(heads, row=0)` two"
                raise error(f"{got} value(s) for {len(line.targets)} names", line.span, hint)
            scope = scope.bind(**dict(zip(line.targets, value, strict=True)))
        outputs = [self.inline(output, scope, x) for output in node.outputs]
        if node.names:
            return dict(zip(node.names, outputs, strict=True))
        return outputs[0] if len(outputs) == 1 else outputs

    def _line(self, line: e.Assign, scope: Scope, x: ValueTree) -> ValueTree:
        """One line. Wires that lead a chain are where its data comes from, not part of what gets the name."""
        number = self.evaluate.value(line.value, scope)
        if isinstance(number, (int, float, str)):
            return number
        node = line.value
        items = list(node.items) if isinstance(node, e.Chain) else [node]
        while len(items) > 1 and self._is_wire(items[0], scope):
            x = self.inline(items.pop(0), scope, x)
        rest = items[0] if len(items) == 1 else e.Chain(tuple(items), span=node.span)
        self._kept.append(rest)
        if any(isinstance(n, e.Name) and isinstance(self._meaning(n, scope), Section) for n in e.walk(rest)):
            self.relabel(rest)  # `stem`, `stages`, `head` stand where they are, not below the line's name
            return self.inline(rest, scope, x)
        region = None
        if self.counting:
            region = "blocks" if any(self._is_repeat(item, scope) for item in items) else "block"
        elif self.composing and self.level is self.root:
            region = "line"
        return self.place(rest, scope, x, str(self._labels.get(id(line.value), "wire")), region)

    def _is_repeat(self, node: e.Node, scope: Scope) -> bool:
        """Whether this is ``n * a``."""
        if not isinstance(node, e.Binary) or node.op != "*":
            return False
        return isinstance(self.evaluate.value(node.left, scope), int)

    def _meaning(self, node: e.Name, scope: Scope) -> object:
        known = node.id in self.evaluate.names.sections
        return self.evaluate.names.find(node.id, scope, node.span) if known else None

    def _is_wire(self, node: e.Node, scope: Scope) -> bool:
        if isinstance(node, (e.Name, e.Index)):
            value = self.evaluate.value(node, scope)
            return isinstance(value, (Value, list))
        return isinstance(node, e.List)
