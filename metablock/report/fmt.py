"""Spec files in canonical form."""

from __future__ import annotations

from pathlib import Path

from ..errors import Text
from ..files import write_whole
from ..language.format import formatted
from ..language.yaml import read, read_file
from .check import STDIN, read_text, shown


def reformat(source: str, *, write: bool = True) -> tuple[bool, str]:
    """Brings a spec file into canonical form; comments are kept.

    Args:
        source: a file, or ``-`` for standard input.
        write: whether a file that is not in canonical form is replaced.

    Returns:
        Whether the text changes, and the canonical text.

    Raises:
        MetablockError: the file is no spec, or cannot be written; it is as it was.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.yaml")
    ...     with open(path, "w") as file:
    ...         _ = file.write("name:  net\\ninput: image( 3, 8 )\\nstages: {body: dw(3)}\\n")
    ...     changed, text = reformat(path)
    >>> changed, text.splitlines()[2]
    (True, 'input: image(3, 8)')
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
