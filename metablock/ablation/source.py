"""Digests of source code: two that are equal mean the same code, whatever its comments and docstrings say."""

from __future__ import annotations

import ast
import importlib.util
import io
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

from ..language.loaded import INSTALLED, loaded_source

_PACKAGE = __package__.partition(".")[0]
_ROOT = Path(__file__).parents[2]
_SHORT = 16  # hexadecimal digits

# The modules whose code decides what a training computes, besides the operators. A test (`tests/ablation/test_identity.py`) says
# which of the modules that `training` uses are left out, and why.
TRAINING = (
    "ablation.arrays", "ablation.augment", "ablation.dataset", "ablation.labels", "ablation.losses", "ablation.objective",
    "ablation.optimizer",
    "ablation.pictures", "ablation.reach", "ablation.training", "backend.block", "backend.builder", "backend.draws",
    "backend.init", "backend.layers", "backend.objective", "backend.patterns", "backend.roles",
)  # fmt: skip

# Rooms and modules that decide which cells a study has, and what they cost.
_PLANNING = ("language", "lowering", "forms", "front.py", "backend", "operators", "shape.py", "catalogue",
             "ablation/plan.py", "ablation/matching.py", "ablation/study.py")  # fmt: skip


def stripped(source: str) -> str:
    r"""A module's text without comments, docstrings and blank lines; the text itself if it is no Python.

    >>> stripped("'Doc.'\nx = 1  # one\n\n\ndef f():\n    'More.'\n    return x\n")
    'x = 1\ndef f():\n    return x'
    """
    try:
        drop = [*_docstrings(ast.parse(source)), *_comments(source)]
    except (SyntaxError, ValueError, tokenize.TokenError):
        return source
    lines = [line.encode() for line in source.splitlines()]
    for (first, start), (last, end) in sorted(drop, reverse=True):
        head, tail = lines[first - 1][:start], lines[last - 1][end:]
        lines[first - 1 : last] = [head + tail]
    return "\n".join(text for line in lines if (text := line.decode().rstrip()))


_Range = tuple[tuple[int, int], tuple[int, int]]  # lines from 1, offsets in bytes


def _docstrings(tree: ast.Module) -> Iterator[_Range]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, False
        ):
            at = node.body[0]
            if len(node.body) > 1:  # a body of nothing else stays a body
                yield (at.lineno, at.col_offset), (at.end_lineno or at.lineno, at.end_col_offset or 0)


def _comments(source: str) -> Iterator[_Range]:
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, start = token.start
            before = len(lines[line - 1][:start].encode())
            yield (line, before), (line, before + len(token.string.encode()))


def digest_of(module: str) -> str:
    """The digest of a module and of the modules of its own room or package that it imports, as they were loaded.

    Args:
        module: dotted name of an operator's module. One outside metablock is looked up among the imported ones.

    >>> digest_of("metablock.operators.max_pool") != digest_of("metablock.operators.avg_pool")
    True
    """
    return _digest(_closure(module))


def training_digest() -> str:
    """The digest of the modules that decide what a training computes."""
    return _digest({name: _file(f"{_PACKAGE}.{name}") for name in TRAINING})


def planning_digest(custom: tuple[str, ...] = ()) -> str:
    """The digest of everything that decides a study's cells and their costs.

    Args:
        custom: modules with operators from outside metablock.
    """
    total = sha256()
    for name in _PLANNING:
        path = _ROOT / _PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            total.update(f"{file.relative_to(_ROOT)}\n".encode() + file.read_bytes())
    from ..language.resources import resource
    from ..language.standard import LIBRARY

    total.update(resource(LIBRARY).encode())
    for module in custom:
        total.update(f"{module} {digest_of(module)}\n".encode())
    return total.hexdigest()


def _digest(files: dict[str, Path | None]) -> str:
    total = sha256()
    for name, path in sorted(files.items()):
        total.update(f"{name}\n".encode())
        if path is None:
            continue
        loaded = loaded_source(name)
        total.update((_digest_of_file(path, _stamp(path)) if loaded is None else _digest_of(path, loaded)).encode())
    return total.hexdigest()[:_SHORT]


_Stamp = tuple[int, int]  # when a file was written, in nanoseconds, and its size: an edited file is read again


def _stamp(path: Path) -> _Stamp:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@cache
def _digest_of_file(path: Path, stamp: _Stamp) -> str:
    return _digest_of(path, path.read_bytes())


@cache
def _digest_of(path: Path, content: bytes) -> str:
    return sha256(stripped(content.decode(errors="replace")).encode() if path.suffix == ".py" else content).hexdigest()


def _closure(module: str) -> dict[str, Path | None]:
    """The files of a module and of those that it imports from beside it, by name."""
    files: dict[str, Path | None] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name in files:
            continue
        path = files[name] = _file(name)
        if path is not None and path.suffix == ".py":
            pending += [other for other in _imports(name, path, _content(name, path)) if _beside(module, other)]
    return files


def _content(module: str, path: Path) -> bytes:
    """The source that an imported module was loaded from; of any other its file's."""
    loaded = loaded_source(module)
    return path.read_bytes() if loaded is None else loaded


def _beside(module: str, other: str) -> bool:
    """Whether the source of ``other`` counts as a part of ``module``: of one room of metablock, of one package, of one folder."""
    if module.startswith(f"{_PACKAGE}."):
        return other.rpartition(".")[0] == module.rpartition(".")[0] and _file(other) is not None
    if other.partition(".")[0] == _PACKAGE:
        return False
    here, there = _file(module), _file(other)
    if here is None or there is None:
        return False
    if module.partition(".")[0] == other.partition(".")[0]:
        return True
    return there.is_relative_to(here.parent) and not any(there.is_relative_to(folder) for folder in INSTALLED)


def _file(module: str) -> Path | None:
    """The file of a module; None if it has none (a notebook, a built-in) or there is no such module."""
    if module.partition(".")[0] == _PACKAGE:
        path = _ROOT / module.replace(".", "/")
        return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
    known = sys.modules.get(module)
    name = getattr(known, "__file__", None) if known is not None else _origin(module)
    return Path(name) if name and Path(name).is_file() else None


@cache
def _origin(module: str) -> str | None:
    """The file that a module that is not imported would have."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec is not None else None


@cache
def _imports(module: str, path: Path, content: bytes) -> tuple[str, ...]:
    """Dotted names that a file may import, modules and members alike."""
    try:
        return tuple(_imported(module, path, ast.parse(content)))
    except (SyntaxError, ValueError):
        return ()


def _imported(module: str, path: Path, tree: ast.Module) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
