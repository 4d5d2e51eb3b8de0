"""Prints expressions: the exact inverse of the parser."""

from __future__ import annotations

import re

from . import ast as e

# Precedences of nodes, the loosest first; an operand of a looser one gets parentheses.
_CHOICE, _CHAIN, _SUM, _PRODUCT, _UNARY, _POWER, _POSTFIX, _ATOM = range(8)
_OR, _AND, _NOT, _COMPARISON = range(4)  # the same among tests
_BINARY = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT, "**": _POWER}


def show(node: e.Node) -> str:
    """The text of an expression, a header or a target: one line, several for a stream. Parsing it gives the node back.

    >>> from metablock.language.parser import expression
    >>> show(expression("res( norm>>token )*2"))
    'res(norm >> token) * 2'
    """
    if isinstance(node, (e.Function, e.StreamBody)):
        return _stream(node, "\n")
    if isinstance(node, e.Header):
        return node.name + _parameters(node.params)
    if isinstance(node, e.StageTarget):
        return f"stages[{_subscript(node.at)}].{node.name}" if node.at is not None else f"stages.{node.name}"
    return _at(node, _CHOICE)


def number(value: int | float) -> str:
    """The shortest text that reads back as this number.

    >>> number(1e-06), number(0.1)
    ('1e-6', '0.1')
    """
    if isinstance(value, int):
        return str(value)
    text = repr(value)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)e([+-])0*(\d+)", text)
    if match:
        return f"{match[1]}e{'-' if match[2] == '-' else ''}{match[3]}"
    return text


def _stream(node: e.Function | e.StreamBody, gap: str) -> str:
    """The text of a stream, with ``gap`` between its lines."""
    if isinstance(node, e.Function):
        names = f"{', '.join(node.params)} ->"
        if isinstance(node.body, e.StreamBody):
            return f"{names}{gap}{_stream(node.body, gap)}"
        return f"{names} {_at(node.body, _CHOICE)}"
    outputs = [_at(output, _CHOICE) for output in node.outputs]
    if node.names:
        outputs = [f"{name} = {output}" for name, output in zip(node.names, outputs, strict=True)]
    return gap.join([*map(_line, node.lines), f"return {', '.join(outputs)}"])


def _line(line: e.Assign) -> str:
    """The text of a line of a stream."""
    word = f"{line.word} " if line.word else ""
    return f"{word}{', '.join(line.targets)}{_parameters(line.params)} = {_at(line.value, _CHOICE)}"


def _at(node: e.Node, level: int) -> str:
    text, own = _text(node)
    return f"({text})" if own < level else text


def _text(node: e.Node) -> tuple[str, int]:
    match node:
        case e.Name(id=text):
            return text, _ATOM
        case e.Number(value=value):
            return number(value), _ATOM
        case e.String(value=text):
            return f'"{text}"', _ATOM
        case e.List(items=items):
            return f"[{', '.join(_item(item) for item in items)}]", _ATOM
        case e.Comprehension():
            source = _at(node.source, _CHOICE if node.test is None else _CHAIN)
            test = "" if node.test is None else f" if {_test(node.test, _OR)}"
            return f"[{_at(node.item, _CHOICE)} for {node.var} in {source}{test}]", _ATOM
        case e.Call():
            return f"{_at(node.func, _POSTFIX)}({', '.join(map(_argument, node.args))})", _POSTFIX
        case e.Index():
            return f"{_at(node.base, _POSTFIX)}[{_subscript(node.at)}]", _POSTFIX
        case e.Attribute():
            return f"{_at(node.base, _POSTFIX)}.{node.name}", _POSTFIX
        case e.Negative():
            return f"-{_at(node.value, _UNARY)}", _UNARY
        case e.Binary(op="**"):
            blank = "" if _simple(node.left) and _simple(node.right) else " "
            return f"{_at(node.left, _POSTFIX)}{blank}**{blank}{_at(node.right, _UNARY)}", _POWER
        case e.Binary(op=op):
            own = _BINARY[op]
            return f"{_at(node.left, own)} {op} {_at(node.right, own + 1)}", own
        case e.Conditional():
            test, other = _test(node.test, _OR), _at(node.other, _CHOICE)
            return f"{_at(node.then, _CHAIN)} if {test} else {other}", _CHOICE
        case e.Logic() | e.Not() | e.Compare():
            return f"({_test(node, _OR)})", _ATOM
        case e.Chain(items=items):
            return " >> ".join(_at(item, _SUM) for item in items), _CHAIN
        case e.Concat(items=items):
            return " || ".join(_at(item, _SUM) for item in items), _CHAIN
        case e.Function() | e.StreamBody():
            return f"({_stream(node, ' ')})", _ATOM
    raise TypeError(f"{type(node).__name__} is no expression")


def _simple(node: e.Node) -> bool:
    """Whether `**` stands beside this operand without blanks: `2**i`."""
    return isinstance(node, (e.Name, e.Number, e.Attribute)) or (isinstance(node, e.Negative) and _simple(node.value))


def _test(node: e.Node, level: int) -> str:
    """The text of a test that needs no parentheses of its own: after `if`, inside parentheses, as an operand of another test."""
    if not isinstance(node, (e.Logic, e.Not, e.Compare)):
        return _at(node, _SUM)
    if isinstance(node, e.Logic):
        own = _OR if node.op == "or" else _AND
        text = f"{_test(node.left, own)} {node.op} {_test(node.right, own + 1)}"
    elif isinstance(node, e.Not):
        own, text = _NOT, f"not {_test(node.value, _NOT)}"
    else:
        own, text = _COMPARISON, f"{_at(node.left, _SUM)} {node.op} {_at(node.right, _SUM)}"
    return f"({text})" if own < level else text


def _item(node: e.Node) -> str:
    return f"*{_at(node.value, _CHOICE)}" if isinstance(node, e.Splice) else _at(node, _CHOICE)


def _argument(node: e.Argument) -> str:
    return f"{node.name}={_at(node.value, _CHOICE)}" if node.name else _item(node.value)


def _parameters(params: tuple[e.Parameter, ...]) -> str:
    return f"({', '.join(map(_parameter, params))})" if params else ""


def _parameter(node: e.Parameter) -> str:
    return f"{node.name}={_at(node.default, _CHOICE)}" if node.default is not None else node.name


def _subscript(node: e.Node | None) -> str:
    if node is None:
        return ""
    if isinstance(node, e.Slice):
        return f"{'' if node.low is None else _at(node.low, _CHOICE)}:{'' if node.high is None else _at(node.high, _CHOICE)}"
    return _at(node, _CHOICE)
