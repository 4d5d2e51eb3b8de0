"""The catalogue as a table, from the facts in its files. Builds nothing, imports no torch."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from .. import cache
from ..errors import MetablockError, suggest
from ..shape import Feature
from .models import CatalogueRow

if TYPE_CHECKING:
    from ..language.spec import Spec

KIND = "list"  # of entries in the cache


def rows(pattern: str | None = None) -> list[CatalogueRow]:
    """A row for each variant whose name, or whose file's name, matches.

    Args:
        pattern: a part of the name, or, with ``*``, ``?`` or ``[``, a glob for the whole name; None: all variants.

    Raises:
        MetablockError: nothing matches.

    >>> [row.name for row in rows("poolformer_s?2")]
    ['poolformer_s12']
    """
    rows = every()
    matching = [row for row in rows if fits(pattern, row.name) or fits(pattern, row.file.removesuffix(".yaml"))]
    if not matching:
        raise no_match(pattern, "in the catalogue", [name for row in rows for name in (row.name, row.file.removesuffix(".yaml"))])
    return matching


@functools.cache
def every() -> tuple[CatalogueRow, ...]:
    """A row for each variant of the catalogue: as an earlier process has left them on disk, or read from the files.

    >>> every()[0].file
    'agent_attention.yaml'
    """
    table, code = TypeAdapter(tuple[CatalogueRow, ...]), cache.fingerprint()
    known = None if code is None else cache.load(KIND, code)
    if known is not None:
        with suppress(ValueError):
            return table.validate_json(known)
    rows = tuple(_rows())
    if code is not None:
        cache.store(KIND, code, table.dump_json(rows))
    return rows


def _rows() -> Iterator[CatalogueRow]:
    from ..catalogue.lookup import catalogue
    from ..language.edits import resolve

    for file, spec in catalogue().items():
        for variant in spec.variants or [None]:
            yield _row(file, variant or file, resolve(spec, variant))


def no_match(pattern: str | None, where: str, names: list[str]) -> MetablockError:
    """The error of a list that is empty, with the name that is nearest to the pattern; raise it."""
    if pattern is None:
        return MetablockError(f"there is nothing {where}", "is metablock installed completely?")
    hint = suggest(pattern, names, "give a part of a name, or a glob: *_s12")
    return MetablockError(f"nothing {where} fits '{pattern}'", hint)


def fits(pattern: str | None, name: str) -> bool:
    """Whether a name fits a part of it, or a glob; None fits all."""
    if pattern is None:
        return True
    if re.search(r"[*?\[]", pattern):
        return fnmatchcase(name.lower(), pattern.lower())
    return pattern.lower() in name.lower()


def _row(file: str, name: str, spec: Spec) -> CatalogueRow:
    from ..lowering.network import input_features
    from .mixers import mixers

    facts = spec.facts.of(spec.variant or spec.name)
    total = _count(facts.get("params"))
    trainable = _count(facts.get("trainable")) or total
    return CatalogueRow(
        name=name,
        file=f"{file}.yaml",
        paper=spec.paper.get("title"),
        venue=spec.paper.get("venue"),
        year=year(spec),
        arxiv=spec.paper.get("arxiv"),
        parameters=trainable,
        frozen=total - trainable if total is not None and trainable is not None else None,
        macs=_count(facts.get("macs")),
        input=", ".join(map(size, input_features(spec))),
        mixers=tuple(mixers(spec)),
    )


def size(feature: Feature) -> str:
    """A size as ``--input`` takes it.

    >>> size(Feature("map", 3, (224, 224)))
    '3x224x224'
    """
    return "x".join(map(str, (feature.c, *feature.grid)))


def year(spec: Spec) -> int | None:
    """The year of a spec's paper: its ``year:``, or the year in its ``venue:``; None where neither states one.

    >>> from metablock.front import resolved
    >>> year(resolved("poolformer_s12"))
    2022
    """
    match = re.search(r"\b(?:19|20)\d\d\b", f"{spec.paper.get('year', '')} {spec.paper.get('venue', '')}")
    return int(match[0]) if match else None


def _count(cell: str | None) -> int | None:
    return int(cell) if cell is not None and cell.isdigit() else None
