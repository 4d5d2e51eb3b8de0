"""Reads a spec's text: strict YAML into nodes that know their place. No torch, and nothing of the language itself.

Why a reader of our own, on the events of PyYAML's pure-Python parser, and not ``yaml.safe_load``:

- *Places.* Expressions are parsed from the raw text of a scalar (``Scalar.content``: exact offsets into the file), so that a
  message from any later room points into the line a person wrote. A loaded ``dict`` has forgotten all of it.
- *Honesty.* YAML's own guesses (``no`` is false, ``1e-6`` a string, the second of two equal keys wins) are not what a spec says:
  every scalar stays the text it is, and duplicate keys, tags, merges, directives and second documents are errors.
- *Strangers' files.* Size, depth, aliases and expanded nodes are capped on the events, before anything is composed; nothing here
  recurses. PyYAML's C parser is never used: it crashes the process on deep nesting.
- *Words.* All problems of a file are collected; those after which YAML cannot be read on end the reading. PyYAML's texts are
  translated (``syntax.py``), never shown. A call that YAML would cut at its comma, ``[pool(3, 4), id]``, is named as what it is.

A literal's ``content`` keeps its indentation, and the line breaks of a Windows file stay ``\\r\\n`` in every ``content``
(``value`` has ``\\n``). Where a text begins with a byte order mark, the spans belong to a copy of it without the mark.
"""

from __future__ import annotations

from .nodes import Limits, Mapping, Node, Scalar, Sequence, Style
from .reader import read, read_file

__all__ = ["Limits", "Mapping", "Node", "Scalar", "Sequence", "Style", "read", "read_file"]
