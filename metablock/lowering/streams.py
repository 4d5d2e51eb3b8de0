"""Streams: lines that give names to values, and what they return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..language import ast as e
from ..language.scope import Local, Scope, Section
from ..language.spec import Binding
from .ir import Value, ValueTree, width
from .once import Home, Once, is_member

if TYPE_CHECKING:
    from .tracer import Tracer


def function(t: Tracer, node: e.Function, scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
    """A stream with a header, which names what enters."""
    values = list(x) if isinstance(x, (list, tuple)) and len(node.params) > 1 else [x]
    if len(values) != len(node.params):
        hint = f"the stream begins with `{', '.join(node.params)} ->`"
        raise error(f"{len(values)} value(s) arrive, {len(node.params)} are named", node.span, hint)
    return t.emit(node.body, scope.with_c(width(x)).bind(dict(zip(node.params, values, strict=True))), x, suffix)


def stream(t: Tracer, node: e.StreamBody, scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
    """The lines of a stream, then its outputs: one value, a list, or a dict of named ones."""
    scope = scope.with_c(width(x))
    home = Home(t.now.draft, t.now.path, "block" if t.now.unit == "block" else None)
    for line in node.lines:
        name = line.targets[0]
        if line.word == "let":
            binding = Binding(e.Header(name, line.params, span=line.span), line.value)
            scope = scope.bind({name: Local(binding, scope)})
        elif line.word == "shared":
            label = f"{t.names.of(line.value, name)}{suffix}"
            scope = scope.bind({name: Once(label, line.value, scope, home)})
        else:
            scope = scope.bind(_assigned(line, _line(t, line, scope, x, suffix)))
    outputs = [t.emit(output, scope, x, suffix) for output in node.outputs]
    if node.names:
        return dict(zip(node.names, outputs, strict=True))
    return outputs[0] if len(outputs) == 1 else outputs


def _line(t: Tracer, line: e.Assign, scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
    """The result of one line. Values that lead its chain are its input; the modules after them get the line's name."""
    number = t.evaluate.value(line.value, scope)
    if isinstance(number, (int, float, str)):
        return number
    node = line.value
    items = list(node.items) if isinstance(node, e.Chain) else [node]
    while len(items) > 1 and _is_value(t, items[0], scope):
        x = t.emit(items.pop(0), scope, x, suffix)
        if x is None:  # a wire without tokens
            return None
    rest, scope = t.rest(node, items), scope.arrive(width(x))
    if any(isinstance(part, e.Name) and _is_section(t, part, scope) for part in e.walk(rest)):
        t.names.read(rest)  # `stem`, `stages` and `head` keep their own names
        return t.emit(rest, scope, x, suffix)
    region: str | None = t.now.unit
    if region == "block" and any(t.evaluate.repeat(item, scope) for item in items):
        region = "blocks"
    return t.resolve(rest, scope, x, f"{t.names.of(line.value, 'wire')}{suffix}", region)


def _is_section(t: Tracer, node: e.Name, scope: Scope) -> bool:
    """Whether a name means `stem`, `stages` or `head`."""
    names = t.evaluate.names
    return node.id in names.sections and isinstance(names.find(node.id, scope, node.span), Section)


def _is_value(t: Tracer, node: e.Node, scope: Scope) -> bool:
    """Whether an expression is a value of the stream, or a list of them, and no module."""
    if isinstance(node, (e.Name, e.Index)):
        value = t.evaluate.value(node, scope)
        return isinstance(value, Value) or (isinstance(value, list) and not any(map(is_member, value)))
    return isinstance(node, e.List)


def _assigned(line: e.Assign, value: ValueTree) -> dict[str, ValueTree]:
    """The result of a line by the line's names. Raises SpecError if it has another number of values."""
    if len(line.targets) == 1:
        return {line.targets[0]: value}
    value = list(value.values()) if isinstance(value, dict) else value  # named outputs, in order
    if not isinstance(value, (list, tuple)) or len(value) != len(line.targets):
        count = len(value) if isinstance(value, (list, tuple)) else 1
        hint = "`chunk(n)` gives n, `attention(heads, row=0)` two"
        raise error(f"{count} value(s) for {len(line.targets)} names", line.span, hint)
    return dict(zip(line.targets, value, strict=True))
