"""Looks names up: parameters and wires first, then columns, shared modules, `let`, the standard bindings, operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import Span, error
from .ast import Node, Parameter
from .budget import spend
from .hints import hint_for
from .registry import OPERATORS, Operator
from .spec import Binding, Spec
from .standard import BUILTIN, LATE, NUMERIC, standard


@dataclass(frozen=True)
class Scope:
    """The lexical scope of an expression.

    ``vars`` are its parameters and wires, ``c`` is the width of its input; ``arriving`` is the width that arrives at the present
    item of its chain, None where that is ``c``. ``hide`` is the table and the name of the binding whose body it is: inside, that
    name means the next outer one.
    """

    vars: Mapping[str, Any] = field(default_factory=dict)
    c: int | None = None
    hide: tuple[str, str] | None = None
    arriving: int | None = None

    @property
    def w(self) -> int | None:
        """The width that arrives: what the word `w` means."""
        return self.c if self.arriving is None else self.arriving

    def arrive(self, width: int | None) -> Scope:
        """The same scope at an item of a chain that this width arrives at."""
        return self if width is None or width == self.w else replace(self, arriving=width)

    def with_c(self, c: int | None) -> Scope:
        """The same scope around an input of another width."""
        return replace(self, c=c, arriving=None)

    def bind(self, values: Mapping[str, Any]) -> Scope:
        """A scope inside this one, with more parameters or wires."""
        spend(len(self.vars) // 8)
        return replace(self, vars={**self.vars, **values})


@dataclass(frozen=True)
class Closure:
    """An expression with its scope, evaluated later: an argument, or a module that is not applied yet."""

    node: Node
    scope: Scope


@dataclass(frozen=True)
class Bound:
    """A name that a table of bindings holds."""

    table: str
    binding: Binding


@dataclass(frozen=True)
class Local:
    """A recipe that a stream's line declares, ``let f(a=3) = ...``, in the scope of that line."""

    binding: Binding
    scope: Scope


@dataclass(frozen=True)
class HoleName:
    """A part of a backbone that a method takes (:class:`~metablock.language.spec.Hole`)."""

    name: str


@dataclass(frozen=True)
class Word:
    """A name of the language itself: ``c``, ``index``, ``round8`` ..."""

    name: str


@dataclass(frozen=True)
class Section:
    """`stem`, `stages` or `head`, named inside `model`."""

    name: str


Found = Bound | Word | Operator | Any


def tables(spec: Spec) -> dict[str, Mapping[str, Binding]]:
    """The tables of bindings that a name is looked up in, innermost scope first; the standard library is the outermost.

    >>> from metablock.language.load import load_text
    >>> list(tables(load_text("name: net\\ninput: image(3, 32)\\nmodel: pw(8)\\n")))
    ['stage_shared', 'columns', 'shared', 'let', 'standard']
    """
    return {**spec.binding_tables(), "standard": standard()}


class Names:
    """The names of one spec.

    >>> from metablock.language.load import load_text
    >>> names = Names(load_text("name: net\\ninput: image(3, 32)\\nlet: {act: gelu}\\nmodel: pw(8) >> act\\n"))
    >>> names.find("act", Scope(), None).table, names.find("gelu", Scope(), None).name
    ('let', 'gelu')
    """

    def __init__(self, spec: Spec):
        self.tables = tables(spec)
        self.sections = {name for name in ("stem", "head") if name in spec.sections} | ({"stages"} if spec.columns else set())

    def find(self, name: str, scope: Scope, span: Span | None, called: bool = False) -> Found:
        """What the name means in a scope. Raises SpecError at ``span``, with a suggestion, for an unknown name.

        ``called``: it stands before brackets: `grid` is a word of the language, and `grid(14, 14)` an operator.
        """
        if name in scope.vars:
            return scope.vars[name]
        if called and name in BUILTIN and name in OPERATORS:
            return OPERATORS[name]
        if name in BUILTIN or name in NUMERIC:
            return Word(name)
        hidden = scope.hide is not None and scope.hide[1] == name
        skipping = hidden
        for table, bindings in self.tables.items():
            if skipping:
                skipping = scope.hide is not None and table != scope.hide[0]
                continue
            if name in bindings:
                return Bound(table, bindings[name])
        if name in OPERATORS:
            return OPERATORS[name]
        if name in self.sections:
            return Section(name)
        if name in LATE:
            return Word(name)
        if name == "drop":
            return 0
        raise error(f"unknown {'operator or ' if not hidden else ''}name '{name}'", span, self.suggest(name, scope))

    def is_inline(self, name: str) -> bool:
        """Whether this is an operator that adds no level to parameter names."""
        bound = any(name in table for table in self.tables.values())
        return not bound and name in OPERATORS and OPERATORS[name].inline

    def suggest(self, name: str, scope: Scope) -> str | None:
        """A hint with the known name that is nearest, or where names come from."""
        own = [*scope.vars, *(n for table, bindings in self.tables.items() for n in bindings if table != "standard")]
        if scope.hide is not None:
            own = [other for other in own if other != scope.hide[1]]  # it would lead in a circle
        others = [*standard(), *OPERATORS, *BUILTIN]
        return hint_for(name, own, others, "names are bound in `let`; `metablock list --operators` shows the operators")


def parameter_values(params: tuple[Parameter, ...], values: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """The values of all parameters: those in ``values``, and the defaults of the others, which see the parameters before them.

    >>> from metablock.language.ast import Name, Number
    >>> result = parameter_values((Parameter("n", None), Parameter("k", Name("n"))), {"n": Number(8)}, Scope())
    >>> result["n"].value, result["k"].node.id, result["k"].scope.vars["n"].value
    (8, 'n', 8)
    """
    result: dict[str, Any] = {}
    for param in params:
        if param.name in values:
            result[param.name] = values[param.name]
        elif param.default is not None:
            spend((len(result) + len(scope.vars)) // 8)
            result[param.name] = Closure(param.default, replace(scope, vars={**scope.vars, **result}))
    return result


def local_scope(local: Local, values: Mapping[str, Any], c: int | None) -> Scope:
    """The scope of the body of a recipe that a stream's line declares: the line's, with its parameters.

    Args:
        local: the recipe.
        values: its arguments by name.
        c: the width of what enters.

    >>> from metablock.language.ast import Header, Name, Number
    >>> recipe = Local(Binding(Header("f", (Parameter("k", Number(3)),)), Name("k")), Scope({"y": 1}))
    >>> scope = local_scope(recipe, {}, 8)
    >>> sorted(scope.vars), scope.c
    (['k', 'y'], 8)
    """
    inner = local.scope.with_c(c)
    return inner.bind(parameter_values(local.binding.params, values, inner))
