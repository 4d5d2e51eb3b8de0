"""Building: from a source to a module with weights, in one call (:func:`build`) or from a spec and its IR (:func:`assemble`)."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .backend.block import Block
from .backend.builder import build as build_module
from .backend.builder import drawn
from .backend.device import parse_device, parse_dtype
from .backend.init import initialiser
from .backend.limits import check_size
from .backend.objective import start_averages
from .backend.random_input import random_input
from .errors import MetablockError
from .front import Edits, InputSize, Source, front, warn_of_doubts
from .language.arithmetic import is_whole
from .language.spec import Spec
from .lowering.ir import Subgraph, flat_values
from .passes.features import check_stages
from .passes.features import features as feature_maps
from .weights.carry import carry_method, carry_weights
from .weights.checkpoint import stated_method
from .weights.hub import bring, is_place
from .weights.loading import load_weights, read_checkpoint

Weights = str | Path | bool | Mapping[str, Tensor] | nn.Module


def build(
    source: Source,
    *,
    variant: str | None = None,
    classes: int | None = None,
    input: InputSize | None = None,
    edits: Edits = (),
    weights: Weights | None = None,
    weights_input: InputSize | None = None,
    names: str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    seed: int = 0,
    features: bool | Sequence[int] = False,
    large: bool = False,
    method: str | Path | Spec | None = None,
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
            address. Another network, an ``nn.Module``, or weights of a method's network around this one: what has the same name
            and fits carries over, the rest keeps its initial values, a warning counts it, and ``loaded`` lists both. For another
            input size, tables of positions and biases are interpolated; for other input channels, the first layer is adapted;
            for other classes, the last layer stays as initialised.
        weights_input: the input size that the weights were trained on, ``"3x288x512"``, if they do not say it: weights of ours
            do; tables of others are taken for squares.
        names: whose names the weights have, ``"ours"`` or a table of the spec's `weights:`; by default those that fit best.
        device: where the weights lie, the CPU by default; ``"meta"`` allocates nothing.
        dtype: of the weights, ``torch.float64`` or ``"float64"``; float32 by default. Initial weights are the same in every
            dtype, but for rounding. Constants and tables that no checkpoint holds have the precision of float64 where it is
            asked for here; ``model.double()`` afterwards keeps those of float32.
        seed: of the initial weights. Each parameter's values depend on it and on the parameter's name.
        features: ``True``, or the numbers of stages: the module gives their maps instead of logits, and its ``feature_info`` says
            what they are (see :func:`metablock.features`).
        large: lifts the caps on sizes, repeats and costs.
        method: builds the network that trains this one by a method (``"mae"``, a path): see :func:`metablock.losses`.

    Returns:
        The module. Its input is ``(batch, channels, *extents)``; its ``spec`` is the resolved spec, its ``ir`` the typed IR, its
        ``loaded`` a report of the loaded weights (None without).

    Raises:
        MetablockError: unknown names, bad specs and edits (SpecError, with places), weights that do not fit, a device that is
            not here; an argument of another type.

    >>> model = build("poolformer_s12", classes=10, input=(3, 96, 96), edits="token = dw(7)", device="meta")
    >>> sum(p.numel() for p in model.parameters())
    11573706
    >>> model(torch.empty(2, 3, 96, 96, device="meta")).shape
    torch.Size([2, 10])
    """
    check_stages(features)
    spec, ir = front(source, variant=variant, edits=edits, classes=classes, input=input, large=large, method=method)
    warn_of_doubts(ir)
    model = assemble(spec, ir, weights=weights, weights_input=weights_input, names=names, device=device, dtype=dtype, seed=seed)
    return model if features is False else feature_maps(model, features)


def assemble(
    spec: Spec,
    ir: Subgraph,
    *,
    weights: Weights | None = None,
    weights_input: InputSize | None = None,
    names: str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    seed: int = 0,
) -> Block:
    """The module of a resolved spec and its IR (see :func:`build`, which does all in one).

    Raises:
        MetablockError: a network larger than the caps (unless they are lifted), weights that do not fit, a device that is not
            here, an argument of another type.

    >>> spec, ir = front("resnet18", classes=10)
    >>> assemble(spec, ir, device="meta").head.linear.weight.shape
    torch.Size([10, 512])
    """
    place, kind = parse_device(device), parse_dtype(dtype) if dtype is not None else None
    if not is_whole(seed):
        raise MetablockError(f"{reprlib.repr(seed)} is no seed", "write a whole number: seed=0")
    check_size(ir)
    # Parameters the checkpoint will overwrite are not initialised; on large networks that would dominate build time.
    wanted: set[str] | None = None if weights is None or weights is False else set()
    initialise = initialiser(spec.init, seed, wanted, ir)
    model = build_module(ir, seed=seed, device=place, dtype=kind, initialise=initialise)
    model.spec, model.ir = spec, ir
    model.inputs = tuple(wire.feature for wire in flat_values(ir.inputs))
    start_averages(model)
    if place.type not in ("cpu", "meta") or kind is not None:
        model = model.to(device=place, dtype=kind)  # before the weights come in: they keep their precision
    if wanted is not None:
        assert weights is not None
        if isinstance(weights, nn.Module):
            if names is not None:
                raise MetablockError("`names=` is for checkpoints, these weights are a network", "leave it out")
            model.loaded = carry_weights(model, weights, spec, input=weights_input)
        elif stated_method(state := state_of(weights, spec)) and spec.method is None and names is None:
            model.loaded = carry_method(model, state, spec, input=weights_input)
        else:
            model.loaded = load_weights(model, state, spec, names, input=weights_input)
        wanted |= set(model.loaded.initial)
        if place.type != "meta":
            with torch.no_grad():
                for name, value in drawn(ir, wanted, seed=seed, dtype=kind, initialise=initialise).items():
                    model.get_parameter(name).copy_(value)
    return model


def state_of(weights: Weights, spec: Spec) -> Mapping[str, Tensor]:
    """A state dict from any of the places that :func:`build` takes. Raises MetablockError."""
    if isinstance(weights, Mapping):
        return weights
    if isinstance(weights, nn.Module):
        return weights.state_dict()
    if not isinstance(weights, (str, Path, bool)):
        raise MetablockError(f"{reprlib.repr(weights)} holds no weights", "name a file, pass a state dict, or True")
    if is_place(weights):
        assert not isinstance(weights, Path)
        return read_checkpoint(bring(weights, spec))
    assert not isinstance(weights, bool)
    return read_checkpoint(weights)


def example(model: Block, batch: int = 1, *, seed: int | None = None) -> list[Tensor]:
    """Random inputs of the size the model was built for, on its device and in its dtype; ids are no padding.

    With ``seed`` they are drawn on the CPU from a generator of their own; otherwise from torch's.

    >>> [tuple(x.shape) for x in example(build("vit_tiny_patch16_224", device="meta"), batch=2)]
    [(2, 3, 224, 224)]
    """
    first = next(model.parameters(), torch.empty(0))
    generator = None if seed is None or first.is_meta else torch.Generator().manual_seed(seed)
    return [random_input(feature, batch, first.device, first.dtype, generator) for feature in model.inputs]
