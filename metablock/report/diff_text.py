"""The text of a comparison: a line a place, 80 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .layout import short

if TYPE_CHECKING:
    from .models import CarriedWeights, DiffPlace, DiffRow, NetworkDiff

WIDTH = 80
_MARKS = {"same": " ", "resized": "~", "changed": "!", "only a": "-", "only b": "+"}
_LEGEND = "! differs  ~ only in widths, extents, drop rates  - only in A  + only in B"
_LISTED = 3


def diff_text(result: NetworkDiff) -> str:
    """The text of a comparison; each line has at most 80 columns, unless a name alone is longer."""
    a, b = result.a, result.b
    lines = [*_wrapped("", "    ", f"{a.text} -> {b.text}{', changed' if a.text == b.text and result.differs else ''}")]
    if not result.differs:
        return "\n".join([*lines, f"the same network: {a.parameters:,} parameters, {a.macs:,} MACs"])
    lines.append(_LEGEND)
    for row in result.rows:
        lines += _row(row)
    lines += ["", *_wrapped("total   ", "        ", _figures(a, b, exact=True))]
    return "\n".join([*lines, *_weights(result.weights)])


def _row(row: DiffRow) -> Iterator[str]:
    indent = f"{_MARKS[row.kind]} {'  ' * row.depth}"
    texts = [place.text for place in (row.a, row.b) if place is not None]
    copies = f"{row.copies} copies of " if row.copies > 1 else ""
    what = texts[0] if len(set(texts)) == 1 else " -> ".join(texts)
    if row.arguments:
        what = "; ".join([*filter(None, texts[:1]), *(f"{name} {old} -> {new}" for name, (old, new) in row.arguments.items())])
    yield from _wrapped(indent, f"  {'  ' * row.depth}    ", f"{row.name}{': ' if what else ''}{copies if what else ''}{what}")
    figures = _figures(row.a, row.b)
    if figures:
        figures = f"each: {figures}" if row.copies > 1 else figures
        yield from _wrapped(f"  {'  ' * row.depth}    ", f"  {'  ' * row.depth}      ", figures)


def _figures(a: DiffPlace | None, b: DiffPlace | None, *, exact: bool = False) -> str:
    """What a place counts and gives, or from what to what."""
    parts, places = [], [place for place in (a, b) if place is not None]
    for name, values in (
        ("parameters", [place.parameters for place in places]),
        ("MACs", [place.macs for place in places]),
    ):
        shown = [f"{value:,}" if exact else short(value) for value in values]
        if any(values):
            parts.append(f"{name} {_change(shown, values)}")
    shapes = [", ".join(place.output).replace("map ", "") for place in places]
    if any(shapes):
        parts.append(f"out {_change(shapes, shapes)}")
    return ", ".join(parts)


def _change(shown: Sequence[str], values: Sequence[object]) -> str:
    return shown[0] if len(set(values)) == 1 or len(shown) == 1 else " -> ".join(shown)


def _weights(weights: CarriedWeights) -> Iterator[str]:
    yield from _wrapped("weights ", "        ", f"{_tensors(weights.same)} over ({weights.parameters:,} parameters)")
    listed = {
        "are adapted": weights.adapted,
        "have another shape": weights.other_shape,
        "are only in A": weights.only_a,
        "are only in B": weights.only_b,
    }
    for label, names in listed.items():
        if names:
            more = " ..." if len(names) > _LISTED else ""
            yield from _wrapped("        ", "          ", f"{len(names)} {label}: {', '.join(names[:_LISTED])}{more}")


def _tensors(count: int) -> str:
    return "1 tensor carries" if count == 1 else f"{count} tensors carry"


def _wrapped(first: str, further: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]
