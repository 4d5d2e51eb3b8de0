"""What a rule may ask of the network whose tensors it names: its blocks, its names, its columns and bindings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ...errors import Span, error
from .. import ast as e
from ..arithmetic import calculate
from ..printer import show
from ..spec import Spec, Table

Scalar = int | float | str
_BLOCK = re.compile(r"stages\.\d+(?:\.[a-z]\w*)?\.blocks\.\d+(?=\.|$)")
_COPY = re.compile(r"[a-z_]\w*(?:\.[a-z_]\w*)*?\.\d+(?=\.|$)")  # of a repeat outside the stages: `memory.encoders.3`
_DEPTH = 20  # bindings that a value is looked up through


@dataclass(frozen=True)
class NetworkFacts:
    """A network as rules see it.

    Attributes:
        blocks: the number of blocks of each stage.
        names: of its tensors.
        spec: resolved, for its variant, columns and bindings; None if it is not known.

    >>> NetworkFacts((2, 3), ("stages.0.blocks.1.attn.qkv.weight",)).has("stages.0.blocks.1.norm.weight", "attn")
    True
    >>> NetworkFacts((), ("memory.encoders.3.attn.q.weight",)).has("memory.encoders.3.norm.weight", "attn")
    True
    """

    blocks: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    spec: Spec | None = None

    @cached_property
    def _levels(self) -> frozenset[str]:
        """Every beginning of a name that ends where a part does."""
        levels: set[str] = set()
        for name in self.names:
            while name and name not in levels:
                levels.add(name)
                name = name.rpartition(".")[0]
        return frozenset(levels)

    def has(self, name: str, slot: str) -> bool:
        """Whether the block that holds a tensor has a slot; outside of blocks: its section, or the copy of a repeat around it."""
        block = _BLOCK.match(name)
        around = [block[0]] if block is not None else [name.partition(".")[0]]
        if block is None and (copy := _COPY.match(name)) is not None:
            around.append(copy[0])
        return any(f"{place}.{slot}" in self._levels for place in around)

    def value(self, name: str, index: int | None, span: Span | None) -> Scalar:
        """The variant's name, or the value of a column (at a stage) or binding: its number or word, else its text.

        Raises SpecError if there is no such name, or no such stage.
        """
        if name == "variant":
            return (self.spec.variant or "") if self.spec is not None else ""
        if self.spec is None or (name not in self.spec.columns and name not in self.spec.let):
            raise error(f"this network has no '{name}'", span, "a test may name a column, a binding, `variant`")
        body = (self.spec.columns.get(name) or self.spec.let[name]).body
        if isinstance(body, e.List) and name in self.spec.columns:
            if index is None:
                if len({show(item) for item in body.items}) > 1:
                    raise error(f"'{name}' has an entry per stage", span, f"`{name}[i]` with the number of the stage")
                index = 0
            if not 0 <= index < len(body.items):
                raise error(f"'{name}' has no entry {index}", span, "stages are numbered from 0")
            body = body.items[index]
        return self._reduced(body)

    def _reduced(self, node: e.Node, depth: int = 0) -> Scalar:
        match node:
            case e.Number(value=number):
                return number
            case e.String(value=text):
                return text
            case e.Name(id="true" | "false" as word):
                return int(word == "true")
            case e.Name(id=name) if self.spec is not None and name in self.spec.let and depth < _DEPTH:
                inner = self._reduced(self.spec.let[name].body, depth + 1)
                return name if isinstance(inner, str) else inner
            case e.Negative(value=value) if isinstance(inner := self._reduced(value, depth), int | float):
                return -inner
            case e.Binary(op=op, left=left, right=right):
                a, b = self._reduced(left, depth), self._reduced(right, depth)
                if isinstance(a, int | float) and isinstance(b, int | float):
                    try:
                        result: Scalar = calculate(op, a, b)
                        return result
                    except (ArithmeticError, ValueError):
                        return show(node)
        return show(node)


def blocks_in(paths: Iterable[str]) -> list[int]:
    """The number of blocks of each stage, from the paths of modules: its own blocks, or those of a line of its stream.

    >>> blocks_in(["stages.0", "stages.0.blocks.0", "stages.0.blocks.1", "stages.1.x.blocks.2"])
    [2, 3]
    """
    count: dict[int, int] = {}
    for name in paths:
        match = re.match(r"stages\.(\d+)(?:(?:\.[a-z]\w*)?\.blocks\.(\d+))?$", name)
        if match:
            stage = int(match[1])
            count[stage] = max(count.get(stage, 0), int(match[2] or -1) + 1)
    return [count.get(stage, 0) for stage in range(max(count, default=-1) + 1)]


def names_in(spec: Spec) -> set[str]:
    """What a test may name of a file: its columns and bindings, those of its variants included."""
    names = {*spec.columns, *spec.let, "variant"}
    for sets in (spec.variants, spec.traits):
        for edits in sets.values():
            for edit in edits.edits:
                names.add(edit.name)
                if not isinstance(edit.value, e.Node):
                    table: Table = edit.value
                    names |= set(table)
    return names
