"""Numbers, words and lists: the expressions that have a value before any module exists. A module is returned as a Closure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import Span, UnreadableError, error
from ..language import ast as e
from ..language.arithmetic import FUNCTIONS, MAX_LIST, TooLongError, calculate, compare, entries, is_real, is_whole
from ..language.budget import current
from ..language.elsewhere import called_here
from ..language.registry import Operator
from ..language.scope import Bound, Closure, HoleName, Local, Names, Scope, Section, Word, local_scope, parameter_values
from ..language.spec import CLASSES, Binding, Spec
from .context import ContextStack
from .ir import Value
from .memory import Memory
from .once import Once, is_list, members, of_table
from .splices import bound_arguments

MAX_DEPTH = 200


class Evaluator:
    """Evaluates the expressions of one resolved spec.

    Args:
        spec: the resolved spec.
        stages: its number of stages.
        context: gives `stage`, `index`, `layer` and `part` their values.
        layers: returns the number of blocks of the network; called with the place of the word `layers`.

    Attributes:
        names: what the names of the spec mean.
        grid: the extents of the input.
        valid: by the id of an input that may have padding: where it has none.
    """

    def __init__(self, spec: Spec, stages: int, context: ContextStack, layers: Callable[[Span | None], int]):
        self.spec, self.stages, self.context, self.layers = spec, stages, context, layers
        self.names = Names(spec)
        self.grid: tuple[int, ...] = ()
        self.valid: dict[int, Value] = {}
        self._depth = 0
        self._budget = current()
        self._memory = Memory(self._read)

    # Values

    def value(self, node: e.Node, scope: Scope) -> Any:
        """The value of an expression.

        Returns:
            A number, a word, a list, None, a Value for a name of a stream; a Closure for anything that is a module.

        Raises:
            SpecError: an unknown name, a wrong call, a circle of bindings, arithmetic without a result.

        >>> from metablock.language.load import load_text
        >>> from metablock.language.parser import expression
        >>> spec = load_text("name: net\\ninput: image(3, 8)\\nstages: {dim: [8, 16]}")
        >>> evaluate = Evaluator(spec, 2, ContextStack(), lambda span: 0)
        >>> evaluate.value(expression("[2 * n for n in dim]", "<text>"), Scope())
        [16, 32]
        """
        self._depth += 1
        self._budget.spend(1, node.span)
        try:
            if self._depth > MAX_DEPTH:
                raise error("bindings use each other in a circle, or too deeply", node.span, "name fewer steps in between")
            return self._value(node, scope)
        finally:
            self._depth -= 1

    def _value(self, node: e.Node, scope: Scope) -> Any:
        match node:
            case e.Number(value=number):
                return number
            case e.String(value=text):
                return text
            case e.Name():
                return self._name(node, scope)
            case e.List(items=items):
                return self._limited(self._list(items, scope), node)
            case e.Comprehension():
                return self._limited([self.value(node.item, inner) for inner in self.loop(node, scope)], node)
            case e.Index():
                return self._index(node, scope)
            case e.Attribute():
                return self._attribute(node, scope)
            case e.Negative(value=inner):
                value = self.value(inner, scope)
                return -value if is_real(value) else Closure(node, scope)
            case e.Binary():
                return self._binary(node, scope)
            case e.Compare() | e.Logic() | e.Not():
                return self.test(node, scope)
            case e.Conditional():
                return self.value(node.then if self.test(node.test, scope) else node.other, scope)
            case e.Call():
                return self._call(node, scope)
            case e.Broken(problems=problems):
                raise UnreadableError(problems)
        return Closure(node, scope)

    def number(self, node: e.Node, scope: Scope, what: str) -> int | float:
        """The value of an expression that has to be a number; ``what`` names it in messages. Raises SpecError if it is none."""
        value = self.value(node, scope)
        if not is_real(value):
            raise error(f"{what} must be a number", node.span, f"this is {_kind(value)}")
        return value

    def test(self, node: e.Node, scope: Scope) -> bool:
        """Whether a test holds. Raises SpecError if it compares modules or values of a stream."""
        if isinstance(node, e.Logic):
            left = self.test(node.left, scope)
            return (left and self.test(node.right, scope)) if node.op == "and" else (left or self.test(node.right, scope))
        if isinstance(node, e.Not):
            return not self.test(node.value, scope)
        if isinstance(node, e.Compare):
            left, right = self.value(node.left, scope), self.value(node.right, scope)
            if isinstance(left, (Closure, Value)) or isinstance(right, (Closure, Value)):
                raise error("a test compares numbers, not modules", node.span, "compare a width: `c == dim`, `x.c`")
            self._spend_on(node, left, right)
            try:
                return compare(node.op, left, right)
            except TypeError:
                hint = (
                    "`<` and its like compare numbers; ask `x == none` first" if None in (left, right) else "compare two numbers"
                )
                raise error(f"{_kind(left)} and {_kind(right)} cannot be compared with {node.op}", node.span, hint) from None
        value = self.value(node, scope)
        if isinstance(value, (Closure, Value)):
            raise error("a module is neither true nor false", node.span, "a test compares numbers: `c == dim`")
        return bool(value)

    def loop(self, node: e.Comprehension, scope: Scope) -> Iterator[Scope]:
        """A scope for each round of a comprehension whose test holds. Raises SpecError if its source is no list, or too long."""
        source = self.value(node.source, scope)
        if not isinstance(source, (list, tuple)):
            raise error("a comprehension runs over a list", node.source.span, "write `range(n)` or a list")
        if len(source) > MAX_LIST:
            raise error(f"a list of {len(source)} entries", node.source.span, f"at most {MAX_LIST} are allowed")
        for item in source:
            self._budget.spend(1, node.span)
            inner = scope.bind({node.var: item})
            if node.test is None or self.test(node.test, inner):
                yield inner

    def _limited(self, items: list[Any], node: e.Node) -> list[Any]:
        """A list that was computed. Raises SpecError for one that is too long, the entries of its lists counted too."""
        count = entries(items, MAX_LIST)
        self._budget.spend(count // 8, node.span)
        if count > MAX_LIST:
            raise error(f"a list of more than {MAX_LIST} entries", node.span, "the entries of the lists in it count, too")
        return items

    def _list(self, items: tuple[e.Node, ...], scope: Scope) -> list[Any]:
        result: list[Any] = []
        for item in items:
            if isinstance(item, e.Splice):
                spliced = self.value(item.value, scope)
                if not isinstance(spliced, (list, tuple)):
                    raise error("`*` needs a list", item.span, "remove the `*`")
                self._budget.spend(1 + len(spliced) // 4, item.span)
                result.extend(spliced)
            else:
                result.append(self.value(item, scope))
        return result

    def _name(self, node: e.Name, scope: Scope) -> Any:
        meaning = self.names.find(node.id, scope, node.span)
        if isinstance(meaning, Closure):
            return self.value(meaning.node, meaning.scope)
        if isinstance(meaning, Word):
            return self._word(node, scope)
        if isinstance(meaning, (Operator, Section, HoleName)):
            return Closure(node, scope)
        if isinstance(meaning, Once):
            return members(self, meaning, scope) if is_list(meaning) else Closure(node, scope)
        if isinstance(meaning, Local):
            lacks = any(param.default is None for param in meaning.binding.params)
            return Closure(node, scope) if lacks else self._local(meaning, {}, scope)
        if isinstance(meaning, Bound):
            if any(param.default is None for param in meaning.binding.params):
                return Closure(node, scope)
            return self.bound(meaning, {}, scope)
        return meaning

    def _word(self, node: e.Name, scope: Scope) -> Any:
        """The value of a word of the language."""
        name, now = node.id, self.context.now
        self._memory.reads(name)
        if name in ("c", "w") and scope.w is None:
            hint = f"`{name}` is the width that {'enters an expression' if name == 'c' else 'arrives at an item of a chain'}"
            raise error(f"there is no width `{name}` here", node.span, hint)
        if name == "stage" and now.stage is None:
            hint = "use it in a column, or in a binding that a stage uses"
            raise error("`stage` has no meaning outside the stages", node.span, hint)
        match name:
            case "c" | "w":
                return getattr(scope, name)
            case "true" | "false":
                return name == "true"
            case "none":
                return None
            case "stage" | "part":
                return getattr(now, name)
            case "index" | "layer":
                return getattr(now.blocks, name)
            case "layers":
                return self.layers(node.span)
            case "classes":
                return self.classes()
            case "grid":
                return list(self.grid)
        return Closure(node, scope)

    def classes(self) -> int:
        """The number of classes: `classes:` of the spec, by default ImageNet's."""
        node = self.spec.sections.get("classes")
        if node is None:
            return CLASSES
        number = self.number(node, Scope(), "`classes`")
        if not is_whole(number) or number < 1:
            raise error(f"{number} classes", node.span, "write a whole number from 1")
        return number

    def bound(self, bound: Bound, values: dict[str, Any], scope: Scope) -> Any:
        """The value of a binding. ``values`` are its arguments; `c` is that of the caller's scope."""
        binding = bound.binding
        if bound.table.endswith("shared"):
            once = of_table(bound)
            return members(self, once, scope) if is_list(once) else Closure(e.Name(binding.name), scope)
        known, value = (False, None) if values else self._memory.find(binding, scope)
        if not known:
            inner = Scope(c=scope.c, hide=(bound.table, binding.name), arriving=scope.arriving)
            inner = inner.bind(parameter_values(binding.params, values, inner))
            with self._memory.computing(None if values else binding, scope) as result:
                value = self._column(binding, inner) if bound.table == "columns" else self.value(binding.body, inner)
                result.append(value)
        return value

    def _local(self, local: Local, values: dict[str, Any], scope: Scope) -> Any:
        """The value of a recipe of a stream's line. ``values`` are its arguments; `c` is that of the caller's scope."""
        return self.value(local.binding.body, local_scope(local, values, scope.c))

    def _column(self, binding: Binding, inner: Scope) -> Any:
        """The value of a column in the present stage; outside the stages it is the list of its entries."""
        stage = self.context.now.stage
        self._memory.reads("stage")
        if stage is not None:
            return self.value(self.entry(binding, stage), inner)
        column = []
        for stage in range(self.stages):
            with self.context.push(stage=stage):
                column.append(self.value(self.entry(binding, stage), inner))
        return column

    def _read(self, word: str, scope: Scope) -> Any:
        """The value of a word that a binding's value depends on."""
        now = self.context.now
        match word:
            case "c" | "w":
                return getattr(scope, word)
            case "stage" | "part":
                return getattr(now, word)
            case "index" | "layer":
                return getattr(now.blocks, word)
            case "grid":
                return self.grid
        return None  # the same in the whole network

    def operator(self, node: e.Node, scope: Scope) -> Operator | None:
        """The operator that a name, or the function of a call, means; None if it means no operator."""
        name = node if isinstance(node, e.Name) else node.func if isinstance(node, e.Call) else None
        if not isinstance(name, e.Name):
            return None
        meaning = self.names.find(name.id, scope, name.span, called=node is not name)
        return meaning if isinstance(meaning, Operator) else None

    def repeat(self, node: e.Node, scope: Scope) -> tuple[int, e.Node] | None:
        """The number and the module of ``n * a``; None for another expression."""
        if not isinstance(node, e.Binary) or node.op != "*":
            return None
        n = self.value(node.left, scope)
        return (n, node.right) if isinstance(n, int) and not isinstance(n, bool) else None

    def entry(self, column: Binding, stage: int) -> e.Node:
        """The expression of a column for one stage: an item of its list, or the one expression for all stages."""
        return column.body.items[stage] if isinstance(column.body, e.List) else column.body

    def _index(self, node: e.Index, scope: Scope) -> Any:
        base = self.value(node.base, scope)
        if isinstance(base, Closure):
            return Closure(node, scope)
        if not isinstance(base, (list, tuple)):
            raise error(f"{_kind(base)} has no entries", node.base.span, "only lists are indexed")
        if isinstance(node.at, e.Slice):
            low = None if node.at.low is None else int(self.number(node.at.low, scope, "a subscript"))
            high = None if node.at.high is None else int(self.number(node.at.high, scope, "a subscript"))
            self._spend_on(node, base)
            return list(base[low:high])
        at = self.number(node.at, scope, "a subscript")
        if not isinstance(at, int) or not -len(base) <= at < len(base):
            hint = "entries are numbered from 0; -1 is the last"
            raise error(f"there is no entry {at} in a list of {len(base)}", node.span, hint)
        return base[at]

    def _attribute(self, node: e.Attribute, scope: Scope) -> Any:
        base = self.value(node.base, scope)
        if not isinstance(base, Value):
            raise error("only a wire has attributes", node.span, "write `x.c` for the width of the wire x")
        if node.name == "c":
            return base.c
        if node.name == "grid":
            return list(base.feature.grid)
        if node.name == "n":
            return base.feature.n
        if node.name == "valid":
            if base.id not in self.valid:
                hint = "`image(3, 224, padded=true)` and `tokens(...)` have it: name the input, `x -> ...`, and write `x.valid`"
                raise error("only an input that may have padding has `valid`", node.span, hint)
            return self.valid[base.id]
        known = "it has `c` (width), `grid` (extents) and `n` (number of tokens); a padded input has `valid`"
        raise error(f"a wire has no '{node.name}'", node.span, known)

    def _binary(self, node: e.Binary, scope: Scope) -> Any:
        left = self.value(node.left, scope)
        if not is_real(left) and not isinstance(left, (list, str)):
            return Closure(node, scope)
        right = self.value(node.right, scope)
        if isinstance(right, (Closure, Value)) or right is None:
            return Closure(node, scope)
        self._spend_on(node, left, right)
        if node.op == "+" and isinstance(left, list) and isinstance(right, list):
            return self._limited([*left, *right], node)
        try:
            return calculate(node.op, left, right)
        except ZeroDivisionError:
            raise error("division by zero", node.span, "guard it: `max(x, 1)`") from None
        except OverflowError:
            raise error("the result is too large for a number", node.span, "use smaller numbers") from None
        except TypeError:
            message = f"{_kind(left)} {node.op} {_kind(right)} has no meaning"
            raise error(message, node.span, "both sides are numbers, both modules, or both lists") from None

    def _spend_on(self, node: e.Node, *values: Any) -> None:
        """Spends what it costs to compute with lists."""
        for value in values:
            if isinstance(value, list):
                self._budget.spend(entries(value, MAX_LIST) // 8, node.span)

    def _call(self, node: e.Call, scope: Scope) -> Any:
        if not isinstance(node.func, e.Name):
            raise error("only a name can be called", node.func.span, "`f(x)` gives arguments to a recipe; data flows with `>>`")
        meaning = self.names.find(node.func.id, scope, node.func.span, called=True)
        if isinstance(meaning, Word) and meaning.name in FUNCTIONS:
            return self._numeric(meaning.name, node, scope)
        if isinstance(meaning, Bound):
            return self.bound(meaning, self.arguments(meaning.binding, node, scope), scope)
        if isinstance(meaning, Local):
            return self._local(meaning, self.arguments(meaning.binding, node, scope), scope)
        if isinstance(meaning, Operator):
            return Closure(node, scope)
        raise error(f"'{node.func.id}' takes no arguments", node.span, "remove the brackets")

    def arguments(self, binding: Binding, node: e.Call, scope: Scope) -> dict[str, Any]:
        """The arguments of a call to a binding, by parameter, not evaluated yet. Raises SpecError if they do not fit it."""
        return bound_arguments(self, binding, node, scope)

    def _numeric(self, name: str, node: e.Call, scope: Scope) -> Any:
        """The result of a function on numbers; a Closure for a ``sum`` of modules."""
        values = self._list(tuple(argument.value for argument in node.args), scope)
        self._spend_on(node, *values)
        flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
        if name == "sum" and any(isinstance(item, (Value, Closure)) for item in flat):
            return Closure(node, scope)
        if any(not is_real(item) for item in flat) and name != "len":
            hint = called_here(name) if name in ("min", "max") else "a module stands where a number is expected"
            raise error(f"'{name}' works on numbers", node.span, hint)
        try:
            result = FUNCTIONS[name](*values)
            self._spend_on(node, result)
            return result
        except TooLongError as many:
            raise error(f"a list of {many} entries", node.span, f"at most {MAX_LIST} are allowed") from None
        except (TypeError, ValueError, OverflowError):
            raise error(f"'{name}' does not take these arguments", node.span, "numbers, or one list of numbers") from None


def _kind(value: Any) -> str:
    """What messages call a value."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "a truth value"
    return {int: "a number", float: "a number", str: "a word", list: "a list"}.get(type(value), "a module")
