"""Open choices of a spec: ``token: one_of(pool(3), dw(7))``. A build takes the first option, studies try them all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import error
from . import ast as e
from .budget import spend
from .spec import Binding, Spec

NAME = "one_of"


@dataclass(frozen=True)
class OpenChoice:
    """A ``one_of``: its name, the slot that it stands in, and its options.

    The name is the slot's (``token``), then ``token2`` for the second one in it, or ``token_2`` where that is another slot.
    """

    name: str
    slot: str
    options: tuple[e.Node, ...]


def choices(spec: Spec) -> tuple[OpenChoice, ...]:
    """The open choices of a spec, in the order of its text. Raises SpecError for one with fewer than two options.

    >>> from metablock.language.load import load_text
    >>> net = load_text("name: net\\ninput: image(3, 32)\\nlet: {act: 'one_of(relu, gelu)'}\\nmodel: conv(8) >> act\\n")
    >>> [(choice.name, [option.id for option in choice.options]) for choice in choices(net)]
    [('act', ['relu', 'gelu'])]
    """
    result: list[OpenChoice] = []
    slots = {slot for slot, _ in _bindings(spec)}
    for slot, binding in _bindings(spec):
        inside = [node for node in e.walk(binding.body) if _open(node)]
        if inside and any(choice.slot == slot for choice in result):
            hint = "give one of the two another name"
            raise error(f"'{slot}' has open choices in two tables", binding.header.span, hint)
        for number, node in enumerate(inside, 1):
            result.append(OpenChoice(_name(slot, number, slots), slot, _options(node)))
    return tuple(result)


def chosen(spec: Spec, picks: Mapping[str, int] | None = None) -> Spec:
    """The spec with its choices made.

    Args:
        spec: with any number of open choices.
        picks: the number of the option for choices by name; others get their first option.

    >>> from metablock.language.load import load_text
    >>> net = load_text("name: net\\ninput: image(3, 32)\\nlet: {act: 'one_of(relu, gelu)'}\\nmodel: conv(8) >> act\\n")
    >>> chosen(net).let["act"].body.id, chosen(net, {"act": 1}).let["act"].body.id
    ('relu', 'gelu')
    """
    if not any(_open(node) for _, binding in _bindings(spec) for node in e.walk(binding.body)):
        return spec
    changes, slots = {}, {slot for slot, _ in _bindings(spec)}
    for field, table in spec.binding_tables().items():
        filled = {}
        for slot, binding in table.items():
            filler = _Filler(slot, slots, picks or {})
            filled[slot] = Binding(binding.header, filler.fill(binding.body))
        changes[field] = filled
    return spec.with_(**changes)


def _bindings(spec: Spec) -> Iterator[tuple[str, Binding]]:
    """Every binding with its slot, in the order of the text."""
    for table in reversed(spec.binding_tables().values()):
        yield from table.items()


def _name(slot: str, number: int, slots: Collection[str]) -> str:
    """The name of a slot's choice with this number, from 1."""
    if number == 1:
        return slot
    name = f"{slot}{number}"
    while name in slots:
        name = f"{name.removesuffix(str(number))}_{number}"
    return name


class _Filler:
    def __init__(self, slot: str, slots: Collection[str], picks: Mapping[str, int]) -> None:
        self.slot, self.slots, self.picks, self.number = slot, slots, picks, 0

    def fill(self, node: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(self.fill(part) for part in node)
        if not isinstance(node, e.Node):
            return node
        spend(1, node.span)
        if _open(node):
            self.number += 1
            options = _options(node)
            at = self.picks.get(_name(self.slot, self.number, self.slots), 0)
            # Fills every option, also those not picked, so that later choices keep their numbers.
            return [self.fill(option) for option in options][at]
        parts = {field.name: getattr(node, field.name) for field in fields(node) if field.name != "span"}
        new = {name: self.fill(part) for name, part in parts.items()}
        return replace(node, **new) if any(new[name] is not parts[name] for name in new) else node


def _open(node: e.Node) -> bool:
    return isinstance(node, e.Call) and isinstance(node.func, e.Name) and node.func.id == NAME


def _options(node: e.Node) -> tuple[e.Node, ...]:
    assert isinstance(node, e.Call)
    if len(node.args) < 2 or any(a.name is not None or isinstance(a.value, e.Splice) for a in node.args):
        raise error("`one_of` lists at least two options", node.span, "one_of(pool(3), dw(7))")
    return tuple(argument.value for argument in node.args)
