"""Code generation: the steps of a subgraph as the text of a ``forward``. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..lowering.ir import (
    Child,
    InlineOp,
    ModuleCall,
    ModuleList,
    ModuleNode,
    Step,
    Subgraph,
    Value,
    ValueTree,
    flat_values,
    free_values,
    inputs_of,
    module_nodes,
    steps_for,
    subgraphs,
)
from ..lowering.objective import InputOrigin
from .per_network import PerNetwork

# Arguments stored in a buffer: blocks that differ only in these share their code.
VARYING = {("drop_path", "rate")}


class Link(NamedTuple):
    """A module, registered elsewhere, that code calls.

    Attributes:
        key: by which the code finds what holds it. Parts that compute the same have the same one, wherever they stand.
        holder: leads from the root to what holds it.
        names: lead from there to it.
    """

    key: str
    holder: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """The code of one subgraph.

    Attributes:
        text: the source of ``forward``.
        key: a hash of what the subgraph computes; two with the same key run the same graph. Empty outside of compile regions.
        links: the modules, registered elsewhere, that the code calls.
    """

    text: str
    key: str
    links: tuple[Link, ...]


def write(subgraph: Subgraph, root: bool = False) -> Source:
    """The code of a subgraph; with ``root``, of a whole network.

    >>> from metablock.front import front
    >>> from metablock.language.load import load_text
    >>> spec, ir = front(load_text("name: net\\ninput: image(3, 8)\\nmodel: conv(4, 3) >> global_pool"))
    >>> print(write(ir, root=True).text)
    def forward(self, x):
        v1 = self.conv(x)
        v2 = self.global_pool(v1)
        return v2
    <BLANKLINE>
    """
    return Sources().of(subgraph, root)


class Core(NamedTuple):
    """A run of steps, ``steps[start:stop]``, that becomes a function of its own (:mod:`metablock.backend.outline`).

    Attributes:
        start, stop: the steps.
        rows: the ids of values whose channels its products want as contiguous rows. Made so outside of it, they are written as
            such by what computes them; the strides of what enters a nested region are fixed.
    """

    start: int
    stop: int
    rows: frozenset[int] = frozenset()


def write_outlined(subgraph: Subgraph, steps: Sequence[Step], cores: Sequence[Core]) -> str:
    """The code of a subgraph, its steps in this order: functions `core1` ..., and a `forward` that calls `nested_core1` ..."""
    return _ForwardWriter(replace(subgraph, steps=list(steps)), False, {}).outlined(free_values(subgraph), cores)


class Sources:
    """Cache of generated code, per subgraph. The IR must not change while it is in use."""

    def __init__(self) -> None:
        self.free: dict[int, list[Value]] = {}
        self.texts: dict[tuple[int, bool], tuple[str, tuple[Link, ...]]] = {}
        self.described: dict[int, str] = {}
        self.recurrences: dict[int, bool] = {}
        self.keys: dict[int, str] = {}

    def of(self, subgraph: Subgraph, root: bool = False, unit: bool = False) -> Source:
        """The code of a subgraph; with ``root``, of a whole network; with ``unit``, of a part that is compiled by itself."""
        text, links = self.text(subgraph, root)
        return Source(text, self.key(subgraph) if subgraph.region or unit else "", links)

    def text(self, subgraph: Subgraph, root: bool) -> tuple[str, tuple[Link, ...]]:
        which = (id(subgraph), root)
        if which not in self.texts:
            self.texts[which] = _ForwardWriter(subgraph, root, self.free).source()
        return self.texts[which]

    def key(self, child: Child) -> str:
        """A short hash of what a part computes, apart from its weights."""
        if id(child) not in self.keys:
            self.keys[id(child)] = hashlib.sha256(self.describe(child).encode()).hexdigest()[:16]
        return self.keys[id(child)]

    def recurrent(self, child: Child) -> bool:
        """Whether a part is :func:`recurrent`."""
        if id(child) not in self.recurrences:
            self.recurrences[id(child)] = recurrent(child)
        return self.recurrences[id(child)]

    def describe(self, child: Child) -> str:
        if id(child) not in self.described:
            self.described[id(child)] = self._describe(child)
        return self.described[id(child)]

    def _describe(self, child: Child) -> str:
        if isinstance(child, ModuleNode):
            args = {k: v for k, v in child.args.items() if (child.operator, k) not in VARYING}
            about = [child.operator, child.module, dict(child.context), args, child.trainable, *([True] * child.constant)]
            return json.dumps(about, default=list, sort_keys=True)
        below = [(name, self.describe(part)) for name, part in child.children.items()]
        text = self.text(child, False)[0] if isinstance(child, Subgraph) else "items"
        return json.dumps([text, below])


# The code of a network's subgraphs, by its root.
sources_of = PerNetwork(lambda root: Sources())


class _ForwardWriter:
    """Writes the ``forward`` of one subgraph: one line per step."""

    def __init__(self, subgraph: Subgraph, root: bool, known: dict[int, list[Value]]):
        self.subgraph, self.root, self.known = subgraph, root, known
        self.names: dict[int, str] = {}
        self.links: list[Link] = []
        self.listed: dict[int, bool] = {}  # which module lists are numbered, by id

    def source(self) -> tuple[str, tuple[Link, ...]]:
        inputs = free_values(self.subgraph, self.known)
        masks = {value.id: number for number, value in self.subgraph.masks.items() if value in inputs}
        inputs = [value for value in inputs if value.id not in masks]
        several = len(inputs) > 1
        params = [f"x{i + 1}" for i in range(len(inputs))] if several else ["x"] * len(inputs)
        for value, name in zip(inputs, params, strict=True):
            self.names[value.id] = name
        drawn = [_drawn(name, params[0], value, source) for name, value, source in self.drawn(params, inputs)]
        optional = {name for name, source in zip(params, self.subgraph.sources, strict=False) if source.kind != "view"}
        params = [f"{name}=None" if name in optional else name for name in params]
        for key, number in masks.items():
            self.names[key] = f"valid{number + 1}" if several else "valid"
            params.append(f"{self.names[key]}=None")
        lines = [f"def forward(self, {', '.join(params)}):" if params else "def forward(self):"]
        lines += [f"    {line}" for _, line in drawn]
        if self.subgraph.sources and self.subgraph.prediction is not None:  # inference runs what it needs, and no more
            steps = self.subgraph.prediction_steps
            needed = steps_for(self.subgraph, self.subgraph.all_steps, list(flat_values(self.subgraph.prediction)))
            common = [step for step in self.subgraph.steps if any(step is other for other in needed)]
            lines.append("    if not self.training:")
            lines += [f"        {self.step(step)}" for step in [*common, *steps]]
            lines.append(f"        return {self.result(self.subgraph.prediction)}")
            lines += [f"    {self.step(step)}" for step in self.subgraph.steps]
            lines.append(f"    return {self.result(self.subgraph.output)}")
            return "\n".join(lines) + "\n", tuple(self.links)
        lines += [f"    {self.step(step)}" for step in self.subgraph.steps]
        if self.subgraph.prediction is not None:
            lines += ["    if self.training:", f"        return {self.result(self.subgraph.output)}"]
            lines += [f"    {self.step(step)}" for step in self.subgraph.prediction_steps]
            lines.append(f"    return {self.result(self.subgraph.prediction)}")
        else:
            lines.append(f"    return {self.result(self.subgraph.output)}")
        text = "\n".join(lines) + "\n"
        return text, tuple(self.links)

    def outlined(self, inputs: Sequence[Value], cores: Sequence[Core]) -> str:
        """The code of ``forward`` and of a function for each core, in which values have the same names."""
        params = [f"x{i + 1}" for i in range(len(inputs))] if len(inputs) > 1 else ["x"] * len(inputs)
        self.names.update({value.id: name for value, name in zip(inputs, params, strict=True)})
        functions, lines, at = list[str](), [f"def forward({', '.join(['self', *params])}):"], 0
        for number, core in enumerate(cores, 1):
            lines += [f"    {self.step(step)}" for step in self.subgraph.steps[at : core.start]]
            reads, gives = self.border(core)
            body = [self.step(step) for step in self.subgraph.steps[core.start : core.stop]]
            arguments, results = ", ".join(["self", *(self.names[i] for i in reads)]), ", ".join(self.names[i] for i in gives)
            ready = ", ".join(["self", *(self.names[i] + ".contiguous()" * (i in core.rows) for i in reads)])
            functions.append("\n    ".join([f"def core{number}({arguments}):", *body, f"return {results}"]) + "\n")
            name = f"(core{number} if self.training or torch.is_grad_enabled() else nested_core{number})"
            lines.append(f"    {results} = {name}({ready})")
            at = core.stop
        lines += [f"    {self.step(step)}" for step in self.subgraph.steps[at:]]
        lines.append(f"    return {self.result(self.subgraph.output)}")
        return "\n\n".join([*functions, "\n".join(lines) + "\n"])

    def border(self, core: Core) -> tuple[list[int], list[int]]:
        """The ids of the values that a core reads and of those that are read behind it."""
        steps, reads, own = self.subgraph.steps, dict[int, None](), dict[int, None]()
        for step in steps[core.start : core.stop]:
            reads.update((value.id, None) for value in inputs_of(self.subgraph, step, self.known) if value.id not in own)
            own.update((value.id, None) for value in flat_values(step.output))
        behind = {value.id for step in steps[core.stop :] for value in inputs_of(self.subgraph, step, self.known)}
        behind.update(value.id for value in flat_values(self.subgraph.output))
        return list(reads), [i for i in own if i in behind]

    def drawn(self, params: list[str], inputs: list[Value]) -> list[tuple[str, Value, InputOrigin]]:
        """The inputs of a method that are drawn where they are not given: name, value, origin."""
        triples = zip(params, inputs, self.subgraph.sources, strict=bool(self.subgraph.sources))
        return [triple for triple in triples if triple[2].drawn]

    def step(self, step: Step) -> str:
        inputs = [self.names[value.id] for value in inputs_of(self.subgraph, step, self.known)]
        right = step.template.format(*inputs) if isinstance(step, InlineOp) else self.call(step, inputs)
        for value in flat_values(step.output):
            self.names.setdefault(value.id, f"v{len(self.names)}")
        return f"{self.pattern(step.output)} = {right}"

    def call(self, step: ModuleCall, inputs: list[str]) -> str:
        """The expression that calls a module, once or at every position of a sequence, or reads its weight."""
        if step.weight:
            return f"{self.child(step)}.weight"
        if step.loop is None:
            return f"{self.child(step)}({', '.join(inputs)})"
        first, second = step.loop.sequences, step.loop.sequences + step.loop.states
        groups = [f"[{', '.join(group)}]" for group in (inputs[:first], inputs[first:second], inputs[second:])]
        reverse = ", reverse=True" if step.loop.reverse else ""
        return f"scan({self.child(step)}, {', '.join(groups if inputs[second:] else groups[:2])}{reverse})"

    def child(self, step: ModuleCall) -> str:
        """The expression for the module that a step calls."""
        if step.root and not self.root:
            link = _link(step)
            if link not in self.links:
                self.links.append(link)
            text = f'self._links["{link.key}"]'
            for name in link.names:
                text = f'getattr({text}, "{name}")' if name.isdigit() else f"{text}.{name}"
            return text
        text = "self"
        parent: Child = self.subgraph
        for name in step.child:
            assert not isinstance(parent, ModuleNode)
            text += self.subscript(parent, name)
            parent = parent.children[name]
        return text

    def subscript(self, parent: Child, name: str) -> str:
        """How code reaches a child: ``.stem``, ``[0]``, ``["x"]``."""
        if not isinstance(parent, ModuleList):
            return f".{name}"
        if id(parent) not in self.listed:
            self.listed[id(parent)] = numbered(parent)
        return f"[{name}]" if self.listed[id(parent)] else f'["{name}"]'

    def pattern(self, value: ValueTree) -> str:
        """The left side of an assignment."""
        if isinstance(value, Value):
            return self.names[value.id]
        if value is None:
            return "_"
        items = list(value.values()) if isinstance(value, dict) else list(value)
        text = ", ".join(self.pattern(i) if i is None or isinstance(i, Value) else f"({self.pattern(i)})" for i in items)
        return text + "," if len(items) == 1 else text

    def result(self, value: ValueTree) -> str:
        """The expression after ``return``: a tensor, a tuple, a dictionary."""
        if isinstance(value, Value):
            return self.names[value.id]
        if value is None:
            return "None"
        if isinstance(value, dict):
            if not self.root:
                return self.result(list(value.values()))
            return "{" + ", ".join(f'"{k}": {self.result(v)}' for k, v in value.items()) + "}"
        text = ", ".join(self.result(item) for item in value)
        return f"({text},)" if len(value) == 1 else f"({text})"


def recurrent(part: Child) -> bool:
    """Whether a part runs along sequences: a loop, or one of torch's recurrent layers. Its parts are compiled by themselves."""
    loops = any(isinstance(step, ModuleCall) and step.loop for _, below in subgraphs(part) for step in below.all_steps)
    return loops or any(node.operator in ("gru", "lstm") for _, node in module_nodes(part))


def _link(step: ModuleCall) -> Link:
    """The module that a step calls by its path from the root. What a stream around the step holds is known by its distance."""
    at = next(at for at in range(len(step.child) - 1, -1, -1) if not step.child[at].isdigit())
    at = at if step.near is None else step.near
    holder = step.child[:at]
    return Link(".".join(holder) if step.near is None else f"^{step.near}", holder, step.child[at:])


def _drawn(name: str, first: str, value: Value, origin: InputOrigin) -> tuple[str, str]:
    """The name of an input that is drawn, and the line that draws it; ``first`` is the input that has the batch."""
    size = ", ".join(map(str, value.feature.size()[1:]))
    if origin.kind == "blocks":
        draw = f"blocks({first}, {origin.count}, {size})"
    else:
        word = {"uniform": "rand", "normal": "randn"}[origin.kind]
        draw = f"torch.{word}({first}.shape[0], {size}, dtype={first}.dtype, device={first}.device)"
    return name, f"{name} = {draw} if {name} is None else {name}"


def numbered(items: ModuleList) -> bool:
    """Whether the children are 0, 1, 2, ... without a gap: a ModuleList; otherwise a ModuleDict."""
    return list(items.children) == [str(i) for i in range(len(items.children))]
