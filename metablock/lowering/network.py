"""The whole network: input, stem, stages, head, or the stream `model` that composes them."""

from __future__ import annotations

from dataclasses import replace

from ..errors import Problem, Span, SpecError, error
from ..language import ast as e
from ..language.edits import stage_count
from ..language.printer import show
from ..language.scope import Bound, Closure, Scope
from ..language.spec import CLASSES, Spec
from ..language.standard import INPUT_RANKS
from ..shape import Feature
from .evaluate import Place
from .ir import ModuleList, Subgraph, ValueTree, flat_values
from .tracer import MAX_REPEATS, Tracer

MAX_PROBLEMS = 50


def trace(spec: Spec, *, input: Feature | None = None, classes: int | None = None, large: bool = False) -> Subgraph:
    """The shaped tree of a resolved spec.

    Args:
        spec: without variants (see :func:`metablock.language.edits.resolve`).
        input: replaces the (single) input that the spec names.
        classes: replaces the number of classes.
        large: lifts the caps on sizes.

    Raises:
        SpecError: with every problem that could be found, each at its place.
    """
    first = NetworkLowering(spec, large)
    root = first.run(input, classes, layers=10**9)
    if first.evaluate.asked_layers:
        return NetworkLowering(spec, large).run(input, classes, layers=first.evaluate.place.layer)
    return root


def inputs(spec: Spec) -> list[Feature]:
    """The sizes of what enters a resolved spec."""
    network = NetworkLowering(spec)
    return [network.feature(node) for node in spec.inputs.values()]


class NetworkLowering(Tracer):
    """Traces one resolved spec from its input to its output."""

    def __init__(self, spec: Spec, large: bool = False):
        super().__init__(spec, stage_count(spec), large)
        self.problems: list[Problem] = []
        self._started: dict[str, tuple[Place, ValueTree]] = {}
        self._shared: dict[tuple[str, ...], ValueTree] = {}
        self._stage: Subgraph | None = None

    def run(self, input: Feature | None, classes: int | None, layers: int) -> Subgraph:
        self.evaluate.place = Place(layers=layers)
        if classes is None:
            classes = CLASSES
            if "classes" in self.spec.sections:
                classes = int(self.evaluate.number(self.spec.sections["classes"], Scope(), "`classes`"))
        self.evaluate.place.classes = classes
        x = self._input(input)
        self.root.text, self.root.pinned = self.spec.name, True
        self.root.inputs = tuple(flat_values(x))
        try:
            self.root.output = self._present(self._flow(x))
            self._predict()
        except SpecError as wrong:
            raise SpecError([*self.problems, *wrong.problems]) from None
        if self.problems:
            raise SpecError(self.problems)
        return self.root

    def _present(self, output: ValueTree) -> ValueTree:
        """What the network gives, if none of it is absent."""
        values = list(output.values()) if isinstance(output, dict) else output if isinstance(output, (list, tuple)) else [output]
        if not values or any(value is None for value in values):
            place = next(filter(None, map(self.spec.place, ("model", "head", "stages"))), None)
            raise error("the network gives what is absent", place, "`none` is an absent module; `id` passes on what arrives")
        return output

    def _flow(self, x: ValueTree) -> ValueTree:
        if "model" in self.spec.sections:
            model = Closure(self.spec.sections["model"], Scope(c=_width(x)))
            while isinstance(model.node, e.Name):  # the model may be a stream of `let`
                step = self._reduce(model.node, model.scope, x)
                if not isinstance(step, Closure) or step.node is model.node:
                    break
                model = step
            self.relabel(model.node)
            self.composing = True
            x = self.inline(model.node, model.scope, x)
            self.composing = False
            return x
        for name in ("stem", "stages", "head"):
            if name in self.evaluate.names.sections:
                x = self.section(name, x, None)
        return x

    def _predict(self) -> None:
        if "predict" not in self.spec.sections:
            return
        output = self.root.output
        values = list(output.values()) if isinstance(output, dict) else output
        before = len(self.root.steps)
        node = self.spec.sections["predict"]
        self.relabel(node)
        self.root.prediction = self.inline(node, Scope(), values)
        self.root.prediction_steps = self.root.steps[before:]
        del self.root.steps[before:]

    # Input

    def _input(self, given: Feature | None) -> ValueTree:
        inputs = self.spec.inputs
        if given is not None:
            if len(inputs) != 1:
                raise error(f"the input of '{self.spec.name}' cannot be replaced: it has {len(inputs)}", self.spec.place("input"))
            return self._entering(given)
        features = [self._entering(self.feature(node)) for node in inputs.values()]
        return features[0] if len(features) == 1 else features

    def _entering(self, feature: Feature) -> ValueTree:
        self.evaluate.place.grid = feature.grid
        if not self.large and (max(feature.grid, default=1) > 65_536 or feature.c > 65_536):
            raise error(f"an input of {feature}", self.spec.place("input"), "--allow-large lifts the limit")
        return self.wire(feature)

    def feature(self, node: e.Node) -> Feature:
        """The size that an entry of `input:` states."""
        if not isinstance(node, e.Call) or not isinstance(node.func, e.Name) or node.func.id not in INPUT_RANKS:
            raise error(
                f"'{show(node)}' is no input", node.span, "write `image(3, 224)`, `signal(12, 5000)` or `volume(1, 32, 64, 64)`"
            )
        kind, rank = node.func.id, INPUT_RANKS[node.func.id]
        sizes = [self.evaluate.number(argument.value, Scope(), "a size") for argument in node.args]
        if any(not isinstance(size, int) or size < 1 for size in sizes):
            raise error("the sizes of an input are whole numbers from 1", node.span, f"write `{kind}(channels, size)`")
        if len(sizes) == 2:
            sizes = [sizes[0]] + [sizes[1]] * rank
        if len(sizes) != rank + 1:
            raise error(f"`{kind}` takes channels and one size, or {rank} sizes", node.span, f"{len(sizes)} numbers are given")
        return Feature("map", int(sizes[0]), tuple(int(size) for size in sizes[1:]))

    # Sections

    def section(self, name: str, x: ValueTree, span: Span | None, results: list[ValueTree] | None = None) -> ValueTree:
        """`stem`, `stages` or `head`. Used again, it is the same modules, and the blocks are counted from where they were."""
        if self.level is not self.root:
            raise error(f"`{name}` stands inside another module", span, "name it in `model` itself")
        if name not in self._started:
            self._started[name] = (replace(self.evaluate.place), x)
            return self._make(name, x, results)
        place, first = self._started[name]
        kept, self.evaluate.place = self.evaluate.place, replace(place)
        output = self.reuse(self.root, (), lambda x: self._make(name, x, results), x, first, span, root=True)
        self.evaluate.place = kept
        return output

    def _make(self, name: str, x: ValueTree, results: list[ValueTree] | None) -> ValueTree:
        if name == "stages":
            return self._stages(x, results)
        return self.place(self.spec.sections[name], Scope(c=_width(x)), x, name, name)

    def shared(self, found: Bound, x: ValueTree, node: e.Node) -> ValueTree:
        """A module that is built once for the network, or once a stage."""
        binding, stage = found.binding, self.evaluate.place.stage
        owner: Subgraph = self.root
        path: tuple[str, ...] = ("shared",)
        if found.table == "stage_shared":
            if stage is None or self._stage is None:
                raise error(f"'{binding.name}' is shared inside a stage", node.span, "use it in a column or a block")
            owner, path = self._stage, ("stages", str(stage), "shared")
        holder = owner.children.setdefault("shared", ModuleList())
        assert isinstance(holder, ModuleList)
        scope = Scope(c=_width(x), hide=(found.table, binding.name))
        first = self._shared.setdefault((*path, binding.name), x)

        def make(x: ValueTree) -> ValueTree:
            return self.place(binding.body, scope, x, binding.name)

        return self.reuse(holder, path, make, x, first, node.span, root=True)

    # Stages

    def _stages(self, x: ValueTree, results: list[ValueTree] | None) -> ValueTree:
        place = self.evaluate.place
        for stage in range(self.evaluate.stages):
            place.stage, place.index = stage, 0
            with self.open(f"stages.{stage}", f"stage {stage}", x) as level:
                self._stage, level.pinned = level, True
                x = self._column("down", x)
                x = self._body(x)
                x = self._column("end", x)
                level.output = x
            if results is not None:
                results.append(x)
        place.stage = self._stage = None
        return x

    def _entry(self, name: str) -> tuple[e.Node, Scope] | None:
        column = self.spec.columns.get(name)
        if column is None:
            return None
        assert self.evaluate.place.stage is not None
        return self.evaluate.entry(column, self.evaluate.place.stage), Scope(hide=("columns", name))

    def _column(self, name: str, x: ValueTree) -> ValueTree:
        found = self._entry(name)
        if found is None:
            return x
        return self.place(found[0], found[1].with_c(_width(x)), x, name, name)

    def _body(self, x: ValueTree) -> ValueTree:
        found = self._entry("body")
        if found is None:
            raise error("the column 'body' is missing", self.spec.place("stages"), "write `body: depth * block`")
        node, scope = found[0], found[1].with_c(_width(x))
        if isinstance(node, (e.Function, e.StreamBody)):
            return self._stream(node, scope, x)
        count = 0
        for item in node.items if isinstance(node, e.Chain) else (node,):
            copies, module = self._copies(item, scope)
            for _ in range(copies):
                x = self._one(module, scope.with_c(_width(x)), x, f"blocks.{count}")
                count += 1
        return x

    def _copies(self, item: e.Node, scope: Scope) -> tuple[int, e.Node]:
        if isinstance(item, e.Binary) and item.op == "*":
            n = self.evaluate.value(item.left, scope)
            if isinstance(n, int) and not isinstance(n, bool):
                if n < 0 or (n > MAX_REPEATS and not self.large):
                    raise error(
                        f"{n} blocks", item.left.span, f"a repeat is between 0 and {MAX_REPEATS}; --allow-large lifts the limit"
                    )
                return n, item.right
            if isinstance(n, float):
                raise error(f"{n} blocks: only a whole number repeats", item.left.span, "round it: `int(x)`")
        return 1, item

    def _one(self, node: e.Node, scope: Scope, x: ValueTree, name: str) -> ValueTree:
        """One block. A problem inside is noted, and the next block is tried with what entered this one."""
        level = self.level
        self.relabel(node)
        try:
            result = self.place(node, scope, x, name, "block")
            x = x if result is None else result
        except SpecError as wrong:
            self.level, self.counting, self.mask, self.pair = level, False, None, None
            seen = {problem.key[:3] for problem in self.problems if problem.span is not None}
            self.problems += [problem for problem in wrong.problems if problem.key[:3] not in seen]  # once, not once a stage
            if len(self.problems) > MAX_PROBLEMS:
                raise SpecError([]) from None
        self.evaluate.place.index += 1
        self.evaluate.place.layer += 1
        return x

    def _stream(self, node: e.Node, scope: Scope, x: ValueTree) -> ValueTree:
        """A body that is a stream: its repeats are its blocks; without a repeat it is one block."""
        self.relabel(node)
        before, self.counting = self.evaluate.place.layer, True
        x = self.inline(node, scope, x)
        self.counting = False
        if self.evaluate.place.layer == before:
            self.evaluate.place.index += 1
            self.evaluate.place.layer += 1
        return x


def _width(x: ValueTree) -> int | None:
    return next((wire.c for wire in flat_values(x)), None)
