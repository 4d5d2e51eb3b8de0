"""The forest plot: every comparison with its interval and verdict, and the margin."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from ..statistics import UNDECIDED, VERDICTS
from .analysis import METRIC, POINTS, Analysis, VariantRow
from .style import BLACK, PALE, VERDICT_STYLE, WIDTH, Picture, new, place, short, text_width
from .text import interval, level, signed

_LINE = 0.2  # inches from row to row


def forest(analysis: Analysis) -> Picture:
    """Differences to the base with their intervals: one row per variant, grouped by factor."""
    name, title = "differences", f"Paired differences in {METRIC} accuracy to the base"
    if not any(row.difference is not None for row, _ in analysis.compared):
        return Picture(name, title, "No differences yet: no seed has finished in both the base and a variant.")
    lines = _lines(analysis)
    left = 0.3 + max(text_width(text) for text, _ in lines)
    head = (f"Δ ({POINTS})", "interval", "level")
    texts = [head, *(_annotation(row) for _, row in lines if row is not None)]
    widths = [max(text_width(text[i]) for text in texts) + 0.12 for i in range(len(head))]
    ends = (widths[0], sum(widths[:2]), sum(widths))
    right, height = ends[-1] + 0.1, len(lines) * _LINE
    figure = new(max(WIDTH, left + right + 2.6), height + 0.95)
    axes = place(figure, left, 0.48, figure.get_size_inches()[0] - left - right, height)
    limits = _limits(analysis)
    axes.axvspan(-analysis.margin, analysis.margin, color=PALE, zorder=0, lw=0)
    axes.axvline(0, color=BLACK, lw=0.7, zorder=1)
    for y, (_, row) in enumerate(lines):
        if row is not None:
            _draw(axes, row, y, limits)
            _write(figure, axes, _annotation(row), ends, y)
    _write(figure, axes, head, ends, -1, weight="bold")
    axes.set(xlim=limits, ylim=(len(lines) - 0.4, -0.6))
    axes.set_xlabel(f"Δ {METRIC} accuracy to the base ({POINTS}); right is better")
    axes.set_yticks(range(len(lines)), [text for text, _ in lines])
    for tick, (_, row) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if row is None else "normal")
    axes.tick_params(axis="y", length=0, pad=8)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.spines["left"].set_visible(False)
    keys: list[Line2D | Patch] = [_key(verdict) for verdict in VERDICTS]
    if analysis.margin:
        keys.append(Patch(color=PALE, label=f"margin ±{analysis.margin:g} {POINTS}"))
    figure.legend(handles=keys, loc="upper center", ncols=len(keys), frameon=False, handletextpad=0.3, columnspacing=1.4)
    count, alpha = len(analysis.compared), analysis.results.study.alpha
    caption = (
        f"Mean paired difference and its interval, at the confidence level that stands behind it: that of the verdict, after "
        f"Holm's correction for {count} comparisons (family-wise error {alpha:g}). An arrow: the interval goes on. No interval: "
        "fewer than two pairs, or differences without spread."
    )
    return Picture(name, title, caption, figure)


def _lines(analysis: Analysis) -> list[tuple[str, VariantRow | None]]:
    """Text and row of each line of the plot; a heading has no row."""
    lines: list[tuple[str, VariantRow | None]] = []
    for group, rows in analysis.groups.items():
        if group:
            lines.append((short(group, 44), None))
            lines += [(short(row.label, 44) + (" †" if row.cell.off else ""), row) for row in rows]
    return lines


def _write(figure: Figure, axes: Axes, texts: Sequence[str], ends: Sequence[float], y: float, weight: str = "normal") -> None:
    """Writes the numbers of one row right of the axes, in columns whose right ends are ``ends`` inches away from them."""
    for text, end in zip(texts, ends, strict=True):
        at = axes.get_yaxis_transform() + ScaledTranslation(end, 0, figure.dpi_scale_trans)
        axes.text(1, y, text, transform=at, va="center_baseline", ha="right", size=7.5, weight=weight)


def _annotation(row: VariantRow) -> tuple[str, str, str]:
    """Difference, interval and level of a row, or why there is none."""
    if row.cell.problem:
        return ("", "inapplicable", "")
    if row.comparison is None or row.difference is None:
        return ("", "no result", "")
    comparison = row.comparison
    if comparison.interval is None:
        return (signed(row.difference), "one pair" if comparison.paired.n == 1 else "no spread", "")
    return (signed(row.difference), interval(comparison.interval), level(comparison.level))


def _limits(analysis: Analysis) -> tuple[float, float]:
    """Limits of the axis: all means and the margin fit in; intervals are cut where they would squeeze these."""
    comparisons = [comparison for row, comparison in analysis.compared if row.difference is not None]
    means = [comparison.paired.difference for comparison in comparisons]
    scale = max([abs(mean) for mean in means] + [analysis.margin, 1e-3])
    ends = [*means, *(end for comparison in comparisons for end in comparison.interval or ())]
    least, most = max(1.5 * analysis.margin, 0.25 * scale), 2.5 * scale
    low, high = (min(most, max(least, 1.05 * max(sign * end for end in ends))) for sign in (-1, 1))
    return -low, high


def _draw(axes: Axes, row: VariantRow, y: int, limits: tuple[float, float]) -> None:
    if row.comparison is None or row.difference is None:
        return
    colour, marker = VERDICT_STYLE[row.comparison.verdict]
    bounds = row.comparison.interval or ()
    shown = [min(max(end, limits[0]), limits[1]) for end in bounds]
    axes.plot(shown, [y] * len(shown), color=colour, lw=1.3, zorder=2, solid_capstyle="butt")
    for end, at, arrow in zip(bounds, shown, "<>", strict=False):
        cap, size = ("|", 6) if end == at else (arrow, 5)
        axes.plot([at], [y], marker=cap, color=colour, ms=size, mew=1.2, clip_on=False, zorder=3)
    inside = "white" if row.comparison.verdict == UNDECIDED else colour
    axes.plot([row.difference], [y], marker=marker, color=colour, mfc=inside, ms=6, mew=1.2, ls="", zorder=4)


def _key(verdict: str) -> Line2D:
    colour, marker = VERDICT_STYLE[verdict]
    inside = "white" if verdict == UNDECIDED else colour
    return Line2D([], [], color=colour, marker=marker, mfc=inside, ms=6, mew=1.2, lw=1.3, label=verdict)
