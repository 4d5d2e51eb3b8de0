"""Levels to source: the straight line of a level's steps as the text of a ``forward``. No torch needed to write it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

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
)

# Arguments that live in a buffer: blocks that differ in nothing else share their code.
VARYING = {("drop_path", "rate")}


@dataclass(frozen=True)
class Source:
    """The code of one level, and what it is told apart by: two levels with the same key run the same graph."""

    text: str
    key: str
    links: tuple[tuple[str, ...], ...]


def write(level: Subgraph, root: bool = False) -> Source:
    """The ``forward`` of a level."""
    return Sources().of(level, root)


class Sources:
    """The code of one tree's levels, which stay as they are meanwhile: each is worked out once."""

    def __init__(self) -> None:
        self.free: dict[int, list[Value]] = {}
        self.texts: dict[int, tuple[str, tuple[tuple[str, ...], ...]]] = {}
        self.described: dict[int, str] = {}

    def of(self, level: Subgraph, root: bool = False) -> Source:
        """The ``forward`` of a level; ``root``: of a whole network."""
        text, links = self.text(level, root)
        return Source(text, self.key(level) if level.region else "", links)

    def text(self, level: Subgraph, root: bool) -> tuple[str, tuple[tuple[str, ...], ...]]:
        if root:
            return _ForwardWriter(level, True, self.free).source()
        if id(level) not in self.texts:
            self.texts[id(level)] = _ForwardWriter(level, False, self.free).source()
        return self.texts[id(level)]

    def key(self, child: Child) -> str:
        """What a part computes, apart from its weights, as a short hash."""
        return hashlib.sha256(self.describe(child).encode()).hexdigest()[:16]

    def describe(self, child: Child) -> str:
        if id(child) not in self.described:
            self.described[id(child)] = self._describe(child)
        return self.described[id(child)]

    def _describe(self, child: Child) -> str:
        if isinstance(child, ModuleNode):
            args = {k: v for k, v in child.args.items() if (child.operator, k) not in VARYING}
            return json.dumps(
                [child.operator, child.module, dict(child.context), args, child.trainable], default=list, sort_keys=True
            )
        below = [(name, self.describe(part)) for name, part in child.children.items()]
        text = self.text(child, False)[0] if isinstance(child, Subgraph) else "items"
        return json.dumps([text, below])


class _ForwardWriter:
    def __init__(self, level: Subgraph, root: bool, known: dict[int, list[Value]]):
        self.level, self.root, self.known = level, root, known
        self.names: dict[int, str] = {}
        self.links: list[tuple[str, ...]] = []
        self.last: dict[int, int] = {}

    def source(self) -> tuple[str, tuple[tuple[str, ...], ...]]:
        inputs = free_values(self.level, self.known)
        params = ["x"] if len(inputs) == 1 else [f"x{i + 1}" for i in range(len(inputs))]
        for wire, name in zip(inputs, params, strict=True):
            self.names[wire.id] = name
        lines = [f"def forward(self, {', '.join(params)}):" if params else "def forward(self):"]
        lines += [f"    {self.step(step)}" for step in self.level.steps]
        if self.level.prediction is not None:
            lines += ["    if self.training:", f"        return {self.value(self.level.output)}"]
            lines += [f"    {self.step(step)}" for step in self.level.prediction_steps]
            lines.append(f"    return {self.value(self.level.prediction)}")
        else:
            lines.append(f"    return {self.value(self.level.output)}")
        text = "\n".join(lines) + "\n"
        return text, tuple(self.links)

    def step(self, step: Step) -> str:
        inputs = [self.names[wire.id] for wire in inputs_of(self.level, step, self.known)]
        right = step.template.format(*inputs) if isinstance(step, InlineOp) else f"{self.child(step)}({', '.join(inputs)})"
        for wire in flat_values(step.output):
            self.names.setdefault(wire.id, f"v{len(self.names)}")
        return f"{self.pattern(step.output)} = {right}"

    def child(self, step: ModuleCall) -> str:
        if step.root and not self.root:
            if step.child not in self.links:
                self.links.append(step.child)
            return f'self.links["{".".join(step.child)}"]'
        text, holder = "self", self.level
        found: Child = holder
        for name in step.child:
            assert not isinstance(found, ModuleNode)
            text += subscript(found, name)
            found = found.children[name]
        return text

    def pattern(self, value: ValueTree) -> str:
        """The left side of an assignment."""
        if isinstance(value, Value):
            return self.names[value.id]
        if value is None:
            return "_"
        items = list(value.values()) if isinstance(value, dict) else list(value)
        text = ", ".join(self.pattern(i) if i is None or isinstance(i, Value) else f"({self.pattern(i)})" for i in items)
        return text + "," if len(items) == 1 else text

    def value(self, value: ValueTree) -> str:
        """A result: a tensor, a tuple, a dictionary."""
        if isinstance(value, Value):
            return self.names[value.id]
        if value is None:
            return "None"
        if isinstance(value, dict):
            if not self.root:
                return self.value(list(value.values()))
            return "{" + ", ".join(f'"{k}": {self.value(v)}' for k, v in value.items()) + "}"
        text = ", ".join(self.value(item) for item in value)
        return f"({text},)" if len(value) == 1 else f"({text})"


def subscript(holder: Child, name: str) -> str:
    """How a child is reached in code."""
    if isinstance(holder, ModuleList):
        return f"[{name}]" if numbered(holder) else f'["{name}"]'
    return f".{name}"


def numbered(items: ModuleList) -> bool:
    """Whether the children are 0, 1, 2 ... without a gap."""
    return list(items.children) == [str(i) for i in range(len(items.children))]
