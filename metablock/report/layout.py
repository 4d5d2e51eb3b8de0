"""The typed IR of a network by its outermost parts, in the spec's words. Builds nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..lowering.ir import Child, ModuleCall, ModuleList, ModuleNode, Subgraph, ValueTree, flat_values, is_stage, subgraphs
from ..shape import Feature
from .block_names import names_in_blocks

Path = tuple[str, ...]


@dataclass(frozen=True)
class LayoutPart:
    """A part with a line of its own in the table of a network: stem, a stage, head.

    Attributes:
        name: ``"stem"``, ``"stage 0"``.
        path: of its module, by names: ``("stages", "0")``.
        text: the part in the spec's words.
        output: the shapes of its outputs, without the batch.
        names: what the names in the texts of its blocks stand for, where that is not the same in all blocks of the network:
            ``{"token": "window(7, attn, shift=0 or 3)", "drop": "0.02-0.05"}``.
    """

    name: str
    path: Path
    text: str
    output: tuple[Feature, ...]
    names: Mapping[str, str] = field(default_factory=dict)


def parts(root: Subgraph) -> list[LayoutPart]:
    """The outermost parts of a network, in order.

    >>> from metablock.front import front
    >>> [part.name for part in parts(front("resnet18").ir)]
    ['stem', 'stage 0', 'stage 1', 'stage 2', 'stage 3', 'head']
    """
    outputs, names = outputs_of(root), names_in_blocks(root)
    return [
        LayoutPart(
            f"stage {path[1]}" if is_stage(path) else ".".join(path),
            path,
            words(child, path),
            tuple(wire.feature for wire in flat_values(outputs.get(path))),
            names.get(path, {}),
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


def outputs_of(root: Subgraph) -> dict[Path, ValueTree]:
    """The output of each child's first call, by its path."""
    outputs: dict[Path, ValueTree] = {}
    for above, level in subgraphs(root):
        for step in level.all_steps:
            if isinstance(step, ModuleCall) and not step.weight:
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
