"""The number of blocks of a network, the value of `layers`: counted from its text, without shapes, wherever the text tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import Problem, Span, SpecError, error
from ..language import ast as e
from ..language.registry import Operator
from ..language.scope import Local, Scope
from ..language.spec import Binding, Spec
from .context import BlockCount
from .evaluate import Evaluator
from .once import Once

_CIRCLE = "the number of blocks depends on `layers`, which is this number"
_NO_SHAPES = "`layers` counts the blocks before shapes are known: repeat by numbers that need no width and no wire"
# Values of `layers` in trial lowerings: one that keeps lists short, one that is larger than any network.
_GUESSES = (1_000, 10**9)


class _Unknown:
    """Stands for a value of a stream, whose shape is not known yet."""


class LayerCounter:
    """Counts the blocks of all stages, once.

    The rules are those by which :mod:`metablock.lowering.network` and the tracer count blocks: each item of a stage's body is
    one, ``n * a`` is n. In a body that is a stream each copy of its repeats is one; without repeats it is one block.

    Args:
        spec: a resolved spec.
        evaluate: evaluates its numbers.
        lowered: lowers the network with this value of `layers` and returns the number of its blocks; for texts that do not
            tell it, such as ``(c // 4) * block``.

    >>> from metablock.language.load import load_text
    >>> from .context import ContextStack
    >>> spec = load_text("name: net\\ninput: image(3, 8)\\nstages: {depth: [2, 3], body: conv(8) >> depth * conv(c)}")
    >>> LayerCounter(spec, Evaluator(spec, 2, ContextStack(), lambda span: 0)).total()
    7
    """

    def __init__(self, spec: Spec, evaluate: Evaluator, lowered: Callable[[int], int] | None = None):
        self.spec, self.evaluate, self.lowered = spec, evaluate, lowered
        self._total: int | None = None
        self._counting = False

    @property
    def known(self) -> int | None:
        """The number of blocks, if it was counted already."""
        return self._total

    def total(self, span: Span | None = None) -> int:
        """The number of blocks. ``span`` is the place of the word `layers`.

        Raises:
            SpecError: the number depends on itself or on shapes.
        """
        if self._total is not None:
            return self._total
        if self._counting:
            raise error(_CIRCLE, span, "write the number itself")
        self._counting = True
        try:
            self._total = self._from_text()
        except SpecError as wrong:
            self._total = self._by_trial(wrong)
        finally:
            self._counting = False
        return self._total

    def _from_text(self) -> int:
        return sum(self.by_stage())

    def by_stage(self) -> list[int]:
        """The number of blocks in each stage. Raises SpecError where the text does not tell it."""
        body = self.spec.columns.get("body")
        counts: list[int] = []
        for stage in range(self.evaluate.stages if body is not None else 0):
            assert body is not None
            entry = self.evaluate.entry(body, stage)
            with self.evaluate.context.push(stage=stage, part=0, blocks=BlockCount(0, sum(counts))):
                counts.append(self._stage(entry, Scope(hide=("columns", "body"))))
        return counts

    def _by_trial(self, unknown: SpecError) -> int:
        """The number of blocks of a trial lowering. Raises SpecError: the problems of all trials, or those of the text."""
        if self.lowered is None or any(problem.message == _CIRCLE for problem in unknown.problems):
            raise unknown
        trials: list[dict[tuple[object, ...], Problem]] = []
        for guess in _GUESSES:
            try:
                return self.lowered(guess)
            except SpecError as wrong:
                trials.append({problem.key: problem for problem in wrong.problems})
        first, *others = trials
        genuine = [problem for key, problem in first.items() if all(key in other for other in others)]
        raise SpecError(genuine or (replace(problem, hint=_NO_SHAPES) for problem in unknown.problems)) from None

    def _stage(self, node: e.Node, scope: Scope) -> int:
        """The number of blocks in the body of a stage."""
        if isinstance(node, (e.Function, e.StreamBody)):
            return self._in_stream(node, scope) or 1
        return sum(self._copies(item, scope) for item in (node.items if isinstance(node, e.Chain) else (node,)))

    def _copies(self, item: e.Node, scope: Scope) -> int:
        """The number of blocks that an item of a body is."""
        repeat = self.evaluate.repeat(item, scope)
        return 1 if repeat is None else max(repeat[0], 0)  # lowering refuses a negative one

    def _in_stream(self, node: e.Node, scope: Scope) -> int:
        """The number of copies that the repeats of an expression in a stream make."""
        match node:
            case e.Chain(items=items) | e.Concat(items=items) | e.List(items=items):
                return sum(self._in_stream(item, scope) for item in items)
            case e.Splice(value=value) | e.Negative(value=value):
                return self._in_stream(value, scope)
            case e.Function(params=params, body=body):
                return self._in_stream(body, scope.bind(dict.fromkeys(params, _Unknown())))
            case e.StreamBody():
                return self._lines(node, scope)
            case e.Binary():
                if self.evaluate.repeat(node, scope) is not None:
                    return self._copies(node, scope)
                return self._in_stream(node.left, scope) + self._in_stream(node.right, scope)
            case e.Conditional():
                return self._in_stream(node.then if self.evaluate.test(node.test, scope) else node.other, scope)
            case e.Comprehension():
                return sum(self._in_stream(node.item, inner) for inner in self.evaluate.loop(node, scope))
            case e.Call(func=e.Name(id="sum"), args=args):
                return sum(self._in_stream(argument.value, scope) for argument in args)
            case e.Call():
                operator = self.evaluate.operator(node, scope)
                if operator is not None and operator.inline:
                    return self._in_arguments(node, operator, scope)
        return 0

    def _in_arguments(self, node: e.Call, operator: Operator, scope: Scope) -> int:
        """The copies in the positional arguments of an inline operator; named arguments are modules of their own."""
        count = sum(self._in_stream(argument.value, scope) for argument in node.args if argument.name is None)
        several = operator.name == "each" or any(argument.name == "parts" for argument in node.args)
        if count and several:
            raise error(f"the blocks inside `{operator.name}` cannot be counted", node.span, "repeat outside of it")
        return count

    def _lines(self, node: e.StreamBody, scope: Scope) -> int:
        """The copies in the lines of a stream; a line without a repeat of its own counts none."""
        count = 0
        for line in node.lines:
            name = line.targets[0]
            if line.word:
                local = Local(Binding(e.Header(name, line.params), line.value), scope)
                scope = scope.bind({name: local if line.word == "let" else Once(name, line.value, scope)})
                continue
            number = self.evaluate.value(line.value, scope)
            if isinstance(number, (int, float, str)):
                scope = scope.bind({name: number})
                continue
            items = line.value.items if isinstance(line.value, e.Chain) else (line.value,)
            if any(self.evaluate.repeat(item, scope) for item in items):
                count += sum(self._in_stream(item, scope) for item in items)
            scope = scope.bind(dict.fromkeys(line.targets, _Unknown()))
        return count + sum(self._in_stream(output, scope) for output in node.outputs)
