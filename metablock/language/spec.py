"""A spec as data: bindings, columns, sections, named sets of edits, facts. :mod:`metablock.language.load` reads one from a text,
:mod:`metablock.language.format` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ..errors import Span, suggest
from .arithmetic import calculate, is_whole
from .ast import Binary, Header, Name, Negative, Node, Number, Parameter, StageTarget

# The language's revisions that this version reads (the section `metablock`), and that of a file which states none.
REVISIONS = (1,)
UNSTATED = 1
# The sections that hold one expression each, in the order in which they run or are read.
EXPRESSIONS = ("classes", "stem", "head", "model", "predict", "loss")
# The number of classes where the spec states none: ImageNet's.
CLASSES = 1000
MAX_BINDINGS = 20  # bindings that a number of classes may lead through
# The columns of `checkpoints:`: who trained the weights, the paper's authors first.
CHECKPOINTS = ("official", "timm", "torchvision")
# The columns of `stages` that run, in this order; all others are only names.
RUNNING = ("down", "body", "end")


@dataclass(frozen=True)
class Binding:
    """A recipe: a name, its parameters, and the expression that it stands for."""

    header: Header
    body: Node

    @property
    def name(self) -> str:
        return self.header.name

    @property
    def params(self) -> tuple[Parameter, ...]:
        return self.header.params


Table = Mapping[str, Binding]


@dataclass(frozen=True)
class Edit:
    """``target = value``. A table as value replaces `stages` or `input`, or adds to `let` or `shared`."""

    target: Header | StageTarget
    value: Node | Table
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        return self.target.name


@dataclass(frozen=True)
class EditSet:
    """A variant or a trait: the sets it starts from (left to right), then its own edits; ``init`` are rules that it adds."""

    name: str
    of: tuple[str, ...]
    edits: tuple[Edit, ...]
    span: Span | None = field(default=None, compare=False, repr=False)
    init: Mapping[str, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """One line of a `weights:` table: a pattern of our parameter names, and the keys of a checkpoint that hold their values."""

    ours: str
    theirs: str
    span: Span | None = field(default=None, compare=False, repr=False)
    ours_at: Span | None = field(default=None, compare=False, repr=False)
    theirs_at: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class WeightTable:
    """The rules for one kind of checkpoint. The rules of the table ``of`` follow; ``ignore`` are foreign keys without a use."""

    name: str
    of: str | None
    rules: tuple[Rule, ...]
    ignore: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Facts:
    """A table with a header row and a row per variant: the section `facts` or `checkpoints`.

    In `facts` the columns ``params``, ``trainable``, ``macs`` and ``input`` are exact, ``reported.*`` is printed in the paper. In
    `checkpoints` a cell is the place of trained weights.

    >>> table = Facts(("variant", "params", "macs"), (("small", "12", "-"), ("large", "34", "56")))
    >>> table.of("small")
    {'params': '12'}
    """

    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    places: tuple[tuple[Span, ...], ...] = field(default=(), compare=False, repr=False)  # of the cells of each row

    def of(self, variant: str | None) -> dict[str, str]:
        """The row of a variant as a dictionary; cells that hold ``-`` are left out."""
        for row in self.rows:
            if row and row[0] == variant:
                return {key: cell for key, cell in zip(self.header[1:], row[1:], strict=True) if cell != "-"}
        return {}

    def only(self, variant: str | None) -> Facts:
        """The table with the row of one variant; an empty one where it has none."""
        rows = tuple(row for row in self.rows if row[:1] == (variant,))
        return (
            Facts(self.header, rows, tuple(self.places[self.rows.index(row)] for row in rows if self.places)) if rows else Facts()
        )

    def place(self, variant: str, column: str) -> Span | None:
        """Where the cell of a variant stands; None for a table that was not read from a file."""
        at = next((at for at, row in enumerate(self.rows) if row and row[0] == variant), None)
        return self.places[at][self.header.index(column)] if at is not None and self.places else None


@dataclass(frozen=True)
class Hole:
    """A line of `backbone:` in a method's file: what it takes of a backbone, ``embed: image -> map``.

    ``takes`` and ``gives`` are words of :data:`metablock.language.load.KINDS`.
    """

    takes: str
    gives: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, repr=False)
class Spec:
    """One file, as immutable data. Each field is the section of its name; ``columns`` and ``stage_shared`` are `stages`,
    ``sections`` those that hold one expression; ``holes`` are the section `backbone` of a method's file, and ``method`` is the
    method that trains this network. ``places`` says where each section begins, ``resolved`` that it is one network: ``variant``,
    its edits made; ``unread`` are the words of what could not be read of a file with mistakes.

    >>> from metablock.language.load import load_text
    >>> net = load_text("name: net\\ninput: image(3, 32)\\nstages: {depth: [2, 2], body: depth * pw(8)}\\n")
    >>> list(net.columns), net.classes, net.revision
    (['depth', 'body'], 1000, 1)
    """

    name: str
    paper: Mapping[str, str]
    inputs: Mapping[str, Node]
    let: Table
    shared: Table
    columns: Table
    stage_shared: Table
    sections: Mapping[str, Node]
    freeze: tuple[str, ...] = ()
    init: Mapping[str, Node] = field(default_factory=dict)
    weights: Mapping[str, WeightTable] = field(default_factory=dict)
    traits: Mapping[str, EditSet] = field(default_factory=dict)
    variants: Mapping[str, EditSet] = field(default_factory=dict)
    checkpoints: Facts = field(default_factory=Facts)
    facts: Facts = field(default_factory=Facts)
    variant: str | None = None
    holes: Mapping[str, Hole] = field(default_factory=dict)
    recipe: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    method: Spec | None = None
    resolved: bool = field(default=False, compare=False)
    unread: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    revision: int = UNSTATED
    places: Mapping[str, Span] = field(default_factory=dict, compare=False, repr=False)

    def __repr__(self) -> str:
        """The name and what it is a spec of: one network, or a file with variants.

        >>> from metablock.language.load import load_text
        >>> load_text("name: net\\ninput: image(3, 32)\\nmodel: pw(8)\\nvariants: {small: {}, large: {model: pw(16)}}\\n")
        Spec('net', variants small, large)
        """
        if self.variants:
            shown = [*list(self.variants)[:5], *["..."][: len(self.variants) > 5]]
            return f"Spec({self.name!r}, variants {', '.join(shown)})"
        return f"Spec({self.name!r}, variant {self.variant!r})" if self.variant else f"Spec({self.name!r})"

    def __deepcopy__(self, memo: object) -> Spec:
        return self  # immutable

    def with_(self, **changes: object) -> Spec:
        """A copy with these fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def classes(self) -> int:
        """The number of classes: `classes`, computed from numbers and bindings where it is no number itself; by default 1000.

        >>> from metablock.language.load import load_text
        >>> load_text("name: n\\ninput: image(3, 8)\\nlet: {sets: 2}\\nclasses: 10 * sets\\nmodel: pw(classes)\\n").classes
        20
        """
        value = self._number(self.sections.get("classes"), {})
        return value if is_whole(value) else CLASSES

    def _number(self, node: Node | None, known: dict[str, int | float | None]) -> int | float | None:
        """The value of an expression of numbers and their bindings, None for another. ``known`` are values of bindings."""
        match node:
            case Number(value=value):
                return value
            case Name(id=name) if name in self.let:
                if name not in known and len(known) < MAX_BINDINGS:
                    known[name] = None  # in a circle
                    known[name] = self._number(self.let[name].body, known)
                return known.get(name)
            case Negative(value=inner):
                number = self._number(inner, known)
                return None if number is None else -number
            case Binary(op=op, left=left, right=right):
                a, b = self._number(left, known), self._number(right, known)
                with suppress(ArithmeticError):
                    return None if a is None or b is None else calculate(op, a, b)
        return None

    def binding_tables(self) -> dict[str, Table]:
        """The four tables of bindings by the names of their fields, innermost scope first: reversed, the order of the text."""
        return {"stage_shared": self.stage_shared, "columns": self.columns, "shared": self.shared, "let": self.let}

    def nodes(self) -> Iterator[Node]:
        """The expressions of its sections and bindings."""
        yield from self.sections.values()
        for table in self.binding_tables().values():
            yield from (binding.body for binding in table.values())

    def place(self, section: str) -> Span | None:
        """Where a section of the file begins."""
        return self.places.get(section)

    def variant_named(self, name: str) -> str | None:
        """The full name of a variant, from its name or an abbreviation: up to an underscore, and of one variant only. Or None."""
        if name in self.variants:
            return name
        fits = [variant for variant in self.variants if variant.startswith(name + "_")]
        return fits[0] if len(fits) == 1 else None

    def suggest_variant(self, name: str) -> str | None:
        """A hint for the name of an unknown variant."""
        fits = [variant for variant in self.variants if variant.startswith(name)]
        if len(fits) > 1:
            return f"several begin so: {', '.join(fits[:8])}"
        return suggest(name, self.variants, f"there are {', '.join(list(self.variants)[:8])}" if self.variants else None)
