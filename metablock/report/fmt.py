"""Spec files in canonical form."""

from __future__ import annotations

from pathlib import Path

from ..errors import Text
from ..files import write_whole
from ..language.format import formatted
from ..language.yaml import read, read_file
from .check import STDIN, read_text, shown


def reformat(source: str, *, write: bool = True) -> tuple[bool, str]:
    """Brings a file into canonical form.

    Args:
        source: a file, or ``-`` for standard input, which is never written to.
        write: whether the file is replaced where it is not in that form.

    Returns:
        Whether that form is another than the file's, and the text in it.

    Raises:
        MetablockError: it is no spec or cannot be written; the file is as it was.
    """
    if source == STDIN:
        root = read(Text(shown(STDIN), read_text()))
        return (text := formatted(root)) != root.span.text.content, text
    root, path = read_file(source), Path(source)
    text = formatted(root)
    changed = path.read_bytes() != text.encode()
    if changed and write:
        write_whole(path, text)
    return changed, text
