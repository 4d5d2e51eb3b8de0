"""The front door: from a source (a catalogue name, a file, a spec) to a resolved spec and its typed IR. Imports no torch itself.

Every verb and every pass that begins with a source comes through :func:`front`. It resolves the variant and the edits, checks the
names once, and lowers once. It knows what it has answered before (:mod:`metablock.lowering.recall`): answers are shared, and must
not be changed.
"""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .catalogue.lookup import is_shipped, open_spec
from .errors import MAX_PROBLEMS, MetablockError, MetablockWarning, Problem, Span, SpecError
from .language.arithmetic import is_whole
from .language.budget import FILE, LARGE, reading
from .language.check import RESERVED, check_edits, check_names
from .language.cycles import CIRCLE
from .language.edits import apply, parse_edits, resolve
from .language.init_rules import read_init_rules
from .language.inputs import resized
from .language.load import IncompleteError
from .language.method_checks import check_method
from .language.methods import divided, is_shipped_method, open_method, trained_by
from .language.spec import Edit, Spec
from .shape import Feature

if TYPE_CHECKING:
    from .lowering.ir import Subgraph

Source = str | Path | Spec
# What `edits=` takes: one edit or several, as texts or as data.
Edits = str | Edit | Iterable[str | Edit]
# What `input=` takes: "3x224x224", (3, 224, 224), a feature.
InputSize = str | Sequence[int] | Feature
# Sees a resolved spec and its IR.
Look = Callable[[Spec, "Subgraph"], None]
MAX_DIGITS = 18  # of an extent in a text


class Front(NamedTuple):
    """A resolved spec and its IR."""

    spec: Spec
    ir: Subgraph


def front(
    source: Source,
    *,
    variant: str | None = None,
    edits: Edits = (),
    classes: int | None = None,
    input: InputSize | None = None,
    large: bool = False,
    method: str | Path | Spec | None = None,
) -> Front:
    """The resolved spec of a network and its typed IR. Nothing is allocated.

    Args:
        source: a catalogue name (``"poolformer_s12"``), a path, or a spec.
        variant: one of the file's variants; by default the one that the name means, or the first.
        edits: changes, made one after the other after the variant's; a plain string is one edit.
        classes: the number of classes, instead of the spec's.
        input: the size of the input, ``"3x256x192"`` or ``(3, 256, 192)``, instead of the spec's.
        large: lifts the caps on sizes and repeats.
        method: a method that trains the network, by name or path: then it is the method's network around this backbone. An edit
            of what the backbone does not have is one of the method.

    Raises:
        MetablockError: an unknown name, a bad argument. Its subclass SpecError holds every problem of the spec, with places.

    >>> spec, ir = front("poolformer_s12", edits="token = dw(7)", classes=10)
    >>> spec.variant, str(ir.output.feature)
    ('poolformer_s12', 'vector of 10')
    """
    from .lowering.network import lower
    from .lowering.pause import collector_paused
    from .lowering.recall import key_of, recall, remember

    key = key_of(source, variant, edits, classes, input, large, method)
    known = recall(key)
    if known is not None:
        return Front(*known)
    with reading(FILE * (LARGE if large else 1)), collector_paused():
        spec, problems = _resolve(source, variant, edits, classes, input, method)
        if problems:
            raise SpecError([*problems, *_shape_problems(spec, problems)])
        ir = lower(spec, large=large)
        read_init_rules(spec.init)
    if key == key_of(source, variant, edits, classes, input, large, method):  # or a file has changed meanwhile
        remember(key, source, spec, ir)
    return Front(spec, ir)


def warn_of_doubts(ir: Subgraph) -> None:
    """Warns of what is allowed in a network's spec, but may not be meant: a MetablockWarning for each, with its place.

    >>> warn_of_doubts(front("resnet18").ir)
    """
    for doubt in ir.doubts.values():
        warnings.warn(doubt.render(), MetablockWarning, stacklevel=3)


def resolved(
    source: Source,
    *,
    variant: str | None = None,
    edits: Edits = (),
    classes: int | None = None,
    input: InputSize | None = None,
    method: str | Path | Spec | None = None,
) -> Spec:
    """The spec of one network: the variant's edits made, then the given ones. Its names are right; shapes are not looked at.

    The arguments are those of :func:`front`.

    Raises:
        MetablockError: as :func:`front` does; SpecError also holds what is wrong with shapes where a name is wrong.

    >>> resolved("swin_tiny", edits=["token = pool(3)"]).variant
    'swin_tiny_patch4_window7_224'
    """
    with reading(FILE):
        spec, problems = _resolve(source, variant, edits, classes, input, method)
        if problems:
            raise SpecError([*problems, *_shape_problems(spec, problems)])
        return spec


def check(spec: Spec, *, shapes: bool = True, look: Look | None = None) -> list[Problem]:
    """Every problem of a file, in all its variants: names, calls, cycles; then shapes. Empty where there is none.

    Args:
        spec: a file's spec, or a resolved one.
        shapes: whether the shapes of every variant are inferred.
        look: sees the resolved spec and the IR of every variant, and raises SpecError for one that is too large.

    >>> from metablock.language.load import load_text
    >>> [problem.message for problem in check(load_text("name: net\\ninput: image(3, 8)\\nmodel: con(4)"))]
    ["unknown operator 'con'"]
    """
    problems: list[Problem] = []
    try:
        with reading(FILE, spec.place("name")):
            problems += check_names(spec)
            for variant in spec.variants or [None] if shapes else []:
                if len(problems) >= MAX_PROBLEMS:
                    break
                try:
                    network = resolve(spec, variant)
                except SpecError:
                    continue  # the variant's edits are among the problems already
                problems += _shape_problems(network, problems, look)
    except SpecError as wrong:  # the budget is used up
        problems += wrong.problems
    return list(SpecError(problems).problems)


def sized(spec: Spec, *, classes: int | None = None, input: InputSize | None = None) -> Spec:
    """The spec with this number of classes and this input size written into it.

    Raises:
        MetablockError: no such size; a spec with several inputs.

    >>> sized(resolved("resnet18"), classes=10).classes
    10
    """
    if classes is not None:
        if not is_whole(classes) or classes < 1:
            raise MetablockError(f"{reprlib.repr(classes)} is no number of classes", "write a whole number from 1")
        spec = apply(spec, parse_edits([f"classes = {classes}"], "--classes"))
    feature = parse_input(input)
    if feature is None:
        return spec
    if len(spec.inputs) != 1:
        message = f"the input of '{spec.name}' cannot be replaced: it has {len(spec.inputs)}"
        raise MetablockError(message, "set their sizes in the spec")
    return sized_inputs(spec, [feature])


def sized_inputs(spec: Spec, features: Sequence[Feature]) -> Spec:
    """The spec with these sizes of its inputs, one for each, written into it.

    >>> from metablock.language.printer import show
    >>> [show(node) for node in sized_inputs(resolved("resnet18"), [Feature("map", 1, (64, 96))]).inputs.values()]
    ['image(1, 64, 96)']
    """
    entries = zip(spec.inputs.items(), features, strict=True)
    return spec.with_(inputs={name: resized(node, (feature.c, *feature.grid)) for (name, node), feature in entries})


def parse_input(size: InputSize | None) -> Feature | None:
    """An input size as a feature.

    Args:
        size: channels and one, two or three extents: a text, a sequence of whole numbers, or a feature that is a map; None: None.

    Raises:
        MetablockError: anything else.

    >>> str(parse_input("3x256x192")), str(parse_input((12, 5000)))
    ('map 3 x 256x192', 'map 12 x 5000')
    """
    if size is None:
        return None
    numbers: list[int | None] = []  # None for a part that is no number
    if isinstance(size, Feature):
        numbers = [size.c, *size.grid] if size.layout in ("map", "grid", "ids") else []
    elif isinstance(size, str):
        parts = [part.strip() for part in size.lower().split("x")]
        numbers = [int(part) if part.isdecimal() and len(part) <= MAX_DIGITS else None for part in parts]
    elif isinstance(size, Sequence) and not isinstance(size, (bytes, bytearray, memoryview)):
        numbers = [int(part) if is_whole(part) else None for part in size]
    sizes = [number for number in numbers if number is not None and number > 0]
    if not 2 <= len(sizes) == len(numbers) <= 4:
        text = reprlib.repr(size)
        raise MetablockError(f"{text} is no input size", "write channels and extents: 3x224x224, 12x5000, 1x32x64x64")
    return Feature("map", sizes[0], tuple(sizes[1:]))


def _resolve(
    source: Source,
    variant: str | None,
    edits: Edits,
    classes: int | None,
    input: InputSize | None,
    method: str | Path | Spec | None = None,
) -> tuple[Spec, list[Problem]]:
    """The resolved spec, and what is wrong with its names (of a file: in all its variants)."""
    try:
        file, meant = open_spec(source)
    except IncompleteError as wrong:
        raise SpecError([*wrong.problems, *check(wrong.spec)]) from None
    if variant is None:
        variant = meant
    elif not isinstance(variant, str):
        names = ", ".join(list(file.variants)[:8])
        raise MetablockError(f"{reprlib.repr(variant)} is no variant", f"there are {names}" if names else "leave out the variant")
    changes = parse_edits(edits)
    if method is None:
        spec = resolve(file, variant, changes)
    else:
        spec = trained_by(file, variant, changes, method)
        changes = divided(file, open_method(method), changes)[1]
    edited = spec if method is None else resolve(file, variant, changes)
    problems = check_edits(resolve(file, variant), edited, changes) if changes else []
    whole = not file.resolved and not is_shipped(file)
    problems += check_names(file, edits=changes) if whole else check_names(spec, unused=False)
    if spec.method is not None and not is_shipped_method(spec.method):
        problems += check_method(spec.method)
    return sized(spec, classes=classes, input=input), problems


def _shape_problems(spec: Spec, known: Iterable[Problem], look: Look | None = None) -> list[Problem]:
    """What is wrong with the shapes and rules of a resolved spec, except at the places of known problems."""
    known = list(known)
    if spec.unread:
        return []  # they may be the names of what decides about the shapes
    if any(problem.message.startswith(CIRCLE) or problem.message.endswith(RESERVED) for problem in known):
        return []  # nothing has a shape that never ends, or whose names mean something else than the file says
    from .lowering.network import lower

    try:
        ir = lower(spec)
        read_init_rules(spec.init)
        if look is not None:
            look(spec, ir)
    except SpecError as wrong:
        places = [problem.span for problem in known if problem.span is not None]
        return [p for p in wrong.problems if not any(_touch(p.span, place) for place in places)]
    return []


def _touch(a: Span | None, b: Span) -> bool:
    return a is not None and a.text.name == b.text.name and a.start < b.end and b.start < a.end
