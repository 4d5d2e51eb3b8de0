"""The network: from a resolved spec to its IR, section by section: input, stem, stages, head, or the stream `model`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import Problem, Span, SpecError, UnreadableError, error
from ..language import ast as e
from ..language.budget import LARGE, NETWORK, reading, spend
from ..language.edits import stage_count
from ..language.scope import Closure, Scope
from ..language.spec import Spec
from ..shape import Feature
from .context import BlockCount, ContextStack
from .emitter import Emitter
from .evaluate import Evaluator
from .inputs import drop_unread, input_feature, state_valid
from .ir import Child, Subgraph, ValueTree, flat_values, width
from .layer_count import LayerCounter
from .once import Once
from .shared_modules import SharedModules
from .tracer import ID, MAX_REPEATS, Tracer
from .training import TrainingParts

MAX_PROBLEMS = 50
MAX_EXTENT = 65_536


def lower(spec: Spec, *, input: Feature | None = None, large: bool = False) -> Subgraph:
    """The typed IR of a resolved spec. Nothing is allocated.

    Args:
        spec: a spec whose variant is applied (:func:`metablock.language.edits.resolve`).
        input: the shape of the input, instead of the one the spec states; for specs with one input.
        large: lifts the caps on sizes, and the budget (:mod:`metablock.language.budget`).

    Returns:
        The root of the network.

    Raises:
        SpecError: every problem of the spec, each with its place. After a block with a problem the next ones are still lowered.

    >>> from metablock.language.edits import resolve
    >>> from metablock.language.load import load_text
    >>> spec = load_text("name: net\\ninput: image(3, 32)\\nmodel: conv(8, 3, stride=2) >> relu")
    >>> ir = lower(resolve(spec))
    >>> list(ir.children), str(ir.output.feature)
    (['conv', 'relu'], 'map 8 x 16x16')
    >>> str(lower(resolve(spec), input=Feature("map", 1, (64, 48))).output.feature)
    'map 8 x 32x24'
    """
    with reading(NETWORK * (LARGE if large else 1), spec.place("stages") or spec.place("model")):
        return NetworkLowering(spec, large).run(input)


def input_features(spec: Spec) -> list[Feature]:
    """The shapes of the inputs of a resolved spec, in order. Raises SpecError if an entry of `input:` is no input.

    >>> from metablock.language.load import load_text
    >>> spec = load_text("name: net\\ninput:\\n  ecg: signal(12, 5000)\\n  picture: image(3, 32)\\nmodel: x, y -> x")
    >>> [str(feature) for feature in input_features(spec)]
    ['map 12 x 5000', 'map 3 x 32x32']
    """
    evaluate = NetworkLowering(spec).evaluate
    return [input_feature(evaluate, node) for node in spec.inputs.values()]


class NetworkLowering:
    """Lowers one resolved spec, once. It knows the sections; a tracer lowers their expressions.

    Args:
        spec: a resolved spec.
        large: lifts the caps on sizes.
        layers: the value of `layers` in a trial; by default it is counted.

    Attributes:
        root: the root of the network.
        layers: counts the blocks for the word `layers`.
        problems: the problems of blocks so far.
    """

    def __init__(self, spec: Spec, large: bool = False, layers: int | None = None):
        self.spec, self.large = spec, large
        self._input_size: Feature | None = None
        self.context = ContextStack()
        self.root = self.context.now.draft.subgraph
        self.evaluate = Evaluator(spec, stage_count(spec), self.context, lambda span: layers or self.layers.total(span))
        self.layers = LayerCounter(spec, self.evaluate, self._trial)
        self.ir = Emitter(self.context, large=large)
        self.tracer = Tracer(self.evaluate, self.context, self.ir, self)
        self.problems: list[Problem] = []
        self._started: dict[str, tuple[BlockCount, ValueTree]] = {}
        self._shared = SharedModules(self.tracer, self.root)
        self.training = TrainingParts(self)

    def run(self, input: Feature | None) -> Subgraph:
        """Lowers the network and returns its root. Raises SpecError with every problem."""
        self._input_size = input
        self.evaluate.classes()
        x = self._input(input)
        self.root.text, self.root.pinned, self.root.unlimited = self.spec.name, True, self.large
        self.root.inputs, self.root.span = tuple(flat_values(x)), self.spec.place("model") or self.spec.place("stages")
        state_valid(self.evaluate, self.ir, x, self.root)
        try:
            self.root.output = self._present(self._flow(x))
            self.training.lower()
        except SpecError as wrong:
            raise SpecError([*self.problems, *wrong.problems]) from None
        if self.problems:
            raise SpecError(self.problems)
        drop_unread(self.evaluate, self.root, self.ir.doubts)
        self.root.doubts = self.ir.doubts
        blocks = self.context.now.blocks.layer
        if self.evaluate.stages and self.layers.known not in (None, blocks):
            message = f"`layers` was {self.layers.known} and the network has {blocks} blocks"
            raise error(message, self.spec.place("stages"), "write the number itself instead of `layers`")
        return self.root

    def _trial(self, layers: int) -> int:
        """The number of blocks where `layers` has this value. Raises SpecError."""
        trial = NetworkLowering(self.spec, self.large, layers)
        trial.run(self._input_size)
        return trial.context.now.blocks.layer

    def _present(self, output: ValueTree) -> ValueTree:
        """The output of the network. Raises SpecError if it, or a part of it, is absent."""
        values = list(output.values()) if isinstance(output, dict) else output if isinstance(output, (list, tuple)) else [output]
        if not values or any(value is None for value in values):
            place = next(filter(None, map(self.spec.place, ("model", "head", "stages"))), None)
            raise error("the network gives what is absent", place, ID)
        return output

    def _flow(self, x: ValueTree) -> ValueTree:
        """The stream `model`, or stem, stages and head one after the other."""
        if "model" in self.training.sections:
            model = self._composition(x)
            self.tracer.names.read(model.node)
            with self.context.push(unit="line"):
                return self.tracer.emit(model.node, model.scope, x)
        for name in ("stem", "stages", "head"):
            if name in self.evaluate.names.sections:
                x = self.section(name, x, None)
        return x

    def _composition(self, x: ValueTree) -> Closure:
        """The stream of the section `model`, which may be the name of a binding."""
        model = Closure(self.training.sections["model"], self.training.scope.with_c(width(x)))
        while isinstance(model.node, e.Name):
            step = self.tracer.references.step(model.node, model.scope, x)
            if not isinstance(step, Closure) or step.node is model.node:
                break
            model = step
        return model

    # Input

    def _input(self, replacement: Feature | None) -> ValueTree:
        """The values of the inputs: one, or a list."""
        inputs = self.spec.inputs
        if replacement is not None and self.spec.method is None:
            if len(inputs) != 1:
                message = f"the input of '{self.spec.name}' cannot be replaced: it has {len(inputs)}"
                raise error(message, self.spec.place("input"), "set their sizes in the spec")
            return self._entering(replacement)
        if self.spec.method is not None:
            return self.training.inputs(self.spec.method)
        values = [self._entering(input_feature(self.evaluate, node)) for node in inputs.values()]
        return values[0] if len(values) == 1 else values

    def _entering(self, feature: Feature) -> ValueTree:
        """The value of an input."""
        self.evaluate.grid = feature.grid
        if not self.large and (max(feature.grid, default=1) > MAX_EXTENT or feature.c > MAX_EXTENT):
            raise error(f"an input of {feature}", self.spec.place("input"), "--large lifts the limit")
        return self.ir.value(feature)

    # Sections

    def section(self, name: str, x: ValueTree, span: Span | None, results: list[ValueTree] | None = None) -> ValueTree:
        """Applies `stem`, `stages` or `head`.

        A second use has the same modules, and counts blocks from the same number.

        Args:
            name: the section.
            x: what enters it.
            span: the place of the name, for messages.
            results: collects what each stage returns.

        Raises:
            SpecError: the section is named inside another module.
        """
        if self.context.now.draft.subgraph is not self.root:
            return self.training.nested(name, x, span, lambda: self._make(name, x, results))
        x = self.ir.apart(x)
        if name not in self._started:
            self._started[name] = (replace(self.context.now.blocks), x)
            return self.training.checked(name, x, self._make(name, x, results), span)
        blocks, first = self._started[name]
        with self.context.push(blocks=replace(blocks)):
            return self.ir.reuse(self.root, (), lambda x: self._make(name, x, results), x, first, span, root=True)

    def hole(self, name: str, x: ValueTree, span: Span | None) -> ValueTree:
        """Applies the part of the backbone that the method takes under this name. Raises SpecError if it does not fit."""
        return self.training.hole(name, x, span)

    def average(self, once: Once, node: e.Node, start: float, end: float) -> None:
        """Notes that the open subgraph is a moving average of a module that is built once, which ``node`` names."""
        self.training.average(self._shared.place(once, node), start, end)

    def _make(self, name: str, x: ValueTree, results: list[ValueTree] | None) -> ValueTree:
        """Lowers a section."""
        if name == "stages":
            return self._stages(x, results)
        return self._slot(name, self.spec.sections[name], Scope(c=width(x)), x)

    def _slot(self, name: str, node: e.Node, scope: Scope, x: ValueTree) -> ValueTree:
        """Lowers what stands in a slot of the network: a section, or a column that runs. Raises SpecError if it is absent."""
        result = self.tracer.resolve(node, scope, x, name, name)
        if result is None:
            raise error(f"the network gives what is absent: `{name}` is `none`", node.span, ID)
        return result

    def once(self, once: Once, x: ValueTree, node: e.Node) -> ValueTree:
        """Applies a module that is built once: for the network, for the stage, or for the stream that declares it.

        Raises SpecError if a module of a stage is used outside, or on shapes that need other modules.
        """
        return self._shared.apply(once, x, node)

    def built(self, once: Once, node: e.Node) -> tuple[Child, tuple[str, ...], int | None]:
        """A module that is built once, and where it is. Raises SpecError if it has not been applied before."""
        return self._shared.built(once, node)

    def mark_shared(self) -> Callable[[], None]:
        """Returns a function that forgets the modules, built once, that are first used after this call."""
        return self._shared.mark()

    # Stages

    def _stages(self, x: ValueTree, results: list[ValueTree] | None) -> ValueTree:
        """All stages: of each `down`, `body`, `end`."""
        blocks = self.context.now.blocks
        for stage in range(self.evaluate.stages):
            blocks.index = 0
            spend(10)
            with (
                self.ir.open(f"stages.{stage}", f"stage {stage}", x) as subgraph,
                self.context.push(stage=stage, stage_subgraph=subgraph),
            ):
                subgraph.pinned = True
                x = self._column("down", x)
                x = self._body(x)
                x = self._column("end", x)
                subgraph.output = x
            if results is not None:
                results.append(x)
        return x

    def _entry(self, name: str) -> tuple[e.Node, Scope] | None:
        """The entry of a column for this stage, and its scope."""
        column, stage = self.spec.columns.get(name), self.context.now.stage
        if column is None:
            return None
        assert stage is not None
        return self.evaluate.entry(column, stage), Scope(hide=("columns", name))

    def _column(self, name: str, x: ValueTree) -> ValueTree:
        """Lowers this stage's entry of a column; without the column ``x`` passes through."""
        entry = self._entry(name)
        if entry is None:
            return x
        node, scope = entry
        return self._slot(name, node, scope.with_c(width(x)), x)

    def _body(self, x: ValueTree) -> ValueTree:
        """Lowers the blocks of a stage."""
        entry = self._entry("body")
        if entry is None:
            raise error("the column 'body' is missing", self.spec.place("stages"), "write `body: depth * block`")
        node, scope = entry[0], entry[1].with_c(width(x))
        if isinstance(node, (e.Function, e.StreamBody)):
            return self._stream(node, scope, x)
        count = 0
        for item in node.items if isinstance(node, e.Chain) else (node,):
            copies, module = self._copies(item, scope)
            for _ in range(copies):
                x = self._block(module, scope.with_c(width(x)), x, f"blocks.{count}")
                count += 1
        return x

    def _copies(self, item: e.Node, scope: Scope) -> tuple[int, e.Node]:
        """The number of copies of an item of a body, and the module to copy."""
        if isinstance(item, e.Binary) and item.op == "*":
            n = self.evaluate.value(item.left, scope)
            if isinstance(n, int) and not isinstance(n, bool):
                if n < 0 or (n > MAX_REPEATS and not self.large):
                    hint = f"a repeat is between 0 and {MAX_REPEATS}; --large lifts the limit"
                    raise error(f"{n} blocks", item.left.span, hint)
                return n, item.right
            if isinstance(n, float):
                raise error(f"{n} blocks: only a whole number repeats", item.left.span, "round it: `int(x)`")
        return 1, item

    def _block(self, node: e.Node, scope: Scope, x: ValueTree, name: str) -> ValueTree:
        """Lowers one block. After a problem inside, which is noted, the next block gets what entered this one."""
        self.tracer.names.read(node)
        try:
            result = self.tracer.resolve(node, scope, x, name, "block")
            x = x if result is None else result
        except UnreadableError:
            raise  # what enters the next block is unknown
        except SpecError as wrong:
            seen = {problem.key[:3] for problem in self.problems if problem.span is not None}
            self.problems += [problem for problem in wrong.problems if problem.key[:3] not in seen]  # not once for each stage
            if len(self.problems) > MAX_PROBLEMS:
                raise SpecError([]) from None
        self.context.now.blocks.advance()
        return x

    def _stream(self, node: e.Node, scope: Scope, x: ValueTree) -> ValueTree:
        """Lowers a body that is a stream: the copies of its repeats are its blocks; without repeats it is one block."""
        self.tracer.names.read(node)
        blocks = self.context.now.blocks
        before = blocks.layer
        with self.context.push(unit="block"):
            x = self.tracer.emit(node, scope, x)
        if blocks.layer == before:
            blocks.advance()
        return x
