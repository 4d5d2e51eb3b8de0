"""The sources of operators that torch has no class for, without the parts that only the spec language needs."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ...errors import MetablockError

# Names that mark argument checks for the spec language; torch's own errors remain.
_CHECKS = {"AxesError", "error", "suggest", "MetablockError", "SpecError"}
# Methods that adapt a checkpoint to another size of the input.
_LOADING = {"tables", "resized"}
_TYPES = {"Layout": "str", "Feature": "object"}


@dataclass
class Pieces:
    """Definitions, each after those it uses; their names with the modules they come from; the imports they may need."""

    texts: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)


def embedded(operators: Iterable[tuple[str, str]]) -> Pieces:
    """The definitions of these operators (module and class) and of everything they use.

    Raises:
        MetablockError: two definitions of one name; a name that is not defined at the top of a file.
    """
    pieces = Pieces()
    for module, name in sorted(set(operators)):
        _add(module, name, pieces)
    return pieces


def imports(code: str, known: dict[str, str]) -> list[str]:
    """The import lines that a text needs, in ruff's order; ``known``: import lines by the name they define."""
    known = {
        "torch": "import torch",
        "F": "import torch.nn.functional as F",
        "Tensor": "from torch import Tensor",
        "nn": "from torch import nn",
        **known,
    }
    used = [known[name] for name in sorted(_names(ast.parse(code)) & set(known))]
    torch, other = [line for line in used if " torch" in line], [line for line in used if " torch" not in line]
    blocks = [_merged(other), _merged(torch)]
    return "\n\n".join("\n".join(block) for block in blocks if block).split("\n")


def _merged(lines: list[str]) -> list[str]:
    """Import lines, one per module: `from a import b` and `from a import c` become one."""
    plain = sorted({line for line in lines if line.startswith("import")})
    froms: dict[str, set[str]] = {}
    for line in lines:
        if line.startswith("from"):
            _, module, _, name = line.split(" ", 3)
            froms.setdefault(module, set()).add(name)
    return plain + [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(froms.items())]


@dataclass(frozen=True)
class _File:
    """The file of an operator.

    Attributes:
        definitions: the source of each name defined at its top level.
        siblings: module and name of each import whose source is written out, too.
        imports: the import line of any other name.
        passes: functions that check their only argument and return it.
    """

    definitions: dict[str, str]
    siblings: dict[str, tuple[str, str]]
    imports: dict[str, str]
    passes: tuple[str, ...]


def _add(module: str, name: str, pieces: Pieces) -> None:
    source = _read(module)
    if name in source.siblings:
        _add(*source.siblings[name], pieces)
        return
    if name in pieces.names:
        if pieces.names[name] != module:
            both = f"{module} and {pieces.names[name]}"
            raise MetablockError(f"a file of plain PyTorch cannot hold two things called '{name}': {both}", "rename one of them")
        return
    if name not in source.definitions:
        hint = "define what an operator uses at the top of a file"
        raise MetablockError(f"a file of plain PyTorch cannot hold '{name}' of {module}", hint)
    text = source.definitions[name]
    for passed in source.passes:
        text = re.sub(rf"\b{passed}\((\w+)\)", r"\1", text)
    pieces.names[name] = module  # before its uses: a definition may use itself
    for used in sorted(_names(ast.parse(text)) - {name}):
        if used in source.definitions or used in source.siblings:
            _add(module, used, pieces)
        elif used in source.imports:
            pieces.imports[used] = source.imports[used]
    pieces.texts.append(text)


@cache
def _read(module: str) -> _File:
    imported = importlib.import_module(module)
    if not getattr(imported, "__file__", None):
        raise MetablockError(f"the source of '{module}' is in no file", "write the operator into one, or write .safetensors")
    text = Path(str(imported.__file__)).read_text(encoding="utf-8")
    package = imported.__package__ or ""
    definitions: dict[str, str] = {}
    siblings: dict[str, tuple[str, str]] = {}
    known: dict[str, str] = {}
    checks: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            definitions[node.name] = _trimmed(text, node)
            if _passes(definitions[node.name]):
                checks.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                definitions[target.id] = ast.get_source_segment(text, node) or ""
        elif isinstance(node, ast.ImportFrom) and _near(node, package):
            there = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            siblings |= {alias.asname or alias.name: (there, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] != "metablock":
            known |= {alias.name: f"from {node.module} import {alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name] = f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
    for name, (where, what) in siblings.items():
        if what in _read(where).passes:
            checks.add(name)
    return _File(definitions, siblings, known, tuple(checks))


def _near(node: ast.ImportFrom, package: str) -> bool:
    """Whether the sources of imported names are written out: those of the operator's own package, and of our operators."""
    if node.level:
        there = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        return there.startswith("metablock.operators.") or not there.startswith("metablock")
    return (node.module or "").startswith("metablock.operators.")


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _trimmed(text: str, node: ast.ClassDef | ast.FunctionDef) -> str:
    """A definition without the statements that only the spec language needs, with its comments and its formatting."""
    lines = text.split("\n")
    removed: set[int] = set()
    for part in _unwanted(node):
        first = min([part.lineno, *(d.lineno for d in getattr(part, "decorator_list", []))])
        removed |= set(range(first, (part.end_lineno or part.lineno) + 1))
    if isinstance(node, ast.ClassDef) and (rule := next((base for base in node.bases if _is_rule(base, node)), None)) is not None:
        bases = ", ".join(ast.unparse(base) for base in node.bases if base is not rule)
        lines[node.lineno - 1] = f"class {node.name}({bases}):" if bases else f"class {node.name}:"
    typed = [named for named in ast.walk(node) if isinstance(named, ast.Name) and named.id in _TYPES]
    for named in sorted(typed, key=lambda named: -named.col_offset):
        if named.lineno not in removed:
            line = lines[named.lineno - 1]
            lines[named.lineno - 1] = line[: named.col_offset] + _TYPES[named.id] + line[named.end_col_offset :]
    doc = _first_sentence(node)
    result = []
    for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
        if doc and number == node.body[0].lineno:
            result.append(doc)
        elif number not in removed:
            result.append(lines[number - 1].partition("  # type: ignore[")[0])
    return _spaced(result)


def _is_rule(base: ast.expr, node: ast.ClassDef) -> bool:
    """Whether a base of an operator's class is its rule, which the compiler alone reads."""
    return isinstance(base, ast.Name) and base.id == f"{node.name}Rule"


def _unwanted(node: ast.ClassDef | ast.FunctionDef) -> Iterator[ast.stmt]:
    """What only the spec language and checkpoints need: docstrings, ``takes``, ``roles``, ``shape``, argument checks."""
    for part in ast.walk(node):
        if not isinstance(part, (ast.ClassDef, ast.FunctionDef)):
            continue
        if ast.get_docstring(part) is not None and (part is node or len(part.body) > 1):
            yield part.body[0]
        for statement in part.body:
            static = isinstance(statement, ast.FunctionDef) and statement.name == "shape" and statement.decorator_list
            loading = isinstance(statement, ast.FunctionDef) and statement.name in _LOADING
            target = statement.targets[0] if isinstance(statement, ast.Assign) else None
            declared = isinstance(part, ast.ClassDef) and isinstance(target, ast.Name) and target.id in ("takes", "roles")
            if static or loading or declared or _is_check(statement):
                yield statement


def _is_check(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.If) or statement.orelse:
        return False
    raised = statement.body[-1]
    call = raised.exc if isinstance(raised, ast.Raise) else None
    return isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", "")) in _CHECKS


def _passes(text: str) -> bool:
    """Whether a function returns its only argument."""
    node = ast.parse(text).body[0]
    if not isinstance(node, ast.FunctionDef) or len(node.args.args) != 1:
        return False
    last = node.body[-1]
    only = all(isinstance(s, ast.Expr) for s in node.body[:-1])
    return only and isinstance(last, ast.Return) and isinstance(last.value, ast.Name) and last.value.id == node.args.args[0].arg


def _first_sentence(node: ast.ClassDef | ast.FunctionDef) -> str:
    doc = ast.get_docstring(node)
    if doc is None:
        return ""
    line = doc.split("\n\n")[0].split("\n")[0].strip().rstrip(":")
    return f'    """{line}"""'


def _spaced(lines: list[str]) -> str:
    """The lines with at most one blank line in a row, and none at the start of a body or at the end."""
    result: list[str] = []
    for line in lines:
        if not line.strip() and (not result or not result[-1].strip() or result[-1].rstrip().endswith(":")):
            continue
        result.append(line)
    while result and not result[-1].strip():
        result.pop()
    return "\n".join(result)
