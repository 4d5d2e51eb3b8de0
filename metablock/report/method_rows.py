"""The shipped methods as a table. Builds nothing, imports no torch."""

from __future__ import annotations

from ..language.methods import shipped_method
from ..language.resources import methods
from .catalogue import fits, no_match
from .models import MethodRow


def method_rows(pattern: str | None = None) -> list[MethodRow]:
    """A row for each shipped method whose name matches.

    Args:
        pattern: as :func:`metablock.report.catalogue.rows` takes it.

    Raises:
        MetablockError: nothing matches.

    >>> [(row.name, row.takes) for row in method_rows("mae")]
    [('mae', {'embed': 'image -> map', 'stages': 'tokens -> tokens'})]
    """
    names = [name for name in methods() if fits(pattern, name)]
    if not names:
        raise no_match(pattern, "among the methods", list(methods()))
    rows = []
    for name in names:
        spec = shipped_method(name)
        takes = {part: f"{hole.takes} -> {hole.gives}" for part, hole in spec.holes.items()}
        year = spec.paper.get("year", "")
        rows.append(
            MethodRow(name=name, paper=spec.paper.get("title"), year=int(year) if year.isdecimal() else None, takes=takes)
        )
    return rows
