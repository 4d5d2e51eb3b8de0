"""Methods: how a network is trained, as a file of its own, with holes where a backbone stands.

A method is read into a :class:`~metablock.language.spec.Spec`, whose ``holes`` are the section `backbone`. :func:`combined`
puts it around the spec of a backbone: the result is one network, with the backbone's stages and the method's inputs, model and
loss. Names of the two do not meet: the backbone's expressions see the backbone's bindings, the method's see the method's and its
holes.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from ..errors import MetablockError, Problem, SpecError, error, suggest
from . import ast as e
from .load import SpecLoader
from .resources import folder
from .spec import Facts, Hole, Spec
from .yaml import Mapping, Node, read_mended, read_text

SECTIONS = (
    "metablock", "method", "paper", "backbone", "input", "let", "shared", "model", "predict", "loss", "freeze", "init", "weights",
    "recipe", "facts",
)  # fmt: skip
FACTS = ("backbone", "input", "params", "trainable", "macs", "reported.top1")
# What may enter and leave a hole, and what messages call it.
KINDS = {
    "image": "what the data give",
    "map": "a map, or tokens on a grid",
    "tokens": "tokens",
    "vector": "a vector",
    "any": "anything",
}
ENCODER = "encoder"  # the whole backbone without its last linear layer
PARTS = ("stem", "stages", "head")
_FORM = re.compile(r"\s*(\w+)\s*->\s*(\w+)\s*")


class MethodLoader(SpecLoader):
    """Reads the sections of a method's file."""

    known_sections = SECTIONS

    def method(self, root: Mapping) -> Spec:
        """The method. Raises SpecError with every problem of the file's form."""
        revision = self.revision(root.get("metablock"))
        sections = self.sections(root)
        spec = Spec(
            name=self.word(sections.get("method")) or "",
            paper=self.paper(sections.get("paper")),
            inputs=self.inputs(sections.get("input")),
            let=self.table(sections.get("let")),
            shared=self.table(sections.get("shared")),
            columns={},
            stage_shared={},
            sections={name: self.expr(sections[name]) for name in ("model", "predict", "loss") if name in sections},
            freeze=self.selectors(sections.get("freeze")),
            init=self.init(sections.get("init")),
            weights=self.weights(sections.get("weights")),
            facts=self.table_of("facts", FACTS, sections.get("facts")),
            holes=self.holes(sections.get("backbone")),
            recipe=self.recipe(sections.get("recipe")),
            revision=revision,
            unread=frozenset(self.lost),
            places={key.value: key.span for key, _ in root.entries},
        )
        for section, hint in _MISSING.items():
            if section not in sections and not self.unread:
                self.wrong(f"the section '{section}' is missing", root.span.part(0, 1), hint)
        self.done()
        return spec

    def holes(self, node: Node | None) -> dict[str, Hole]:
        """The section `backbone`."""
        result: dict[str, Hole] = {}
        mapping = self.mapping(node, "`backbone`")
        for key, value in mapping.entries if mapping else ():
            form = _FORM.fullmatch(self.word(value) or "")
            strange = next((word for word in form.groups() if word not in KINDS), None) if form else None
            if form is None or strange is not None:
                message = f"'{strange}' is no kind of value" if strange else "this does not say what enters and what leaves"
                hint = suggest(strange or "", KINDS, f"write `{key.value}: map -> map`; kinds: {', '.join(KINDS)}")
                self.wrong(message, value.span, hint)
                continue
            result[key.value] = Hole(form[1], form[2], key.span)
        return result

    def recipe(self, node: Node | None) -> dict[str, str]:
        """The section `recipe`: words and numbers, which the training reads."""
        mapping = self.mapping(node, "`recipe`")
        return {key.value: self.word(value) or "" for key, value in (mapping.entries if mapping else ())}


_MISSING = {
    "method": "write `method: my_method`",
    "backbone": "what it takes of a backbone: `backbone: {encoder: image -> vector}`",
    "input": "what a step gets: `input: {image: view}`",
    "model": "what a step computes",
    "loss": "what it learns from: a stream over inputs and named outputs",
}


def load_method(path: str | Path) -> Spec:
    """Reads the file of a method.

    Raises:
        SpecError: the file cannot be read, or its form is wrong; with every problem.

    >>> sorted(load_method(methods()["mae"]).holes)
    ['embed', 'stages']
    """
    reading = read_mended(read_text(path))
    return MethodLoader(reading.problems, reading.unread).method(reading.root)


def methods() -> dict[str, Path]:
    """The files of the shipped methods by their stems, sorted.

    >>> methods()["mae"].name
    'mae.yaml'
    """
    return {path.stem: path for path in sorted((folder("architectures") / "methods").glob("*.yaml"))}


@cache
def shipped_method(name: str) -> Spec:
    """A shipped method, which is read once."""
    return load_method(methods()[name])


def is_shipped_method(method: Spec) -> bool:
    """Whether this is a shipped method as it stands in its file."""
    return method.name in methods() and method is shipped_method(method.name)


def open_method(source: str | Path | Spec) -> Spec:
    """The method that a name (``mae``) or a path (with a slash or the suffix ``.yaml``) means; a method that is read already.

    Raises:
        MetablockError: an unknown name, or a file that cannot be read (SpecError, with every problem).

    >>> open_method("mae").name
    'mae'
    >>> open_method("may")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: unknown method 'may'
      did you mean 'mae'?
    """
    if isinstance(source, Spec):
        if not source.holes:
            raise MetablockError(
                f"'{source.name}' is no method: it takes no part of a backbone", "its file begins with `method:`"
            )
        return source
    if isinstance(source, Path) or "/" in source or source.endswith((".yaml", ".yml")):
        return load_method(source)
    known = methods()
    if source not in known:
        hint = suggest(source, known, f"shipped: {', '.join(known)}; a file is named by its path: ./{source}.yaml")
        raise MetablockError(f"unknown method '{source}'", hint)
    return shipped_method(source)


def combined(backbone: Spec, method: Spec) -> Spec:
    """The network that trains a backbone by a method.

    Args:
        backbone: the resolved spec of one network.
        method: as :func:`load_method` reads it.

    Raises:
        SpecError: the backbone lacks what the method takes, or has several inputs.

    >>> from metablock.catalogue.lookup import open_spec
    >>> from metablock.language.edits import resolve
    >>> vit, variant = open_spec("vit_tiny_patch16_224")
    >>> combined(resolve(vit, variant), open_method("mae")).method.name
    'mae'
    """
    problems = []
    sections = {name: node for name, node in backbone.sections.items() if name not in ("model", "predict", "loss")}
    if len(backbone.inputs) != 1:
        message = f"'{backbone.name}' has {len(backbone.inputs)} inputs; a method takes a backbone with one"
        problems.append(Problem(message, backbone.place("input")))
    for name in method.holes:
        if name not in backbone.let and not (name == ENCODER or name in PARTS):
            where = f"'{backbone.variant or backbone.name}' has no binding '{name}', which the method '{method.name}' takes"
            hint = f"give that part of it this name in `let`: `{name}: ...`"
            problems.append(Problem(where, backbone.place("let") or backbone.place("stem"), hint))
        elif name in (*PARTS, ENCODER) and name not in backbone.let and "model" in backbone.sections:
            message = f"'{backbone.name}' has a `model` of its own, and no binding '{name}', which '{method.name}' takes"
            problems.append(Problem(message, backbone.place("model"), f"bind it: `let: {{{name}: ...}}`"))
    if ENCODER in method.holes and ENCODER not in backbone.let and not problems:
        try:
            sections = {**sections, **_without_classifier(backbone)}
        except SpecError as wrong:
            problems += wrong.problems
    if problems:
        raise SpecError(problems)
    name = backbone.variant or backbone.name
    rows = [row for row in method.facts.rows if row[0] == name]
    return backbone.with_(
        sections={key: node for key, node in sections.items() if node is not None},
        init={**backbone.init, **method.init},
        freeze=(*backbone.freeze, *method.freeze),
        facts=Facts(("variant", *method.facts.header[1:]), tuple(rows)) if rows else Facts(),
        checkpoints=Facts(),
        method=method,
    )


def _without_classifier(spec: Spec) -> dict[str, e.Node | None]:
    """The section `head` without the linear layer that it ends in; None for nothing. Raises SpecError if it ends otherwise."""
    head = spec.sections.get("head")
    if head is None:
        return {}
    node: e.Node = head
    for _ in range(20):
        if not (isinstance(node, e.Name) and node.id in spec.let and not spec.let[node.id].params):
            break
        node = spec.let[node.id].body
    items = node.items if isinstance(node, e.Chain) else (node,)
    if not _is_classifier(items[-1], spec):
        message = f"the head of '{spec.variant or spec.name}' does not end in `linear(classes)`: what its encoder is, is open"
        raise error(message, head.span, f"bind it: `let: {{{ENCODER}: stem >> stages >> ...}}`")
    if len(items) == 1:
        return {"head": None}
    return {"head": items[0] if len(items) == 2 else e.Chain(tuple(items[:-1]), span=node.span)}


def _is_classifier(node: e.Node, spec: Spec) -> bool:
    """Whether an item is `linear(classes)`, or a binding that stands for it."""
    for _ in range(20):
        if not (isinstance(node, e.Name) and node.id in spec.let):
            break
        node = spec.let[node.id].body
    named = isinstance(node, e.Call) and isinstance(node.func, e.Name) and node.func.id == "linear"
    return named and any(isinstance(part, e.Name) and part.id == "classes" for part in e.walk(node))
