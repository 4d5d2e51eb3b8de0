"""What a spec says about training: inputs of a method, the names that its expressions see, its loss, frozen parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from ..errors import Problem, Span, SpecError, error, suggest
from ..language import ast as e
from ..language.methods import ENCODER, NETWORK, PARTS, SOURCES
from ..language.printer import show
from ..language.registry import OPERATORS
from ..language.scope import HoleName, Local, Scope
from ..language.spec import Binding, Hole, Spec
from ..language.standard import standard
from ..shape import Feature
from .context import BlockCount
from .freezing import freeze
from .inputs import input_feature
from .ir import ModuleCall, Value, ValueTree, flat_values, width
from .objective import Average, InputOrigin, Objective
from .once import Home, Once
from .splices import arguments

if TYPE_CHECKING:
    from .network import NetworkLowering

# What the data of a training bring beside the inputs, for a loss to read: the number of the class, and the distribution that
# mixing and smoothing make of it; or the classes of the objects in a picture, any number, and their boxes.
LABEL, TARGET, OBJECTS, OBJECT_BOXES = "label", "target", "objects", "object_boxes"
_ANY = (100,)  # stands for the number of objects of a batch
_BLOCK = 16  # places of the smallest block


def method_scope(method: Spec, backbone: Spec, home: Home) -> Scope:
    """What the names in a method's expressions mean: its bindings and shared modules, what it takes of the backbone, the standard
    library and the operators; not the backbone's bindings.

    Args:
        method: the method.
        backbone: the spec around it.
        home: holds the method's shared modules.

    Raises:
        SpecError: bindings that lead in a circle.
    """
    own = {**method.let, **method.shared}
    values: dict[str, Any] = {name: HoleName(name) for name in method.holes if name in backbone.let or name in (ENCODER, NETWORK)}
    hidden = {*backbone.let, *backbone.columns, *backbone.shared, *backbone.stage_shared} - values.keys()
    for name in sorted(hidden & OPERATORS.keys()):
        values[name] = OPERATORS[name]
    words = _needed([*(b.body for b in own.values()), *method.sections.values(), *method.inputs.values()])
    reaching = {name: b for name, b in standard().items() if name in words and hidden & {name, *_needed([b.body])}}
    for name in _ordered(reaching):
        values[name] = Local(standard()[name], Scope(dict(values)))
    for name in _ordered(own):
        scope = Scope(dict(values))
        if name in method.shared:
            values[name] = Once(name, own[name].body, scope, home)
        else:
            values[name] = Local(own[name], scope)
    return Scope(values)


def _needed(nodes: Iterable[e.Node]) -> set[str]:
    """The names in expressions, and those of the standard bindings that they lead to."""
    words = {part.id for node in nodes for part in e.walk(node) if isinstance(part, e.Name)}
    todo = list(words)
    while todo:
        binding = standard().get(todo.pop())
        further = {part.id for part in e.walk(binding.body) if isinstance(part, e.Name)} - words if binding else set()
        words |= further
        todo += further
    return words


def _ordered(table: Mapping[str, Binding]) -> list[str]:
    """The names of bindings, each behind those that it uses. Raises SpecError for a circle."""
    done: dict[str, None] = {}
    for name in table:
        _visit(name, table, done, ())
    return list(done)


def _visit(name: str, table: Mapping[str, Binding], done: dict[str, None], above: tuple[str, ...]) -> None:
    if name in done:
        return
    if name in above:
        circle = " -> ".join([*above[above.index(name) :], name])
        raise error(f"bindings lead in a circle: {circle}", table[name].header.span, "let one of them use what it is made of")
    binding = table[name]
    nodes = [binding.body, *(param.default for param in binding.params if param.default is not None)]
    used = {part.id for node in nodes for part in e.walk(node) if isinstance(part, e.Name)} - {name}
    for other in table:
        if other in used - {param.name for param in binding.params}:
            _visit(other, table, done, (*above, name))
    done[name] = None


# Holes


def fits(feature: Feature, kind: str, data: Feature) -> bool:
    """Whether a value is of a kind of :data:`~metablock.language.load.KINDS`; ``data`` is the shape of an example.

    >>> image = Feature("map", 3, (32, 32))
    >>> fits(image, "map", image), fits(image, "vector", image), fits(image.with_(c=8), "image", image)
    (True, False, False)
    """
    spatial = feature.layout in ("map", "grid") or (feature.layout == "tokens" and not feature.prefix and feature.rank > 1)
    match kind:
        case "image":
            return (feature.layout, feature.c) == (data.layout, data.c)
        case "map":
            return spatial
        case "tokens":
            return feature.layout in ("map", "grid", "tokens")
        case "vector":
            return feature.layout == "vector" or (feature.layout == "tokens" and feature.n == 1)
    return True


def _check_hole(name: str, hole: Hole, kind: str, value: ValueTree, data: Feature, place: Span | None, verb: str) -> None:
    """Raises SpecError if what enters or leaves a part of a backbone is not what the method expects."""
    values = list(flat_values(value))
    if kind == "any":
        return
    if len(values) != 1 or not isinstance(value, Value) or not fits(value.feature, kind, data):
        shown = str(value.feature) if isinstance(value, Value) else f"{len(values)} values"
        hint = f"the method takes `{name}: {hole.takes} -> {hole.gives}`"
        raise error(
            f"{shown} {verb} `{name}`, the method expects {'an' if kind in ('image', 'any') else 'a'} {kind}", place, hint
        )


def body_of(name: str, backbone: Spec) -> e.Node:
    """The expression that stands for a part of a backbone."""
    if name in (ENCODER, NETWORK) and name not in backbone.let:
        present = [part for part in PARTS if part in backbone.sections or (part == "stages" and backbone.columns)]
        return e.Chain(tuple(map(e.Name, present))) if len(present) > 1 else e.Name(present[0])
    return e.Name(name, span=backbone.let[name].header.span)


# Inputs


def source_of(node: e.Node) -> tuple[InputOrigin, tuple[e.Argument, ...]] | None:
    """Where an input of a method comes from, and the arguments that state its shape; None for another expression."""
    name = node.func if isinstance(node, e.Call) else node
    args = node.args if isinstance(node, e.Call) else ()
    if not isinstance(name, e.Name) or name.id not in SOURCES:
        return None
    if name.id != "view":
        return InputOrigin(name.id), args
    word = args[0].value if args else None
    if len(args) > 1 or (args and not isinstance(word, e.String)):
        raise error(f"'{show(node)}' names no view", node.span, 'write `view`, or `view("crop")`, an entry of `views:`')
    return InputOrigin("view", word.value if isinstance(word, e.String) else ""), ()


# Streams over outputs and inputs


def chosen(node: e.Node, named: Mapping[str, Any], what: str) -> list[Any]:
    """The values that a stream's header names.

    Raises:
        SpecError: the stream has no header, or names something that is not there.
    """
    if not isinstance(node, e.Function):
        raise error(f"`{what}` is a stream that names what it reads", node.span, f"write `{what}: {', '.join(named)} -> ...`")
    for name in node.params:
        if name not in named:
            hint = suggest(name, named, f"there are: {', '.join(named)}")
            raise error(f"`{what}` reads '{name}', which is neither an output nor an input", node.span, hint)
    return [named[name] for name in node.params]


def outputs_by_name(output: ValueTree) -> dict[str, ValueTree]:
    """The outputs of a network by their names; `output` is the one of a network that names none."""
    return dict(output) if isinstance(output, dict) else {"output": output}


class TrainingParts:
    """What a spec, or the method around it, says about training.

    Args:
        network: the network that is being lowered.

    Attributes:
        sections: `model`, `predict` and `loss`.
        scope: what the names in them mean beside the tables of the spec.
    """

    def __init__(self, network: NetworkLowering):
        self.network, self.spec, self.method = network, network.spec, network.spec.method
        self.sections: Mapping[str, e.Node] = self.spec.sections if self.method is None else self.method.sections
        self.scope = Scope()
        if self.method is not None:
            self.scope = method_scope(self.method, self.spec, Home(network.context.now.draft, ()))
        self._averages: dict[tuple[str, ...], Average] = {}
        self._data = Feature("map", 0)  # the shape of an example
        self._bodies: dict[str, e.Node] = {}

    def lower(self) -> None:
        """Lowers `predict` and `loss`, and marks what `freeze` names. The root of the network has its output."""
        root = self.network.root
        inputs = dict(zip((self.method or self.spec).inputs, root.inputs, strict=True))
        if "predict" in self.sections:
            self._predict(self.sections["predict"], inputs)
        if "loss" in self.sections:
            self._loss(self.sections["loss"], inputs)
        freeze(root, self.spec.freeze, self.spec.place("freeze"))
        if self.method is not None:
            self._freeze_by_method(self.method)
        root.averages = tuple(self._averages.values())

    def _freeze_by_method(self, method: Spec) -> None:
        """Freezes what a method names; what this backbone does not have is a doubt."""
        for selector in method.freeze:
            try:
                freeze(self.network.root, [selector], None)
            except SpecError:
                network = self.spec.variant or self.spec.name
                message = f"the method '{method.name}' freezes '{selector}', which '{network}' does not have"
                self.network.ir.doubts["freeze", selector] = Problem(
                    message, method.place("freeze"), "nothing is frozen by that name"
                )

    def _predict(self, node: e.Node, inputs: Mapping[str, Value]) -> None:
        """Lowers the section `predict` and keeps its steps apart from those of training.

        A stream whose names are outputs and inputs reads these; another one reads the outputs, in order.
        """
        root, t = self.network.root, self.network.tracer
        values = list(root.output.values()) if isinstance(root.output, dict) else root.output
        named = {**inputs, **outputs_by_name(root.output)}
        if self.method is not None or (isinstance(node, e.Function) and set(node.params) <= named.keys()):
            picked = chosen(node, named, "predict")
            values = picked if len(picked) > 1 else picked[0]
        before = len(root.steps)
        t.names.read(node)
        root.prediction = t.emit(node, self.scope, values)
        root.prediction_steps = root.steps[before:]
        del root.steps[before:]

    def _loss(self, node: e.Node, inputs: Mapping[str, Value]) -> None:
        """Lowers the section `loss` into a child of the root that the network's ``forward`` does not call.

        Raises:
            SpecError: the stream reads what is not there, or returns something else than numbers.
        """
        root, ir, t = self.network.root, self.network.ir, self.network.tracer
        classes = int(self.network.evaluate.classes())
        named: dict[str, tuple[tuple[str, str | int | None], Any]] = {
            LABEL: (("data", LABEL), ir.value(Feature("ids", classes))),
            TARGET: (("data", TARGET), ir.value(Feature("vector", classes))),
            OBJECTS: (("data", OBJECTS), ir.value(Feature("ids", classes, _ANY))),
            OBJECT_BOXES: (("data", OBJECT_BOXES), ir.value(Feature("tokens", 4, _ANY))),
        }
        for number, (name, value) in enumerate(inputs.items()):
            named[name] = ("input", number), ir.value(value.feature)
        for name, tree in outputs_by_name(root.output).items():
            named[name] = ("output", name if isinstance(root.output, dict) else None), _fresh(ir, tree)
        picked = chosen(node, named, "loss")
        values = [value for _, value in picked]
        x = values if len(values) > 1 else values[0]
        before = len(root.steps)
        t.names.read(node)
        with ir.open("loss", "loss", x, None, node.span) as subgraph:
            subgraph.pinned = True
            subgraph.output = t.emit(node, self.scope, x)
        [step] = root.steps[before:]
        del root.steps[before:]
        assert isinstance(step, ModuleCall)
        terms = subgraph.output if isinstance(subgraph.output, dict) else {"loss": subgraph.output}
        for name, term in terms.items():
            if not isinstance(term, Value) or term.feature.layout != "vector" or term.c != 1:
                shown = "absent" if term is None else str(term.feature) if isinstance(term, Value) else "a list"
                hint = "a loss gives one: `cross_entropy(label)`; `average` makes one of many"
                raise error(f"the loss '{name}' is no number but {shown}", node.span, hint)
        root.objective = Objective(step.child[0], tuple(read for read, _ in picked), tuple(terms))

    # Inputs of a method

    def inputs(self, method: Spec) -> ValueTree:
        """The values of a method's inputs: views of what enters the backbone, and what is drawn. Raises SpecError."""
        network, [stated] = self.network, self.spec.inputs.values()
        self._data = input_feature(network.evaluate, stated)
        network.evaluate.grid = self._data.grid
        values, sources = list[Value](), list[InputOrigin]()
        for name, node in method.inputs.items():
            source = source_of(node)
            if source is None:
                hint = "`view` is an example of the data, `uniform(1, n)` is drawn, `teacher` is what a teacher gives"
                raise error(f"'{name}: {show(node)}' is no input of a method", node.span, hint)
            kind, args = source
            if kind.kind == "view":
                if sources and sources[-1].kind != "view":
                    raise error(f"'{name}' comes from the data, and stands behind what does not", node.span, "write views first")
                feature = self._data
            elif kind.kind == "teacher" and not args:
                feature = Feature("vector", int(network.evaluate.classes()))
            else:
                kind, feature = self._stated(kind, args, node)
            sources.append(kind)
            values.append(network.ir.value(feature))
        if not sources or sources[0].kind != "view":
            raise error(f"the method '{method.name}' reads no data", method.place("input"), "write `image: view`")
        network.root.sources = tuple(sources)
        return values[0] if len(values) == 1 else values

    def _stated(self, source: InputOrigin, args: tuple[e.Argument, ...], node: e.Node) -> tuple[InputOrigin, Feature]:
        """An input whose shape stands in brackets, a map: channels and one size for all axes, or one for each; of `blocks` the
        number of places before them."""
        evaluate, rank, kind = self.network.evaluate, self._data.rank, source.kind
        spread = arguments(evaluate, args, self.scope)
        sizes = [evaluate.number(item.value, member.scope if member else self.scope, "a size") for item, member in spread]
        usage = f"`{kind}({'count' if kind == 'blocks' else 'channels'}, size)`"
        if len(sizes) not in (2, rank + 1) or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise error(f"`{kind}` takes whole numbers from 1", node.span, f"write {usage}, or a size for each axis")
        first, *grid = map(int, sizes)
        grid = grid * rank if len(grid) == 1 else grid
        if kind == "blocks" and (rank != 2 or first > prod(grid)):
            hint = "blocks are drawn on a map of two axes, and hide a part of it"
            raise error(f"{first} places of {'x'.join(map(str, grid))}", node.span, hint)
        if kind == "blocks" and first < _BLOCK:
            hint = f"write a number from {_BLOCK}, which one block has at least"
            raise error(f"no block fits into {first} places: nothing is hidden", node.span, hint)
        channels = 1 if kind == "blocks" else first
        return (replace(source, count=first) if kind == "blocks" else source), Feature("map", channels, tuple(grid))

    # Parts of a backbone

    def nested(self, name: str, x: ValueTree, span: Span | None, make: Callable[[], ValueTree]) -> ValueTree:
        """A section inside a module of a method, as ``make`` lowers it. Its blocks count from 0. Raises SpecError elsewhere."""
        if self.method is None:
            raise error(f"`{name}` stands inside another module", span, "name it in `model` itself")
        if self.spec.shared or self.spec.stage_shared:
            place = self.spec.place("shared") or self.spec.place("stages")
            raise error("a backbone with `shared` modules stands inside a module of the method", place, "bind them in `let`")
        context = self.network.context
        blocks = BlockCount()
        with context.push(blocks=blocks):
            result = make()
        context.now.blocks.layer = max(context.now.blocks.layer, blocks.layer)
        return self.checked(name, x, result, span)

    def hole(self, name: str, x: ValueTree, span: Span | None) -> ValueTree:
        """Applies the part of the backbone that the method takes under this name. Raises SpecError if it does not fit."""
        node, t = self._bodies.setdefault(name, body_of(name, self.spec)), self.network.tracer
        t.names.read(node)
        result = t.emit(node, Scope(c=width(x)), x)
        result = list(result.values()) if isinstance(result, dict) else result
        return self.checked(name, x, result, node.span or span)

    def checked(self, name: str, x: ValueTree, result: ValueTree, span: Span | None) -> ValueTree:
        """The result of a part of the backbone. Raises SpecError if it, or what entered, is not what the method expects."""
        hole = self.method.holes.get(name) if self.method is not None else None
        if hole is not None:
            place = self.spec.place(name) or span
            _check_hole(name, hole, hole.takes, x, self._data, place, "enters")
            _check_hole(name, hole, hole.gives, result, self._data, place, "leaves")
        return result

    def average(self, other: tuple[str, ...], start: float, end: float) -> None:
        """Notes that the open subgraph is a moving average of the module at a path from the root."""
        own = self.network.context.now.path
        self._averages.setdefault(own, Average(own, other, start, end))


def _fresh(ir: Any, tree: ValueTree) -> ValueTree:
    """New values of the same shapes."""
    if isinstance(tree, Value):
        return ir.value(tree.feature)
    if isinstance(tree, (list, tuple)):
        return [_fresh(ir, item) for item in tree]
    return {name: _fresh(ir, item) for name, item in tree.items()} if isinstance(tree, dict) else tree
