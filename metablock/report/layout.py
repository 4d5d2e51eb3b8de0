"""The typed IR of a network in lines: its parts in the spec's words, and every step with its shapes. Builds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..lowering.ir import (
    Child,
    ModuleCall,
    ModuleList,
    ModuleNode,
    Subgraph,
    ValueTree,
    flat_values,
    inputs_of,
    is_stage,
    same_computation,
    subgraphs,
)
from ..shape import Feature

Path = tuple[str, ...]


@dataclass(frozen=True)
class LayoutPart:
    """A part with a line of its own in the table of a network: stem, a stage, head.

    Attributes:
        name: ``"stem"``, ``"stage 0"``.
        path: of its module, by names: ``("stages", "0")``.
        text: the part in the spec's words.
        output: the shapes of its outputs, without the batch.
    """

    name: str
    path: Path
    text: str
    output: tuple[Feature, ...]


@dataclass(frozen=True)
class ShapeStep:
    """A step of a network.

    Attributes:
        depth: how many modules it is nested in.
        name: its path inside the module around it; ``blocks.0-3`` for four equal blocks.
        text: the step in the spec's words.
        inputs, outputs: the shapes that enter and leave it, without the batch.
    """

    depth: int
    name: str
    text: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]


def parts(root: Subgraph) -> list[LayoutPart]:
    """The outermost parts of a network, in order.

    >>> from metablock.front import front
    >>> [part.name for part in parts(front("resnet18").ir)]
    ['stem', 'stage 0', 'stage 1', 'stage 2', 'stage 3', 'head']
    """
    outputs = _outputs(root)
    return [
        LayoutPart(
            f"stage {path[1]}" if is_stage(path) else ".".join(path),
            path,
            words(child, path),
            tuple(wire.feature for wire in flat_values(outputs.get(path))),
        )
        for path, child in _outer(root)
    ]


def _outer(root: Subgraph) -> Iterator[tuple[Path, Child]]:
    """The outermost children with their paths; the items of a list instead of the list."""
    for name, child in root.children.items():
        if isinstance(child, ModuleList):
            yield from (((name, key), below) for key, below in child.children.items())
        else:
            yield (name,), child


def _outputs(root: Subgraph) -> dict[Path, ValueTree]:
    """The output of each child's first call, by its path."""
    outputs: dict[Path, ValueTree] = {}
    for above, level in subgraphs(root):
        for step in level.all_steps:
            if isinstance(step, ModuleCall):
                outputs.setdefault(step.child if step.root else (*above, *step.child), step.output)
    return outputs


def words(child: Child, path: Path) -> str:
    """A part in the spec's words. A stage is described by its parts, with equal blocks as ``2 * block``.

    Args:
        child: the part.
        path: its path from the root of the network.

    >>> from metablock.front import front
    >>> ir = front("resnet18").ir
    >>> words(ir.child(("head",)), ("head",))
    'global_pool >> linear(classes)'
    """
    if isinstance(child, ModuleNode):
        return child.text
    if isinstance(child, Subgraph) and not is_stage(path):
        return one_line(child.text)
    pieces: list[str] = []
    for name, below in child.children.items():
        if isinstance(below, ModuleList) and name != "shared":
            texts = [words(block, (*path, name, key)) for key, block in below.children.items()]
            pieces += [f"{n} * {text}" if n > 1 else text for n, text in _runs(texts)]
        else:
            pieces.append(f"{name} {words(below, (*path, name))}")
    return "; ".join(pieces)


def _runs(texts: list[str]) -> list[tuple[int, str]]:
    """Equal texts that follow each other, counted."""
    runs: list[tuple[int, str]] = []
    for text in texts:
        if runs and runs[-1][1] == text:
            runs[-1] = (runs[-1][0] + 1, text)
        else:
            runs.append((1, text))
    return runs


def one_line(text: str) -> str:
    """The lines of a text, separated by semicolons.

    >>> one_line("x ->\\n  y = pool(x)\\n")
    'x ->; y = pool(x)'
    """
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def steps(root: Subgraph) -> list[ShapeStep]:
    """Every step of a network with the shapes that enter and leave it. Equal blocks in a row make one step.

    >>> from metablock.front import front
    >>> [step.name for step in steps(front("resnet18").ir)][:3]
    ['stem', 'conv_bn', 'conv']
    """
    return list(_Steps(root).of(root, ()))


class _Steps:
    """Walks the calls of a network, in the order of its forward."""

    def __init__(self, root: Subgraph):
        self.root = root
        self.shown: set[Path] = set()  # the shared modules

    def of(self, level: Subgraph, path: Path, depth: int = 0) -> Iterator[ShapeStep]:
        calls = [step for step in level.all_steps if isinstance(step, ModuleCall)]
        position = 0
        while position < len(calls):
            last = position
            while last + 1 < len(calls) and self.repeats(level, path, calls[position], calls[last + 1]):
                last += 1
            yield from self.one(level, path, calls[position : last + 1], depth)
            position = last + 1

    def one(self, level: Subgraph, above: Path, copies: list[ModuleCall], depth: int) -> Iterator[ShapeStep]:
        """The step of equal calls in a row, then the steps inside their module."""
        call, last = copies[0], copies[-1]
        path = call.child if call.root else (*above, *call.child)
        child = self.root.child(path)
        name, text = ".".join(call.child), _text(child, path)
        if len(copies) > 1:
            name, text = f"{name}-{last.child[-1]}", f"{len(copies)} * {text}"
        inputs = call.inputs if call.root else inputs_of(level, call)
        yield ShapeStep(
            depth, name, text, tuple(wire.feature for wire in inputs), tuple(wire.feature for wire in flat_values(last.output))
        )
        if isinstance(child, Subgraph) and call.child not in self.shown:
            if call.root:
                self.shown.add(call.child)
            yield from self.of(child, path, depth + 1)

    def repeats(self, level: Subgraph, above: Path, a: ModuleCall, b: ModuleCall) -> bool:
        """Whether b is the next copy of a: in the same numbered list, with the same shapes."""
        if a.root or b.root or len(a.child) < 2 or a.child[:-1] != b.child[:-1] or not a.child[-1].isdigit():
            return False
        if a.child == b.child:
            return False
        one, other = level.child(a.child), level.child(b.child)
        text = _text(one, (*above, *a.child))
        if not text or text != _text(other, (*above, *b.child)):
            return False
        return same_computation(one, other) or _shapes(level, a) == _shapes(level, b)


def _text(child: Child, path: Path) -> str:
    """What a step is called in the spec; empty for a stage, whose parts follow."""
    return "" if is_stage(path) else words(child, path)


def _shapes(level: Subgraph, run: ModuleCall) -> list[Feature]:
    return [wire.feature for wire in [*inputs_of(level, run), *flat_values(run.output)]]


def short(value: int | None) -> str:
    """A count to three figures.

    >>> short(11915176), short(1812267008), short(None)
    ('11.9M', '1.81G', '-')
    """
    if value is None:
        return "-"
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{letter}"
    return str(value)
