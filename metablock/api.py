"""The verbs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .backend.block import Block
from .backend.builder import build as build_module
from .backend.builder import drawn
from .backend.init import initialiser
from .backend.limits import check_size
from .catalogue.lookup import open_spec
from .errors import MetablockError, Problem, Span, SpecError
from .language.check import CIRCLE, check_edits, check_names
from .language.edits import apply, parse_edits, resolve
from .language.resources import architectures
from .language.spec import Edit, Spec
from .lowering.ir import Subgraph, flat_values
from .lowering.network import trace
from .passes.features import features as feature_maps
from .shape import Feature
from .weights.hub import bring, is_place
from .weights.loading import load_weights, read_state

Source = str | Path | Spec
Weights = str | Path | bool | Mapping[str, Tensor]


def resolved(source: Source, *, variant: str | None = None, edits: Iterable[str | Edit] = ()) -> Spec:
    """The spec of one network: a catalogue name, a path or a spec; the variant's edits, then the given ones.

    Raises:
        MetablockError: with a text for the person who gave the input. Its subclass SpecError has places.
    """
    spec, named = open_spec(source)
    changes = parse_edits(edits)
    result = resolve(spec, variant or named, changes)
    problems = check_edits(resolve(spec, variant or named), result, changes) if changes else []
    if not named and spec.name not in architectures():
        problems += check_names(spec)
    if problems:
        raise SpecError([*problems, *shape_problems(result, problems)])
    return result


def shape_problems(spec: Spec, known: Iterable[Problem] = ()) -> list[Problem]:
    """What is wrong with the shapes and rules of a resolved spec, apart from what is known to be wrong at the same places."""
    known = list(known)
    if any(problem.message.startswith(CIRCLE) for problem in known):
        return []  # nothing has a shape that never ends
    try:
        trace(spec)
        initialiser(spec.init, 0)
    except SpecError as wrong:
        places = [problem.span for problem in known if problem.span is not None]
        return [p for p in wrong.problems if not any(_touch(p.span, place) for place in places)]
    return []


def check(spec: Spec, *, shapes: bool = True) -> list[Problem]:
    """Every problem of a file, in all its variants: names, calls, cycles; then shapes. Empty when all is well."""
    problems = check_names(spec)
    if shapes:
        variants: list[str | None] = [*spec.variants]
        for variant in variants or [None]:
            try:
                problems += shape_problems(resolve(spec, variant), problems)
            except SpecError:
                continue  # the variant's edits are among the problems already
    return list(SpecError(problems).problems) if problems else []


def _touch(a: Span | None, b: Span) -> bool:
    return a is not None and a.text.name == b.text.name and a.start < b.end and b.start < a.end


def parse_input(text: str | Sequence[int] | Feature | None) -> Feature | None:
    """``"3x256x192"`` or ``(3, 256, 192)`` as a map; one, two or three sizes after the channels."""
    if text is None or isinstance(text, Feature):
        return text
    parts = text.lower().split("x") if isinstance(text, str) else [str(part) for part in text]
    if not 2 <= len(parts) <= 4 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        shown = text if isinstance(text, str) else tuple(text)
        raise MetablockError(f"'{shown}' is no input size\n  write channels and extents: 3x224x224, 12x5000, 1x32x64x64")
    channels, *grid = (int(part) for part in parts)
    return Feature("map", channels, tuple(grid))


def sized(spec: Spec, *, classes: int | None = None, input: str | Sequence[int] | Feature | None = None) -> Spec:
    """The spec with this number of classes and this size of input written into it."""
    if classes is not None:
        spec = apply(spec, parse_edits([f"classes = {classes}"], "--classes"))
    feature = parse_input(input)
    if feature is None:
        return spec
    if len(spec.inputs) != 1:
        raise MetablockError(
            f"the input of '{spec.name}' cannot be replaced: it has {len(spec.inputs)}\n  set their sizes in the spec"
        )
    kind = ("signal", "image", "volume")[feature.rank - 1]
    return apply(spec, parse_edits([f"input = {kind}({', '.join(map(str, (feature.c, *feature.grid)))})"], "--input"))


def shaped(
    spec: Spec, *, classes: int | None = None, input: str | Sequence[int] | Feature | None = None, large: bool = False
) -> Subgraph:
    """The shaped tree of a resolved spec: every module with the shapes that enter and leave it. Allocates nothing."""
    problems = check_names(spec, unused=False)
    if problems:
        raise SpecError([*problems, *shape_problems(spec, problems)])
    initialiser(spec.init, 0)
    level = trace(spec, input=parse_input(input), classes=classes, large=large)
    if not large:
        check_size(level)
    return level


def build(
    source: Source,
    *,
    variant: str | None = None,
    classes: int | None = None,
    input: str | Sequence[int] | Feature | None = None,
    edits: Iterable[str | Edit] = (),
    weights: Weights | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    features: bool | Sequence[int] = False,
    large: bool = False,
) -> Block:
    """Builds an architecture as an ordinary ``nn.Module`` in eager mode.

    Args:
        source: a catalogue name (``poolformer_s12``), a path, or a spec.
        variant: one of the file's variants; by default the one that is named, or the first.
        classes: number of classes, instead of the spec's.
        input: size of what enters, ``"3x256x192"`` or ``(3, 256, 192)``, instead of the spec's.
        edits: changes, ``"token = attention(8)"``, made one after the other after the variant's.
        weights: a state dict, or a .safetensors or .pth file, with our names, the official repository's or timm's; ``"timm"`` or
            ``"official"``: the checkpoint that the spec names (``True``: the first); ``"hf:OWNER/NAME"``; an ``https://``
            address.
            For another size tables of positions and biases are interpolated; for other channels the first layer is adapted;
            for other classes the last one stays as initialised.
        device: where the weights lie; ``"meta"`` allocates nothing.
        dtype: of the weights; float32 by default.
        seed: of the initial weights. Each parameter's values depend on it and on the parameter's name.
        features: ``True``, or the numbers of stages: the module gives their maps instead of logits, and its ``feature_info`` says
            what they are (see :func:`metablock.features`).
        large: lifts the caps on sizes and repeats.

    Returns:
        The module. Its ``spec`` is the resolved spec; its input is ``(batch, channels, *extents)``; ``loaded`` reports what
        became of
        ``weights`` (None without).

    Raises:
        MetablockError: unknown names, bad specs and edits (SpecError, with places), weights that do not fit.
    """
    spec = sized(resolved(source, variant=variant, edits=edits), classes=classes, input=input)
    level = shaped(spec, large=large)
    model = assemble(spec, level, weights=weights, device=device, dtype=dtype, seed=seed)
    return model if features is False else feature_maps(model, features)


def assemble(
    spec: Spec,
    level: Subgraph,
    *,
    weights: Weights | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> Block:
    """The module of a shaped tree (see :func:`build`, which does all in one)."""
    place = torch.device(device) if device is not None else torch.device("cpu")
    # What weights bring is not drawn before: of a large network that would take longer than all else.
    wanted: set[str] | None = None if weights is None or weights is False else set()
    initialise = initialiser(spec.init, seed, wanted)
    model = build_module(level, seed=seed, device=place, initialise=initialise)
    model.spec, model.ir = spec, level
    model.inputs = tuple(wire.feature for wire in flat_values(level.inputs))
    model = model.to(device=place, dtype=dtype)  # before the weights come in: they keep their precision
    if wanted is not None:
        assert weights is not None
        model.loaded = load_weights(model, state_of(weights, spec), spec)
        wanted |= set(model.loaded.initial)
        if place.type != "meta":
            with torch.no_grad():
                for name, value in drawn(level, wanted, seed=seed, initialise=initialise).items():
                    model.get_parameter(name).copy_(value)
    return model


def state_of(weights: Weights, spec: Spec) -> Mapping[str, Tensor]:
    """A state dict from any of the places that :func:`build` takes. Raises MetablockError."""
    if isinstance(weights, Mapping):
        return weights
    if is_place(weights):
        assert not isinstance(weights, Path)
        return read_state(bring(weights, spec))
    assert not isinstance(weights, bool)
    return read_state(weights)


def example(model: Block, batch: int = 1) -> list[Tensor]:
    """Random inputs of the size the model was built for, on its device and in its dtype."""
    first = next(model.parameters(), torch.empty(0))
    return [torch.randn(feature.size(batch), device=first.device, dtype=first.dtype) for feature in model.inputs]
