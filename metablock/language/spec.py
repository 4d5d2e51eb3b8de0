"""A spec as data: bindings, columns, sections, named sets of edits, facts. Made by :mod:`metablock.language.load`, printed by
:mod:`metablock.language.format`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..errors import Span, suggest
from .ast import Header, Node, Number, Parameter, StageTarget

# The language's revisions that this version reads (the section `metablock`), and that of a file which states none.
REVISIONS = (1,)
UNSTATED = 1
# The sections that hold one expression each, in the order in which they run or are read.
EXPRESSIONS = ("classes", "stem", "head", "model", "predict", "loss")
# How many where the spec does not say: ImageNet's.
CLASSES = 1000
# Whose checkpoints a spec may name, those of the paper's authors first.
CHECKPOINTS = ("official", "timm", "torchvision")
# The columns of `stages` that run; all others are only names.
RUNNING = ("down", "body", "end")


@dataclass(frozen=True)
class Binding:
    """A recipe: a name, what it takes, what it stands for."""

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
    """``target = value``. A value that is a table replaces `stages` or `input`, or adds to `let` or `shared`."""

    target: Header | StageTarget
    value: Node | Table
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        return self.target.name


@dataclass(frozen=True)
class EditSet:
    """A variant or a trait: other sets to start from (left to right), then its own edits; ``init`` are rules that it adds."""

    name: str
    of: tuple[str, ...]
    edits: tuple[Edit, ...]
    span: Span | None = field(default=None, compare=False, repr=False)
    init: Mapping[str, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """One line of a `weights:` table: our parameter names, and where their values stand in a foreign checkpoint."""

    ours: str
    theirs: str
    span: Span | None = field(default=None, compare=False, repr=False)
    ours_at: Span | None = field(default=None, compare=False, repr=False)
    theirs_at: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class WeightTable:
    """The rules for one kind of checkpoint; ``of`` names another whose rules follow; ``ignore`` are keys without a use here."""

    name: str
    of: str | None
    rules: tuple[Rule, ...]
    ignore: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Facts:
    """A table with a header row, and a row a variant.

    Of `facts`: ``params``, ``trainable``, ``macs``, ``input`` are exact; ``reported.*`` is what the paper prints. Of
    `checkpoints`: where whose trained weights are.
    """

    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()

    def of(self, variant: str | None) -> dict[str, str]:
        """The row of a variant as a dictionary; cells that hold ``-`` are left out."""
        for row in self.rows:
            if row and row[0] == variant:
                return {key: cell for key, cell in zip(self.header[1:], row[1:], strict=True) if cell != "-"}
        return {}

    def only(self, variant: str | None) -> Facts:
        """The table with the row of one variant; an empty one where it has none."""
        rows = tuple(row for row in self.rows if row[:1] == (variant,))
        return Facts(self.header, rows) if rows else Facts()


@dataclass(frozen=True)
class Spec:
    """One file. ``columns`` are the entries of `stages` (a list has one entry a stage)."""

    name: str
    paper: Mapping[str, str]
    inputs: Mapping[str, Node]
    let: Table
    shared: Table
    columns: Table
    stage_shared: Table
    sections: Mapping[str, Node]
    freeze: tuple[Node, ...] = ()
    init: Mapping[str, Node] = field(default_factory=dict)
    weights: Mapping[str, WeightTable] = field(default_factory=dict)
    traits: Mapping[str, EditSet] = field(default_factory=dict)
    variants: Mapping[str, EditSet] = field(default_factory=dict)
    checkpoints: Facts = field(default_factory=Facts)
    facts: Facts = field(default_factory=Facts)
    variant: str | None = None
    revision: int = UNSTATED
    places: Mapping[str, Span] = field(default_factory=dict, compare=False, repr=False)

    def __deepcopy__(self, memo: object) -> Spec:
        return self  # a spec is never changed

    def with_(self, **changes: object) -> Spec:
        """A copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def classes(self) -> int:
        """How many classes there are: `classes` where it is a number, 1000 where the spec does not say."""
        node = self.sections.get("classes")
        return node.value if isinstance(node, Number) and isinstance(node.value, int) else CLASSES

    def binding_tables(self) -> dict[str, Table]:
        """The four tables of bindings by the names of their fields, innermost scope first: reversed, the order of the text."""
        return {"stage_shared": self.stage_shared, "columns": self.columns, "shared": self.shared, "let": self.let}

    def place(self, section: str) -> Span | None:
        """Where a section of the file begins."""
        return self.places.get(section)

    def variant_named(self, name: str) -> str | None:
        """A variant by its name, or by an abbreviation that ends at an underscore and fits one variant only."""
        if name in self.variants:
            return name
        fits = [variant for variant in self.variants if variant.startswith(name + "_")]
        return fits[0] if len(fits) == 1 else None

    def suggest_variant(self, name: str) -> str | None:
        fits = [variant for variant in self.variants if variant.startswith(name)]
        if len(fits) > 1:
            return f"several begin so: {', '.join(fits[:8])}"
        return suggest(name, self.variants, f"there are {', '.join(list(self.variants)[:8])}" if self.variants else None)
