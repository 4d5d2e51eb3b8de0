"""Checks of the sections `facts` and `checkpoints`: whose rows they have, and which addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import Problem, Span, SpecError, error, suggest
from .spec import CHECKPOINTS, Spec

SECURE = "https://"


def address_parts(place: str, span: Span | None = None) -> tuple[str, str]:
    """An address of weights, and the digest after its `#sha256=` in small letters; empty without one.

    Raises:
        SpecError: another text after the `#`.

    >>> address_parts("https://example.org/net.pth#sha256=F37072FD")
    ('https://example.org/net.pth', 'f37072fd')
    """
    url, mark, fragment = place.partition("#")
    if not mark:
        return url, ""
    digest = fragment.removeprefix("sha256=").lower()
    if not fragment.startswith("sha256=") or not re.fullmatch(r"[0-9a-f]{8,64}", digest):
        hint = "write #sha256= and 64 digits from 0 to f, or leave it out"
        raise error(f"'{place}': no checksum after the `#`", span, hint)
    return url, digest


def check_tables(spec: Spec) -> Iterator[Problem]:
    """The problems of both tables: rows of unknown variants, malformed checksums.

    >>> from metablock.language.load import load_text
    >>> text = "name: n\\ninput: image(3, 8)\\nmodel: pw(4)\\ncheckpoints: [[variant, timm], [n, 'https://a.example/n.pth#1']]\\n"
    >>> [problem.message for problem in check_tables(load_text(text))]
    ["'https://a.example/n.pth#1': no checksum after the `#`"]
    """
    for table, section in ((spec.facts, "facts"), (spec.checkpoints, "checkpoints")):
        for row in table.rows:
            if row and spec.variants and row[0] not in spec.variants:
                hint = suggest(row[0], spec.variants, "a row begins with a variant's name")
                place = table.place(row[0], table.header[0]) or spec.place(section)
                yield Problem(f"{section} of an unknown variant '{row[0]}'", place, hint)
    table = spec.checkpoints
    for row in table.rows:
        for column, cell in zip(table.header, row, strict=False):
            if column in CHECKPOINTS and cell.startswith(SECURE):
                try:
                    address_parts(cell, table.place(row[0], column))
                except SpecError as wrong:
                    yield from wrong.problems
