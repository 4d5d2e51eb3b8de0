"""The types of the answers, which are also what ``--json`` prints."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from .diff_text import diff_text


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProblemReport(_Model):
    """One thing that is wrong. Lines and columns count from 1; the end is exclusive. A problem without a place has null there."""

    message: str
    hint: str | None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None


class FileReport(_Model):
    """``check``: a file, its problems, and what is allowed in it but may not be meant."""

    file: str
    problems: tuple[ProblemReport, ...]
    warnings: tuple[ProblemReport, ...] = ()


class PartRow(_Model):
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


class Totals(_Model):
    """The whole network: ``parameters`` are ``trainable`` and ``frozen`` ones; ``macs`` of one example."""

    parameters: int
    trainable: int
    frozen: int
    macs: int


class Figures(_Model):
    """The spec's `facts` about the variant: ``exact`` of the official code, ``reported`` by the paper.

    ``edited``: edits, classes or an input changed the network that was built; these figures are of the unchanged variant.
    """

    variant: str
    edited: bool
    exact: dict[str, int | str]
    reported: dict[str, str]


class Graphs(_Model):
    """``distinct``: the different blocks of the network. ``compiled``: the graphs torch.compile produced; null in eager mode."""

    distinct: int
    compiled: int | None


class Timings(_Model):
    """Seconds. ``compile`` includes the first pass; ``latency`` is the median of ``passes`` later ones. Null: did not happen."""

    build: float
    compile: float | None
    latency: float | None
    passes: int


class MergedLayer(_Model):
    """A layer of a re-parameterised network, ``into`` by its text, and the ``parts`` it replaces: their texts by their paths."""

    path: str
    into: str
    parts: dict[str, str]


class Deployed(_Model):
    """Re-parameterisation: counts before and after; ``difference``: of the outputs, relative to the largest one."""

    merged: tuple[MergedLayer, ...]
    params: tuple[int, int]
    macs: tuple[int, int]
    difference: float | None


class BuildReport(_Model):
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
    weights: str | None
    written: str | None
    checked: str | None
    deployed: Deployed | None


class CatalogueRow(_Model):
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


class TableRow(_Model):
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


class OpRow(_Model):
    """``ops``: an ATen operator, its number of calls, the distinct shapes, and ``counts``: the calls of each shape."""

    operator: str
    calls: int
    shapes: tuple[str, ...]
    counts: tuple[int, ...]


class OperatorRow(_Model):
    """``list --operators``: a name that specs can call. ``doc``: the docstring's first paragraph, or the binding's body."""

    name: str
    kind: Literal["operator", "binding"]
    signature: str
    doc: str


class ArgumentText(_Model):
    """An argument: the kinds of values that it takes, the numbers that it ``admits``, its default (null: required), its text."""

    name: str
    takes: tuple[str, ...]
    admits: str | None
    default: str | None
    text: str | None


class ExampleText(_Model):
    """An example that the test suite runs: ``code``, and what it prints."""

    code: str
    output: str


class OperatorUse(_Model):
    """A file of the catalogue that uses a name itself, and in which slots: bindings, columns, sections."""

    file: str
    paper: str | None
    slots: tuple[str, ...]


class OperatorText(OperatorRow):
    """``list --operators NAME``: all that is known of an operator or a standard binding.

    ``formulas``: the code of the first paragraph; ``details`` and ``sources``: the other paragraphs, those about papers apart;
    ``takes``, ``gives``: the layouts that arrive and leave, and what becomes of the grid; ``returns``: what its text says of it;
    ``place``: its file and line; ``definition``: a binding's text; ``bindings``: the standard bindings that use it; ``similar``:
    other names that contain its.
    """

    formulas: tuple[str, ...]
    details: tuple[str, ...]
    arguments: tuple[ArgumentText, ...]
    takes: str | None
    gives: str | None
    returns: str | None
    errors: tuple[str, ...]
    sources: tuple[str, ...]
    examples: tuple[ExampleText, ...]
    place: str | None
    definition: str | None
    bindings: tuple[str, ...]
    papers: tuple[OperatorUse, ...]
    similar: tuple[str, ...]


class Setting(_Model):
    """Who set a name, to what, and where: ``file:line``."""

    by: str
    text: str
    place: str | None


class StageText(_Model):
    """What a name is in a stage: the text, its place where it is the stage's own, and the numbers it has block by block."""

    stage: int
    text: str
    place: str | None
    values: tuple[str, ...]


class NameText(_Model):
    """What a name means. ``name``: as it stands, with its arguments where it is called.

    ``header``: the name with its parameters; ``arguments``: their values here; ``text``: the expression it stands for; ``value``:
    that as a number, where it is the same everywhere, else ``stages`` has them; ``set_by``: the last one holds; ``parts``: what
    the names in the expression mean, unless that stands ``above``; ``used_by``: the bindings and sections that name it.
    """

    name: str
    kind: str
    header: str | None = None
    arguments: dict[str, str] = {}
    text: str | None = None
    value: str | None = None
    note: str | None = None
    place: str | None = None
    set_by: tuple[Setting, ...] = ()
    stages: tuple[StageText, ...] = ()
    parts: tuple[NameText, ...] = ()
    above: bool = False
    used_by: tuple[str, ...] = ()


class Explanation(_Model):
    """``explain``: the meanings of a name in a network; a wire or parameter has one in each expression that has it."""

    spec: str
    variant: str | None
    slot: str
    names: tuple[NameText, ...]


class DiffPlace(_Model):
    """A part of a network that ``diff`` compares; ``text``: in the spec's words; ``output``: its output shapes in words."""

    path: str
    text: str
    output: tuple[str, ...]
    parameters: int
    macs: int


class DiffRow(_Model):
    """``diff``: a place of the aligned tree. ``a`` or ``b`` is null where only the other network has it; ``copies``: equal ones
    in a row; ``arguments``: those of an operator that differ, from what to what; ``resized``: only widths or extents differ."""

    depth: int
    name: str
    kind: Literal["same", "resized", "changed", "only a", "only b"]
    a: DiffPlace | None
    b: DiffPlace | None
    copies: int = 1
    arguments: dict[str, tuple[str, str]]


class CarriedWeights(_Model):
    """Which tensors of a network another takes: ``same`` many of equal name and shape, with so many ``parameters``; those that
    loading adapts; those of another shape, and those that only one of the two has."""

    same: int
    parameters: int
    adapted: tuple[str, ...]
    other_shape: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


class NetworkDiff(_Model):
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
    "ArgumentText",
    "BuildReport",
    "CarriedWeights",
    "CatalogueRow",
    "ExampleText",
    "Explanation",
    "Figures",
    "FileReport",
    "Graphs",
    "NameText",
    "OperatorRow",
    "OperatorText",
    "OperatorUse",
    "PartRow",
    "ProblemReport",
    "Setting",
    "StageText",
    "Timings",
    "Totals",
]
