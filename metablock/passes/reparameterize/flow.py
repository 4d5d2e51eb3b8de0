"""The data flow of a network without its levels: which step gives which wire, and who reads it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...lowering.ir import InlineOp, ModuleCall, ModuleNode, Subgraph, Value, flat_values, subgraphs

Path = tuple[str, ...]

_MOVED = re.compile(r"\{0\}\.(movedim\((1, -1|-1, 1)\)|unflatten\(1, .*\)|flatten\(1(, \d)?\))|\{0\}")
_SUM = re.compile(r"\{0\} ([+-]) \{1\}")
_FRACTION = re.compile(r"\{0\} / ([\d.e+-]+)")


@dataclass(frozen=True)
class Atom:
    """A step that is no level: an operator or an expression. ``level`` and ``leaf`` are paths from the root."""

    level: Path
    region: Path
    step: ModuleCall | InlineOp
    leaf: ModuleNode | None = None
    path: Path = ()

    @property
    def output(self) -> Value:
        assert isinstance(self.step.output, Value)
        return self.step.output

    @property
    def inputs(self) -> tuple[Value, ...]:
        return self.step.inputs

    @property
    def sign(self) -> int | None:
        """Of a sum 1, of a difference -1, if both sides have one shape."""
        found = _SUM.fullmatch(self.step.template) if isinstance(self.step, InlineOp) else None
        if found is None or len({wire.feature for wire in (*self.inputs, self.output)}) > 1:
            return None
        return 1 if found[1] == "+" else -1

    @property
    def divisor(self) -> float | None:
        """Of a division by a number."""
        found = _FRACTION.fullmatch(self.step.template) if isinstance(self.step, InlineOp) else None
        return float(found[1]) if found else None

    @property
    def moves(self) -> bool:
        """Whether only the layout changes."""
        if not isinstance(self.step, InlineOp) or not _MOVED.fullmatch(self.step.template):
            return False
        before, after = self.inputs[0].feature, self.output.feature
        kept = (before.c, before.n, before.prefix, before.around) == (after.c, after.n, after.prefix, after.around)
        return kept and (before.layout == "vector") == (after.layout == "vector")


@dataclass
class Flow:
    """All atoms in order; how often each wire is read. What shared modules do is not looked into."""

    atoms: list[Atom] = field(default_factory=list)
    uses: Counter[int] = field(default_factory=Counter)


def flow(root: Subgraph) -> Flow:
    """The atoms of a network."""
    result = Flow()
    _walk(root, (), (), result)
    _read(result, [*flat_values(root.output), *flat_values(root.prediction)])
    for _, level in subgraphs(root):
        for step in level.prediction_steps:
            _read(result, step.inputs)
    return result


def _walk(level: Subgraph, path: Path, region: Path, result: Flow) -> None:
    region = path if level.region else region
    for step in level.steps:
        if isinstance(step, InlineOp):
            _read(result, step.inputs)
            if isinstance(step.output, Value):
                result.atoms.append(Atom(path, region, step))
            continue
        child = level.child(step.child) if not step.root else None
        if step.shared or child is None:
            _read(result, step.inputs)
        elif isinstance(child, ModuleNode):
            _read(result, step.inputs)
            if isinstance(step.output, Value):
                result.atoms.append(Atom(path, region, step, child, (*path, *step.child)))
        else:
            assert isinstance(child, Subgraph)
            _walk(child, (*path, *step.child), region, result)


def _read(result: Flow, inputs: Iterable[Value]) -> None:
    result.uses.update(wire.id for wire in inputs)
