"""References: what names, calls, choices and indices stand for, one step at a time."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SpecError, UnreadableError, error
from ..language import ast as e
from ..language.budget import spend
from ..language.elsewhere import called_here
from ..language.printer import show
from ..language.registry import Operator
from ..language.scope import Bound, Closure, HoleName, Local, Scope, Section, Word, local_scope, parameter_values
from ..language.standard import NUMERIC
from .context import ContextStack
from .evaluate import Evaluator
from .ir import Value, ValueTree, width
from .once import Once, is_list, members, of_table
from .sections import Sections


@dataclass(frozen=True)
class Finished:
    """The result of an expression that names a value: `id`, `none`, a value of a stream, a section."""

    value: ValueTree


class References:
    """Follows the references of one network.

    Args:
        evaluate: evaluates numbers, words and lists, and knows what names mean.
        context: the context of the expression.
        network: lowers sections and shared modules.

    Attributes:
        emptied: how many absent results had another reason than the word `none`: no tokens were left, or a wire was absent.
    """

    def __init__(self, evaluate: Evaluator, context: ContextStack, network: Sections):
        self.evaluate, self.context, self.network = evaluate, context, network
        self.emptied = 0

    def step(self, node: e.Node, scope: Scope, x: ValueTree) -> Closure | Finished:
        """One step from a reference to what it stands for.

        Args:
            node, scope: the expression.
            x: what enters it.

        Returns:
            The expression behind a name, a choice, an index or a call of a binding; the same expression if it is none of these;
            ``Finished`` if the result is a value.

        Raises:
            SpecError: the expression is a number or a word, or calls something that takes no arguments.
        """
        spend(2, node.span)
        match node:
            case e.Name(id=name):
                return self._named(node, self.evaluate.names.find(name, scope, node.span), scope, x)
            case e.Call(func=e.Name(id=name)):
                meaning = self.evaluate.names.find(name, scope, node.func.span, called=True)
                if isinstance(meaning, Bound):
                    return self._follow(meaning, node, scope, x)
                if isinstance(meaning, Local):
                    values = self.evaluate.arguments(meaning.binding, node, scope)
                    return Closure(meaning.binding.body, local_scope(meaning, values, width(x)))
                if isinstance(meaning, Word) and name != "sum":
                    raise no_module(node)
                if isinstance(meaning, (Closure, Value, Once)):
                    hint = "`f(x)` gives arguments to a recipe; data flows with `>>`"
                    raise error(f"'{name}' takes no arguments", node.span, hint)
            case e.Broken(problems=problems):
                raise UnreadableError(problems)
            case e.Call():
                raise error("only a name can be called", node.func.span, "data flows with `>>`")
            case e.Conditional():
                return Closure(node.then if self.evaluate.test(node.test, scope) else node.other, scope)
            case e.Index() | e.Attribute():
                value = self.evaluate.value(node, scope)
                if isinstance(value, Closure):
                    return value if value.node is node else Closure(value.node, value.scope.with_c(width(x)))
                if value is None or isinstance(value, (Value, list)):
                    self.emptied += value is None
                    return Finished(value)
                raise no_module(node)
        return Closure(node, scope)

    def _named(self, node: e.Name, meaning: object, scope: Scope, x: ValueTree) -> Closure | Finished:
        """One step from a name with this meaning."""
        match meaning:
            case Word(name="id"):
                return Finished(x)
            case Word(name="none"):
                return Finished(None)
            case Bound():
                return self._follow(meaning, node, scope, x)
            case Once():
                if is_list(meaning):
                    return Finished(members(self.evaluate, meaning, scope.with_c(width(x))))
                return Finished(self.network.once(meaning, x, node))
            case Local():
                values = self.evaluate.arguments(meaning.binding, e.Call(node, (), span=node.span), scope)
                return Closure(meaning.binding.body, local_scope(meaning, values, width(x)))
            case Closure():
                return Closure(meaning.node, meaning.scope.with_c(width(x)))
            case Operator():
                return Closure(node, scope)
            case Section():
                return Finished(self.network.section(meaning.name, x, node.span))
            case HoleName():
                return Finished(self.network.hole(meaning.name, x, node.span))
            case None | Value() | list() | tuple():
                self.emptied += meaning is None
                return Finished(meaning)
        raise no_module(node)

    def _follow(self, bound: Bound, node: e.Name | e.Call, scope: Scope, x: ValueTree) -> Closure | Finished:
        """One step from a binding's name or call to its body."""
        binding, stage = bound.binding, self.context.now.stage
        call = node if isinstance(node, e.Call) else e.Call(node, (), span=node.span)
        values = self.evaluate.arguments(binding, call, scope)
        if bound.table.endswith("shared"):
            return Finished(self.network.once(of_table(bound), x, node))
        inner = Scope(c=width(x), hide=(bound.table, binding.name))
        inner = inner.bind(parameter_values(binding.params, values, inner))
        if bound.table != "columns":
            return Closure(binding.body, inner)
        if stage is None:
            hint = f"choose an entry: `{binding.name}[0]`"
            raise error(f"the column '{binding.name}' is a list outside the stages", node.span, hint)
        return Closure(self.evaluate.entry(binding, stage), inner)


def no_module(node: e.Node) -> SpecError:
    """The error of a number or a word where a module is needed; raise it."""
    name = node.func if isinstance(node, e.Call) else node
    if isinstance(name, e.Name) and name.id in NUMERIC:
        hint = "`sum([a, b])` adds outputs" if name.id == "sum" else called_here(name.id) or "it computes numbers of arguments"
        return error(f"'{name.id}' is a function of numbers, not of modules", node.span, hint)
    message = f"'{show(node)}' is a number or word where a module is needed"
    return error(message, node.span, "write `times(x)` to scale what arrives")
