"""What the rows of a journal may hold: JSON, types, and what they refer to."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from .identity import Identity, id_of

STATUSES = ("pending", "running", "done", "failed")
_SHOWN = 12  # characters of a hash
_MOST_EPOCHS = 10_000
_NUMBERS = {"epochs": ("train_loss", "val_loss", "val_top1", "lr", "seconds"), "runs": ("metric", "started", "finished")}
_TEXTS = {
    "plans": ("key", "cells"), "planned": ("plan", "id", "cell"), "specs": ("hash", "spec"),
    "runs": ("id", "reason", "owner", "device", "identity"), "epochs": ("id",), "probes": ("id",), "attempts": ("id", "owner"),
}  # fmt: skip


def fault(table: str, values: dict[str, Any]) -> str:
    """The column of a row that is not what a journal writes; empty for a whole row.

    >>> fault("probes", {"id": "a", "value": "[]"}), fault("probes", {"id": "a", "value": "["})
    ('', 'value')
    """
    for column in _TEXTS.get(table, ()):
        if column in values and (not isinstance(values[column], str) or "\ufffd" in values[column]):
            return column
    for column in _NUMBERS.get(table, ()):
        if column in values and not (values[column] is None or _is_number(values[column])):
            return column
    return next((column for column in _CHECKS[table](values)), "") if table in _CHECKS else ""


def _about(values: dict[str, Any]) -> Iterator[str]:
    key, text = values["key"], values["value"]
    if not isinstance(key, str) or "\ufffd" in key:
        yield "key"
    elif not isinstance(text, str) or "\ufffd" in text:
        yield "value"
    elif key not in ("plan", "version"):
        value, whole = _json(text)
        if not whole or (key == "latencies" and not _latencies(value)) or (key == "proposals" and not _proposals(value)):
            yield "value"


def _plans(values: dict[str, Any]) -> Iterator[str]:
    if not _is_number(values["entered"]):
        yield "entered"
    about, whole = _json(values["about"])
    cells = about.get("cells") if isinstance(about, dict) else None
    study = about.get("study", {}) if isinstance(about, dict) else None
    readable = isinstance(cells, dict) and isinstance(cells.get("cells"), list)
    if not whole or not isinstance(study, dict) or (values["cells"] and not (study and readable)):
        yield "about"


def _planned(values: dict[str, Any]) -> Iterator[str]:
    yield from (name for name in ("seed", "place") if not isinstance(values[name], int))


def _runs(values: dict[str, Any]) -> Iterator[str]:
    if values["status"] not in STATUSES:
        yield "status"
    if values["status"] == "done" and values["metric"] is None:
        yield "metric"
    if not _is_number(values["beat"]):
        yield "beat"
    if not isinstance(values["attempts"], int):
        yield "attempts"
    text = values.get("identity", "")
    if text and _id(text) != values["id"]:
        yield "identity"


def _epochs(values: dict[str, Any]) -> Iterator[str]:
    if not isinstance(values["epoch"], int) or not 0 < values["epoch"] <= _MOST_EPOCHS:
        yield "epoch"


def _probes(values: dict[str, Any]) -> Iterator[str]:
    if not _json(values["value"])[1]:
        yield "value"


def _attempts(values: dict[str, Any]) -> Iterator[str]:
    if not isinstance(values["attempt"], int):
        yield "attempt"
    if not _is_number(values["at"]):
        yield "at"
    if not isinstance(_json(values["conditions"])[0], dict):
        yield "conditions"


_CHECKS = {"about": _about, "plans": _plans, "planned": _planned, "runs": _runs, "epochs": _epochs, "probes": _probes,
           "attempts": _attempts}  # fmt: skip


def _json(text: object) -> tuple[Any, bool]:
    """The value of a text, and whether it is JSON."""
    if not isinstance(text, str) or "\ufffd" in text:
        return None, False
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):
        return None, False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _latencies(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, dict) and all(_is_number(number) for number in one.values()) for one in value.values()
    )


def _proposals(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and all(isinstance(level, str) for level in one.values()) for one in value
    )


def _id(text: str) -> str:
    """The hash of a stored identity, with all that the version that wrote it put in; empty for any other text."""
    values, _ = _json(text)
    try:
        Identity.from_json(text)
        return id_of(values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""


# Rows that contradict others: what is wrong, and a query for the names of such rows.
_REFERENCES = {
    "metric, which is not that of the last epoch": "SELECT runs.id FROM runs JOIN epochs USING (id) WHERE status = 'done' "
    "AND epoch = (SELECT MAX(epoch) FROM epochs AS other WHERE other.id = runs.id) AND val_top1 IS NOT metric",
    "identity, whose spec is missing": "SELECT runs.id FROM runs WHERE status != 'done' AND identity != '' "
    "AND id IN (SELECT id FROM planned) "
    "AND NOT EXISTS (SELECT 1 FROM specs WHERE hash = json_extract(identity, '$.spec'))",
}
_LOST_PLAN = (
    "SELECT value FROM about WHERE key = 'plan' AND value != '' AND NOT EXISTS (SELECT 1 FROM plans WHERE plans.key = value)"
)


def faults(connection: sqlite3.Connection, tables: dict[str, str]) -> Iterator[str]:
    """The rows of a journal that are not what a journal writes, in words.

    Args:
        connection: to the file.
        tables: the columns of each table, comma-separated.
    """
    factory = connection.text_factory
    connection.text_factory = lambda text: text.decode(errors="replace")
    try:
        whole = True
        for table, columns in tables.items():
            names = columns.split(", ")
            for row in connection.execute(f"SELECT {columns} FROM {table}"):
                column = fault(table, dict(zip(names, row, strict=True)))
                if column:
                    whole = False
                    yield f"{table} {str(row[0])[:_SHOWN]}: {column}"
        if not whole:
            return
        for what, query in _REFERENCES.items():
            for (name,) in connection.execute(query):
                yield f"runs {str(name)[:_SHOWN]}: {what}"
        for (name,) in connection.execute(_LOST_PLAN):
            yield f"about plan: {str(name)[:_SHOWN]} is missing"
    finally:
        connection.text_factory = factory


def mend_references(connection: sqlite3.Connection) -> int:
    """Removes the rows of a recovered journal that contradict others. Specs that plans hold as cells are brought back.

    Returns:
        The number of runs that go. They are to be done again.
    """
    for (text,) in connection.execute("SELECT about FROM plans").fetchall():
        cells = json.loads(text).get("cells", {})
        for cell in cells.get("cells", []) if isinstance(cells, dict) else []:
            if isinstance(cell, dict) and isinstance(cell.get("spec"), str) and isinstance(cell.get("hash"), str):
                connection.execute("INSERT OR IGNORE INTO specs VALUES (?, ?)", (cell["hash"], cell["spec"]))
    gone = 0
    for query in _REFERENCES.values():
        names = connection.execute(query).fetchall()
        connection.executemany("DELETE FROM runs WHERE id = ?", names)
        gone += len(names)
    if connection.execute(_LOST_PLAN).fetchall():
        connection.execute("DELETE FROM about WHERE key = 'plan'")
    return gone
