"""A shaped tree in lines: its parts in the spec's words, and every step with its shapes. Nothing is built."""

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
    same_computation,
    subgraphs,
)
from ..shape import Feature

Path = tuple[str, ...]


@dataclass(frozen=True)
class LayoutPart:
    """A part that has a line of its own in the table of a network: stem, a stage, head."""

    name: str
    path: Path
    text: str
    output: tuple[Feature, ...]


@dataclass(frozen=True)
class ShapeStep:
    """A step of a network: how deep it stands, its name there, the spec's words, the shapes it takes and gives."""

    depth: int
    name: str
    text: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]


def parts(root: Subgraph) -> list[LayoutPart]:
    """The parts of a network, in order."""
    outputs = _outputs(root)
    found: list[LayoutPart] = []
    for path, child in _outer(root):
        name = f"stage {path[1]}" if path[0] == "stages" else ".".join(path)
        found.append(LayoutPart(name, path, words(child), tuple(wire.feature for wire in flat_values(outputs.get(path)))))
    return found


def _outer(root: Subgraph) -> Iterator[tuple[Path, Child]]:
    """The outermost children; of a list, its items."""
    for name, child in root.children.items():
        if isinstance(child, ModuleList):
            yield from (((name, key), below) for key, below in child.children.items())
        else:
            yield (name,), child


def _outputs(root: Subgraph) -> dict[Path, ValueTree]:
    """What each child gives, by its path, where it is used first."""
    found: dict[Path, ValueTree] = {}
    for above, level in subgraphs(root):
        for step in [*level.steps, *level.prediction_steps]:
            if isinstance(step, ModuleCall):
                found.setdefault(step.child if step.root else (*above, *step.child), step.output)
    return found


def words(child: Child) -> str:
    """A part in the spec's words: of a stage, its parts, equal blocks as ``2 * block``."""
    if isinstance(child, ModuleNode):
        return child.text
    if isinstance(child, Subgraph) and not _is_stage(child):
        return one_line(child.text)
    said: list[str] = []
    for name, below in child.children.items():
        if isinstance(below, ModuleList) and name != "shared":
            texts = [words(block) for block in below.children.values()]
            said += [f"{n} * {text}" if n > 1 else text for n, text in _runs(texts)]
        else:
            said.append(f"{name} {words(below)}")
    return "; ".join(said)


def _is_stage(level: Subgraph) -> bool:
    """A stage is the level whose own text says no more than its number."""
    return level.region is None and level.text.startswith("stage ")


def _runs(texts: list[str]) -> list[tuple[int, str]]:
    runs: list[tuple[int, str]] = []
    for text in texts:
        if runs and runs[-1][1] == text:
            runs[-1] = (runs[-1][0] + 1, text)
        else:
            runs.append((1, text))
    return runs


def one_line(text: str) -> str:
    """A stream's lines, parted by semicolons."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def steps(root: Subgraph) -> list[ShapeStep]:
    """Every step of a network with the shapes it takes and gives; equal blocks that follow each other once."""
    return list(_Steps(root).of(root, 0))


class _Steps:
    def __init__(self, root: Subgraph):
        self.root = root
        self.shown: set[Path] = set()  # the shared modules

    def of(self, level: Subgraph, depth: int) -> Iterator[ShapeStep]:
        runs = [step for step in [*level.steps, *level.prediction_steps] if isinstance(step, ModuleCall)]
        position = 0
        while position < len(runs):
            last = position
            while last + 1 < len(runs) and _repeats(level, runs[position], runs[last + 1]):
                last += 1
            yield from self.one(level, runs[position], runs[last], last - position + 1, depth)
            position = last + 1

    def one(self, level: Subgraph, run: ModuleCall, last: ModuleCall, copies: int, depth: int) -> Iterator[ShapeStep]:
        name = ".".join(run.child) if copies == 1 else f"{'.'.join(run.child)}-{last.child[-1]}"
        child = (self.root if run.root else level).child(run.child)
        text = f"{copies} * {_text(child)}" if copies > 1 else _text(child)
        given = run.inputs if run.root else inputs_of(level, run)
        yield ShapeStep(
            depth, name, text, tuple(wire.feature for wire in given), tuple(wire.feature for wire in flat_values(last.output))
        )
        if isinstance(child, Subgraph) and run.child not in self.shown:
            if run.root:
                self.shown.add(run.child)
            yield from self.of(child, depth + 1)


def _text(child: Child) -> str:
    if isinstance(child, Subgraph):
        return "" if _is_stage(child) else one_line(child.text)
    return words(child)


def _repeats(level: Subgraph, a: ModuleCall, b: ModuleCall) -> bool:
    """Whether b is the next copy of a: of the same numbered list, of the same shapes."""
    if a.root or b.root or len(a.child) < 2 or a.child[:-1] != b.child[:-1] or not a.child[-1].isdigit() or a.child == b.child:
        return False
    one, other = level.child(a.child), level.child(b.child)
    return _text(one) == _text(other) != "" and (same_computation(one, other) or _shapes(level, a) == _shapes(level, b))


def _shapes(level: Subgraph, run: ModuleCall) -> list[Feature]:
    return [wire.feature for wire in [*inputs_of(level, run), *flat_values(run.output)]]


def short(value: int | None) -> str:
    """Three figures: 11.9M, 1.81G."""
    if value is None:
        return "-"
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{letter}"
    return str(value)
