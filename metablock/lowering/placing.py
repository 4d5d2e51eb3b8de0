"""Placing an expression under a name: following bindings and choices until an operator or a compound stands there."""

from __future__ import annotations

from typing import Any

from ..errors import Span, SpecError, error
from ..language import ast as e
from ..language.param_names import Label, labels
from ..language.printer import show
from ..language.registry import OPERATORS, Operator
from ..language.scope import Bound, Closure, Scope, Section, Word, given
from ..language.spec import Spec
from .arguments import Arg, check_arguments
from .emitter import Levels, in_library
from .evaluate import Evaluator
from .ir import Value, ValueTree, flat_values

MAX_NESTED = 60
ABSENT = None


class Placer(Levels):
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

    def place(self, node: e.Node, scope: Scope, x: ValueTree, name: str, region: str | None = None) -> ValueTree:
        """Applies an expression to ``x``; what it makes stands under ``name``."""
        self._nested += 1
        try:
            if self._nested > MAX_NESTED:
                raise error(
                    f"modules stand more than {MAX_NESTED} deep inside each other", node.span, "use fewer bindings in between"
                )
            return self._place(node, scope, x, name, region)
        finally:
            self._nested -= 1

    def _place(self, node: e.Node, scope: Scope, x: ValueTree, name: str, region: str | None) -> ValueTree:
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

    def _build(self, node: e.Node, scope: Scope, x: ValueTree, name: str, region: str | None, written: e.Node) -> ValueTree:
        """An operator, or the level of a compound. ``written`` is how a person would call it."""
        with self.located(node.span):
            operator = self._operator(node, scope)
            if operator is not None and not operator.inline:
                given_args = check_arguments(self, operator, node, scope)
                if operator.leaf:
                    x = next(flat_values(x), x) if operator.source else x
                    if not isinstance(x, Value):
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

    def _reduce(self, node: e.Node, scope: Scope, x: ValueTree) -> Closure | tuple[ValueTree]:
        """One step from a name, a choice or a call to what it stands for; a tuple holds a finished value."""
        match node:
            case e.Name(id=name):
                found = self.evaluate.names.find(name, scope, node.span)
                if isinstance(found, Word):
                    if name == "id":
                        return (x,)
                    if name == "none":
                        return (ABSENT,)
                    raise no_module(node)
                if isinstance(found, Bound):
                    return self._follow(found, {}, node, x)
                if isinstance(found, Closure):
                    return Closure(found.node, found.scope.with_c(width(x)))
                if isinstance(found, Operator):
                    return Closure(node, scope)
                if isinstance(found, Section):
                    return (self.section(found.name, x, node.span),)
                if found is None or isinstance(found, (Value, list, tuple)):
                    return (found,)
                raise no_module(node)
            case e.Call(func=e.Name(id=name)):
                found = self.evaluate.names.find(name, scope, node.func.span)
                if isinstance(found, Bound):
                    return self._follow(found, self.evaluate.arguments(found.binding, node, scope), node, x)
                if isinstance(found, Word) and name != "sum":
                    raise no_module(node)
                if isinstance(found, (Closure, Value)):
                    raise error(
                        f"'{name}' takes no arguments", node.span, "`f(x)` gives arguments to a recipe; data flows with `>>`"
                    )
                return Closure(node, scope)
            case e.Call():
                raise error("only a name can be called", node.func.span, "data flows with `>>`")
            case e.Conditional():
                return Closure(node.then if self.evaluate.test(node.test, scope) else node.other, scope)
            case e.Index() | e.Attribute():
                value = self.evaluate.value(node, scope)
                if isinstance(value, Closure) and value.node is not node:
                    return Closure(value.node, value.scope.with_c(width(x)))
                if value is ABSENT or isinstance(value, (Value, list)):
                    return (value,)
                raise no_module(node)
        return Closure(node, scope)

    def _follow(self, found: Bound, values: dict[str, Any], node: e.Node, x: ValueTree) -> Closure | tuple[ValueTree]:
        binding = found.binding
        if found.table.endswith("shared"):
            return (self.shared(found, x, node),)
        self.evaluate.arguments(binding, e.Call(node, (), span=node.span), Scope()) if not values and isinstance(
            node, e.Name
        ) else None
        inner = Scope(c=width(x), hide=(found.table, binding.name))
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

    def apply(self, arg: Arg | None, x: ValueTree, suffix: str = "") -> ValueTree:
        """An argument applied to a value; `c` is the width that enters it."""
        if arg is None:
            return ABSENT
        scope = arg.scope.with_c(width(x))
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

    def once(self, arg: Arg, members: list[ValueTree]) -> list[ValueTree]:
        """One module on every member of a list (``each``)."""
        return [self.reuse(self.level, (), lambda x: self.apply(arg, x), member, members[0], arg.span) for member in members]

    def outputs(self, arg: Arg, x: ValueTree) -> list[ValueTree]:
        """The values after every copy of a repeat, every stage, or every item of a chain (``steps``)."""
        node, scope = arg.node, arg.scope.with_c(width(x))
        results: list[ValueTree] = []
        if isinstance(node, e.Binary) and node.op == "*":
            n = self.evaluate.value(node.left, scope)
            if isinstance(n, int):
                self.repeat(n, node.right, scope, x, "", node.span, results)
                return results
        if isinstance(node, e.Name) and isinstance(self.evaluate.names.find(node.id, scope, node.span), Section):
            self.section(node.id, x, node.span, results)
            return results
        for item in node.items if isinstance(node, e.Chain) else (node,):
            x = self.inline(item, scope, x)
            results.append(x)
        return results

    def section(self, name: str, x: ValueTree, span: Span | None, results: list[ValueTree] | None = None) -> ValueTree:
        """`stem`, `stages` or `head` applied; :class:`metablock.lowering.network.Network` knows them."""
        raise NotImplementedError

    def shared(self, found: Bound, x: ValueTree, node: e.Node) -> ValueTree:
        """A module of `shared` applied; :class:`metablock.lowering.network.Network` knows them."""
        raise NotImplementedError

    # Names of parts

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

    def inline(self, node: e.Node, scope: Scope, x: ValueTree, suffix: str = "") -> ValueTree:
        """A compound walked inside the open level; :class:`metablock.lowering.tracer.Tracer` knows how."""
        raise NotImplementedError

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
        """Copies in sequence; :class:`metablock.lowering.tracer.Tracer` makes them."""
        raise NotImplementedError


def own_name(node: e.Node) -> str:
    node = node.func if isinstance(node, e.Call) else node.base if isinstance(node, e.Index) else node
    return node.id if isinstance(node, e.Name) else "part"


def width(x: ValueTree) -> int | None:
    return next((wire.c for wire in flat_values(x)), None)


def no_module(node: e.Node) -> SpecError:
    return error(
        f"'{show(node)}' is a number or word where a module is needed", node.span, "write `times(x)` to scale what arrives"
    )
