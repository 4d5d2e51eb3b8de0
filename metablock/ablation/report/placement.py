"""Heat maps of placement sweeps: the effect of each mixer in each stage."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from ..statistics import VERDICTS
from .analysis import METRIC, POINTS, Analysis, VariantRow
from .style import BLACK, BLUE, GREY, VERDICT_SIGN, VERMILLION, Picture, new, place, short, text_width
from .text import signed

# The colours of the verdicts: worse, none, better.
_COLOURS = LinearSegmentedColormap.from_list("differences", [VERMILLION, "#FFFFFF", BLUE])
_KEY = "   ".join(f"{sign} {verdict}" for verdict, sign in VERDICT_SIGN.items())


def heat_maps(analysis: Analysis) -> list[Picture]:
    """A heat map for each placement sweep; in a grid, one for each setting of the other factors."""
    maps: list[Picture] = []
    for factor in analysis.results.study.factors:
        if not factor.sweep:
            continue
        places = {level.name: place for level, place in zip(factor.levels, factor.sweep, strict=True)}
        panels: dict[str, dict[tuple[str, int], VariantRow]] = {}
        for row in analysis.rows:
            levels = dict(row.cell.levels)
            if levels.get(factor.name) in places:
                rest = ", ".join(f"{other} = {value}" for other, value in row.cell.levels if other != factor.name)
                panels.setdefault(rest, {})[places[levels[factor.name]]] = row
        for rest, cells in panels.items():
            maps.append(_heat_map(f"placement-{len(maps) + 1}", factor.name, rest, list(factor.sweep), cells, analysis))
    return maps


def _heat_map(
    name: str, factor: str, rest: str, sweep: list[tuple[str, int]], cells: dict[tuple[str, int], VariantRow], analysis: Analysis
) -> Picture:
    title = f"Placement: {factor}" + (f", {rest}" if rest else "")
    values = list(dict.fromkeys(value for value, _ in sweep))
    stages = sorted({stage for _, stage in sweep})
    differences = {at: row.difference for at, row in cells.items() if row.difference is not None}
    if not differences:
        return Picture(name, title, "No differences yet: no seed has finished in both the base and a cell of this sweep.")
    labels = [short(value) for value in values]
    left, side, high = 0.3 + max(map(text_width, labels)), 0.95, 0.5
    figure = new(max(4.6, left + side * len(stages) + 1.3), 0.78 + high * len(values))
    axes = place(figure, left, 0.66, side * len(stages), high * len(values))
    bound = max(analysis.margin, *(abs(value) for value in differences.values()), 1e-3)
    grid = np.full((len(values), len(stages)), np.nan)
    for (value, stage), difference in differences.items():
        grid[values.index(value), stages.index(stage)] = difference
    image = axes.imshow(np.ma.masked_invalid(grid), cmap=_COLOURS, vmin=-bound, vmax=bound, aspect="auto")
    for at in sweep:
        _cell(axes, cells.get(at), values.index(at[0]), stages.index(at[1]), bound)
    axes.set_xticks(range(len(stages)), [str(stage) for stage in stages])
    axes.set_yticks(range(len(values)), labels)
    axes.set_xlabel("stage, counted from 0")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = place(figure, left + side * len(stages) + 0.2, 0.66, 0.12, high * len(values))
    figure.colorbar(image, cax=bar).set_label(f"Δ {METRIC} ({POINTS})")
    figure.text(0.1 / figure.get_size_inches()[0], 0.08 / figure.get_size_inches()[1], _KEY, size=7, color=GREY)
    caption = (
        f"Mean paired difference to the base, in {POINTS}, of each value in each single stage. "
        f"{', '.join(f'{VERDICT_SIGN[verdict]} {verdict}' for verdict in VERDICTS)}; the verdicts are those of the table. "
        "≡ the same network as the base or another cell; hatched: inapplicable, or no result yet."
    )
    return Picture(name, title, caption, figure)


def _cell(axes: Axes, row: VariantRow | None, y: int, x: int, bound: float) -> None:
    """Writes difference and verdict into one field of the map; a field without a number is hatched."""
    if row is not None and row.difference is not None and row.comparison is not None:
        red, green, blue, _ = _COLOURS(0.5 + 0.5 * row.difference / bound)
        dark = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < 0.2  # luminance, as WCAG's contrast takes it
        shown = f"{signed(row.difference)}\n{VERDICT_SIGN[row.comparison.verdict]}"
        axes.text(x, y, shown, ha="center", va="center", size=7.5, color="white" if dark else BLACK)
        return
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, ec="#BBBBBB", hatch="" if row is None else "////", lw=0))
    mark = "≡" if row is None else "inapplicable" if row.cell.problem else "no result"
    axes.text(x, y, mark, ha="center", va="center", size=7, color=BLACK, bbox={"fc": "white", "ec": "none", "pad": 1})
