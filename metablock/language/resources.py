"""Where the language's own texts lie: the grammars and the architectures.

Both stand at the top of the repository. A wheel carries them as ``metablock/_data``; a checkout and an editable install have no
such folder.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

Folder = Literal["grammars", "architectures"]


def folder(name: Folder) -> Path:
    """The folder of this name."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_data"
    return (installed if installed.is_dir() else package.parent) / name


@cache
def resource(name: str) -> str:
    """The text of ``grammars/<name>``."""
    return (folder("grammars") / name).read_text(encoding="utf-8")


def grammar(name: str) -> str:
    """The text of ``grammars/<name>.lark``."""
    return resource(f"{name}.lark")


def architectures() -> dict[str, Path]:
    """Every architecture in the catalogue: the stem of its file and the file, by name."""
    return {path.stem: path for path in sorted(folder("architectures").glob("*.yaml"))}
