"""Finds the language's own files: the grammars and the shipped architectures.

Both folders are at the top of the repository. A wheel holds them in ``metablock/_data``, which a checkout and an editable install
do not have.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

Folder = Literal["grammars", "architectures"]


def folder(name: Folder) -> Path:
    """The folder of this name.

    >>> (folder("grammars") / "block.lark").is_file()
    True
    """
    package = Path(__file__).resolve().parent.parent
    installed = package / "_data"
    return (installed if installed.is_dir() else package.parent) / name


@cache
def resource(name: str) -> str:
    """The text of the file ``grammars/<name>``.

    >>> "conv_bn" in resource("standard.yaml")
    True
    """
    return (folder("grammars") / name).read_text(encoding="utf-8")


def grammar(name: str) -> str:
    """The text of the file ``grammars/<name>.lark``.

    >>> "edit" in grammar("edit")
    True
    """
    return resource(f"{name}.lark")


def architectures() -> dict[str, Path]:
    """The files of the catalogue by their stems, sorted.

    >>> architectures()["swin"].name
    'swin.yaml'
    """
    return {path.stem: path for path in sorted(folder("architectures").glob("*.yaml"))}


def methods() -> dict[str, Path]:
    """The files of the shipped methods by their stems, sorted.

    >>> methods()["mae"].name
    'mae.yaml'
    """
    return {path.stem: path for path in sorted((folder("architectures") / "methods").glob("*.yaml"))}
