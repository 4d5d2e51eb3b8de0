"""The located nodes of a YAML text, and the caps on reading them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ...errors import Span

Style = Literal["plain", "single", "double", "literal", "folded"]


@dataclass(frozen=True)
class Scalar:
    """A text. ``content`` is the raw text between quotes or below a block's header, ``value`` the text that YAML reads in it."""

    span: Span = field(compare=False, repr=False)
    content: Span = field(compare=False, repr=False)
    value: str
    style: Style


@dataclass(frozen=True)
class Sequence:
    """A list: ``[a, b]`` (``flow``) or ``- `` lines. ``comma`` is the place of one that stands right before the bracket."""

    span: Span = field(compare=False, repr=False)
    items: tuple[Node, ...]
    flow: bool
    comma: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Mapping:
    """Keys with values, in the file's order: ``{a: b}`` (``flow``) or ``a: b`` lines. No key occurs twice."""

    span: Span = field(compare=False, repr=False)
    entries: tuple[tuple[Scalar, Node], ...]
    flow: bool

    def get(self, key: str) -> Node | None:
        """The value of a key, or None."""
        return next((value for name, value in self.entries if name.value == key), None)

    def keys(self) -> tuple[str, ...]:
        """The keys, in the file's order."""
        return tuple(key.value for key, _ in self.entries)


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass(frozen=True)
class Limits:
    """Caps on a file. A paper's spec needs a tenth of each, and a file that keeps them all is read in a second."""

    size: int = 1 << 16  # bytes of a file; characters of a text, with every alias expanded
    depth: int = 50  # nested collections, aliases followed
    aliases: int = 64
    nodes: int = 10_000  # with every alias expanded
    problems: int = 20  # after so many, reading ends
