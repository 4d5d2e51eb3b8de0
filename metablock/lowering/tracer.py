"""The tracer: lowers expressions to subgraphs. It emits every module that an expression names with the shape that enters it.

Two methods call each other. :meth:`Tracer.resolve` lowers an expression under a name: it follows references to an operator or a
compound, and emits a module or a subgraph. :meth:`Tracer.emit` lowers a compound into the open subgraph, item by item.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import Span, UnreadableError, error
from ..language import ast as e
from ..language.arithmetic import MAX_LIST, entries
from ..language.budget import spend
from ..language.param_names import ParamNames
from ..language.printer import show
from ..language.scope import Closure, Scope, Section
from .arguments import Arg, ArgumentReader
from .calls import note_doubts, noted
from .combine import binary, mark, shifted
from .context import BlockCount, Context, ContextStack
from .emitter import Emitter
from .evaluate import Evaluator
from .ir import Value, ValueTree, flat_values, single, width
from .once import captured
from .places import in_library, located
from .references import Finished, References, no_module
from .sections import Sections
from .streams import function, stream

ID = "`id` passes on what arrives, `none` leaves nothing"
MAX_NESTED = 60
MAX_REPEATS = 10_000


class Tracer:
    """Lowers the expressions of one network. Composite operators get it as their first argument ``t``.

    Args:
        evaluate: evaluates numbers, words and lists.
        context: what surrounds the expression.
        ir: writes steps and modules.
        network: lowers sections and shared modules.

    Attributes:
        names: the parameter names of modules.
        arguments: reads the arguments of calls.
        references: follows names to what they stand for.
    """

    def __init__(self, evaluate: Evaluator, context: ContextStack, ir: Emitter, network: Sections):
        self.evaluate, self.context, self.ir, self.network = evaluate, context, ir, network
        self.names = ParamNames(evaluate.names.is_inline)
        self._texts: dict[int, tuple[e.Node, str]] = {}  # by the node's id; the node keeps its id its own
        self._rests: dict[tuple[int, int], tuple[e.Node, e.Node]] = {}
        self.references = References(evaluate, context, network)
        self.arguments = ArgumentReader(evaluate, lambda node, name: str(self.names.of(node, name or _own_name(node))))

    @property
    def now(self) -> Context:
        """The present context."""
        return self.context.now

    def nothing(self) -> None:
        """The result of an operator that leaves no tokens: absent, as that of `none`, but a chain may go on after it."""
        self.references.emptied += 1

    # Resolving an expression under a name

    def resolve(self, node: e.Node, scope: Scope, x: ValueTree, name: str, region: str | None = None) -> ValueTree:
        """Lowers an expression under a name, as a child of the open subgraph.

        Args:
            node, scope: the expression.
            x: what enters it.
            name: the name of its module or subgraph.
            region: the kind of compile unit, if it is one; see :meth:`Emitter.open`.

        Returns:
            Its output; None if it is absent.

        Raises:
            SpecError: a problem of the expression, with its place.
        """
        spend(10, node.span)
        depth = self.now.depth + 1
        if depth > MAX_NESTED:
            hint = "use fewer bindings in between"
            raise error(f"modules stand more than {MAX_NESTED} deep inside each other", node.span, hint)
        with self.context.push(depth=depth):
            return self._resolve(node, scope, x, name, region)

    def _resolve(self, node: e.Node, scope: Scope, x: ValueTree, name: str, region: str | None) -> ValueTree:
        """Follows references to what an expression stands for, and emits it."""
        first, use = node, node  # `use`: the last one outside the standard library: errors point to it, and texts show it
        while True:
            step = self.references.step(node, scope, x)
            if isinstance(step, Finished):
                if isinstance(first, e.Name) and (step.value is None or step.value is x):
                    self._note(first, "none" if step.value is None else "id")
                return self._applied(step.value, x, name, use)
            if step.node is node:
                break
            node, scope = step.node, step.scope
            use = use if in_library(node.span) else node
        if isinstance(first, e.Name):
            self._note(first, name)
        with located(use.span), located(node.span):
            return self._make(node, scope, x, name, region, first if not isinstance(first, e.Name) else use)

    def _note(self, name: e.Name, stands_for: str) -> None:
        """Writes down, in the open subgraph, what a name stands for."""
        self.now.draft.subgraph.names.setdefault(name.id, set()).add(stands_for)

    def _applied(self, value: Any, x: ValueTree, name: str, node: e.Node) -> ValueTree:
        """What a name or an index stands for, with the modules of a list applied to ``x``; they are named by their numbers."""
        if isinstance(value, Closure):
            return self.resolve(value.node, value.scope.with_c(width(x)), x, name)
        if isinstance(value, list) and any(isinstance(item, (Closure, list, int, float, str)) for item in value):
            return [self._applied(item, x, f"{name}.{number}", node) for number, item in enumerate(value)]
        if isinstance(value, (int, float, str)):
            raise no_module(node)
        return value

    def _make(self, node: e.Node, scope: Scope, x: ValueTree, name: str, region: str | None, call: e.Node) -> ValueTree:
        """Emits a module, or the subgraph of a compound. ``call`` is the expression that texts show."""
        operator = self.evaluate.operator(node, scope)
        if operator is None or operator.inline:
            with self.ir.open(name, self._text(call), x, region, node.span) as subgraph:
                self.names.read(node)
                subgraph.output = self.emit(node, scope, x)
            return subgraph.output
        arguments = self.arguments.read(operator, node, scope)
        note_doubts(self.ir.doubts, operator, (node, call), arguments.values, scope, x, self.evaluate)
        self.ir.place = call.span
        if operator.leaf:
            x = next(flat_values(x), x) if operator.source else x
            if x is None:
                raise error(f"nothing arrives at '{operator.name}': what stands before it is absent", hint=ID)
            if not isinstance(x, Value):
                hint = "`each(...)` applies one module to every member"
                raise error(f"'{operator.name}' takes one value, a list arrives", hint=hint)
            return noted(x, self.ir.call(operator.name, name, [x], **arguments.values), operator, call)
        with self.ir.open(name, self._text(call), x, region, node.span) as subgraph:
            subgraph.output = operator.load()(self, x, *arguments.modules, **arguments.values)
        return subgraph.output

    def _text(self, node: e.Node) -> str:
        """The text of an expression, one string however often it is emitted."""
        if id(node) not in self._texts:
            text = show(node)
            spend(len(text) // 32, node.span)
            self._texts[id(node)] = node, text
        return self._texts[id(node)][1]

    # What composite operators use

    def apply(self, arg: Arg | None, x: ValueTree, suffix: str = "") -> ValueTree:
        """Applies an argument of a composite operator to a value.

        Args:
            arg: the argument; None: it is absent.
            x: what enters it. Inside, `c` is its width.
            suffix: what the names of its modules end in: ``.0`` for a first copy.

        Returns:
            Its output; None if the argument or its result is absent.
        """
        if arg is None:
            return None
        scope = arg.scope.with_c(width(x))
        if arg.label is not None:
            return self.resolve(arg.node, scope, x, f"{arg.label}{suffix}")
        return self.emit(arg.node, scope, x, f"{arg.suffix}{suffix}")

    def apply_once(self, arg: Arg, members: list[ValueTree]) -> list[ValueTree]:
        """Applies an argument to every member of a list, with the same modules. Raises SpecError if the members need others."""
        members = [self.ir.apart(member, captured(arg.node, arg.scope, member)) for member in members]
        owner, first = self.now.draft.subgraph, members[0]
        return [self.ir.reuse(owner, (), lambda x: self.apply(arg, x), member, first, arg.span) for member in members]

    def results(self, arg: Arg, x: ValueTree) -> list[ValueTree]:
        """Applies an argument and returns what each copy of its repeat, each stage, or each item of its chain computes."""
        node, scope = arg.node, arg.scope.with_c(width(x))
        results: list[ValueTree] = []
        if (repeat := self.evaluate.repeat(node, scope)) is not None:
            self.repeat(*repeat, scope, x, "", node.span, results)
            return results
        if isinstance(node, e.Name) and isinstance(self.evaluate.names.find(node.id, scope, node.span), Section):
            self.network.section(node.id, x, node.span, results)
            return results
        return list(self._items(node.items if isinstance(node, e.Chain) else (node,), scope, x, ""))

    # Emitting a compound into the open subgraph

    def emit(self, node: e.Node, scope: Scope, x: ValueTree, suffix: str = "") -> ValueTree:
        """Lowers an expression into the open subgraph.

        Args:
            node, scope: the expression.
            x: what enters it.
            suffix: what the names of its modules end in: ``.0`` in the first round of a comprehension.

        Returns:
            Its output; None if it is absent.

        Raises:
            SpecError: a problem of the expression, with its place.
        """
        spend(5, node.span)
        match node:
            case e.Chain(items=items):
                return self._chain(items, scope, x, suffix)
            case e.Name() | e.Call() if (operator := self.evaluate.operator(node, scope)) is not None and operator.inline:
                with located(node.span):
                    arguments = self.arguments.read(operator, node, scope, suffix)
                    with self.context.push(labels=arguments.labels):
                        return noted(x, operator.load()(self, x, *arguments.modules, **arguments.values), operator, node)
            case e.Call(func=e.Name(id="sum"), args=args):
                return self._sum(node, args[0].value, scope, x, suffix)
            case e.Index() if self._of_module(node, scope):
                return self._member(node, scope, x, suffix)
            case e.Name() | e.Call() | e.Index():
                region = "block" if self.now.unit == "block" else None
                return self.resolve(node, scope, x, f"{self.names.of(node, _own_name(node))}{suffix}", region)
            case e.Broken(problems=problems):
                raise UnreadableError(problems)
            case e.Attribute() if isinstance(value := self.evaluate.value(node, scope), Value):
                return value
            case e.Attribute() | e.Number() | e.String() | e.Compare() | e.Logic() | e.Not():
                raise no_module(node)
            case e.Conditional():
                return self.emit(node.then if self.evaluate.test(node.test, scope) else node.other, scope, x, suffix)
            case e.Concat(items=items):
                parts = [self.emit(item, scope, x, suffix) for item in items]
                present = [part for part in parts if part is not None]
                with located(node.span):
                    return self.ir.concat([single(part) for part in present]) if present else None
            case e.Negative(value=value):
                inner = self.emit(value, scope, x, suffix)
                with located(node.span):
                    return None if inner is None else shifted(self, "-{0}", inner)
            case e.Binary():
                return binary(self, node, scope, x, suffix)
            case e.List(items=items):
                return self._list(items, scope, x, suffix)
            case e.Comprehension():
                rounds = enumerate(self.evaluate.loop(node, scope))
                return [self.emit(node.item, inner, x, f"{suffix}.{i}") for i, inner in rounds]
            case e.Function():
                return function(self, node, scope, x, suffix)
            case e.StreamBody():
                return stream(self, node, scope, x, suffix)
        raise no_module(node)

    def _chain(self, items: tuple[e.Node, ...], scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
        """A chain, item by item. A chain with an absent item is absent and emits nothing."""
        undo = mark(self)
        *_, output = self._items(items, scope, x, suffix)
        if output is None:
            undo()
        return output

    def _items(self, items: tuple[e.Node, ...], scope: Scope, x: ValueTree, suffix: str) -> Iterator[ValueTree]:
        """The output of each item of a chain, up to the first that is absent.

        Raises SpecError if that one is absent by the word `none`, and others follow.
        """
        for position, item in enumerate(items):
            emptied = self.references.emptied
            x = self.emit(item, scope.arrive(width(x)), x, suffix)
            yield x
            if x is None:
                if position + 1 < len(items) and self.references.emptied == emptied:
                    raise error("`none` before the end of a chain: what follows would vanish, too", item.span, ID)
                return

    def _of_module(self, node: e.Index, scope: Scope) -> bool:
        """Whether an index chooses from what a module returns: ``chunk(3)[0]``."""
        value = self.evaluate.value(node, scope)
        return isinstance(value, Closure) and value.node is node

    def _member(self, node: e.Index, scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
        """One of the values that a module returns, or a part of them."""
        base = node.base
        operator = self.evaluate.operator(base, scope)
        if isinstance(base, (e.Name, e.Call)) and (operator is None or not operator.inline):
            values = self.resolve(base, scope, x, f"{self.names.of(node, _own_name(node))}{suffix}")
        else:
            values = self.emit(base, scope, x, suffix)
        if not isinstance(values, (list, tuple)):
            raise error("only a list has entries", base.span, "one value comes out here")
        return self.evaluate.value(e.Index(e.Name("values"), node.at, span=node.span), scope.bind({"values": list(values)}))

    def _list(self, items: tuple[e.Node, ...], scope: Scope, x: ValueTree, suffix: str) -> list[ValueTree]:
        """A list, each item applied to the same input."""
        result: list[ValueTree] = []
        for item in items:
            if isinstance(item, e.Splice):
                members = self.emit(item.value, scope, x, suffix)
                if not isinstance(members, (list, tuple)):
                    raise error("`*` needs a list", item.span, "remove the `*`")
                result.extend(members)
            else:
                result.append(self.emit(item, scope, x, suffix))
        count = entries(result, MAX_LIST)
        spend(count // 8)
        if count > MAX_LIST:
            raise error(f"a list of more than {MAX_LIST} entries", items[0].span, "the entries of the lists in it count, too")
        return result

    def _sum(self, node: e.Node, source: e.Node, scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
        """The sum of the members of a list."""
        spread = isinstance(source, e.Splice)
        members = None if spread else self.emit(source, scope, x, suffix)
        if not isinstance(members, (list, tuple)) or not members:
            hint = "write `sum(x)`: without the `*`" if spread else "write `sum([a, b])`"
            raise error("`sum` adds the members of a list", node.span, hint)
        total = members[0]
        with located(node.span):
            for member in members[1:]:
                total = self.ir.binary("+", single(total), single(member))
        return total

    def repeat(
        self,
        n: int,
        body: e.Node,
        scope: Scope,
        x: ValueTree,
        suffix: str,
        span: Span | None,
        results: list[ValueTree] | None = None,
    ) -> ValueTree:
        """``n`` copies one after the other, each with its own weights. ``results`` collects the output of each.

        Raises SpecError at ``span``, the place of the repeat, for a number that is no number of copies.
        """
        if n < 0 or (n > MAX_REPEATS and not self.ir.large):
            hint = f"a repeat is between 0 and {MAX_REPEATS}; --large lifts the limit"
            raise error(f"{n} copies of a module", span, hint)
        blocks, outside = self.now.unit == "block", self.now.stage is None and not self.now.copies
        label = self.names.known(body) if isinstance(body, (e.Name, e.Call)) else None
        name = f"{label.plural() if label is not None else 'repeat'}{suffix}"
        for i in range(n):
            self.ir.budget()
            copy = {"blocks": BlockCount(i, self.now.blocks.layer + i), "copies": True} if outside else {}
            with self.context.push(**copy):
                x = self.resolve(body, scope.with_c(width(x)), x, f"{name}.{i}", "block" if blocks else None)
            if x is None:
                return None
            if results is not None:
                results.append(x)
            if blocks:
                self.now.blocks.advance()
        if outside and not self.evaluate.stages:
            self.now.blocks.layer += n
        return x

    def rest(self, node: e.Node, items: list[e.Node]) -> e.Node:
        """The chain of the last ``items`` of a line: one node, however often the line is emitted."""
        whole = e.Chain(tuple(items), span=node.span) if len(items) > 1 else items[0]
        return self._rests.setdefault((id(node), len(items)), (node, whole))[1]


def _own_name(node: e.Node) -> str:
    """The name for the parameters of an expression: its operator's or binding's."""
    node = node.func if isinstance(node, e.Call) else node.base if isinstance(node, e.Index) else node
    return node.id if isinstance(node, e.Name) else "part"
