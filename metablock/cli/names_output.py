"""The text of ``show --as names``: pairs of names in groups, those that differ by numbers or by their last part in one line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence

import typer

from ..report.names import NamesReport, OurTensor, TheirTensor
from ..weights.folding import fold

_INDENT = "    "
_LAST, _BESIDE = "\1", " \2 "  # in names: the last part, and what stands between ours and theirs
Line = tuple[str, str, str]  # ours, its shape and what is said of it, theirs


def names_text(report: NamesReport) -> None:
    """Prints the tensors of a network in groups: those that fit, of another shape, without partner; then what is left over."""
    width = shutil.get_terminal_size((80, 24)).columns
    for line in _lines(report, width):
        typer.echo(line.rstrip())


def _lines(report: NamesReport, width: int) -> Iterator[str]:
    ours = report.ours
    by = f", by the names of '{report.rules}'" if report.rules else ""
    yield f"{report.network}: {len(ours)} tensors{by}"
    if report.weights is None:
        yield from _pairs(ours, width)
        if report.rules is None and len(report.known) > 1:
            yield f"rule sets: {', '.join(report.known[1:])} (--rules NAME); a checkpoint beside them: --weights FILE"
        return
    groups: dict[str, list[OurTensor]] = {"fit": [], "of another shape": [], "missing there": [], "without a rule": []}
    for row in ours:
        if row.fits:
            groups["fit"].append(row)
        elif not row.theirs:
            groups["without a rule"].append(row)
        else:
            lacking = any(there.shape is None for there in row.theirs)
            groups["missing there" if lacking else "of another shape"].append(row)
    for head, rows in groups.items():
        if rows:
            yield ""
            yield f"{len(rows)} of ours {head}" + (":" if head != "fit" else f", with {report.weights}:")
            yield from _pairs(rows, width)
            if head in ("of another shape", "missing there"):
                for rule in dict.fromkeys(row.rule for row in rows if row.rule is not None):
                    yield from wrapped(f"by {rule}", width, "", _INDENT)
    for head, left in (
        ("left over there", [there for there in report.left if not there.ignored]),
        ("ignored there", [there for there in report.left if there.ignored]),
    ):
        if left:
            yield ""
            yield f"{len(left)} {head}:"
            yield from _two_columns(((name, shape) for name, shape in _folded_left(left)), width)
    for note in report.notes:
        yield ""
        yield from wrapped(note, width, "")


def _folded_left(rows: Sequence[TheirTensor]) -> list[tuple[str, str]]:
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(_shape(row.shape), []).append(row.name)
    return [(name, shape) for shape, names in groups.items() for name in fold(names)]


def _pairs(rows: Sequence[OurTensor], width: int) -> Iterator[str]:
    """Ours with shapes, theirs beside them where all pairs fit into the width, else below."""
    lines = list(_grouped(rows))
    one, two, three = (max(map(len, column), default=0) for column in zip(*lines, strict=True)) if lines else (0, 0, 0)
    beside = three and one + two + three + 4 <= width
    for ours, about, theirs in lines:
        if beside:
            yield f"{ours:<{one}}  {about:<{two}}  {theirs}"
            continue
        yield from _two_columns([(ours, about)], width, one)
        yield from wrapped(theirs, width)


def _two_columns(rows: Iterable[tuple[str, str]], width: int, first: int = 0) -> Iterator[str]:
    rows = list(rows)
    first = min(
        first or max((len(name) for name, _ in rows), default=0), max(0, width - 2 - max((len(b) for _, b in rows), default=0))
    )
    for name, about in rows:
        if len(name) + 2 + len(about) <= width:
            yield f"{name:<{first}}  {about}"
        else:
            yield name
            yield from wrapped(about, width)


def wrapped(text: str, width: int, first: str = _INDENT, indent: str = _INDENT) -> Iterator[str]:
    """A text in lines, indented, broken between names alone."""
    line, start = "", first
    for word in text.split(" ") if text else ():
        if line and len(start) + len(line) + 1 + len(word) > width:
            yield start + line
            line, start = word, indent
        else:
            line = f"{line} {word}" if line else word
    if line:
        yield start + line


def _grouped(rows: Sequence[OurTensor]) -> Iterator[Line]:
    """Rows that differ by numbers between dots alone, or by the same last part on both sides, in one line."""
    modules: dict[tuple[str, ...], list[str]] = {}
    order: dict[tuple[str, str], int] = {}
    for row in rows:
        module, _, last = row.name.rpartition(".")
        names = [there.name for there in row.theirs]
        ours = row.name
        if module and all(name.endswith(f".{last}") for name in names):
            ours, names = f"{module}.{_LAST}", [name.removesuffix(last) + _LAST for name in names]
        else:
            last = ""
        pair = f"{ours}{_BESIDE}{' ++ '.join(names)}"
        modules.setdefault((pair, _about(row)), []).append(last)
        order[pair, last] = len(order)
    kinds: dict[tuple[str, ...], list[str]] = {}
    for (pair, about), lasts in modules.items():
        kinds.setdefault((about, *lasts), []).append(pair)
    lines: list[tuple[int, Line]] = []
    for (about, *lasts), pairs in kinds.items():
        last = lasts[0] if len(lasts) == 1 else "{" + ",".join(lasts) + "}"
        for folded in fold(pairs):
            first = order[re.sub(r"\{(\d+)[^}]*\}", r"\1", folded), lasts[0]]
            ours, _, theirs = folded.replace(_LAST, last).partition(_BESIDE)
            lines.append((first, (ours, about, theirs)))
    yield from (line for _, line in sorted(lines))


def _about(row: OurTensor) -> str:
    """The shape, and what is not as usual."""
    kind = "" if row.kind == "parameter" else row.kind
    dtype = "" if row.dtype == "float32" or row.kind == "counter" else row.dtype
    there = [there.shape for there in row.theirs if there.shape is not None and there.shape != row.shape]
    other = " ++ ".join(map(_shape, there))
    words = [_shape(row.shape), kind, dtype, f"from {other}" if other else "", f"({row.remark})" if row.remark else ""]
    return " ".join(word for word in words if word)


def _shape(shape: Sequence[int] | None) -> str:
    return "-" if shape is None else "x".join(map(str, shape)) or "scalar"
