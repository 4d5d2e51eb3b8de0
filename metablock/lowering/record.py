"""A resolved spec and its IR as bytes, and back: plain data in JSON. Reading makes objects of the classes here, calls nothing.

The form: all values in a row, each behind those that it is made of. First come texts, numbers and constants as they are. Every
later value is a list of whole numbers: its kind (a class here, a tuple, a dict ...), then where its parts stand in the row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import fields
from fractions import Fraction
from typing import Any

from ..errors import Problem, Span, Text
from ..language import ast as e
from ..language import spec as s
from ..shape import Feature
from .ir import InlineOp, Loop, ModuleCall, ModuleList, ModuleNode, Subgraph, Value
from .objective import Average, InputOrigin, Objective

_CLASSES: tuple[type, ...] = (
    Text, Span, Problem, Feature,
    e.Name, e.Number, e.String, e.List, e.Splice, e.Comprehension, e.Argument, e.Call, e.Index, e.Slice, e.Attribute, e.Negative,
    e.Binary, e.Compare, e.Logic, e.Not, e.Conditional, e.Chain, e.Concat, e.Parameter, e.Assign, e.StreamBody, e.Function,
    e.Header, e.StageTarget,
    s.Binding, s.Edit, s.EditSet, s.Rule, s.WeightTable, s.Facts, s.Hole, s.Spec,
    Value, ModuleNode, Loop, ModuleCall, InlineOp, ModuleList, Subgraph, Average, InputOrigin, Objective,
)  # fmt: skip
# The kinds before those of the classes.
_TUPLE, _LIST, _DICT, _SET, _FROZEN, _FRACTION = range(6)
_FIRST = 6
_PLAIN = (str, int, float, bool, type(None))


class UnwritableError(Exception):
    """There is a value of another class."""


def dumps(spec: s.Spec, ir: Subgraph) -> bytes:
    """A resolved spec and its IR as bytes. Raises :class:`UnwritableError` for what has a class that is not listed here.

    >>> from metablock.front import front
    >>> spec, ir = front("resnet18")
    >>> again, same = loads(dumps(spec, ir))
    >>> again == spec, same == ir
    (True, True)
    """
    try:
        return _Writer().whole([spec, ir])
    except RecursionError:
        raise UnwritableError("nested too deep") from None


def loads(data: bytes) -> tuple[s.Spec, Subgraph]:
    """The spec and the IR that :func:`dumps` has written. Raises ValueError for other bytes.

    >>> loads(b"[1, 2]")
    Traceback (most recent call last):
        ...
    ValueError: this is no spec
    """
    try:
        plain, rows, root = json.loads(data)
        values: list[Any] = list(plain)
        add, makers = values.append, _MAKERS
        for kind, *parts in rows:
            add(makers[kind]([values[part] for part in parts]))
        spec, ir = values[root]
    except (ArithmeticError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError):
        raise ValueError("this is no spec") from None
    if not isinstance(spec, s.Spec) or not isinstance(ir, Subgraph):
        raise ValueError("this is no spec")
    return spec, ir


class _Writer:
    """Collects the values of a row; a part of a list is a plain value's place, counted from -1 downwards, or another list's."""

    def __init__(self) -> None:
        self.plain: list[Any] = []
        self.rows: list[list[int]] = []
        self.places: dict[Any, int] = {}  # plain values by type and text, rows by what they say, all others by id
        self.alive: list[Any] = []  # while an object is here, no other one has its id

    def whole(self, value: Any) -> bytes:
        root = self.add(value)
        count = len(self.plain)
        rows = [[row[0], *(part + count if part >= 0 else -1 - part for part in row[1:])] for row in self.rows]
        root = root + count if root >= 0 else -1 - root
        return json.dumps([self.plain, rows, root], separators=(",", ":")).encode()

    def add(self, value: Any) -> int:
        """Where a value stands."""
        if isinstance(value, _PLAIN):
            key: Any = (type(value), value if isinstance(value, (str, int)) else repr(value))
            if type(value) not in _PLAIN:
                raise UnwritableError(type(value).__name__)
            if key not in self.places:
                self.plain.append(value)
                self.places[key] = -len(self.plain)
            return self.places[key]
        if id(value) in self.places:
            return self.places[id(value)]
        kind, parts = _parts(value)
        row = [kind, *map(self.add, parts)]
        same = tuple(row) if kind in _ALIKE else None
        place = self.places.get(same) if same is not None else None
        if place is None:
            place = len(self.rows)
            self.rows.append(row)
            if same is not None:
                self.places[same] = place
        self.alive.append(value)
        self.places[id(value)] = place
        return place


def _parts(value: Any) -> tuple[int, Iterable[Any]]:
    """The kind of a value, and what it is made of."""
    kind = _KINDS.get(type(value))
    if kind is None:
        raise UnwritableError(type(value).__name__)
    if kind >= _FIRST:
        parts = [getattr(value, name) for name in _FIELDS[kind - _FIRST]]
        if isinstance(value, Subgraph):
            parts[_NUMBERS] = list(value.numbers.values())  # their keys are ids
        return kind, parts
    if kind == _DICT:
        return kind, [part for pair in value.items() for part in pair]
    if kind == _FRACTION:
        return kind, (value.numerator, value.denominator)
    return kind, value if kind in (_TUPLE, _LIST) else sorted(value)


def _maker(cls: type) -> Callable[[list[Any]], Any]:
    """What makes an object of a class from its fields without a call of the class, which would check nothing."""
    names = tuple(item.name for item in fields(cls))
    new: Any = cls.__new__
    if hasattr(cls, "__slots__"):
        setters = tuple(getattr(cls, name).__set__ for name in names)

        def slotted(parts: list[Any]) -> Any:
            instance = new(cls)
            for set_, part in zip(setters, parts, strict=True):
                set_(instance, part)
            return instance

        return slotted

    def plain(parts: list[Any]) -> Any:
        instance = new(cls)
        instance.__dict__.update(zip(names, parts, strict=True))
        return instance

    if cls is Subgraph:

        def subgraph(parts: list[Any]) -> Any:
            parts[_NUMBERS] = {id(pair[0]): pair for pair in parts[_NUMBERS]}
            return plain(parts)

        return subgraph
    return plain


_FIELDS = tuple(tuple(item.name for item in fields(cls)) for cls in _CLASSES)
_NUMBERS = [item.name for item in fields(Subgraph)].index("numbers")
_KINDS: dict[type, int] = {tuple: _TUPLE, list: _LIST, dict: _DICT, set: _SET, frozenset: _FROZEN, Fraction: _FRACTION}
_KINDS |= {cls: number for number, cls in enumerate(_CLASSES, _FIRST)}
_ALIKE = {_TUPLE, *(_KINDS[cls] for cls in (Span, Feature))}
_MAKERS: tuple[Callable[[list[Any]], Any], ...] = (
    tuple,
    list,
    lambda parts: dict(zip(parts[::2], parts[1::2], strict=True)),
    set,
    frozenset,
    lambda parts: Fraction(*parts),
    *map(_maker, _CLASSES),
)
