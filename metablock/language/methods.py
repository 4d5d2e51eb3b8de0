"""Methods: how a network is trained, as a file of its own, with holes where a backbone stands.

A method is read into a :class:`~metablock.language.spec.Spec`, whose ``holes`` are the section `backbone`. :func:`combined`
puts it around the spec of a backbone: the result is one network, with the backbone's stages and the method's inputs, model and
loss. Names of the two do not meet: the backbone's expressions see the backbone's bindings, the method's see the method's and its
holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..errors import MetablockError, Problem, SpecError, error, suggest
from . import ast as e
from .edits import OPTIONAL_COLUMNS, apply, resolve
from .load import load_file
from .resources import methods
from .spec import EXPRESSIONS, Edit, Facts, Spec
from .standard import standard

ENCODER = "encoder"  # the whole backbone without its last linear layer
NETWORK = "network"  # the whole backbone
# What an input of a method may be: a view of an example, what is drawn, what a teacher gives.
SOURCES = ("view", "uniform", "normal", "blocks", "teacher")
PARTS = ("stem", "stages", "head")


def load_method(path: str | Path) -> Spec:
    """Reads the file of a method.

    Raises:
        SpecError: the file cannot be read, or its form is wrong; with every problem.

    >>> sorted(load_method(methods()["mae"]).holes)
    ['embed', 'stages']
    """
    spec = load_file(path)
    if not spec.holes:
        raise error(f"'{spec.name}' is no method: it takes no part of a backbone", None, "its file begins with `method: NAME`")
    return spec


@cache
def shipped_method(name: str) -> Spec:
    """A shipped method, which is read once.

    >>> sorted(shipped_method("mae").holes)
    ['embed', 'stages']
    """
    return load_method(methods()[name])


def is_shipped_method(method: Spec) -> bool:
    """Whether this is a shipped method as it stands in its file.

    >>> is_shipped_method(open_method("mae")), is_shipped_method(open_method("mae").with_(name="mine"))
    (True, False)
    """
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


def trained_by(file: Spec, variant: str | None, edits: Sequence[Edit], method: str | Path | Spec) -> Spec:
    """The network that trains a variant of a file by a method.

    Args:
        file: the backbone's file.
        variant: one of its variants.
        edits: in order. An edit of what only the method has is one of the method.
        method: as :func:`open_method` takes it.

    Raises:
        MetablockError: an unknown variant or method, an edit that names nothing, a backbone that lacks what the method takes.

    >>> from metablock.catalogue.lookup import open_spec
    >>> from metablock.language.edits import parse_edits
    >>> vit, variant = open_spec("vit_tiny_patch16_224")
    >>> trained_by(vit, variant, parse_edits("ratio = 0.5"), "mae").method.let["ratio"].body.value
    0.5
    """
    around = open_method(method)
    own, others = divided(file, around, edits)
    anywhere = {*_names(file), *standard(), *OPTIONAL_COLUMNS, *EXPRESSIONS, "metablock", "let", "shared"}
    # What the file does not name may come from a variant, or be a slip: its message knows the names of both.
    late = [edit for edit in others if isinstance(edit.target, e.Header) and edit.name not in anywhere]
    early = [edit for edit in others if edit not in late]
    return apply(combined(resolve(file, variant, early), around), [edit for edit in edits if edit in own or edit in late])


def divided(file: Spec, method: Spec, edits: Sequence[Edit]) -> tuple[tuple[Edit, ...], tuple[Edit, ...]]:
    """The edits of what a method has and the backbone's file has not, and all others.

    >>> from metablock.catalogue.lookup import open_spec
    >>> from metablock.language.edits import parse_edits
    >>> edits = [*parse_edits("ratio = 0.5"), *parse_edits("classes = 7")]
    >>> [[edit.name for edit in part] for part in divided(open_spec("vit_tiny_patch16_224")[0], open_method("mae"), edits)]
    [['ratio'], ['classes']]
    """
    names = {*method.let, *method.shared, *method.sections, "freeze"} - _names(file)
    return tuple(edit for edit in edits if edit.name in names), tuple(edit for edit in edits if edit.name not in names)


def _names(file: Spec) -> set[str]:
    """What an edit of a backbone's file may name."""
    return {name for table in file.binding_tables().values() for name in table} | {*file.sections, "input", "classes", "stages"}


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
    own = {name: node for name, node in backbone.sections.items() if name not in ("model", "predict", "loss")}
    sections: dict[str, e.Node | None] = {**own}
    if len(backbone.inputs) != 1:
        message = f"'{backbone.name}' has {len(backbone.inputs)} inputs; a method takes a backbone with one"
        problems.append(Problem(message, backbone.place("input"), "take a backbone that reads one image"))
    for name in method.holes:
        if name not in backbone.let and name not in (*PARTS, ENCODER, NETWORK):
            where = f"'{backbone.variant or backbone.name}' has no binding '{name}', which the method '{method.name}' takes"
            hint = f"give that part of it this name in `let`: `{name}: ...`"
            problems.append(Problem(where, backbone.place("let") or backbone.place("stem"), hint))
        elif name in (*PARTS, ENCODER, NETWORK) and name not in backbone.let and "model" in backbone.sections:
            message = f"'{backbone.name}' has a `model` of its own, and no binding '{name}', which '{method.name}' takes"
            problems.append(Problem(message, backbone.place("model"), f"bind it: `let: {{{name}: ...}}`"))
        elif name in backbone.let and any(param.default is None for param in backbone.let[name].params):
            header = backbone.let[name].header
            message = f"'{name}' takes arguments here; the method '{method.name}' applies it to its input alone"
            problems.append(Problem(message, header.span, f"bind `{name}` without arguments, and give this another name"))
    if ENCODER in method.holes and ENCODER not in backbone.let and not problems:
        try:
            sections |= _without_classifier(backbone)
        except SpecError as wrong:
            problems += wrong.problems
    if problems:
        raise SpecError(problems)
    name = backbone.variant or backbone.name
    rows = [row for row in method.facts.rows if row[0] == name]
    return backbone.with_(
        sections={key: node for key, node in sections.items() if node is not None},
        init={**backbone.init, **method.init},
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
        raise error(
            message, head.span, f"end it so, or name what comes before: `let: {{{ENCODER}: ...}}`, `model: {ENCODER} >> ...`"
        )
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
