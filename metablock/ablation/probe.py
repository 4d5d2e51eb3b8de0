"""Measures what a network does to pictures: effective receptive fields and Fourier spectra of its stages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backend.block import Block
from ..backend.modes import evaluation
from ..errors import MetablockError
from ..lowering.ir import ModuleList, Subgraph, Value, flat_values
from ..shape import Feature
from .data import Data

SHARES = (0.2, 0.3, 0.5, 0.99)


class ProbeError(MetablockError):
    """A network was not measured; the text is the reason."""


@dataclass(frozen=True)
class Probed:
    """Measurements of the output of one stage.

    Attributes:
        stage: its number, from 0.
        grid: the extents of its map.
        field: the effective receptive field, ``(height, width)`` of the picture: the mean absolute derivative of the middle
            feature, summed over its channels, by each pixel; scaled to a maximum of 1 (Luo et al., arXiv 1701.04128).
        areas: for shares of that derivative (20, 30, 50, 99 %), the side of the smallest square around the middle that holds it,
            as a share of the picture's side (RepLKNet, arXiv 2203.06717, table 10; UniRepLKNet, fig. 3).
        spectrum: log10 of the amplitude of each frequency of the feature maps, frequency zero in the middle; mean of channels and
            pictures.
        radial: natural logarithm of the amplitude by distance from frequency zero, in 16 steps up to the map's Nyquist frequency,
            relative to the first (Park and Kim, arXiv 2202.06709, fig. 2; HiLo and Inception Transformer draw the maps).
    """

    stage: int
    grid: tuple[int, ...]
    field: np.ndarray
    areas: dict[float, float]
    spectrum: np.ndarray
    radial: np.ndarray


def probe(model: Block, images: Tensor) -> list[Probed]:
    """Measures each stage of a network on pictures.

    Args:
        model: from :func:`metablock.build`, with one picture as its input. It is left as it was.
        images: ``(n, c, height, width)``, of the size that the model was built for.

    Returns:
        One item for each stage whose output is one map.

    Raises:
        MetablockError: the model does not take one picture, or no stage gives one map.

    >>> import metablock
    >>> model = metablock.build("poolformer_s12", edits=["depth = 1", "dim = [8, 8, 8, 8]"], input=(3, 64, 64))
    >>> [stage.grid for stage in probe(model, torch.randn(2, 3, 64, 64))]
    [(16, 16), (8, 8), (4, 4), (2, 2)]
    """
    if len(model.inputs) != 1 or model.inputs[0].rank != 2:
        hint = "receptive fields and spectra are drawn of pictures"
        raise MetablockError(f"'{model.spec.name}' takes no single picture", hint)
    features = _stages(model.ir)
    if not features:
        hint = "probe a network whose stages are not streams"
        raise MetablockError(f"'{model.spec.name}' has no stages that give one map", hint)
    fields, maps = _look(model, images, features)
    result = []
    for number, feature in features.items():
        field = (fields[number] / fields[number].max().clamp_min(1e-30)).double().cpu().numpy()
        spectrum = _spectrum(torch.stack(maps[number]))
        areas = {share: area(field, share) for share in SHARES}
        result.append(Probed(number, feature.grid, field, areas, spectrum, _radial(spectrum)))
    return result


def _stages(network: Subgraph) -> dict[int, Feature]:
    """The features of the stages that give one map, by number."""
    stages = network.children.get("stages")
    features: dict[int, Feature] = {}
    for name, stage in (stages.children if isinstance(stages, ModuleList) else {}).items():
        output = stage.output if isinstance(stage, Subgraph) else None
        if isinstance(output, Value) and output.feature.rank == 2 and len(list(flat_values(output))) == 1:
            features[int(name)] = output.feature
    return features


def _look(
    model: Block, images: Tensor, features: Mapping[int, Feature]
) -> tuple[dict[int, Tensor], dict[int, list[Tensor]]]:  # fmt: skip
    """By stage: the absolute derivatives of its middle feature, summed over the images, and its maps ``(c, height, width)``."""
    outputs: dict[int, Tensor] = {}
    hooks = [
        model.get_submodule(f"stages.{number}").register_forward_hook(
            lambda _m, _a, output, number=number: outputs.__setitem__(number, output)
        )
        for number in features
    ]
    fields: dict[int, Tensor] = {}
    maps: dict[int, list[Tensor]] = {number: [] for number in features}
    try:
        with evaluation(model):
            for image in images:
                x = image[None].clone().requires_grad_(True)
                with torch.enable_grad():
                    model(x)
                    for number, feature in features.items():
                        here = _map(outputs[number], feature)
                        middle = here[0, :, feature.grid[0] // 2, feature.grid[1] // 2].sum()
                        (slope,) = torch.autograd.grad(middle, x, retain_graph=True)
                        fields[number] = fields.get(number, torch.zeros_like(slope[0, 0])) + slope[0].abs().sum(0)
                        maps[number].append(here.detach()[0])
    finally:
        for hook in hooks:
            hook.remove()
    return fields, maps


def _map(x: Tensor, feature: Feature) -> Tensor:
    """The output of a stage as ``(b, c, height, width)``, without prefix tokens."""
    if feature.layout == "map":
        return x
    if feature.layout == "grid":
        return x.permute(0, 3, 1, 2)
    return x[:, feature.prefix :].transpose(1, 2).reshape(x.shape[0], -1, *feature.grid)


def area(field: np.ndarray, share: float) -> float:
    """The side of the smallest square around the middle that holds this share of a field, as a share of the shorter side.

    >>> field = np.zeros((9, 9))
    >>> field[3:6, 3:6] = 1
    >>> area(field, share=0.99) == 3 / 9
    True
    """
    height, width = field.shape
    total = field.sum()
    if total <= 0:
        return 0.0
    for half in range(max(height, width)):
        rows = slice(max(0, height // 2 - half), height // 2 + half + 1)
        columns = slice(max(0, width // 2 - half), width // 2 + half + 1)
        if field[rows, columns].sum() >= share * total:
            return min(1.0, (2 * half + 1) / min(height, width))
    return 1.0


def _spectrum(maps: Tensor) -> np.ndarray:
    amplitude = torch.fft.fftshift(torch.fft.fft2(maps.double(), norm="ortho"), dim=(-2, -1)).abs()
    return torch.log10(amplitude.mean((0, 1)).clamp_min(1e-12)).cpu().numpy()


def _radial(spectrum: np.ndarray, steps: int = 16) -> np.ndarray:
    """Mean amplitude by distance from frequency zero, relative to the first, as logarithms; NaN in steps without a frequency."""
    axes = [np.fft.fftshift(np.fft.fftfreq(n)) / 0.5 for n in spectrum.shape]
    distance = np.sqrt(axes[0][:, None] ** 2 + axes[1][None] ** 2)
    ring = np.minimum((distance * steps).astype(int), steps)
    linear = 10.0**spectrum
    means = np.array([linear[ring == step].mean() if (ring == step).any() else np.nan for step in range(steps + 1)])
    return np.log(means / means[0])


# What a journal stores

PICTURES = 8  # of the validation set, that a trained network is measured on
_DRAWN = 96  # pixels of a stored receptive field's longer side


def measured(model: Block, data: Data) -> str:
    """Probes a trained network on the first pictures of the validation set.

    Returns:
        The text of :func:`to_json`; where the network cannot be probed, ``{"problem": ...}`` with the reason. A failed probe does
        not fail the run.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        images, _ = data.val.get(range(min(PICTURES, len(data.val))))
        return to_json(probe(model, images.to(device)))
    except MetablockError as wrong:
        return json.dumps({"problem": str(wrong).splitlines()[0]})
    except RuntimeError as wrong:
        full = isinstance(wrong, torch.OutOfMemoryError)
        return json.dumps({"problem": "there was not enough memory" if full else "its derivatives could not be computed"})


def to_json(stages: Sequence[Probed]) -> str:
    """Measurements as JSON text, to four figures; large fields are averaged over blocks of pixels."""
    return json.dumps(
        [
            {
                "stage": one.stage,
                "grid": list(one.grid),
                "field": _rounded(_coarser(one.field)),
                "areas": {str(share): value for share, value in one.areas.items()},
                "spectrum": _rounded(one.spectrum),
                "radial": [None if np.isnan(value) else float(f"{value:.4g}") for value in one.radial],
            }
            for one in stages
        ]
    )


def from_json(text: str) -> list[Probed]:
    """Reads the text of :func:`to_json` or :func:`measured`.

    Raises ProbeError with the reason where nothing was measured, or the text is damaged.

    >>> stage = Probed(0, (4, 4), np.eye(8), {0.5: 0.25}, np.zeros((4, 4)), np.array([0.0, np.nan]))
    >>> [again] = from_json(to_json([stage]))
    >>> again.areas, again.radial.tolist()
    ({0.5: 0.25}, [0.0, nan])
    """
    try:
        stages = json.loads(text)
        if isinstance(stages, dict):
            raise ProbeError(str(stages.get("problem", "no reason was stored")))
        return _stages_from(stages)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as wrong:
        if isinstance(wrong, ProbeError):
            raise
        raise ProbeError("what was stored cannot be read") from None


def _stages_from(stages: Sequence[Mapping[str, Any]]) -> list[Probed]:
    return [
        Probed(
            one["stage"],
            tuple(one["grid"]),
            np.array(one["field"]),
            {float(share): value for share, value in one["areas"].items()},
            np.array(one["spectrum"]),
            np.array([np.nan if value is None else value for value in one["radial"]]),
        )
        for one in stages
    ]


def _coarser(field: np.ndarray) -> np.ndarray:
    """Means over square blocks, so that the longer side has at most ``_DRAWN`` pixels."""
    step = -(-max(field.shape) // _DRAWN)
    if step == 1:
        return field
    rows, columns = (n // step * step for n in field.shape)
    return field[:rows, :columns].reshape(rows // step, step, columns // step, step).mean((1, 3))


def _rounded(values: np.ndarray) -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in values]
