"""What the specs are held to: other people's implementations, and their recorded answers (see ``golden/README.md``)."""

from __future__ import annotations

import importlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from math import inf, isnan, prod, sqrt
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

GOLDEN = Path(__file__).parent / "golden"

# The largest relative error that passes, by the precision of the reference.
BAR = {"float64": 1e-6, "float32": 1e-4}


def require(name: str) -> ModuleType:
    """Imports an oracle; without it the test is skipped, or fails where METABLOCK_REQUIRE_ORACLES=1."""
    try:
        return importlib.import_module(name)
    except Exception as reason:  # a broken installation raises anything
        message = f"no oracle: {name} does not import ({reason})"
    if os.environ.get("METABLOCK_REQUIRE_ORACLES") == "1":
        pytest.fail(message)
    pytest.skip(message, allow_module_level=True)


# Recorded answers


def golden(path: str | Path) -> dict[str, Any]:
    """A recorded answer, by its path or its file's name in ``golden/``."""
    return json.loads((GOLDEN / path).read_text(encoding="utf-8"))


def goldens(slug: str = "*") -> list[str]:
    """The names of all recorded answers, or of one paper's."""
    return sorted(path.name for path in GOLDEN.glob(f"{slug}__*.json"))


def variant_of(recorded: str) -> str:
    """Our name for a recorded variant: lower case, other characters as underscores."""
    return re.sub(r"[^a-z0-9]", "_", recorded.removeprefix("official/").lower())


def recipe(keys: Mapping[str, Sequence[int]], gain: float = 1.0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """The weights of a recorded answer: every tensor is drawn from its name alone."""
    return {key: torch.from_numpy(_draw(key, key, tuple(shape), gain)).to(dtype) for key, shape in keys.items()}


def golden_inputs(g: Mapping[str, Any]) -> list[Tensor | None]:
    """The inputs of a recorded answer, floating ones in its dtype."""
    return [
        _input(entry, f"{g['slug']}/{g['variant']}/{position}", getattr(torch, g["dtype"]))
        for position, entry in enumerate(g["inputs"])
    ]


def compare(outputs: object, g: Mapping[str, Any]) -> float:
    """Largest absolute difference over the samples, relative to the largest sample; the worst of all outputs."""
    found = list(_tensors(outputs))
    assert [list(tensor.shape) for tensor in found] == [output["shape"] for output in g["outputs"]]
    samples = [torch.tensor(output["value"], dtype=torch.float64) for output in g["outputs"]]
    places = [torch.tensor(output["index"]) for output in g["outputs"]]
    return max(relative_error(tensor.flatten()[i], s) for tensor, i, s in zip(found, places, samples, strict=True))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """``max |actual - expected| / max |expected|``; infinite where either is not a number."""
    actual, expected = actual.detach().double(), expected.detach().double()
    assert actual.shape == expected.shape
    error = float((actual - expected).abs().max() / expected.abs().max())
    return inf if isnan(error) else error


def check_gradients(model: nn.Module, moved: bool = False) -> None:
    """After a backward pass: every parameter that trains has a gradient, a finite one, where it is ``moved`` one that is not zero."""
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.grad is None:
            continue
        assert parameter.grad.isfinite().all(), name
        assert not moved or parameter.grad.any(), name


def exact_log_distances(model: nn.Module) -> None:
    """timm keeps the log-spaced distances of its MaxxViT in float32: here to full precision."""
    for module in model.modules():
        if hasattr(module, "rel_coords_log"):
            d = torch.cartesian_prod(*[torch.arange(1 - n, n, dtype=torch.float64) for n in module.window_size])
            exact = (d.sign() * d.abs().log1p()).view_as(module.rel_coords_log)
            assert relative_error(module.rel_coords_log, exact) < 1e-6
            module.rel_coords_log = exact


# Weights for a live oracle


def randomised_state(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Fills all parameters and batch-norm statistics of a module with healthy values drawn from their names; its state.

    Initial values hide errors: a layer scale of 1e-6 switches a branch off, a new batch norm is the identity, offsets and heads
    start at zero. Other buffers (index tables, masks) belong to the architecture and stay.
    """
    statistics = {
        name: buffer for name, buffer in module.named_buffers() if name.rpartition(".")[2] in ("running_mean", "running_var")
    }
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *statistics.items()]:
            values = _draw(f"{seed}/{name}", name, tuple(tensor.shape))
            if tensor.dim() > 1 and not name.endswith("weight"):
                # Tokens, positions, tables, scales: not sums over a fan-in, so not to be shrunk by one.
                values = values * (0.5 * sqrt(prod(tensor.shape[1:])))
            tensor.copy_(torch.from_numpy(values))
    return module.state_dict()


def _rng(text: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(text.encode()))


def _draw(seed: str, key: str, shape: tuple[int, ...], gain: float = 1.0) -> np.ndarray:
    random, last = _rng(seed), key.rpartition(".")[2]
    normal = np.asarray(random.standard_normal(shape))
    if last == "running_var":
        return np.asarray(0.5 + random.random_sample(shape))
    if last == "running_mean":
        return np.asarray(0.1 * normal)
    if len(shape) >= 2:
        return gain * normal / sqrt(prod(shape[1:]))
    if "bias" in last:
        return np.asarray(0.1 * normal)
    return np.asarray(1 + 0.1 * normal)


def _input(entry: Mapping[str, Any], seed: str, dtype: torch.dtype) -> Tensor | None:
    if "normal" in entry:
        return torch.from_numpy(_rng(seed).standard_normal(entry["normal"])).to(dtype)
    if "rectangles" in entry:  # a mask: ones in a rectangle at the origin of each image
        mask = torch.zeros(entry["shape"], dtype=dtype)
        for image, (height, width) in zip(mask, entry["rectangles"], strict=True):
            image[:, :height, :width] = 1
        return mask
    if "randint" in entry:
        return torch.from_numpy(_rng(seed).randint(0, entry["randint"], entry["shape"]))
    if entry["value"] is None:
        return None
    if "dtype" in entry:
        dtype = getattr(torch, entry["dtype"].removeprefix("torch."))
    return torch.tensor(entry["value"], dtype=dtype)


def _tensors(outputs: object) -> Iterator[Tensor]:
    """Every tensor in a result, in order; dictionaries by sorted key."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        for key in sorted(outputs):
            yield from _tensors(outputs[key])
    elif isinstance(outputs, list | tuple):
        for output in outputs:
            yield from _tensors(output)
