"""Tables of counts: ours beside the better of timm's two memory formats, with geometric means."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, log
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
COLUMNS = ("model", "graphs", "entries ours", "launches ours", "timm", "ratio", "GB ours", "timm", "ratio")


def read(paths: Iterable[Path]) -> list[Row]:
    """The results in JSON files, of one row or of many. Empty files, of jobs that failed, are left out."""
    rows: list[Row] = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if text.strip():
            content = json.loads(text)
            rows += content if isinstance(content, list) else [content]
    return rows


def short(row: Row) -> dict[str, Any]:
    """A row without the list of its kernels, with fewer digits: as the committed table has it."""
    kept = {key: value for key, value in row.items() if key not in ("rows", "codegen_s", "devices")}
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in kept.items()}


def geomean(values: Sequence[float]) -> float:
    """The geometric mean.

    >>> geomean([0.5, 2.0])
    1.0
    """
    return exp(sum(map(log, values)) / len(values))


def better(rows: Iterable[Row], key: str) -> Row:
    """The row with the smallest figure."""
    return min(rows, key=lambda row: row[key])


def markdown(rows: Sequence[Row], mode: str = "infer", order: Sequence[str] = (), how: str | None = None) -> str:
    """A table of one mode: a line a model that both sides have, and the geometric means of the ratios ours / timm's.

    Args:
        rows: results of both sides; of timm's per model and figure the smaller one counts.
        mode: ``"infer"`` or ``"train"``.
        order: of the models; others follow by name.
        how: of our rows those that were counted in this way; None: the last row of each model.
    """
    rows = [row for row in rows if row["mode"] == mode]
    ours = {row["model"]: row for row in rows if row["side"] == "ours" and how in (None, row["how"])}
    theirs: dict[str, list[Row]] = {}
    for row in rows:
        if row["side"] == "timm":
            theirs.setdefault(row["model"], []).append(row)
    train = mode == "train"
    columns = [*COLUMNS, *(("saved GB ours", "timm", "ratio") if train else ())]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    ratios: dict[str, list[float]] = {"host_launches": [], "GB_total": [], **({"saved_GB": []} if train else {})}
    known = sorted(set(ours) & set(theirs), key=lambda name: (order.index(name) if name in order else len(order), name))
    for name in known:
        mine = ours[name]
        cells = [name, str(mine["graphs"]), str(mine["entries"])]
        for key, show in _FIGURES.items():
            if key in ratios:
                other = better(theirs[name], key)[key]
                ratios[key].append(mine[key] / other)
                cells += [show(mine[key]), show(other), f"{ratios[key][-1]:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    if known:
        means = [cell for key in ratios for cell in ("", "", f"{geomean(ratios[key]):.2f}")]
        lines.append("| " + " | ".join(["geometric mean", "", "", *means]) + " |")
    return "\n".join(lines)


_FIGURES: dict[str, Callable[[Any], str]] = {"host_launches": str, "GB_total": "{:.2f}".format, "saved_GB": "{:.2f}".format}


def plain(rows: Iterable[Row]) -> str:
    """Every row with its main figures, as it is."""
    keys = ("model", "side", "how", "mode", "graphs", "entries", "host_launches", "triton", "extern", "glue")
    figures = ("GB_total", "GB_triton", "GB_extern", "glue_GB", "const_MB", "saved_GB", "gpu_ms", "codegen_s")
    lines = ["| " + " | ".join((*keys, *figures)) + " |", "|---" * len((*keys, *figures)) + "|"]
    for row in rows:
        cells = [str(row.get(key)) for key in keys] + [f"{row[key]:.3g}" if key in row else "" for key in figures]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
