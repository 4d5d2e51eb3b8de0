"""The operators and the standard bindings: a row each, which source files tell without torch, or all that is known of one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..catalogue.lookup import catalogue_file
from ..errors import MetablockError
from ..language import ast as e
from ..language.call_checks import bound_by, of_binding
from ..language.elsewhere import called_here, operators_for, plain
from ..language.plugins import installed
from ..language.printer import number, show
from ..language.ranges import range_of
from ..language.registry import OPERATORS, Operator, Param, definition, rule_definition
from ..language.resources import architectures
from ..language.spec import Binding, Spec
from ..language.standard import standard
from ..lowering.arguments import KINDS
from .catalogue import fits, no_match
from .docstring import DocText, doc_text
from .layout import one_line
from .name_models import ArgumentText, ExampleText, OperatorRow, OperatorText, OperatorUse
from .operator_layouts import layouts_of

_HEADING = 40  # a comment of so many characters above a group of bindings is its heading


def operators(pattern: str | None = None) -> list[OperatorRow]:
    """A row for each operator and each standard binding whose name matches, by name.

    Args:
        pattern: a part of the name, or, with ``*``, ``?`` or ``[``, a glob for the whole name; also a name of another library
            (`Swish`), which matches what is called so here; None: all.

    Raises:
        MetablockError: nothing matches.

    >>> [row.signature for row in operators("pool")][:1]
    ['adaptive_avg_pool(size)']
    >>> [row.name for row in operators("Swish")]
    ['hard_swish', 'silu']
    """
    installed()
    every = [_row(entry) for entry in OPERATORS.values()] + [_binding_row(binding) for binding in standard().values()]
    wanted = operators_for(pattern) if pattern is not None else set()
    if pattern is not None:
        wanted |= {row.name for row in every if plain(row.name) == plain(pattern)}
    matching = [row for row in every if row.name in wanted or fits(pattern, row.name)]
    if not matching:
        if pattern is not None and (hint := called_here(pattern)) is not None:
            raise MetablockError(f"nothing among the operators fits '{pattern}'", hint)
        raise no_match(pattern, "among the operators", [row.name for row in every])
    return sorted(matching, key=lambda row: row.name)


def operator_text(name: str) -> OperatorText | None:
    """All that is known of an operator or a standard binding; None if there is none of exactly this name.

    >>> text = operator_text("avg_pool")
    >>> text.takes, text.arguments[0].name, text.arguments[0].default
    ('map, grid, sequence', 'kernel', None)
    """
    installed()
    binding, entry = standard().get(name), OPERATORS.get(name)
    if binding is None and entry is None:
        return None
    similar = sorted(other for other in (*OPERATORS, *standard()) if other != name and name in other)
    users = [other for other, user in standard().items() if other != name and _uses(name, *_of_binding(user))]
    common: dict[str, Any] = {"bindings": users, "papers": _papers(name), "similar": similar}
    if entry is None:
        assert binding is not None
        return _binding_text(binding, common)
    doc = doc_text(entry.schema.doc)
    takes, gives = layouts_of(entry)
    return OperatorText(
        **_row(entry).model_dump(),
        formulas=doc.formulas,
        details=doc.details,
        arguments=tuple(_argument(entry, parameter, doc) for parameter in _parameters(entry)),
        takes=takes,
        gives=gives,
        returns=doc.returns,
        errors=(*doc.errors, *_messages(entry)),
        sources=doc.sources,
        examples=tuple(ExampleText(code=example.code, output=example.output) for example in doc.examples),
        place=operator_place(entry),
        definition=None,
        **common,
    )


def _row(entry: Operator) -> OperatorRow:
    return OperatorRow(
        name=entry.name,
        kind="operator",
        signature=signature(entry),
        doc=" ".join(entry.schema.doc.strip().partition("\n\n")[0].split()),
    )


def _binding_row(binding: Binding) -> OperatorRow:
    return OperatorRow(name=binding.name, kind="binding", signature=show(binding.header), doc=one_line(show(binding.body)))


# Standard bindings


def _binding_text(binding: Binding, common: Mapping[str, Any]) -> OperatorText:
    text, remarks, place = _written_binding(binding)
    arguments = [
        ArgumentText(
            name=param.name,
            takes=(),
            admits=None,
            default=show(param.default) if param.default is not None else None,
            text=None,
        )
        for param in binding.params
    ]
    return OperatorText(
        **_binding_row(binding).model_dump(),
        formulas=(),
        details=tuple(remark for remark in remarks if "arXiv" not in remark),
        arguments=tuple(arguments),
        takes=None,
        gives=None,
        returns=None,
        errors=(),
        sources=tuple(remark for remark in remarks if "arXiv" in remark),
        examples=(),
        place=place,
        definition=text,
        **common,
    )


def _written_binding(binding: Binding) -> tuple[str, list[str], str | None]:
    """A standard binding as its file has it: its lines, the comment that stands above it or above its neighbours, its place."""
    span = binding.header.span
    if span is None:
        return show(binding.body), [], None
    lines = span.text.content.splitlines()
    first = span.text.place(span.start)[0] - 1
    last = first + 1
    while last < len(lines) and lines[last].startswith(" "):
        last += 1
    above = first
    while above and lines[above - 1].strip() and not lines[above - 1].startswith("#"):
        above -= 1
    remarks: list[str] = []
    while above and lines[above - 1].startswith("#"):
        above -= 1
        remarks.insert(0, lines[above].lstrip("# "))
    remark = " ".join(remarks)
    return "\n".join(lines[first:last]), [remark] if len(remark) > _HEADING else [], f"grammars/{span.text.name}:{first + 1}"


# Who uses a name


def _papers(name: str) -> list[OperatorUse]:
    """The files of the catalogue that name an operator themselves, with the slots in which it stands."""
    uses = []
    for stem, path in architectures().items():
        if not re.search(rf"\b{re.escape(name)}\b", path.read_text(encoding="utf-8")):
            continue  # cheaper than reading the spec
        spec = catalogue_file(stem)
        if slots := uses_of(spec, name):
            uses.append(OperatorUse(file=path.name, paper=spec.paper.get("title"), slots=slots))
    return uses


def uses_of(spec: Spec, name: str) -> tuple[str, ...]:
    """The slots of a spec, in any variant, that name an operator or a standard binding: bindings, columns, sections.

    >>> uses_of(catalogue_file("swin"), "relative_bias")
    ('attn',)
    """
    slots = (slot for slot, nodes, hidden in _slots(spec) if _means(spec, name, slot) and _uses(name, nodes, hidden))
    return tuple(dict.fromkeys(slots))


def _means(spec: Spec, name: str, slot: str) -> bool:
    """Whether a name in a slot means what is outside the spec: its own bindings come first, but for the one that it stands in."""
    return slot == name or not any(name in table for table in spec.binding_tables().values())


def _slots(spec: Spec) -> Iterator[tuple[str, list[e.Node], set[str]]]:
    """The slots of a spec and its variants: the name, its expressions, the names that are parameters there."""
    for table in reversed(spec.binding_tables().values()):
        for binding in table.values():
            yield (binding.name, *_of_binding(binding))
    for section, node in spec.sections.items():
        yield section, [node], set()
    for edit in (edit for group in (spec.traits, spec.variants) for source in group.values() for edit in source.edits):
        for binding in bound_by(edit):
            yield (binding.name, *_of_binding(binding))
        if isinstance(edit.value, e.Node) and not bound_by(edit):
            yield edit.name, [edit.value], set()


def _of_binding(binding: Binding) -> tuple[list[e.Node], set[str]]:
    return [node for node, _ in of_binding(binding)], {param.name for param in binding.params}


def _uses(name: str, nodes: Iterable[e.Node], hidden: set[str]) -> bool:
    """Whether expressions name what is bound outside of them."""
    every = [node for root in nodes for node in e.walk(root)]
    local = {wire for node in every if isinstance(node, e.Assign) for wire in node.targets} | hidden
    local |= {param for node in every if isinstance(node, e.Function) for param in node.params}
    local |= {param.name for node in every if isinstance(node, e.Assign) for param in node.params}
    return name not in local and any(isinstance(node, e.Name) and node.id == name for node in every)


# Signatures


def signature(entry: Operator) -> str:
    """An operator's name and arguments as a spec calls them.

    >>> signature(OPERATORS["gelu"])
    'gelu(approximate="none")'
    """
    arguments = ", ".join(_shown(parameter) for parameter in _parameters(entry))
    return f"{entry.name}({arguments})" if arguments else entry.name


def _parameters(entry: Operator) -> list[Param | str]:
    """The arguments in order; one that takes any number of expressions by its name alone."""
    variadic = [entry.schema.variadic] if entry.schema.variadic else []
    return [*variadic, *entry.schema.params]


def _shown(parameter: Param | str) -> str:
    if isinstance(parameter, str):
        return f"*{parameter}"
    return parameter.name if parameter.required else f"{parameter.name}={_default(parameter)}"


def _default(parameter: Param) -> str:
    return (parameter.default if parameter.module else _written(parameter.default)) or "none"


def _argument(entry: Operator, parameter: Param | str, doc: DocText) -> ArgumentText:
    if isinstance(parameter, str):
        takes = ("any number of modules",)
        return ArgumentText(name=f"*{parameter}", takes=takes, admits=None, default=None, text=doc.arguments.get(parameter))
    kinds = tuple(dict.fromkeys(KINDS.get(kind, kind) for kind in parameter.types))
    numeric = any(kind in ("int", "float", "Lazy") for kind in parameter.types)
    return ArgumentText(
        name=parameter.name,
        takes=kinds,
        admits=range_of(entry.name, parameter.name).text if numeric else None,
        default=None if parameter.required else _default(parameter),
        text=doc.arguments.get(parameter.name),
    )


def _written(value: object) -> str:
    """A default as a spec would write it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, (int, float)):
        return number(value)
    return f'"{value}"'


# What the source says


def _method(node: ast.ClassDef, *names: str) -> ast.FunctionDef | None:
    return next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name in names), None)


def _messages(entry: Operator) -> list[str]:
    """The messages of the errors that the class of a leaf raises itself."""
    node, rule = definition(entry), rule_definition(entry)
    methods = [_method(rule, "shape")] if rule is not None else []
    methods += [_method(node, "__init__", "__new__")] if isinstance(node, ast.ClassDef) else []
    calls = [part for method in methods if method is not None for part in ast.walk(method) if isinstance(part, ast.Call)]
    return [_message(call.args[0]) for call in calls if isinstance(call.func, ast.Name) and call.func.id == "error" and call.args]


def _message(node: ast.expr) -> str:
    """The text of a message, with the code of what is filled in in braces."""
    if isinstance(node, ast.JoinedStr):
        parts = [
            part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, (ast.Constant, ast.FormattedValue))
        ]
        return "".join(map(str, parts))
    return str(node.value) if isinstance(node, ast.Constant) else f"{{{ast.unparse(node)}}}"


def operator_place(entry: Operator) -> str:
    """The file and line of an operator's class or function; of a package's operator its module.

    >>> operator_place(OPERATORS["res"]).partition(":")[0]
    'metablock/forms/residual.py'
    """
    node = definition(entry)
    return f"{entry.module.replace('.', '/')}.py:{node.lineno}" if node is not None else f"{entry.module}:{entry.attribute}"


__all__ = ["operator_place", "operator_text", "operators", "signature", "uses_of"]
