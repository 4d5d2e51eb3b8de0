"""What a mixer does to a picture: how far a feature sees, and which frequencies each stage passes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import MetablockError
from ..files import write_whole
from ..graph import Items, Level, Wire, wires
from ..module import Block
from ..shape import Feature
from .report.style import GREY, SERIES, Picture, new, place, styled, to_png, to_svg

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
    features = _stages(model.level)
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


def _stages(level: Level) -> dict[int, Feature]:
    stages = level.children.get("stages")
    found: dict[int, Feature] = {}
    for name, stage in (stages.children if isinstance(stages, Items) else {}).items():
        output = stage.output if isinstance(stage, Level) else None
        if isinstance(output, Wire) and output.feature.rank == 2 and len(list(wires(output))) == 1:
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


# Figures


def pictures(results: dict[str, Sequence[Probed]]) -> list[Picture]:
    """Figures of one or several networks, by name: receptive fields, spectra, and frequency curves."""
    found = [picture for name, stages in results.items() for picture in (_fields(name, stages), _spectra(name, stages))]
    return [*found, _curves(results)]


def _fields(name: str, stages: Sequence[Probed]) -> Picture:
    title = f"Effective receptive field of {name}"
    caption = (
        "How strongly the middle feature of each stage depends on each pixel (size of the derivative, mean of the pictures; "
        "log scale, the largest is 1). Below: the side of the square that holds half of it."
    )
    with styled("fields"):
        size = 1.6
        figure = new(len(stages) * (size + 0.15) + 0.9, size + 0.75)
        shown: Any = None
        for i, stage in enumerate(stages):
            axes = place(figure, 0.1 + i * (size + 0.15), 0.35, size, size)
            shown = axes.imshow(np.log10(np.maximum(stage.field, 1e-4)), cmap="viridis", vmin=-4, vmax=0, interpolation="nearest")
            axes.set_title(f"stage {stage.stage}, {stage.grid[0]} × {stage.grid[1]}")
            axes.set_xlabel(f"50 % in {stage.areas[0.5]:.0%} of the side")
            axes.set_xticks([])
            axes.set_yticks([])
        bar = place(figure, 0.1 + len(stages) * (size + 0.15), 0.35, 0.1, size)
        figure.colorbar(shown, cax=bar, label="relative dependence, log10")
    return Picture(f"receptive-field-{_file(name)}", title, caption, figure)


def _spectra(name: str, stages: Sequence[Probed]) -> Picture:
    title = f"Fourier spectrum of the features of {name}"
    caption = "Amplitude of each frequency of the feature maps (log10, mean of channels and pictures), zero in the middle."
    with styled("spectra"):
        size = 1.6
        figure = new(len(stages) * (size + 0.15) + 0.9, size + 0.75)
        low = min(float(stage.spectrum.min()) for stage in stages)
        high = max(float(stage.spectrum.max()) for stage in stages)
        shown: Any = None
        for i, stage in enumerate(stages):
            axes = place(figure, 0.1 + i * (size + 0.15), 0.35, size, size)
            shown = axes.imshow(
                stage.spectrum, cmap="viridis", vmin=low, vmax=high, interpolation="nearest", extent=(-1, 1, -1, 1)
            )
            axes.set_title(f"stage {stage.stage}, {stage.grid[0]} × {stage.grid[1]}")
            axes.set_xticks([-1, 0, 1], ["−π", "0", "π"])
            axes.set_yticks([])
        bar = place(figure, 0.1 + len(stages) * (size + 0.15), 0.35, 0.1, size)
        figure.colorbar(shown, cax=bar, label="amplitude, log10")
    return Picture(f"spectrum-{_file(name)}", title, caption, figure)


def _curves(results: dict[str, Sequence[Probed]]) -> Picture:
    count = max(len(stages) for stages in results.values())
    title = "Frequencies that each stage passes on"
    caption = "Amplitude by frequency, relative to the lowest (natural logarithm). A curve that falls is a low-pass filter."
    with styled("frequencies"):
        width = max(1.5, min(2.2, 6.2 / count))
        figure = new(count * (width + 0.2) + 0.7, 2.5 + 0.14 * len(results))
        every = np.concatenate([stage.radial for stages in results.values() for stage in stages])
        spread = max(0.1, float(np.nanmax(every) - np.nanmin(every)))
        limits = float(np.nanmin(every)) - 0.05 * spread, float(np.nanmax(every)) + 0.05 * spread
        for i in range(count):
            axes = place(figure, 0.6 + i * (width + 0.2), 0.55 + 0.14 * len(results), width, 1.6)
            axes.set_ylim(*limits)
            for number, (name, stages) in enumerate(results.items()):
                if i < len(stages):
                    radial = stages[i].radial
                    at = np.linspace(0, 1, len(radial))
                    good = np.isfinite(radial)
                    axes.plot(at[good], radial[good], color=SERIES[number % len(SERIES)], label=name)
            axes.axhline(0, color=GREY, linewidth=0.6)
            axes.set_title(f"stage {i}")
            axes.set_xticks([0, 0.5, 1], ["0", "π/2", "π"])
            axes.set_xlabel("frequency")
            if i:
                axes.set_yticklabels([])
            else:
                axes.set_ylabel("relative amplitude, ln")
                if len(results) > 1:
                    figure.legend(*axes.get_legend_handles_labels(), loc="lower left", frameon=False, ncol=1)
    return Picture("frequencies", title, caption, figure)


def _file(name: str) -> str:
    from .report.text import slug

    return slug(name)


def write_probe(results: dict[str, Sequence[Probed]], folder: Path) -> list[Path]:
    """Writes figures (``.svg``, ``.png``) and ``probe.md``, a table of areas. Raises MetablockError where it cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for picture in pictures(results):
        path = folder / f"{picture.name}.svg"
        write_whole(path, to_svg(picture))
        path.with_suffix(".png").write_bytes(to_png(picture))
        written += [path, path.with_suffix(".png")]
    path = folder / "probe.md"
    write_whole(path, table(results))
    return [path, *written]


def table(results: dict[str, Sequence[Probed]]) -> str:
    """The areas of the effective receptive fields as a Markdown table."""
    lines = ["| network | stage | map | " + " | ".join(f"{share:.0%}" for share in SHARES) + " | high frequencies, ln |"]
    lines.append("| --- " * 3 + "| ---: " * (len(SHARES) + 1) + "|")
    for name, stages in results.items():
        for stage in stages:
            finite = stage.radial[np.isfinite(stage.radial)]
            areas = " | ".join(f"{stage.areas[share]:.1%}" for share in SHARES)
            lines.append(f"| {name} | {stage.stage} | {stage.grid[0]} × {stage.grid[1]} | {areas} | {finite[-1]:+.2f} |")
    note = "The side of the square around the middle that holds so much of the dependence on the picture, as a share of its side."
    return "\n".join([*lines, "", note]) + "\n"
