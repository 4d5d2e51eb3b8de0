"""Writes the classes: parts that do the same apart from numbers share a class, and the numbers become its arguments."""

from __future__ import annotations

import ast
import builtins
import json
import keyword
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

from torch import nn

from ...backend.block import Block, Network
from ...lowering.ir import is_stage
from .forwards import rewrite, singular
from .leaves import REQUIRED, CodeNode
from .numbers import Expression, Values, inverse_root, multiple, numbers, same, shown, structural
from .text import WIDTH

# Arguments that may be written as a multiple of another (`2 * dim`). Strides are left out: there an equal ratio is coincidence.
_WIDTHS = {"dim", "out", "heads", "groups", "hidden", "number", "width"}
_REGIONS = {"stem": "Stem", "head": "Head", "block": "Block", "down": "Down", "end": "End"}
_MAX_TEXTS = 3  # expressions of the spec in the docstring of a class


def write_classes(root: CodeNode, reserved: Iterable[str]) -> list[str]:
    """The text of every class of a network, ``Model`` last. ``reserved``: names that the file uses already."""
    return _ClassWriter(root, reserved).texts


class _Param:
    """An argument of a class: a number that differs between its instances. ``stored``: also an attribute of the instance."""

    def __init__(self, name: str, values: list[Any], stored: bool):
        self.name, self.values, self.stored = name, values, stored


class _ClassWriter:
    """Groups the parts of a network by what they do and writes a class for each group."""

    def __init__(self, root: CodeNode, reserved: Iterable[str]):
        self.texts: list[str] = []
        self.root = root
        self.reserved = {*reserved, "Model", "F", "Tensor"}
        self.names = set(self.reserved)
        self.forwards: dict[str, ast.FunctionDef] = {}
        self.keys: dict[str, str] = {}
        groups: dict[str, list[CodeNode]] = {}
        for node in root.nodes():
            self.keys[node.path] = self.key(node)
            if node.block is not None:
                groups.setdefault(self.keys[node.path], []).append(node)
        self.classes: dict[str, _Class] = {}
        for key, nodes in groups.items():
            name = "Model" if nodes[0] is root else self.name(nodes[0])
            self.classes[key] = _Class(name, nodes, self)
            self.texts.append(self.classes[key].text)

    def key(self, node: CodeNode) -> str:
        """Describes what a part does apart from numbers: parts with the same key share a class."""
        if node.kind == "leaf":
            fixed = [[slot.name, slot.value if structural(slot.value) else "number"] for slot in node.slots]
            return json.dumps([node.call, node.frozen, node.constant, fixed])
        below = [(name, self.keys[child.path]) for name, child in node.children.items()]
        if node.kind == "list" and self.looped(node):
            return json.dumps(["each", below[0][1]])
        if node.block is None:
            return json.dumps([node.kind, below])
        self.forwards[node.path] = function = self.forward(node)
        template = deepcopy(function)
        for constant in numbers(template):
            constant.value = 0
        return json.dumps([ast.unparse(template), below, list(node.block._links), node is self.root])

    def looped(self, node: CodeNode) -> bool:
        """Whether a loop makes the items of a list: they are alike, and they are not the network's few stages."""
        alike = len({self.keys[child.path] for child in node.children.values()}) == 1
        return alike and (node.path.count(".") > 0 or len(node.children) > 6)

    def forward(self, node: CodeNode) -> ast.FunctionDef:
        """The readable ``forward`` of a part."""

        def find(path: str) -> CodeNode | None:
            part: CodeNode | None = node
            for name in re.findall(r"[A-Za-z_]\w*|\d+", path.removeprefix("self")):
                part = part.children.get(name) if part is not None else None
            return part

        def length(path: str) -> int | None:
            part = find(path)
            return len(part.children) if part is not None and part.kind == "list" else None

        def params(path: str) -> tuple[str, ...]:
            part = find(path) if path.startswith("self.") and "links" not in path else None
            return part.params if part is not None else ()

        assert node.block is not None
        function = rewrite(node.block.source.replace("self._links[", "self.links["), length, params)
        if node is self.root:
            function.body[:0] = _size_checks(node.block, [argument.arg for argument in function.args.args[1:]])
        return function

    def name(self, node: CodeNode) -> str:
        """A name for the class of a part: its compile region, the operator it consists of, or its name in the network."""
        assert node.block is not None
        *above, last = node.path.split(".")
        place = last.rstrip("0123456789") or singular(next(part for part in reversed(above) if not part.isdigit()))
        operator = re.fullmatch(r"([a-z]\w*)(\(.*\))?", node.block.text)
        single = operator is not None and _closes_last(operator[2] or "()")
        wanted = _REGIONS.get(node.block.region or "", "")
        if not wanted or (wanted in self.names and not last.isdigit()):
            wanted = _camel(operator[1] if operator is not None and single else place)
        if wanted in self.reserved and _camel(place) not in self.names:
            wanted = _camel(place)
        name = next(n for n in [wanted, *(f"{wanted}{i}" for i in range(2, 1000))] if n not in self.names)
        self.names.add(name)
        return name


def _size_checks(model: Block, names: Sequence[str]) -> list[ast.stmt]:
    """Statements that refuse inputs of sizes for which the network is not made; none if it is good for any."""
    if not isinstance(model, Network) or not model.check_sizes or (step := model._input_sizes().step()) == 1:
        return []
    lines = []
    for name, feature in zip(names, model.inputs, strict=True):
        size = feature.size()[1:]
        if not step:
            lines.append(f'torch._assert({name}.shape[1:] == {size}, "{name} is (batch, {", ".join(map(str, size))})")')
            continue
        for axis, extent in enumerate(size[1:], start=2):
            rest = f"{step}, plus {extent % step}" if extent % step else f"{step}"
            message = f"axis {axis} of {name} is a multiple of {rest}"
            lines.append(f'torch._assert({name}.shape[{axis}] % {step} == {extent % step}, "{message}")')
    return ast.parse("\n".join(lines)).body


class _Class:
    """One class. Its instances are compared part by part; a number in which they differ becomes an argument."""

    def __init__(self, name: str, nodes: list[CodeNode], writer: _ClassWriter):
        self.name, self.nodes, self.writer = name, nodes, writer
        self.params: list[_Param] = []
        self.index = {node.path: i for i, node in enumerate(nodes)}
        first = nodes[0]
        children = [f"self.{child} = {self.part([node.children[child] for node in nodes])}" for child in first.children]
        forward = self.forward()
        stored = [f"self.{param.name} = {param.name}" for param in self.params if param.stored]
        self.text = "\n".join(self.lines(stored + children + self.links(), forward))

    def lines(self, init: list[str], forward: str) -> Iterator[str]:
        yield f"class {self.name}(nn.Module):"
        yield from (f"    {line}" for line in self.doc())
        if self.doc():
            yield ""
        if init:
            yield f"    def __init__({', '.join(['self', *(param.name for param in self.params)])}):"
            yield from (f"        {line}" for line in ["super().__init__()", *init])
            yield ""
        yield from (f"    {line}" for line in forward.split("\n"))

    def doc(self) -> list[str]:
        """The docstring: the expressions of the spec that this class stands for, if they are few."""
        texts = list(dict.fromkeys(node.block.text for node in self.nodes if node.block is not None))
        stages = any(is_stage(tuple(node.path.split("."))) for node in self.nodes)
        if self.name == "Model" or stages or len(texts) > _MAX_TEXTS or not all(map(_docable, texts)):
            return []
        wrap = partial(textwrap.wrap, width=WIDTH - 12, break_on_hyphens=False, break_long_words=False)
        lines = [line for text in texts for line in wrap(text)]
        if len(lines) == 1 and not lines[0].endswith('"'):
            return [f'"""{lines[0]}"""']
        return ['"""', *lines, '"""']

    def links(self) -> list[str]:
        """Of ``Model``: the lines that link parts to what holds the shared modules they call."""
        if self.nodes[0] is not self.writer.root:
            return []
        lines = []
        for node in self.writer.root.nodes():
            if node.block is not None and node.block._links:
                holders = {key: ".".join(holder) for key, holder, _ in node.block._linked}
                shared = ", ".join(f'"{key}": self{_access(path)}' for key, path in holders.items())
                lines.append(f"self{_access(node.path)}.links = {{{shared}}}")
        return lines

    def part(self, nodes: Sequence[CodeNode]) -> str:
        """The expression that makes a part; ``nodes`` are that part in each instance of the class."""
        first = nodes[0]
        if first.kind == "list":
            if self.writer.looped(first):
                return f"nn.ModuleList({self.each(nodes)})"
            items = [self.part([node.children[name] for node in nodes]) for name in first.children]
            return f"nn.ModuleList([{', '.join(items)}])"
        if first.kind == "dict":
            entries = [f'"{name}": {self.part([node.children[name] for node in nodes])}' for name in first.children]
            return f"nn.ModuleDict({{{', '.join(entries)}}})"
        values = [self.values(node) for node in nodes]
        arguments = [
            (name, self.number(column, hint), keyword)
            for (name, hint, keyword, default), *column in zip(self.arguments(first), *values, strict=True)
            if default is REQUIRED or any(not same(value, default) for value in column)
        ]
        return first.settled(_call(self.callee(first), arguments))

    def each(self, nodes: Sequence[CodeNode]) -> str:
        """The expression for the items of a list: a loop over lists of the numbers that differ between the items."""
        items = [list(node.children.values()) for node in nodes]
        first = items[0][0]
        values = [[self.values(item) for item in group] for group in items]
        arguments: list[tuple[str, str, bool]] = []
        varied: list[tuple[int, str, str]] = []
        for at, (name, hint, named, default) in enumerate(self.arguments(first)):
            columns = [[item[at] for item in group] for group in values]
            if all(same(value, column[0]) for column in columns for value in column):
                column = [column[0] for column in columns]
                if default is REQUIRED or any(not same(value, default) for value in column):
                    arguments.append((name, self.number(column, hint), named))
                continue
            varied.append((len(arguments), hint, self.number([Values(column) for column in columns], f"{hint}s")))
            arguments.append((name, hint, named))
        places = {at for at, _, _ in varied}
        outer = [text for at, (_, text, _) in enumerate(arguments) if at not in places]
        taken = re.findall(r"[A-Za-z_]\w*", " ".join(outer))  # what the loop's own names would hide
        loops: list[tuple[str, str]] = []
        for at, hint, source in varied:
            variable = _free(hint, [*taken, *(other for other, _ in loops)])
            loops.append((variable, source))
            arguments[at] = (arguments[at][0], variable, arguments[at][2])
        call = first.settled(_call(self.callee(first), arguments))
        if not loops:
            count = self.number([len(group) for group in items], "depth")
            return f"[{call}]" if count == "1" else f"{call} for _ in range({count})"
        names, sources = ", ".join(name for name, _ in loops), ", ".join(source for _, source in loops)
        return f"{call} for {names} in {sources if len(loops) == 1 else f'zip({sources}, strict=True)'}"

    def arguments(self, node: CodeNode) -> list[tuple[str, str, bool, Any]]:
        """The arguments of the call that makes a part: name, hint, whether by keyword, default."""
        if node.block is None:
            return [(slot.name, slot.hint, slot.keyword, slot.default) for slot in node.slots]
        params = self.writer.classes[self.writer.keys[node.path]].params
        return [(param.name, param.name, at > 2, REQUIRED) for at, param in enumerate(params)]

    def values(self, node: CodeNode) -> list[Any]:
        if node.block is None:
            return [slot.value for slot in node.slots]
        cls = self.writer.classes[self.writer.keys[node.path]]
        return [param.values[cls.index[node.path]] for param in cls.params]

    def callee(self, node: CodeNode) -> str:
        return node.call if node.block is None else self.writer.classes[self.writer.keys[node.path]].name

    def forward(self) -> str:
        functions = [deepcopy(self.writer.forwards[node.path]) for node in self.nodes]
        for constants in zip(*map(numbers, functions), strict=True):
            text = self.number([constant.value for constant in constants], "number", stored=True)
            if re.search(r"[a-z]", text) and not isinstance(constants[0].value, float):
                constants[0].value = Expression(text)
        return _unquoted(ast.unparse(ast.fix_missing_locations(functions[0])))

    def number(self, values: list[Any], hint: str, stored: bool = False) -> str:
        """The expression for a number with these values in the instances: itself, or an argument of the class.

        ``hint`` names a new argument; ``stored``: the expression stands in ``forward``, so it reads an attribute.
        """
        if hint == "scale" and all(inverse_root(value) for value in values):  # of attention: one over the root of a head's width
            text = self.number([inverse_root(value) for value in values], "width")
            return f"{text if text.isalnum() else f'({text})'} ** -0.5"
        if all(same(value, values[0]) for value in values):
            return shown(values[0])
        whole = all(type(value) is int for value in values)
        for param in self.params:
            template = multiple(values, param.values) if whole and (hint in _WIDTHS or stored) else None
            if template is None and all(same(a, b) for a, b in zip(values, param.values, strict=True)):
                template = "{}"
            if template is not None:
                param.stored |= stored
                return template.format(f"self.{param.name}" if stored else param.name)
        children = self.nodes[0].children
        base = {"number": "size"}.get(hint, hint.rstrip("0123456789") or hint)
        name = next(n for n in _numbered(base) if self.usable(n, children))
        self.params.append(_Param(name, values, stored))
        return f"self.{name}" if stored else name

    def usable(self, name: str, children: Iterable[str]) -> bool:
        taken = name in children or hasattr(nn.Module, name) or hasattr(builtins, name) or keyword.iskeyword(name)
        return not taken and name not in ("training", "links") and all(param.name != name for param in self.params)


def _docable(text: str) -> bool:
    return bool(text) and "\\" not in text and '"""' not in text


def _call(name: str, arguments: Sequence[tuple[str, str, bool]]) -> str:
    return f"{name}({', '.join(f'{key}={text}' if keyword else text for key, text, keyword in arguments)})"


def _free(name: str, taken: Sequence[str]) -> str:
    return next(n for n in _numbered(name) if n not in taken)


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}{i}" for i in range(2, 10_000))


def _camel(name: str) -> str:
    words = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return words if len(words) > 1 and not keyword.iskeyword(words) else f"Part{words}"


def _closes_last(text: str) -> bool:
    """Whether the first bracket closes at the end of the text: a single call."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return at == len(text) - 1
    return False


def _access(path: str) -> str:
    return "".join(f"[{name}]" if name.isdigit() else f".{name}" for name in path.split(".")) if path else ""


def _unquoted(text: str) -> str:
    """Code with double quotes instead of single ones."""
    return re.sub(r"'([^'\"\\]*)'", r'"\1"', text)


__all__ = ["write_classes"]
