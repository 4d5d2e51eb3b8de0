"""The types of the answers, which are also what ``--json`` prints."""

from __future__ import annotations

from typing import Literal

from .answer import Answer
from .diff_text import diff_text


class ProblemReport(Answer):
    """One thing that is wrong. Lines and columns count from 1; the end is exclusive. A problem without a place has null there."""

    message: str
    hint: str | None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None


class FileReport(Answer):
    """``check``: a file, its problems, and what is allowed in it but may not be meant."""

    file: str
    problems: tuple[ProblemReport, ...]
    warnings: tuple[ProblemReport, ...] = ()


class PartRow(Answer):
    """A part of a network. ``text``: in the spec's words. ``output``: its output shapes in words; ``shapes``: with the batch.

    ``names``: what the names in its blocks' texts stand for, where that is not the same in all blocks of the network.
    """

    name: str
    path: str
    text: str
    names: dict[str, str]
    output: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    parameters: int
    macs: int


class Totals(Answer):
    """The whole network: ``parameters`` are ``trainable`` and ``frozen`` ones; ``macs`` of one example."""

    parameters: int
    trainable: int
    frozen: int
    macs: int


class Figures(Answer):
    """The spec's `facts` about the variant: ``exact`` of the official code, ``reported`` by the paper.

    ``edited``: edits, classes or an input changed the network that was built; these figures are of the unchanged variant.
    """

    variant: str
    edited: bool
    exact: dict[str, int | str]
    reported: dict[str, str]


class Graphs(Answer):
    """``distinct``: the different blocks of the network. ``compiled``: the graphs torch.compile produced; null in eager mode."""

    distinct: int
    compiled: int | None


class Timings(Answer):
    """Seconds. ``compile`` includes the first pass; ``latency`` is the median of ``passes`` later ones. Null: did not happen."""

    build: float
    compile: float | None
    latency: float | None
    passes: int


class TrialRow(Answer):
    """A way to compile that was measured; ``seconds`` of a pass are null where it failed, and ``failure`` says why."""

    way: str
    channels_last: bool
    mode: str
    fused: bool | None
    seconds: float | None
    compiling: float | None
    failure: str | None


class Tuned(Answer):
    """The ways to compile that were measured, the fastest, which was taken, first. ``recalled``: an earlier run measured them."""

    rows: tuple[TrialRow, ...]
    recalled: bool


class MergedLayer(Answer):
    """A layer of a re-parameterised network, ``into`` by its text, and the ``parts`` it replaces: their texts by their paths."""

    path: str
    into: str
    parts: dict[str, str]


class Deployed(Answer):
    """Re-parameterisation: counts before and after; ``difference``: of the outputs, relative to the largest one."""

    merged: tuple[MergedLayer, ...]
    params: tuple[int, int]
    macs: tuple[int, int]
    difference: float | None


class BuildReport(Answer):
    """``build``: the network, its parts, its cost, its speed. ``checked``: how the written file compares, once loaded again."""

    name: str
    variant: str | None
    title: str | None
    edits: tuple[str, ...]
    spec_hash: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    device: str
    dtype: str
    batch: int
    seed: int
    rows: tuple[PartRow, ...]
    totals: Totals
    figures: Figures | None
    graphs: Graphs
    seconds: Timings
    tuned: Tuned | None
    weights: str | None
    written: str | None
    checked: str | None
    deployed: Deployed | None


class CatalogueRow(Answer):
    """``list``: a variant of the catalogue, by the facts in its file. ``parameters`` are the trainable ones only."""

    name: str
    file: str
    paper: str | None
    venue: str | None
    year: int | None
    arxiv: str | None
    parameters: int | None
    frozen: int | None
    macs: int | None
    input: str
    mixers: tuple[str, ...]


class MethodRow(Answer):
    """``list --methods``: a shipped method; ``takes``: the parts of a backbone, with what enters and leaves them."""

    name: str
    paper: str | None
    year: int | None
    takes: dict[str, str]


class TableRow(Answer):
    """``table``: a network beside others. ``reported_*`` and ``top1`` are the paper's; ``throughput``: images a second."""

    name: str
    variant: str | None = None
    input: str | None = None
    parameters: int | None = None
    macs: int | None = None
    reported_parameters: str | None = None
    reported_macs: str | None = None
    top1: str | None = None
    throughput: float | None = None
    note: str | None = None


class OpRow(Answer):
    """``ops``: an ATen operator, its number of calls, the distinct shapes, and ``counts``: the calls of each shape."""

    operator: str
    calls: int
    shapes: tuple[str, ...]
    counts: tuple[int, ...]


class ShownSpec(Answer):
    """``show --json``: the resolved spec of one network, as text."""

    name: str
    variant: str | None
    edits: tuple[str, ...]
    spec_hash: str
    text: str


class ModuleText(Answer):
    """A module: its path, its text in the spec's words (null for a list of modules), and the modules in it."""

    path: str
    text: str | None
    modules: tuple[ModuleText, ...]


class ShownTree(Answer):
    """``show --as tree --json``: the modules of a network, each by itself."""

    name: str
    variant: str | None
    modules: tuple[ModuleText, ...]


class ShapeRow(Answer):
    """A step: ``depth``: how many modules it is nested in; ``blocks``: those of its line that have it, null for all."""

    depth: int
    name: str
    text: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    blocks: tuple[str, ...] | None


class ShownShapes(Answer):
    """``show --as shapes --json``: the steps of a network."""

    name: str
    variant: str | None
    steps: tuple[ShapeRow, ...]


class DiffPlace(Answer):
    """A part of a network that ``diff`` compares; ``text``: in the spec's words; ``output``: its output shapes in words."""

    path: str
    text: str
    output: tuple[str, ...]
    parameters: int
    macs: int


class DiffRow(Answer):
    """``diff``: a place of the aligned tree. ``a`` or ``b`` is null where only the other network has it.

    ``kind``: ``resized`` where only widths, extents or drop rates differ. ``copies``: equal ones in a row, whose figures are of
    one each. ``arguments``: those of an operator that differ, from what to what.
    """

    depth: int
    name: str
    kind: Literal["same", "resized", "changed", "only a", "only b"]
    a: DiffPlace | None
    b: DiffPlace | None
    copies: int = 1
    arguments: dict[str, tuple[str, str]]


class CarriedWeights(Answer):
    """Which tensors of a network another takes: ``same`` many of equal name and shape, with so many ``parameters``; those that
    loading adapts; those of another shape, and those that only one of the two has."""

    same: int
    parameters: int
    adapted: tuple[str, ...]
    other_shape: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


class NetworkDiff(Answer):
    """``diff``: two networks, the places where they differ, and which weights of the first the second takes."""

    a: DiffPlace
    b: DiffPlace
    rows: tuple[DiffRow, ...]
    weights: CarriedWeights

    @property
    def differs(self) -> bool:
        """Whether anything but the name differs."""
        return any(row.kind != "same" for row in self.rows) or self.a.output != self.b.output

    def __str__(self) -> str:
        """The comparison as text, 80 columns wide."""
        return diff_text(self)


__all__ = [
    "BuildReport",
    "CarriedWeights",
    "CatalogueRow",
    "Figures",
    "FileReport",
    "Graphs",
    "ModuleText",
    "PartRow",
    "ProblemReport",
    "ShapeRow",
    "ShownShapes",
    "ShownSpec",
    "ShownTree",
    "Timings",
    "Totals",
]
