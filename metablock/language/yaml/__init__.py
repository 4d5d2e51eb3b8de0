"""Reads strict YAML into nodes with places. Imports no torch, and knows nothing of the language itself.

Why not ``yaml.safe_load``, but a reader on the events of PyYAML's pure-Python parser:

- *Places.* Expressions are parsed from the raw text of a scalar (``Scalar.content``: exact offsets into the file), so that every
  later message points into the line that the person wrote. A loaded ``dict`` has no places.
- *Honesty.* YAML guesses: ``no`` is false, ``1e-6`` a string, the second of two equal keys wins. Here every scalar stays a text,
  and duplicate keys, tags, merges, directives and second documents are errors.
- *Strangers' files.* Size, depth, aliases and expanded nodes are capped on the events, before anything is composed; nothing here
  recurses. PyYAML's C parser is not used: it crashes the process on deep nesting.
- *Messages.* All problems of a file are collected. ``syntax.py`` translates PyYAML's messages; where YAML cannot be read on,
  ``mending.py`` leaves the entry out and reads the rest.
  A call that YAML would cut at its comma, ``[pool(3, 4), id]``, is reported as that.

A literal's ``content`` keeps its indentation, and the line breaks of a Windows file stay ``\\r\\n`` in every ``content``
(``value`` has ``\\n``). Where a text begins with a byte order mark, the spans belong to a copy of it without the mark.
"""

from __future__ import annotations

from .mending import Reading
from .nodes import Limits, Mapping, Node, Scalar, Sequence, Style
from .reader import read, read_file, read_mended, read_text

__all__ = ["Limits", "Mapping", "Node", "Reading", "Scalar", "Sequence", "Style", "read", "read_file", "read_mended", "read_text"]
