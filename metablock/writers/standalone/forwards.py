"""Rewrites a generated ``forward`` as a person would write it: loops, nested calls, the main value called ``x``."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from copy import deepcopy

# The largest depth of nested calls, and the largest length, of a line.
_DEPTH, _LENGTH = 6, 88

# Look up a path like `self.stages[0].blocks`: the length of a list; the names of a leaf's arguments.
Length = Callable[[str], int | None]
Params = Callable[[str], tuple[str, ...]]


def rewrite(source: str, length: Length, params: Params) -> ast.FunctionDef:
    """The syntax tree of a ``forward``, made readable. It calls the same parts in the same order.

    >>> source = "def forward(self, x):\\n    v1 = self.conv(x)\\n    v2 = self.act(v1)\\n    return v2"
    >>> print(ast.unparse(rewrite(source, lambda path: None, lambda path: ())))
    def forward(self, x):
        return self.act(self.conv(x))
    """
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    _Views().visit(function)
    function.body = _loops(function.body, length)
    _nest(function)
    _rename(function, params)
    return ast.fix_missing_locations(function)


class _Views(ast.NodeTransformer):
    """Turns ``x[(...,) + (None,) * 2]`` into ``x[..., None, None]``."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not (isinstance(node.op, ast.Add) and isinstance(node.left, ast.Tuple) and isinstance(node.right, ast.BinOp)):
            return node
        times = node.right
        if isinstance(times.op, ast.Mult) and isinstance(times.left, ast.Tuple) and isinstance(times.right, ast.Constant):
            return ast.Tuple([*node.left.elts, *(times.left.elts * int(str(times.right.value)))], ast.Load())
        return node


def _uses(nodes: list[ast.stmt], name: str) -> int:
    return sum(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load) for s in nodes for n in ast.walk(s))


def _loops(body: list[ast.stmt], length: Length) -> list[ast.stmt]:
    """Turns consecutive calls of the items of a list into a loop."""
    result: list[ast.stmt] = []
    at = 0
    while at < len(body):
        run = _run(body, at, length)
        if run:
            result += _loop(body[at : at + run])
            at += run
        else:
            result.append(body[at])
            at += 1
    return result


def _run(body: list[ast.stmt], start: int, length: Length) -> int:
    """The number of statements from ``start`` on that call all items of a list: ``v = self.blocks[i](previous, ...)``."""
    first = _item(body[start])
    if first is None or first[1] != 0:
        return 0
    count = length(first[0])
    if count is None or (count == 1 and not first[0].endswith("s")) or start + count > len(body):
        return 0
    before: str | None = None
    rest = ""
    for i in range(count):
        item = _item(body[start + i])
        if item is None or item[:2] != (first[0], i):
            return 0
        call, target = item[2], item[3]
        others = ", ".join(ast.unparse(arg) for arg in call.args[1:])
        if i and (ast.unparse(call.args[0]) != before or others != rest or _uses(body, before or "") > 1):
            return 0
        before, rest = target, others
    return count


def _item(statement: ast.stmt) -> tuple[str, int, ast.Call, str] | None:
    """Of ``v = self.blocks[i](...)``: the list, i, the call, v. None for any other statement."""
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
        return None
    call = statement.value
    if not isinstance(call, ast.Call) or not call.args or not isinstance(call.func, ast.Subscript):
        return None
    index = call.func.slice
    if not isinstance(index, ast.Constant) or not isinstance(index.value, int) or not ast.unparse(call.func).startswith("self."):
        return None
    return ast.unparse(call.func.value), index.value, call, statement.targets[0].id


def _loop(run: list[ast.stmt]) -> list[ast.stmt]:
    """The loop that replaces such a run of statements."""
    first, last = _item(run[0]), _item(run[-1])
    assert first is not None
    assert last is not None
    call, target = first[2], last[3]
    name = singular(re.split(r"[.\[]", re.sub(r"\[.*?\]$", "", first[0]))[-1])
    name = name if len(name) > 1 else "part"
    assert isinstance(call.func, ast.Subscript)
    each = ast.Call(ast.Name(name, ast.Load()), [ast.Name(target, ast.Load()), *call.args[1:]], [])
    step = ast.Assign([ast.Name(target, ast.Store())], each, lineno=0)
    return [
        ast.Assign([ast.Name(target, ast.Store())], call.args[0], lineno=0),
        ast.For(ast.Name(name, ast.Store()), call.func.value, [step], [], lineno=0),
    ]


def singular(name: str) -> str:
    """The singular of a name.

    >>> singular("blocks"), singular("branches")
    ('block', 'branch')
    """
    for ending, one in (("ches", "ch"), ("ies", "y"), ("s", "")):
        if name.endswith(ending) and len(name) > len(ending) + 1:
            return name.removesuffix(ending) + one
    return name


def _nest(function: ast.FunctionDef) -> None:
    """Moves a value that is used once, in the next statement, into that statement, if all calls keep their order."""
    body = function.body
    at = len(body) - 1
    while at > 0:
        merged = _merge(body[at - 1], body[at], body)
        if merged is not None:
            body[at - 1 : at + 1] = [merged]
        at -= 1


def _merge(before: ast.stmt, after: ast.stmt, body: list[ast.stmt]) -> ast.stmt | None:
    """``after`` with the value of ``before`` in it; None if they must stay apart."""
    if not isinstance(before, ast.Assign) or not isinstance(before.targets[0], ast.Name):
        return None
    if not isinstance(after, (ast.Assign, ast.Return)) or after.value is None:
        return None
    name = before.targets[0].id
    if _uses(body, name) != 1 or not _reached(after.value, name):
        return None
    merged = deepcopy(after)
    assert isinstance(merged, (ast.Assign, ast.Return))
    assert merged.value is not None
    merged.value = _Put(name, before.value).visit(merged.value)
    text = re.sub(r"\d+", "00", ast.unparse(merged))
    if isinstance(after, ast.Return) and isinstance(after.value, ast.Name):
        return merged
    return merged if len(text) <= _LENGTH and _depth(merged) <= _DEPTH else None


class _Put(ast.NodeTransformer):
    def __init__(self, name: str, value: ast.expr):
        self.name, self.value = name, value

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self.value if node.id == self.name else node


def _reached(value: ast.expr, name: str) -> bool:
    """Whether an expression reads the name before it calls anything."""
    for node in _evaluated(value):
        if isinstance(node, ast.Name) and node.id == name:
            return True
        if isinstance(node, ast.Call):
            return False
    return False


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of an expression in the order of evaluation."""
    for child in ast.iter_child_nodes(node):
        yield from _evaluated(child)
    yield node


def _depth(node: ast.AST) -> int:
    below = max((_depth(child) for child in ast.iter_child_nodes(node)), default=0)
    return below + isinstance(node, ast.Call)


def _rename(function: ast.FunctionDef, params: Params) -> None:
    """Names the values: the main one ``x``, others after the part that computes them or the argument that takes them."""
    arguments = [arg.arg for arg in function.args.args[1:]]
    main = arguments[0] if arguments else "x"
    last = _last_uses(function.body)
    wanted = _wanted(function.body, params)
    names = {name: name for name in arguments}
    live = set(arguments)
    loops = {node.target.id for node in function.body if isinstance(node, ast.For) and isinstance(node.target, ast.Name)}
    for at, statement in enumerate(function.body):
        targets = _targets(statement)
        live = {name for name in live if last.get(name, -1) > at or name in targets}
        taken = {names[name] for name in live} | loops
        for name in targets:
            if name not in names or name not in live:
                first = [main] if len(targets) == 1 and not isinstance(statement, ast.For) else []
                names[name] = next(n for n in [*first, *wanted.get(name, []), *_letters(len(targets))] if n not in taken)
            taken.add(names[name])
        live |= {name for name in targets if last.get(name, -1) > at}
        # Generated names are unique, so one table serves both the values a statement reads and those it computes.
        _Named(dict(names)).visit(statement)
    function.body = [s for s in function.body if not _idle(s)]


def _idle(statement: ast.stmt) -> bool:
    """``x = x``"""
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == ast.unparse(statement.value)


class _Named(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]):
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)


def _targets(statement: ast.stmt) -> list[str]:
    """The names that a statement assigns, without the variable of a loop."""
    if isinstance(statement, ast.For):
        return [name for below in statement.body for name in _targets(below)]
    if not isinstance(statement, ast.Assign):
        return []
    return [n.id for n in ast.walk(statement.targets[0]) if isinstance(n, ast.Name)]


def _last_uses(body: list[ast.stmt]) -> dict[str, int]:
    """By name, the number of the last statement that reads it."""
    return {
        node.id: at
        for at, statement in enumerate(body)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _wanted(body: list[ast.stmt], params: Params) -> dict[str, list[str]]:
    """By value, the names it might get: those of the arguments that take it, and of the part that computes it."""
    wanted: dict[str, list[str]] = {}
    for statement in body:
        for call in (node for node in ast.walk(statement) if isinstance(node, ast.Call)):
            names = params(ast.unparse(call.func))
            for argument, name in zip(call.args, names, strict=False):
                if isinstance(argument, ast.Name) and len(names) > 1 and name != "x":
                    wanted.setdefault(argument.id, []).append(name)
        value = statement.value if isinstance(statement, ast.Assign) else None
        targets = _targets(statement)
        if isinstance(value, ast.Call) and len(targets) == 1 and re.fullmatch(r"self\.[a-z_]+\d*", ast.unparse(value.func)):
            wanted.setdefault(targets[0], []).append(ast.unparse(value.func).removeprefix("self."))
    return wanted


def _letters(count: int) -> list[str]:
    """Fallback names for one of ``count`` values."""
    single = ["y", "z", "u", "v", "w"] if count == 1 else ["a", "b", "c", "d", "e"]
    return single + [f"{letter}{n}" for n in range(1, 100) for letter in ("x", "y")]
