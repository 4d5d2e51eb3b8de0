"""The answers' forms, and with them what ``--json`` prints."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProblemReport(_Model):
    """One thing that is wrong. Lines and columns count from 1; the end is exclusive. Without a place, they are null."""

    message: str
    hint: str | None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None


class FileReport(_Model):
    """``check``: a file and its problems, none when all is well."""

    file: str
    problems: tuple[ProblemReport, ...]


class PartRow(_Model):
    """A part of a network. ``text``: in the spec's words. ``output``: its shapes in words, ``shapes`` with their batch."""

    name: str
    path: str
    text: str
    output: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    parameters: int
    macs: int


class Totals(_Model):
    """Of the whole network: parameters, frozen ones apart, and the multiply-accumulates of one pass of one image."""

    parameters: int
    trainable: int
    frozen: int
    macs: int


class Figures(_Model):
    """What the spec's `facts` say of the variant: ``exact`` of the official code, ``reported`` by the paper.

    ``edited``: the network that was built is another one (edits, classes, an input), these figures are of the unchanged variant.
    """

    variant: str
    edited: bool
    exact: dict[str, int | str]
    reported: dict[str, str]


class Graphs(_Model):
    """``distinct``: the different blocks of the network. ``made``: the graphs that torch.compile made; null in eager mode."""

    distinct: int
    made: int | None


class Timings(_Model):
    """Seconds. ``compile`` has the first pass in it; ``latency`` is the median of ``passes`` further ones. Null: not done."""

    build: float
    compile: float | None
    latency: float | None
    passes: int


class Merged(_Model):
    """One convolution or linear layer of a re-parameterised network: its path and text, and those of what it was."""

    path: str
    into: str
    parts: dict[str, str]


class Deployed(_Model):
    """What re-parameterisation did: before and after, and how far the outputs differ, relative to the largest."""

    merged: tuple[Merged, ...]
    params: tuple[int, int]
    macs: tuple[int, int]
    difference: float | None


class BuildReport(_Model):
    """``build``: what was built, its parts, its cost, how fast it is. ``checked``: what the written file gives, loaded again."""

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
    """``list``: a variant of the catalogue, by the facts in its file. ``parameters`` are the trainable ones."""

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
    """``table``: a network beside others. ``reported_*`` and ``top1`` are what the paper prints.

    ``throughput``: images a second.
    """

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
    """``ops``: an ATen operator, how often it is called, and for what shapes; ``counts``: how often for each."""

    operator: str
    calls: int
    shapes: tuple[str, ...]
    counts: tuple[int, ...]


class OperatorRow(_Model):
    """``list --operators``: what can be called in a spec. ``doc``: its documentation's first paragraph, or the binding's body."""

    name: str
    kind: Literal["operator", "binding"]
    signature: str
    doc: str


__all__ = [
    "BuildReport",
    "CatalogueRow",
    "Figures",
    "FileReport",
    "Graphs",
    "OperatorRow",
    "PartRow",
    "ProblemReport",
    "Timings",
    "Totals",
]
