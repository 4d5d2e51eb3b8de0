"""Which names the bindings of a spec use, and which of its bindings a network reaches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import ast as e
from .call_checks import bound_by
from .inputs import stated
from .scope import tables
from .spec import RUNNING, Binding, Edit, Spec
from .standard import BUILTIN

SECTIONS = ("stem", "stages", "head")  # what a `model` composes
# What reads the drop rate in scope without naming it.
IMPLICIT = ("res", "drop_path")


class Uses:
    """The graph of uses of one spec, its variants and further edits included.

    Args:
        spec: with its variants, or resolved.
        edits: further edits, which count as a variant's do.

    Attributes:
        edits: all edits: those of traits and variants, then the further ones.
        bindings: all bindings that a name may have, in the file itself, by an edit, or in the standard library.
    """

    def __init__(self, spec: Spec, edits: Iterable[Edit] = ()):
        self.spec = spec
        self.edits = [edit for group in (spec.traits, spec.variants) for entry in group.values() for edit in entry.edits]
        self.edits += edits
        self._used_by: dict[int, tuple[Binding, set[str]]] = {}  # by identity; the binding is held so that its id stays its own
        self.bindings: dict[str, list[Binding]] = {}
        for table in tables(spec).values():
            for name, binding in table.items():
                self.bindings.setdefault(name, []).append(binding)
        for edit in self.edits:
            for binding in bound_by(edit):
                self.bindings.setdefault(binding.name, []).append(binding)

    def of(self, binding: Binding) -> set[str]:
        """The names that a binding uses, without its own and its parameters'."""
        if id(binding) not in self._used_by:
            self._used_by[id(binding)] = (binding, self._names_in(binding))
        return self._used_by[id(binding)][1]

    def _names_in(self, binding: Binding) -> set[str]:
        nodes = [binding.body, *(p.default for p in binding.params if p.default is not None)]
        params = {p.name for p in binding.params}
        return {name for node in nodes for name in _names(node)} - params - {binding.name}

    def reached(self, further: Iterable[str] = ()) -> set[str]:
        """Every name that the network, in any variant, or one of the ``further`` names may reach."""
        roots = {*RUNNING, *further, *self.spec.unread, *(self.spec.method.holes if self.spec.method is not None else ())}
        for node in (*self.spec.sections.values(), *(part for entry in self.spec.inputs.values() for part in stated(entry))):
            roots |= _mentioned(node)
        for edit in self.edits:
            values = [edit.value] if isinstance(edit.value, e.Node) else [b.body for b in edit.value.values()]
            roots |= {name for value in values for name in _mentioned(value)}
        reached: set[str] = set()
        todo = list(roots)
        while todo:
            name = todo.pop()
            if name in reached:
                continue
            reached.add(name)
            bindings = self.bindings.get(name, [])
            todo += [used for binding in bindings for used in (*self.of(binding), *_unread(binding.body))]
            todo += ["drop"] if name in IMPLICIT else []
        return reached

    def idle_sections(self) -> list[str]:
        """The sections `stem`, `stages` and `head` that the file has and its `model`, in any variant, does not name."""
        models = [self.spec.sections["model"]] if "model" in self.spec.sections else []
        models += [edit.value for edit in self.edits if edit.name == "model" and isinstance(edit.value, e.Node)]
        if "model" not in self.spec.sections:
            return []  # without a model they run one after the other, in the variants that have none
        present = [name for name in SECTIONS if name in self.spec.sections or (name == "stages" and self.spec.columns)]
        reached = self.reached()
        return [name for name in present if name not in reached]


def _names(node: e.Node) -> set[str]:
    """The names in an expression; not a word that stands before brackets, where it is an operator: ``grid(14, 14)``."""
    nodes = list(e.walk(node))
    called = {id(n.func) for n in nodes if isinstance(n, e.Call) and isinstance(n.func, e.Name) and n.func.id in BUILTIN}
    return {n.id for n in nodes if isinstance(n, e.Name) and id(n) not in called}


def _mentioned(node: e.Node) -> set[str]:
    return _names(node) | _unread(node)


def _unread(node: e.Node) -> set[str]:
    """The words of what could not be read in an expression: a list's entry, or all of it."""
    parts = node.items if isinstance(node, e.List) else (node,)
    return {word for part in parts if isinstance(part, e.Broken) for word in part.words}


def without_unused(spec: Spec) -> Spec:
    """A resolved spec without the bindings, columns and shared modules that its network does not use: those of other variants.

    >>> from metablock.language.load import load_text
    >>> net = load_text("name: net\\ninput: image(3, 32)\\nlet: {act: relu, spare: gelu}\\nmodel: pw(8) >> act\\n")
    >>> list(without_unused(net).let)
    ['act']
    """
    reached = Uses(spec).reached()

    def used(table: Mapping[str, Binding]) -> dict[str, Binding]:
        return {name: binding for name, binding in table.items() if name in reached}

    return spec.with_(**{field: used(table) for field, table in spec.binding_tables().items()})
