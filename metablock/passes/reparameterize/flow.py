"""The data flow of a network across its subgraphs: which step computes which value, and who reads it."""

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
    """A step that computes one value: a call of an operator, or an inline op.

    Attributes:
        parent: the path of the subgraph the step stands in, from the root.
        region: the path of the compile region around it.
        step: the step itself.
        leaf: the operator; None for an inline op.
        path: the operator's path from the root.
    """

    parent: Path
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
        """1 for a sum, -1 for a difference, if both sides have the same shape; otherwise None."""
        match = _SUM.fullmatch(self.step.template) if isinstance(self.step, InlineOp) else None
        if match is None or len({value.feature for value in (*self.inputs, self.output)}) > 1:
            return None
        return 1 if match[1] == "+" else -1

    @property
    def divisor(self) -> float | None:
        """The number that a division divides by; None for any other step."""
        match = _FRACTION.fullmatch(self.step.template) if isinstance(self.step, InlineOp) else None
        return float(match[1]) if match else None

    @property
    def moves(self) -> bool:
        """Whether the step changes only the layout."""
        if not isinstance(self.step, InlineOp) or not _MOVED.fullmatch(self.step.template):
            return False
        before, after = self.inputs[0].feature, self.output.feature
        same = (before.c, before.n, before.prefix, before.around) == (after.c, after.n, after.prefix, after.around)
        return same and (before.layout == "vector") == (after.layout == "vector")


@dataclass
class Flow:
    """All atoms in order, and by id how often each value is read. Shared modules and loops are opaque: they have no atoms."""

    atoms: list[Atom] = field(default_factory=list)
    uses: Counter[int] = field(default_factory=Counter)


def flow(root: Subgraph) -> Flow:
    """The data flow of a network.

    >>> from metablock.front import front
    >>> [atom.leaf.text for atom in flow(front("resnet18").ir).atoms[:3]]
    ['conv(64, 7, stride=2, bias=false)', 'batch_norm', 'relu']
    """
    result = Flow()
    _walk(root, (), (), result)
    _read(result, [*flat_values(root.output), *flat_values(root.prediction)])
    for _, subgraph in subgraphs(root):
        for step in subgraph.prediction_steps:
            _read(result, step.inputs)
    return result


def _walk(subgraph: Subgraph, path: Path, region: Path, result: Flow) -> None:
    region = path if subgraph.region else region
    for step in subgraph.steps:
        if isinstance(step, InlineOp):
            _read(result, step.inputs)
            if isinstance(step.output, Value):
                result.atoms.append(Atom(path, region, step))
            continue
        child = subgraph.child(step.child) if not step.root else None
        if not step.once or child is None:
            _read(result, step.inputs)
        elif isinstance(child, ModuleNode):
            _read(result, step.inputs)
            if isinstance(step.output, Value):
                result.atoms.append(Atom(path, region, step, child, (*path, *step.child)))
        else:
            assert isinstance(child, Subgraph)
            _walk(child, (*path, *step.child), region, result)


def _read(result: Flow, inputs: Iterable[Value]) -> None:
    result.uses.update(value.id for value in inputs)
