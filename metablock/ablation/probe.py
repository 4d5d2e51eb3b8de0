"""What a mixer does to a picture: how far a feature sees, and which frequencies each stage passes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..backend.block import Block
from ..errors import MetablockError
from ..lowering.ir import ModuleList, Subgraph, Value, flat_values
from ..shape import Feature
from .data import Data

SHARES = (0.2, 0.3, 0.5, 0.99)


@dataclass(frozen=True)
class Probed:
    """What was measured behind one stage.

    Attributes:
        stage: its number.
        grid: the extents of its map.
        field: the effective receptive field ``(height, width)``: the mean size of the derivative of the middle feature (all of
            its channels) by each pixel, the largest 1 (Luo et al., arXiv 1701.04128).
        areas: for shares of that derivative (20, 30, 50, 99 %), the side of the smallest square around the middle that holds it,
            as a share of the picture's side (RepLKNet, arXiv 2203.06717, table 10; UniRepLKNet, fig. 3).
        spectrum: log10 of the amplitude of each frequency of the feature maps, zero in the middle, mean of channels and pictures.
        radial: amplitude by distance from zero frequency, in 16 steps up to the map's Nyquist frequency, relative to the first,
            as natural logarithms (Park and Kim, arXiv 2202.06709, fig. 2; HiLo and Inception Transformer draw the maps).
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
        model: from :func:`metablock.build`, of one picture; it stays as it is.
        images: ``(n, c, height, width)``, of the size it was built for.

    Raises:
        MetablockError: a network without stages, of no picture, or whose stages give lists.
    """
    if len(model.inputs) != 1 or model.inputs[0].rank != 2:
        raise MetablockError(f"'{model.spec.name}' takes no single picture\n  receptive fields and spectra are drawn of pictures")
    features = _stages(model.ir)
    if not features:
        raise MetablockError(
            f"'{model.spec.name}' has no stages that give one map\n  probe a network whose stages are not streams"
        )
    was = model.training
    model.eval()
    kept: dict[int, Tensor] = {}
    hooks = [
        model.get_submodule(f"stages.{number}").register_forward_hook(
            lambda _m, _a, output, number=number: kept.__setitem__(number, output)
        )
        for number in features
    ]
    fields: dict[int, Tensor] = {}
    maps: dict[int, list[Tensor]] = {number: [] for number in features}
    try:
        for image in images:
            x = image[None].clone().requires_grad_(True)
            with torch.enable_grad():
                model(x)
                for number, feature in features.items():
                    here = _map(kept[number], feature)
                    middle = here[0, :, feature.grid[0] // 2, feature.grid[1] // 2].sum()
                    (slope,) = torch.autograd.grad(middle, x, retain_graph=True)
                    fields[number] = fields.get(number, torch.zeros_like(slope[0, 0])) + slope[0].abs().sum(0)
                    maps[number].append(here.detach()[0])
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was)
    result = []
    for number, feature in features.items():
        field = (fields[number] / fields[number].max().clamp_min(1e-30)).double().cpu().numpy()
        spectrum = _spectrum(torch.stack(maps[number]))
        areas = {share: area(field, share) for share in SHARES}
        result.append(Probed(number, feature.grid, field, areas, spectrum, _radial(spectrum)))
    return result


def _stages(level: Subgraph) -> dict[int, Feature]:
    stages = level.children.get("stages")
    found: dict[int, Feature] = {}
    for name, stage in (stages.children if isinstance(stages, ModuleList) else {}).items():
        output = stage.output if isinstance(stage, Subgraph) else None
        if isinstance(output, Value) and output.feature.rank == 2 and len(list(flat_values(output))) == 1:
            found[int(name)] = output.feature
    return found


def _map(x: Tensor, feature: Feature) -> Tensor:
    """What a stage gives as ``(b, c, height, width)``, without prefix tokens."""
    if feature.layout == "map":
        return x
    if feature.layout == "grid":
        return x.permute(0, 3, 1, 2)
    return x[:, feature.prefix :].transpose(1, 2).reshape(x.shape[0], -1, *feature.grid)


def area(field: np.ndarray, share: float) -> float:
    """The side of the smallest square around the middle that holds this share, as a share of the shorter side."""
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
    """The mean by distance from zero frequency, of the map's Nyquist frequency; steps without a frequency are not a number."""
    axes = [np.fft.fftshift(np.fft.fftfreq(n)) / 0.5 for n in spectrum.shape]
    distance = np.sqrt(axes[0][:, None] ** 2 + axes[1][None] ** 2)
    ring = np.minimum((distance * steps).astype(int), steps)
    linear = 10.0**spectrum
    means = np.array([linear[ring == step].mean() if (ring == step).any() else np.nan for step in range(steps + 1)])
    return np.log(means / means[0])


# What a journal keeps of it

PICTURES = 8
_DRAWN = 96  # pixels of a receptive field's side that are kept


def measured(model: Block, data: Data) -> str | None:
    """A trained network's fields and spectra on the first pictures of the validation set, as text; None where it has none.

    Nothing that goes wrong here is worth a run.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        images, _ = data.val.get(range(min(PICTURES, len(data.val))))
        return told(probe(model, images.to(device)))
    except (MetablockError, RuntimeError):
        return None


def told(stages: Sequence[Probed]) -> str:
    """As text, to four figures; large fields in coarser pixels."""
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


def read(text: str) -> list[Probed]:
    """What :func:`told` wrote."""
    return [
        Probed(
            one["stage"],
            tuple(one["grid"]),
            np.array(one["field"]),
            {float(share): value for share, value in one["areas"].items()},
            np.array(one["spectrum"]),
            np.array([np.nan if value is None else value for value in one["radial"]]),
        )
        for one in json.loads(text)
    ]


def _coarser(field: np.ndarray) -> np.ndarray:
    step = -(-max(field.shape) // _DRAWN)
    if step == 1:
        return field
    rows, columns = (n // step * step for n in field.shape)
    return field[:rows, :columns].reshape(rows // step, step, columns // step, step).mean((1, 3))


def _rounded(values: np.ndarray) -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in values]
