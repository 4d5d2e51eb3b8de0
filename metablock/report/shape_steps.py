"""Every step of a network with the shapes that enter and leave it. Blocks of one text are one step; what differs is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..lowering.ir import Child, ModuleCall, Subgraph, flat_values, inputs_of, is_stage, same_computation
from ..shape import Feature
from .alike import Numbers, one_text
from .block_names import calls_of, text_of
from .layout import one_line

Path = tuple[str, ...]


@dataclass(frozen=True)
class ShapeStep:
    """A step of a network.

    Attributes:
        depth: how many modules it is nested in.
        name: its path inside the module around it; ``blocks.0-3`` for four blocks of one text.
        text: the step in the spec's words, with the numbers of its calls; ``0 or 3``, ``0.00-0.04`` where blocks differ in them.
        inputs, outputs: the shapes that enter and leave it, without the batch.
        only: the numbers of the blocks that have the step, where others of the same line have none, or another one.
    """

    depth: int
    name: str
    text: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Copy:
    """A call in one of several blocks of one text.

    Attributes:
        number: the block's, with those of the blocks around it; empty outside of blocks that share a line.
        level, above: the part that the call stands in, and its path.
        call: the call.
        numbers: of the calls around.
    """

    number: str
    level: Subgraph
    above: Path
    call: ModuleCall
    numbers: Numbers

    @property
    def path(self) -> Path:
        return self.call.child if self.call.root else (*self.above, *self.call.child)

    @property
    def shapes(self) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
        """What enters and what leaves."""
        inputs = self.call.inputs if self.call.root else inputs_of(self.level, self.call)
        return tuple(wire.feature for wire in inputs), tuple(wire.feature for wire in flat_values(self.call.output))


def steps(root: Subgraph) -> list[ShapeStep]:
    """Every step of a network, in the order of its forward. Blocks of one text and equal shapes in a row are one step.

    >>> from metablock.front import front
    >>> [step.name for step in steps(front("resnet18").ir)][:3]
    ['stem', 'conv_bn', 'conv']
    >>> [step.text for step in steps(front("swin_tiny").ir) if step.name == "token"][0]
    'window(7, attn, shift=0 or 3, fit="shrink")'
    """
    return list(_Steps(root).of([("", root, (), {})], 0))


class _Steps:
    """Walks the calls of a network; parts that share a line are walked together."""

    def __init__(self, root: Subgraph):
        self.root = root
        self.shown: set[Path] = set()  # the shared modules

    def of(self, parts: Sequence[tuple[str, Subgraph, Path, Numbers]], depth: int) -> Iterator[ShapeStep]:
        """The steps inside parts of one text: number, part, path, numbers around."""
        rows: list[list[_Copy]] = []
        for number, level, path, above in parts:
            numbers = calls_of(level, above)
            calls = [step for step in level.all_steps if isinstance(step, ModuleCall) and not step.weight]
            position = 0
            for call in calls:
                copy = _Copy(number, level, path, call, numbers)
                same = next((at for at in range(position, len(rows)) if rows[at][0].call.child == call.child), None)
                if same is not None and all(other.number != number for other in rows[same]):
                    rows[same].append(copy)
                    position = same + 1
                else:
                    rows.insert(position, [copy])
                    position += 1
        numbers_of_all = [number for number, *_ in parts]
        position = 0
        while position < len(rows):
            last = position
            while last + 1 < len(rows) and self.repeats(rows[position], rows[last + 1]):
                last += 1
            yield from self.line(rows[position : last + 1], numbers_of_all, depth)
            position = last + 1

    def line(self, rows: list[list[_Copy]], every: list[str], depth: int) -> Iterator[ShapeStep]:
        """The step of calls that share a line, or one for each kind among them; then the steps inside."""
        first, last = rows[0][0], rows[-1][0]
        name = ".".join(first.call.child)
        several = len(rows) > 1
        copies = [
            (f"{copy.number}.{key}".strip(".") if several else copy.number, copy)
            for row, key in zip(rows, (row[0].call.child[-1] for row in rows), strict=True)
            for copy in row
        ]
        for group in self.kinds(copies):
            text = one_text([self.text(copy) for _, copy in group]) or ""
            numbers = [number for number, _ in group]
            whole = len({copy.number for _, copy in group}) == len(every) and len(group) == len(copies)
            inputs, outputs = group[0][1].shapes[0], group[-1][1].shapes[1]
            label = f"{name}-{last.call.child[-1]}" if several else name
            counted = f"{len(rows)} * {text}" if several and text else text
            yield ShapeStep(depth, label, counted, inputs, outputs, () if whole else tuple(dict.fromkeys(numbers)))
            inner = [
                (number, part, copy.path, copy.numbers)
                for number, copy in group
                if isinstance(part := self.root.child(copy.path), Subgraph) and not (copy.call.root and copy.path in self.shown)
            ]
            self.shown.update(copy.path for _, copy in group if copy.call.root)
            if inner:
                yield from self.of(inner, depth + 1)

    def kinds(self, copies: list[tuple[str, _Copy]]) -> list[list[tuple[str, _Copy]]]:
        """Copies by kind: those of a kind differ in numbers alone."""
        groups: list[list[tuple[str, _Copy]]] = []
        for number, copy in copies:
            for group in groups:
                first = group[0][1]
                if one_text([self.text(first), self.text(copy)]) is not None and self.alike(first, copy):
                    group.append((number, copy))
                    break
            else:
                groups.append([(number, copy)])
        return groups

    def alike(self, a: _Copy, b: _Copy) -> bool:
        """Whether two copies have the same shapes, or compute the same on others: every second block has another grid."""
        return a.shapes == b.shapes or same_computation(self.root.child(a.path), self.root.child(b.path))

    def text(self, copy: _Copy) -> str:
        """What a step is called in the spec; empty for a stage, whose parts follow."""
        return "" if is_stage(copy.path) else one_line(text_of(self.root.child(copy.path), copy.numbers))

    def repeats(self, row: list[_Copy], other: list[_Copy]) -> bool:
        """Whether a row is the next copy of another one: in the same numbered list, of the same text and shapes."""
        a, b = row[0].call, other[0].call
        if a.root or b.root or len(a.child) < 2 or a.child[:-1] != b.child[:-1] or not a.child[-1].isdigit():
            return False
        one, two = row[0], other[0]
        if a.child == b.child or len(row) != len(other):
            return False
        text = self.plain(self.root.child(one.path), one.path)
        return bool(text) and text == self.plain(self.root.child(two.path), two.path) and self.alike(one, two)

    def plain(self, child: Child, path: Path) -> str:
        """The spec's own text, in which no numbers are computed."""
        return "" if is_stage(path) else getattr(child, "text", "")


__all__ = ["ShapeStep", "steps"]
