"""Figures of receptive fields and Fourier spectra, of a study's cells or of networks that a user names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ...errors import MetablockError
from ...files import replacing, write_whole
from ..probe import SHARES, Probed
from .style import GREY, SERIES, Picture, new, place, styled, to_png, to_svg
from .text import slugs


def pictures(results: Mapping[str, Sequence[Probed]]) -> list[Picture]:
    """Figures of one or several networks, by name: receptive fields and spectra of each, and frequency curves of all."""
    files = slugs(results)
    each = [
        picture
        for name, stages in results.items()
        for picture in (_fields(name, stages, files[name]), _spectra(name, stages, files[name]))
    ]
    return [*each, _curves(results)]


def _fields(name: str, stages: Sequence[Probed], file: str) -> Picture:
    title = f"Effective receptive field of {name}"
    caption = (
        "How strongly the middle feature of each stage depends on each pixel (size of the derivative, mean of the pictures; "
        "log scale, the largest is 1). Below: the side of the square that holds half of it."
    )

    def draw(axes: Axes, stage: Probed) -> AxesImage:
        field = np.log10(np.maximum(stage.field, 1e-4))
        image = axes.imshow(field, cmap="viridis", vmin=-4, vmax=0, interpolation="nearest")
        axes.set_xlabel(f"50 % in {stage.areas[0.5]:.0%} of the side")
        axes.set_xticks([])
        return image

    figure = _row("fields", stages, draw, "relative dependence, log10")
    return Picture(f"receptive-field-{file}", title, caption, figure)


def _spectra(name: str, stages: Sequence[Probed], file: str) -> Picture:
    title = f"Fourier spectrum of the features of {name}"
    caption = "Amplitude of each frequency of the feature maps (log10, mean of channels and pictures), zero in the middle."
    low = min(float(stage.spectrum.min()) for stage in stages)
    high = max(float(stage.spectrum.max()) for stage in stages)
    extent = (-1, 1, -1, 1)

    def draw(axes: Axes, stage: Probed) -> AxesImage:
        image = axes.imshow(stage.spectrum, cmap="viridis", vmin=low, vmax=high, interpolation="nearest", extent=extent)
        axes.set_xticks([-1, 0, 1], ["−π", "0", "π"])
        return image

    figure = _row("spectra", stages, draw, "amplitude, log10")
    return Picture(f"spectrum-{file}", title, caption, figure)


def _row(style: str, stages: Sequence[Probed], draw: Callable[[Axes, Probed], AxesImage], label: str) -> Figure:
    """One image per stage in a row, and the scale of their colours."""
    with styled(style):
        size = 1.6
        figure = new(len(stages) * (size + 0.15) + 0.9, size + 0.75)
        image: Any = None
        for i, stage in enumerate(stages):
            axes = place(figure, 0.1 + i * (size + 0.15), 0.35, size, size)
            image = draw(axes, stage)
            axes.set_title(f"stage {stage.stage}, {stage.grid[0]} × {stage.grid[1]}")
            axes.set_yticks([])
        bar = place(figure, 0.1 + len(stages) * (size + 0.15), 0.35, 0.1, size)
        figure.colorbar(image, cax=bar, label=label)
    return figure


def _curves(results: Mapping[str, Sequence[Probed]]) -> Picture:
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
                    style = ("-", "--", ":")[number // len(SERIES) % 3]  # the colours repeat after len(SERIES) networks
                    axes.plot(at[good], radial[good], style, color=SERIES[number % len(SERIES)], label=name)
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


def write_probe(results: Mapping[str, Sequence[Probed]], folder: Path) -> list[Path]:
    """Writes the figures of :func:`pictures` (``.svg``, ``.png``) and ``probe.md``, the table of areas.

    Args:
        results: the measurements of each network, by its name.
        folder: is created if there is none.

    Returns:
        The files, the table first.

    Raises:
        MetablockError: a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "this is not a path"
        raise MetablockError(f"{str(folder)[:200]}: cannot write there: {reason}", "name another folder with -o") from None
    written = []
    for picture in pictures(results):
        path = folder / f"{picture.name}.svg"
        write_whole(path, to_svg(picture))
        with replacing(path.with_suffix(".png")) as file:
            file.write_bytes(to_png(picture))
        written += [path, path.with_suffix(".png")]
    path = folder / "probe.md"
    write_whole(path, table(results))
    return [path, *written]


def table(results: Mapping[str, Sequence[Probed]]) -> str:
    """The areas of the effective receptive fields as a Markdown table.

    >>> areas = {0.2: 0.1, 0.3: 0.2, 0.5: 0.3, 0.99: 0.9}
    >>> stage = Probed(0, (8, 8), np.ones((32, 32)), areas, np.zeros((8, 8)), np.array([0.0, -0.5]))
    >>> print(table({"pool(3)": [stage]}).splitlines()[2])
    | pool(3) | 0 | 8 × 8 | 10.0% | 20.0% | 30.0% | 90.0% | -0.50 |
    """
    lines = ["| network | stage | map | " + " | ".join(f"{share:.0%}" for share in SHARES) + " | high frequencies, ln |"]
    lines.append("| --- " * 3 + "| ---: " * (len(SHARES) + 1) + "|")
    for name, stages in results.items():
        for stage in stages:
            finite = stage.radial[np.isfinite(stage.radial)]
            areas = " | ".join(f"{stage.areas[share]:.1%}" for share in SHARES)
            lines.append(f"| {name} | {stage.stage} | {stage.grid[0]} × {stage.grid[1]} | {areas} | {finite[-1]:+.2f} |")
    note = "The side of the square around the middle that holds so much of the dependence on the picture, as a share of its side."
    return "\n".join([*lines, "", note]) + "\n"
