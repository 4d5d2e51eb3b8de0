"""The catalogue and the operators as tables, from the facts in the files. Builds nothing, imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from ..catalogue.lookup import catalogue
from ..errors import MetablockError, suggest
from ..language.edits import resolve
from ..language.elsewhere import called_here, operators_for, plain
from ..language.plugins import installed
from ..language.printer import number, show
from ..language.registry import OPERATORS, Operator
from ..language.spec import Spec
from ..language.standard import standard
from ..lowering.network import input_features
from ..shape import Feature
from .layout import one_line
from .mixers import mixers
from .models import CatalogueRow, OperatorRow


def rows(pattern: str | None = None) -> list[CatalogueRow]:
    """A row for each variant whose name, or whose file's name, matches.

    Args:
        pattern: a part of the name, or, with ``*``, ``?`` or ``[``, a glob for the whole name; None: all variants.

    Raises:
        MetablockError: nothing matches.

    >>> [row.name for row in rows("poolformer_s?2")]
    ['poolformer_s12']
    """
    matching, names = [], []
    for file, spec in catalogue().items():
        for variant in spec.variants or [None]:
            name = variant or file
            names += [name, file]
            if _fits(pattern, name) or _fits(pattern, file):
                matching.append(_row(file, name, resolve(spec, variant)))
    if not matching:
        raise _nothing(pattern, "in the catalogue", names)
    return matching


def operators(pattern: str | None = None) -> list[OperatorRow]:
    """A row for each operator and each standard binding whose name matches, by name.

    Args:
        pattern: as for :func:`rows`; also a name of another library (`Swish`), which matches what is called so here.

    Raises:
        MetablockError: nothing matches.

    >>> [row.signature for row in operators("pool")][:1]
    ['adaptive_avg_pool(size)']
    >>> [row.name for row in operators("Swish")]
    ['hard_swish', 'silu']
    """
    installed()
    every = [
        OperatorRow(name=name, kind="operator", signature=_signature(entry), doc=_summary(entry.schema.doc))
        for name, entry in OPERATORS.items()
    ]
    every += [
        OperatorRow(name=name, kind="binding", signature=show(binding.header), doc=one_line(show(binding.body)))
        for name, binding in standard().items()
    ]
    wanted = operators_for(pattern) if pattern is not None else set()
    if pattern is not None:
        wanted |= {row.name for row in every if plain(row.name) == plain(pattern)}
    matching = [row for row in every if row.name in wanted or _fits(pattern, row.name)]
    if not matching:
        if pattern is not None and (hint := called_here(pattern)) is not None:
            raise MetablockError(f"nothing among the operators fits '{pattern}'", hint)
        raise _nothing(pattern, "among the operators", [row.name for row in every])
    return sorted(matching, key=lambda row: row.name)


def _nothing(pattern: str | None, where: str, names: list[str]) -> MetablockError:
    if pattern is None:
        return MetablockError(f"there is nothing {where}", "is metablock installed completely?")
    hint = suggest(pattern, names, "give a part of a name, or a glob: *_s12")
    return MetablockError(f"nothing {where} fits '{pattern}'", hint)


def _fits(pattern: str | None, name: str) -> bool:
    if pattern is None:
        return True
    if re.search(r"[*?\[]", pattern):
        return fnmatchcase(name.lower(), pattern.lower())
    return pattern.lower() in name.lower()


def _row(file: str, name: str, spec: Spec) -> CatalogueRow:
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


def _summary(doc: str) -> str:
    """The first paragraph of a docstring, as one line."""
    return " ".join(doc.strip().partition("\n\n")[0].split())


def _signature(entry: Operator) -> str:
    schema = entry.schema
    return f"{entry.name}({', '.join(_parameters(entry))})" if schema.params or schema.variadic else entry.name


def _parameters(entry: Operator) -> Iterator[str]:
    schema = entry.schema
    if schema.variadic:
        yield f"*{schema.variadic}"
    for parameter in schema.params:
        default = parameter.default if parameter.module else _written(parameter.default)
        yield parameter.name if parameter.required else f"{parameter.name}={default or 'none'}"


def _written(value: object) -> str:
    """A default as a spec would write it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, (int, float)):
        return number(value)
    return f'"{value}"'
