"""What a name of a spec means: where it is set, what changed it, and what its expression leads to, down to operators."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..catalogue.lookup import open_spec
from ..errors import Span, error
from ..front import resolved
from ..language import ast as e
from ..language.edits import OPTIONAL_COLUMNS, chosen_stages, parse_edits, stage_count
from ..language.hints import hint_for
from ..language.inputs import INPUT_KINDS, stated
from ..language.parser import parse_target, whole
from ..language.printer import number, show
from ..language.registry import OPERATORS, Operator
from ..language.scope import Bound, Names, Scope, Section, Word
from ..language.spec import Binding, Edit, Spec
from ..language.standard import BUILTIN, NUMERIC, standard
from ..language.uses import IMPLICIT, Uses
from ..lowering.numbers import numbers_by_block
from .check import named_source
from .docstring import doc_text
from .name_models import Explanation, NameText, Setting, StageText
from .operators import operator_place, signature
from .options import BuildOptions
from .settings import place_of, settings

# What the words of the language mean.
WORDS: Mapping[str, str] = {
    "c": "the width that enters the expression",
    "classes": "the number of classes",
    "grid": "the extents of the network's input",
    "id": "what arrives, unchanged",
    "none": "nothing: what it stands in is left out",
    "stage": "the number of the stage, from 0",
    "index": "the number of the block in its stage, from 0",
    "layer": "the number of the block in the network, from 0",
    "layers": "the number of blocks of the network",
    "part": "the number of the part, in `split(a, parts=n)` and `cascade`",
    "true": "the truth value",
    "false": "the truth value",
}
# Words that say themselves what they are.
_PLAIN = ("true", "false", *NUMERIC)
_KINDS = {
    "columns": "column",
    "shared": "shared module, built once for the network",
    "stage_shared": "shared module, built once for each stage",
    "let": "binding",
    "standard": "standard binding",
}
# What the lines of a stream name, by their first word.
_LINES = {"": "wire", "shared": "shared module", "let": "recipe"}
# What a column that no file mentions is.
_DEFAULTS = {"drop": "0", "down": "id", "end": "id"}


def explain(options: BuildOptions, slot: str) -> Explanation:
    """What a name of a network means.

    Args:
        options: the network.
        slot: a binding, column, section, wire, parameter, shared module, standard binding, operator or word: ``token``; of some
            stages: ``stages[2].token``.

    Raises:
        MetablockError: an unknown network; its subclass SpecError: a problem of the spec, or an unknown name.

    >>> [name] = explain(BuildOptions("poolformer_s12"), "token").names
    >>> name.text, [part.name for part in name.parts], name.parts[0].parts[0].kind
    ('pool(3)', ['pool(3)'], 'operator')
    """
    target = parse_target(whole(slot, "SLOT"))
    source = named_source(options.source)
    file, meant = open_spec(source)
    spec = resolved(source if isinstance(source, str) else file, **options.arguments())
    variant = file.variant_named(options.variant or meant or next(iter(file.variants), "")) if file.variants else None
    stages = None
    if isinstance(target, e.StageTarget):
        stages = chosen_stages(target, stage_count(spec))
    explainer = _Explainer(file, spec, variant, parse_edits(options.edits))
    return Explanation(
        spec=spec.name, variant=spec.variant, slot=slot, names=tuple(explainer.roots(target.name, stages, target.span))
    )


@dataclass
class _Explainer:
    """Explains the names of one network.

    Attributes:
        file: the spec with its variants; ``spec``: that of the network, ``variant``: its variant.
        edits: what changes it further.
        expanded: the names whose expressions stand above already, by table.
    """

    file: Spec
    spec: Spec
    variant: str | None
    edits: Sequence[Edit]
    expanded: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.names, self.uses = Names(self.spec), Uses(self.spec)

    def settings(self, name: str, table: str | None) -> tuple[Setting, ...]:
        """Who set a name."""
        return tuple(settings(self.file, self.variant, self.edits, name, bound=table is not None))

    # What a name is

    def roots(self, name: str, stages: list[int] | None, span: Span | None) -> Iterator[NameText]:
        """The meanings of a name. Raises SpecError if it has none."""
        tables = [(table, bindings[name]) for table, bindings in self.names.tables.items() if name in bindings]
        if tables and stages is None:
            yield self.bound(Bound(*tables[0]), name, None, root=True)
        elif tables:
            yield self.bound(Bound(*tables[0]), name, None, stages, root=True)
        elif name in self.spec.sections or name in ("input", "stages") or (name == "classes" and stages is None):
            yield self.section(name)
        elif name in OPTIONAL_COLUMNS and self.spec.columns:
            text = f"no column sets it: it is {_DEFAULTS[name]}"
            yield NameText(name=name, kind="column", text=None, note=text)
        elif name in OPERATORS:
            yield self.operator(OPERATORS[name], name, root=True)
        elif name in BUILTIN or name in NUMERIC:
            yield _word(name)
        else:
            local = list(self.local(name))
            if not local:
                raise error(f"'{self.spec.name}' has no name '{name}'", span, self.hint(name))
            yield from local

    def hint(self, name: str) -> str:
        tables = self.spec.binding_tables().values()
        wires = [known for _, nodes, _ in self.holders() for known in _locals(nodes)]
        own = [*(known for table in tables for known in table), *self.spec.sections, "input", "stages", *wires]
        slots = [*self.spec.columns, *self.spec.let, *self.spec.shared]
        otherwise = f"its slots: {', '.join(slots[:20])}" if slots else "`metablock show SPEC` shows its names"
        return hint_for(name, own, [*standard(), *OPERATORS, *BUILTIN, *NUMERIC], otherwise)

    def bound(
        self, bound: Bound, text: str, values: Mapping[str, str] | None, stages: list[int] | None = None, root: bool = False
    ) -> NameText:
        """A binding: its expression, and what that leads to."""
        binding, table = bound.binding, bound.table
        again = (table, binding.name) in self.expanded
        self.expanded.add((table, binding.name))
        body = _of_stages(binding.body, stages) if table == "columns" else [binding.body]
        expression = ", ".join(show(node) for node in body)
        hidden = {param.name for param in binding.params}
        defaults = [
            p.default
            for p in binding.params
            if p.default is not None and (values is None or values.get(p.name) == show(p.default))
        ]
        numbers = [] if binding.params else numbers_by_block(self.spec, binding.body, (table, binding.name))
        scope = Scope(hide=(table, binding.name))
        return NameText(
            name=text if not root else binding.name,
            kind=_KINDS[table],
            header=show(binding.header) if binding.params else None,
            arguments=dict(values or {}),
            text=expression if table == "columns" and stages is not None else show(binding.body),
            place=place_of(body[0].span if stages is not None else binding.body.span) or place_of(binding.header.span),
            set_by=self.settings(binding.name, table) if root else (),
            stages=tuple(_stage_texts(binding, numbers, stages)) if table == "columns" or _differ(numbers) else (),
            value=_written(numbers[0][0]) if numbers and not _differ(numbers) and not _is_number(binding.body) else None,
            parts=() if again and not root else tuple(self.parts([*body, *defaults], scope, hidden)),
            above=again and not root,
            used_by=tuple(self.users(binding.name)) if root else (),
        )

    def section(self, name: str) -> NameText:
        """A section: its expression, or, of `input` and `stages`, its entries."""
        nodes: Mapping[str, e.Node] = {}
        if name == "input":
            nodes = self.spec.inputs
        elif name == "stages":
            parts = [self.bound(Bound("columns", column), column.name, None) for column in self.spec.columns.values()]
            return NameText(
                name=name,
                kind="section",
                place=place_of(self.spec.place(name)),
                set_by=self.settings(name, None),
                parts=tuple(parts),
            )
        elif name in self.spec.sections:
            nodes = {name: self.spec.sections[name]}
        text = ", ".join(show(node) if key in (name, "input") else f"{key}: {show(node)}" for key, node in nodes.items())
        return NameText(
            name=name,
            kind="section",
            text=text or (str(self.spec.classes) if name == "classes" else None),
            note=None if text else "no section sets it",
            place=next((place_of(node.span) for node in nodes.values()), None),
            set_by=self.settings(name, None),
            parts=tuple(self.parts(list(nodes.values()), Scope(), set(INPUT_KINDS) if name == "input" else set())),
        )

    def operator(self, operator: Operator, text: str, root: bool = False) -> NameText:
        summary = doc_text(operator.schema.doc).summary
        again = ("", operator.name) in self.expanded
        self.expanded.add(("", operator.name))
        return NameText(
            name=text,
            kind="operator",
            header=signature(operator) if root else None,
            note=summary if root else None if again else _short(summary),
            place=operator_place(operator),
            used_by=tuple(self.users(operator.name)) if root else (),
        )

    def local(self, name: str) -> Iterator[NameText]:
        """The wires and parameters of this name, in the bindings and sections that the network has."""
        for holder, nodes, params in self.holders():
            for node in (part for root in nodes for part in e.walk(root)):
                if isinstance(node, e.Assign) and name in node.targets:
                    yield self.line(name, node, holder, _locals(nodes) | params)
                elif isinstance(node, e.Assign) and (param := next((one for one in node.params if one.name == name), None)):
                    yield _parameter(e.Header(node.targets[0], node.params), param, node.span)
                elif isinstance(node, e.Function) and name in node.params:
                    text = "what arrives" if len(node.params) == 1 else f"part {node.params.index(name)} of what arrives"
                    yield NameText(name=name, kind=f"wire of {holder}", note=text, place=place_of(node.span))
        for binding in self.reached():
            yield from (_parameter(binding.header, one, binding.header.span) for one in binding.params if one.name == name)

    def line(self, name: str, line: e.Assign, holder: str, hidden: set[str]) -> NameText:
        """A name that a line of a stream gives: to a value, to a module that is built once, to a recipe."""
        header = show(e.Header(line.targets[0], line.params)) if line.params else ", ".join(line.targets)
        return NameText(
            name=name,
            kind=f"{_LINES[line.word]} of {holder}",
            text=f"{line.word} {header} = {show(line.value)}".lstrip(),
            place=place_of(line.span or line.value.span),
            parts=tuple(self.parts([line.value], Scope(), hidden)),
        )

    def reached(self) -> Iterator[Binding]:
        """The bindings that the network uses, the spec's own first."""
        reached = self.uses.reached()
        for table in self.names.tables.values():
            yield from (binding for binding in table.values() if binding.name in reached)

    def holders(self) -> Iterator[tuple[str, list[e.Node], set[str]]]:
        """Every expression of the network: the name of the binding or section that holds it, and the parameters there."""
        for binding in self.reached():
            yield binding.name, [binding.body], {param.name for param in binding.params}
        yield from ((name, [node], set()) for name, node in self.spec.sections.items())

    # What an expression leads to

    def parts(self, nodes: Sequence[e.Node], scope: Scope, hidden: set[str]) -> Iterator[NameText]:
        """What the names in expressions mean, each once, in the order of the text; ``hidden`` are parameters and wires."""
        hidden = hidden | _locals(nodes)
        seen: set[str] = set()
        calls = {id(node.func): node for root in nodes for node in e.walk(root) if isinstance(node, e.Call)}
        for node in (part for root in nodes for part in e.walk(root)):
            if not isinstance(node, e.Name) or node.id in hidden or node.id in seen:
                continue
            seen.add(node.id)
            call = calls.get(id(node))
            text = show(call) if call is not None else node.id
            match self.names.find(node.id, scope, node.span):
                case Bound() as bound:
                    yield self.bound(bound, text, _arguments(bound.binding, call))
                case Operator() as operator:
                    yield self.operator(operator, text)
                case Section(name=name):
                    yield NameText(name=name, kind="section", place=place_of(self.spec.place(name)))
                case Word(name=name) if name not in _PLAIN:
                    yield _word(name)

    def users(self, name: str) -> Iterator[str]:
        """The bindings and sections of the network that use a name."""
        own = [binding for table in self.spec.binding_tables().values() for binding in table.values()]
        library = [binding for binding in standard().values() if binding.name in self.uses.reached()]
        bindings = {binding.name: binding for binding in [*library, *own]}
        readers = {name, *(IMPLICIT if name == "drop" else ())}
        yield from sorted(other for other, binding in bindings.items() if other != name and readers & self.uses.of(binding))
        sections = {
            **self.spec.sections,
            "input": e.List(tuple(part for node in self.spec.inputs.values() for part in stated(node))),
        }
        yield from (other for other, node in sections.items() if readers & _names([node]))


def _parameter(header: e.Header, param: e.Parameter, span: Span | None) -> NameText:
    return NameText(
        name=param.name,
        kind=f"parameter of {show(header)}",
        text=show(param.default) if param.default is not None else None,
        note="its default" if param.default is not None else "required",
        place=place_of(span),
    )


def _word(name: str) -> NameText:
    if name in NUMERIC:
        return NameText(name=name, kind="function of numbers")
    return NameText(name=name, kind="word", note=WORDS.get(name))


def _arguments(binding: Binding, call: e.Call | None) -> dict[str, str]:
    """The arguments of a call, by the parameters of the binding, and the defaults of the others."""
    positional = [argument.value for argument in call.args if argument.name is None] if call else []
    named = {argument.name: argument.value for argument in call.args if argument.name is not None} if call else {}
    values: dict[str, str] = {}
    for position, param in enumerate(binding.params):
        node = positional[position] if position < len(positional) else named.get(param.name, param.default)
        if node is not None:
            values[param.name] = show(node)
    return values


def _locals(nodes: Iterable[e.Node]) -> set[str]:
    """The names that expressions give to their inputs, values and rounds."""
    names: set[str] = set()
    for node in (part for root in nodes for part in e.walk(root)):
        match node:
            case e.Assign(targets=targets, params=params):
                names.update((*targets, *(param.name for param in params)))
            case e.Function(params=params):
                names.update(params)
            case e.Comprehension(var=var):
                names.add(var)
    return names


def _names(nodes: Iterable[e.Node]) -> set[str]:
    return {part.id for root in nodes for part in e.walk(root) if isinstance(part, e.Name)}


def _of_stages(body: e.Node, stages: list[int] | None) -> list[e.Node]:
    """The entries of a column in some stages, each once."""
    if not isinstance(body, e.List) or stages is None:
        return [body]
    entries: list[e.Node] = []
    for stage in stages:
        if body.items[stage] not in entries:
            entries.append(body.items[stage])
    return entries


def _stage_texts(binding: Binding, numbers: list[list[Any]], stages: list[int] | None) -> Iterator[StageText]:
    """What a name is in each stage: the entry of a column, and its numbers block by block."""
    body = binding.body
    count = len(numbers) or (len(body.items) if isinstance(body, e.List) else 0)
    for stage in range(count) if stages is None else stages:
        entry = body.items[stage] if isinstance(body, e.List) and stage < len(body.items) else body
        values = tuple(map(_written, numbers[stage])) if stage < len(numbers) else ()
        place = place_of(entry.span) if entry is not body else None
        yield StageText(stage=stage, text=show(entry), place=place, values=values)


def _differ(numbers: list[list[Any]]) -> bool:
    return len({repr(value) for stage in numbers for value in stage}) > 1


def _is_number(node: e.Node) -> bool:
    return isinstance(node, (e.Number, e.String))


def _short(summary: str) -> str:
    """The beginning of an operator's first paragraph: its first sentence, without the shapes."""
    return re.split(r": ``|\. |, in any layout|[.:]$", summary, maxsplit=1)[0]


def _written(value: Any) -> str:
    """A number as a spec would have it, to four figures where it is no whole one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_written, value))}]"
    return number(float(f"{value:.4g}")) if isinstance(value, float) else str(value)


__all__ = ["WORDS", "explain"]
