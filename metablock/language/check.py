"""Checks of a spec that need neither shapes nor torch: names, calls, circles, unused bindings, weight rules, variants."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ..errors import MAX_PROBLEMS, Problem, SpecError
from . import ast as e
from .budget import FILE, reading, spend
from .call_checks import (
    bound_by,
    certain,
    depthwise_hint,
    grouped_by_c,
    is_number,
    misfit,
    missing,
    of_binding,
    pairs,
    signature,
    sources,
)
from .choices import NAME as ONE_OF
from .cycles import cycles
from .edits import resolve, stage_count
from .elsewhere import LIBRARIES
from .fact_tables import check_tables
from .hints import hint_for
from .inputs import INPUT_HINT, INPUT_KINDS
from .plugins import installed
from .registry import OPERATORS
from .scope import tables
from .spec import Binding, Edit, Spec
from .standard import BUILTIN, LATE, NUMERIC, standard
from .stream_checks import never_read, returned_twice, unread
from .suggestions import Suggestions
from .unused import unused
from .uses import SECTIONS, Uses
from .weight_rules import check_rules

RESERVED = "is a word of the language and cannot be bound"


def check_names(spec: Spec, *, unused: bool = True, edits: Iterable[Edit] = ()) -> list[Problem]:
    """Every problem of a spec's names and calls, in its variants and weight rules too. An empty list: there is none.

    Args:
        spec: with its variants, or resolved.
        unused: whether unused bindings count as problems. False for a spec with edits: they may have replaced the only use of a
            binding. Then only expressions that the network uses are checked.
        edits: further edits, which are checked as a variant's are.

    Raises:
        MetablockError: an installed package declares an operator whose name is taken.

    >>> from metablock.language.load import load_text
    >>> net = load_text("name: net\\ninput: image(3, 32)\\nlet: {spare: relu}\\nmodel: conv(8, 3) >> gelo\\n")
    >>> [(problem.message, problem.hint) for problem in check_names(net)][0]
    ("unknown name 'gelo'", "did you mean 'gelu'?")
    >>> [problem.message for problem in check_names(net)][1]
    "the binding 'spare' is never used"
    """
    installed()
    with reading(FILE, spec.place("name")):
        return _Checker(spec, edits).run(unused)


def check_edits(before: Spec, after: Spec, edits: Iterable[Edit]) -> list[Problem]:
    """A problem for each edit that changes nothing: the network uses its slot neither before all edits nor after them.

    >>> from metablock.language.edits import apply, parse_edits
    >>> from metablock.language.load import load_text
    >>> net = load_text("name: net\\ninput: image(3, 32)\\nmodel: pw(8)\\n")
    >>> edits = parse_edits(["mlp = id"])
    >>> [problem.message for problem in check_edits(net, apply(net, edits), edits)]
    ["the edit of 'mlp' changes nothing: 'net' does not use it"]
    """
    reached = Uses(before).reached() | Uses(after).reached()
    slots = [name for table in (before.columns, before.let) for name in table if name in reached]
    bound = {name for table in tables(after).values() for name in table}
    return [
        Problem(
            f"the edit of '{edit.name}' changes nothing: '{after.variant or after.name}' does not use it",
            edit.target.span,
            f"what it uses: {', '.join(slots)}",
        )
        for edit in edits
        if edit.name in bound and edit.name not in reached
    ]


class _EnoughError(Exception):
    """The text has so many problems that more would help nobody."""


class _Checker:
    def __init__(self, spec: Spec, edits: Iterable[Edit] = ()):
        self.spec = spec
        self.further = tuple(edits)
        self.problems: list[Problem] = []
        self.uses = Uses(spec, self.further)
        self.edits, self.bindings = self.uses.edits, self.uses.bindings
        self.suggestions = Suggestions(self.uses)
        self.meant: set[str] = set()  # what unknown names may stand for: it is not called unused
        self.inside: str | None = None  # the binding of the file whose expressions are being checked

    def run(self, unused: bool) -> list[Problem]:
        with suppress(_EnoughError):
            self._run(unused)
        return list({problem.key: problem for problem in self.problems}.values())

    def _run(self, whole: bool) -> None:
        self._bindings()
        reached = None if whole else self.uses.reached()
        for node, names in self._expressions(reached):
            self._walk(node, names)
        self._input()
        self._body()
        self.add(cycles(self.spec, self.uses.of))
        if whole:
            self.add(unused(self.uses, self.meant))
            self.add(check_rules(self.spec))
        self._variants()

    def wrong(self, message: str, node: e.Node | None, hint: str | None = None) -> None:
        self.add([Problem(message, node.span if node is not None else None, hint)])

    def add(self, problems: Iterable[Problem]) -> None:
        """Notes problems. Raises _EnoughError where there are so many that more would help nobody."""
        self.problems += problems
        if len(self.problems) >= MAX_PROBLEMS:
            raise _EnoughError

    # Bindings themselves

    def _bindings(self) -> None:
        written = [binding for table in self.spec.binding_tables().values() for binding in table.values()]
        for binding in [*written, *(b for edit in self.edits for b in bound_by(edit))]:
            for name, node in [(binding.name, binding.header), *((p.name, p) for p in binding.params)]:
                self._reserved(name, node)
            if binding.name in OPERATORS and not OPERATORS[binding.name].later and is_number(binding.body):
                self.wrong(
                    f"the number '{binding.name}' hides the operator of this name", binding.header, "give the number another name"
                )
        for name in self.spec.let:
            if name in self.spec.columns:
                self.wrong(f"'{name}' stands both in `let` and in `stages`", self.spec.columns[name].header, "keep one of them")
        for table in self.spec.binding_tables().values():
            for name in self._ambiguous & table.keys():
                hint = f"give it another name: an edit of '{name}' would reach the section"
                self.wrong(f"'{name}' is the name of a section, too", table[name].header, hint)

    @property
    def _ambiguous(self) -> set[str]:
        """The sections of this file, one of whose bindings may not have their names."""
        return {"input", *self.spec.sections, *(("stages",) if self.spec.columns else ())}

    def _reserved(self, name: str, node: e.Node) -> None:
        if name in BUILTIN or name in NUMERIC:
            self.wrong(f"'{name}' {RESERVED}", node, "choose another name")

    # Expressions and the names that are visible in them

    def _expressions(self, reached: set[str] | None) -> Iterator[tuple[e.Node, frozenset[str]]]:
        spec = self.spec
        for table in spec.binding_tables().values():
            for binding in table.values():
                if reached is None or binding.name in reached:
                    self.inside = binding.name
                    yield from of_binding(binding)
        self.inside = None
        for name, node in spec.sections.items():
            self._choices(node)
            yield node, frozenset(SECTIONS) if name in ("model", "predict") else frozenset()
        for edit in self.edits:
            if isinstance(edit.value, e.Node):
                if edit.name != "input":
                    params = edit.target.params if isinstance(edit.target, e.Header) else ()
                    spend(len(self.bindings.get(edit.name, [])) // 8)
                    known = {p.name for b in self.bindings.get(edit.name, []) for p in b.params} | {p.name for p in params}
                    yield edit.value, frozenset(known) | (frozenset(SECTIONS) if edit.name == "model" else frozenset())
            elif edit.name != "input":
                for binding in edit.value.values():
                    yield from of_binding(binding)

    def _choices(self, section: e.Node) -> None:
        """Reports open choices in a section: a study varies bindings and columns."""
        for node in e.walk(section):
            if isinstance(node, e.Call) and isinstance(node.func, e.Name) and node.func.id == ONE_OF:
                self.wrong("`one_of` stands in a section", node, "give the choice a name in `let`: `token: one_of(...)`")

    def _walk(self, node: e.Node, names: frozenset[str]) -> None:
        spend(1, node.span)
        match node:
            case e.Name(id=name):
                self._known(node, names)
            case e.Call(func=func, args=args):
                self._call(node, names)
                if not isinstance(func, e.Name):
                    self._walk(func, names)
                for argument in args:
                    self._walk(argument.value, names)
            case e.Attribute(base=e.Name(id=name), name=attribute) if name in LIBRARIES and not self._means(name, names):
                called = hint_for(attribute, (), (*OPERATORS, *standard()), "operators stand alone: `linear(8)`")
                self.wrong(f"'{name}' is a library of Python's, which a spec does not read", node, called)
            case e.Function(params=params, body=body):
                for name in params:
                    self._reserved(name, node)
                self._walk(body, (names | set(params)) - {"_"})
            case e.StreamBody():
                self._block(node, names)
            case e.Binary(op="*", left=left, right=right) if self._counts(left):
                self._walk(left, names)
                self._sources(right, names)
                self._walk(right, names)
            case e.Comprehension(item=item, var=var, source=source, test=test):
                self._reserved(var, node)
                self._walk(source, names)
                for inner in [item] if test is None else [item, test]:
                    self._walk(inner, names | {var})
            case e.Chain(items=items):
                for position, item in enumerate(items):
                    if position and grouped_by_c(item):
                        self.wrong(
                            "`groups=c` in the middle of a chain: `c` is the width at its start", item, depthwise_hint(item)
                        )
                    self._walk(item, names)
            case _:
                for child in e.children(node):
                    self._walk(child, names)

    def _block(self, node: e.StreamBody, names: frozenset[str]) -> None:
        idle = unread(node)
        for line in node.lines:
            params = {param.name for param in line.params}
            for param in line.params:
                self._reserved(param.name, param)
                if param.default is not None:
                    self._walk(param.default, names | params)
            self._walk(line.value, names | params)
            for name in line.targets:
                self._reserved(name, line)
            problem = never_read(line, idle)
            self.add([problem] if problem else [])
            spend(len(names) // 128)
            names = (names | set(line.targets)) - {"_"}
        for output in node.outputs:
            self._walk(output, names)
        self.add(returned_twice(node))

    def _counts(self, node: e.Node) -> bool:
        """Whether this is a number, as far as the text alone can tell."""
        if isinstance(node, e.Name):
            bindings = self.bindings.get(node.id, [])
            spend(len(bindings) // 4)
            return any(is_number(binding.body) for binding in bindings)
        if isinstance(node, e.Binary):
            return self._counts(node.left) and self._counts(node.right)
        return is_number(node)

    def _sources(self, node: e.Node, names: frozenset[str]) -> None:
        """Reports sources that are items of a repeated chain. (As an argument, `query=id + learned(1)`, they may be meant.)"""
        for name, item in sources(node, names):
            self.wrong(
                f"`{name}` inside a repeat begins anew in every copy", item, "put it in the stem, in `down`, or in `shared`"
            )

    def _means(self, name: str, names: frozenset[str]) -> bool:
        return name in names or name in self.bindings or name in OPERATORS

    def _known(self, node: e.Name, names: frozenset[str]) -> None:
        if node.id in self.bindings and node.id not in names:
            self._binds(e.Call(node, (), span=node.span), self.bindings[node.id])
        if node.id in names or node.id in self.bindings or node.id == "drop" or node.id in self.spec.unread:
            return
        if node.id in OPERATORS and node.id not in BUILTIN:
            if lacking := missing(OPERATORS[node.id], []):
                self.wrong(lacking, node, signature(OPERATORS[node.id]))
            return
        if node.id in (*BUILTIN, *LATE, *NUMERIC, ONE_OF):
            return
        hint = "names are bound in `let`; `metablock list --operators` shows the operators"
        self._unknown("name", node, [*names, *self.suggestions.own(self.inside, called=False)], BUILTIN, hint)

    def _unknown(self, kind: str, node: e.Name, own: Iterable[str], words: Iterable[str], otherwise: str) -> None:
        """Reports an unknown name; ``own`` are names that may stand there, ``words`` those of the language."""
        hint = self.suggestions.hint(node.id, own, words, otherwise, called=kind == "operator")
        self.wrong(f"unknown {kind} '{node.id}'", node, hint)
        guess = re.fullmatch(r"did you mean '(\w+)'\?", hint)
        self.meant |= {"drop", guess[1]} if guess else {"drop"}

    def _call(self, node: e.Call, names: frozenset[str]) -> None:
        func = node.func
        if not isinstance(func, e.Name):
            if isinstance(func, e.Attribute) and isinstance(func.base, e.Name) and func.base.id in LIBRARIES:
                return  # that is said of the attribute
            self.wrong("only a name can be called", func, "`f(x)` gives arguments to a recipe; data flows with `>>`")
            return
        name = func.id
        if name == ONE_OF:
            if len(node.args) < 2 or certain(node.args) is not node.args or any(a.name is not None for a in node.args):
                self.wrong("`one_of` lists at least two options", node, "one_of(pool(3), dw(7))")
            return
        if name in names or name in NUMERIC:
            return
        if name in self.bindings:
            # Inside its own body a binding's name means the operator; only lowering knows which of the two this call reaches.
            if name not in OPERATORS:
                self._binds(node, self.bindings[name])
        elif name in OPERATORS:
            operator = OPERATORS[name]
            try:
                args = certain(node.args)
                lacking = missing(operator, pairs(operator, args))
                if lacking and args is node.args:
                    self.wrong(lacking, node, signature(operator))
            except SpecError as problem:
                self.add(problem.problems)
        elif name not in BUILTIN and name not in self.spec.unread:
            hint = "`metablock list --operators` shows the operators"
            self._unknown("operator", func, self.suggestions.own(self.inside, called=True), NUMERIC, hint)
        elif name in BUILTIN:
            self.wrong(f"'{name}' takes no arguments", node, "remove the brackets")

    def _binds(self, call: e.Call, bindings: list[Binding]) -> None:
        """Reports a call that fits none of the bindings which its name may have."""
        self.add(misfit(call, bindings))

    def _input(self) -> None:
        for node in self.spec.inputs.values():
            if isinstance(node, e.Call) and isinstance(node.func, e.Name) and node.func.id in INPUT_KINDS:
                for argument in node.args:
                    self._walk(argument.value, frozenset())
            elif not isinstance(node, e.Broken):
                self.wrong("this is no input", node, INPUT_HINT)

    def _body(self) -> None:
        bodies = [self.spec.columns["body"].body] if "body" in self.spec.columns else []
        for body in [*bodies, *(edit.value for edit in self.edits if edit.name == "body" and isinstance(edit.value, e.Node))]:
            for entry in body.items if isinstance(body, e.List) else (body,):
                self._sources(entry, frozenset())

    # Variants

    def _variants(self) -> None:
        names: list[str | None] = [*self.spec.variants] or [None]
        for name in names:
            try:
                network = resolve(self.spec, name, self.further)
                stage_count(network)
                if self.spec.variants or self.further:
                    self.add(cycles(network, self.uses.of))
            except SpecError as problem:
                said = [f"'{name}' is both a section" for name in self._ambiguous]
                self.add(p for p in problem.problems if not p.message.startswith(tuple(said)))
        for name, trait in self.spec.traits.items():
            if name in self.spec.variants:
                message = f"'{name}' names both a trait and a variant"
                self.add([Problem(message, trait.span, "give the trait another name: `of:` means the variant")])
        self.add(check_tables(self.spec))
