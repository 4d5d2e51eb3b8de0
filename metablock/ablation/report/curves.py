"""Figures of the metric: against the networks' costs, and over the epochs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from statistics import fmean, stdev

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..results import Epoch, Run
from ..statistics import half_width
from .analysis import METRIC, Analysis, VariantRow, cost
from .style import BLACK, GREY, MARKERS, SERIES, WIDTH, Picture, new, place, short
from .text import MILLISECONDS, level, unit

_COSTS = (("macs", "MACs"), ("trainable", "trainable parameters"), ("latency", "latency"))
_NAMED = 24  # variants in a legend; if there are more, it names only those on the front
_LEVEL = 0.95  # of the intervals of means
_TOGETHER = 6  # curves in one panel


def against_cost(analysis: Analysis) -> Picture:
    """The mean metric of each variant against each of its costs, with the Pareto front of the means."""
    name, title = "cost", f"{METRIC.capitalize()} accuracy against cost"
    rows = [row for row in analysis.rows if row.mean is not None and row.cell.cost is not None]
    if not rows:
        return Picture(name, title, "No run has finished yet.")
    panels = [(what, label) for what, label in _COSTS if any(cost(row, what) is not None for row in rows)]
    styles = _styles(analysis, rows, [what for what, _ in panels])
    named = [row for row in rows if styles[row.cell.name][2]]
    columns = 2
    legend = 0.163 * ceil((len(named) + 1) / columns) + 0.1
    side = (WIDTH - 0.15 - 0.65 * len(panels)) / len(panels)
    tall = min(2.6, max(2.1, side))
    figure = new(WIDTH, tall + 0.6 + legend)
    for i, (what, label) in enumerate(panels):
        axes = place(figure, 0.6 + i * (side + 0.65), legend + 0.5, side, tall)
        _panel(axes, rows, what, label, styles)
    marks = [_mark(styles[row.cell.name], short(_called(row, rows), 48)) for row in named]
    marks.append(Line2D([], [], color=GREY, lw=1, ls="--", label="Pareto front of the means"))
    figure.legend(handles=marks, loc="lower center", ncols=columns, frameon=False, handletextpad=0.4, columnspacing=1.5)
    measured = f" Latency on {analysis.results.device or 'a device that was not recorded'}, batch of one." * (len(panels) == 3)
    caption = (
        f"Mean over seeds with its {level(_LEVEL)} t interval (none with one seed). Seeds make all variants vary together: "
        f"differences are judged pair by pair, in the figure of differences, not by whether these intervals overlap.{measured}"
    )
    return Picture(name, title, caption, figure)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the Pareto front of points (cost, metric), by cost: no other point is cheaper and at least as good, or better.

    >>> front([(3.0, 90.0), (1.0, 80.0), (2.0, 79.0)])
    [1, 0]
    """
    best: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not best or points[i][1] > points[best[-1]][1]:
            best.append(i)
    return best


def _called(row: VariantRow, rows: Sequence[VariantRow]) -> str:
    """The label of a row; its full name if another row has the same label."""
    return row.label if sum(other.label == row.label for other in rows) == 1 else row.cell.name


_Style = tuple[str, str, bool]  # colour, marker, whether the legend names it


def _styles(analysis: Analysis, rows: Sequence[VariantRow], costs: Sequence[str]) -> dict[str, _Style]:
    """Colour and marker of each variant: no two of the named share both."""
    wanted = {row.cell.name for row in rows}
    if len(rows) > _NAMED:
        wanted = {row.cell.name for row in rows if row.cell.base}
        for what in costs:
            known = [row for row in rows if cost(row, what) is not None]
            wanted |= {known[i].cell.name for i in front(_points(known, what))}
    styles: dict[str, _Style] = {}
    for row in rows:
        number = sum(named for _, _, named in styles.values()) - (1 if "base" in styles else 0)
        if row.cell.base:
            styles[row.cell.name] = (BLACK, "*", True)
        elif row.cell.name in wanted:
            styles[row.cell.name] = (SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)], True)
        else:
            styles[row.cell.name] = ("#B5B5B5", ".", False)
    return styles


def _points(rows: Sequence[VariantRow], what: str) -> list[tuple[float, float]]:
    return [(cost(row, what) or 0.0, row.mean or 0.0) for row in rows]


def _mark(style: _Style, label: str) -> Line2D:
    return Line2D([], [], color=style[0], marker=style[1], ms=8 if style[1] == "*" else 5, ls="", label=label)


def _panel(axes: Axes, rows: Sequence[VariantRow], what: str, label: str, styles: dict[str, _Style]) -> None:
    rows = [row for row in rows if cost(row, what) is not None]
    points = _points(rows, what)
    size = unit(x for x, _ in points)
    if what == "latency":
        size = unit((x for x, _ in points), MILLISECONDS)
    shown = [(x / size.scale, y) for x, y in points]
    for row, (x, y) in zip(rows, shown, strict=True):
        colour, marker, named = styles[row.cell.name]
        n, sd = len(row.metrics), row.sd
        if sd is not None:
            half = half_width(sd, n, _LEVEL)
            axes.plot([x, x], [max(0, y - half), min(100, y + half)], color=colour, lw=1, alpha=0.8, zorder=2)
        big, order = 9.0 if marker == "*" else 5.5, 5 if row.cell.base else 4 if named else 3
        axes.plot([x], [y], color=colour, marker=marker, ms=big, ls="", mec="white", mew=0.5, zorder=order)
    best = [shown[i] for i in front(shown)]
    # A staircase: a budget between two networks of the front buys the cheaper one.
    axes.plot([x for x, _ in best], [y for _, y in best], color=GREY, lw=1, ls="--", drawstyle="steps-post", zorder=1)
    axes.set_xlabel(f"{label} ({size.prefix or 'number'})")
    axes.set_ylabel(f"{METRIC} (%)")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.12)
    axes.grid(color="#E5E5E5", lw=0.5)
    axes.ticklabel_format(useOffset=False)


# Learning curves

_Measure = Callable[[Epoch], float | None]
_MEASURES: tuple[tuple[str, _Measure], ...] = (
    (f"validation {METRIC} (%)", lambda epoch: epoch.val_top1),
    ("validation loss (nats)", lambda epoch: epoch.val_loss),
    ("training loss (nats)", lambda epoch: epoch.train_loss),
)


def learning_curves(analysis: Analysis) -> Picture:
    """The metric after each epoch: mean and standard deviation over seeds, with the base in every panel."""
    name, title = "curves", "Learning curves"
    runs = {row.cell.name: _drawn(analysis.results.of(row.cell.name)) for row in analysis.rows}
    epochs = {cell: [epoch for run in drawn for epoch in run.epochs] for cell, drawn in runs.items()}
    every = [epoch for finished in epochs.values() for epoch in finished]
    label, measure = next((m for m in _MEASURES if any(m[1](epoch) is not None for epoch in every)), _MEASURES[-1])
    rows = [row for row in analysis.rows if any(measure(epoch) is not None for epoch in epochs[row.cell.name])]
    if not rows:
        return Picture(name, title, "No epoch has finished yet.")
    base = [row for row in rows if row.cell.base]
    panels: list[tuple[str, list[VariantRow]]] = []
    for group, members in analysis.groups.items():
        known = [row for row in members if row in rows and not row.cell.base]
        panels += [(group, known[i : i + _TOGETHER]) for i in range(0, len(known), _TOGETHER)]
    panels = panels or [("base", [])]
    columns = min(2, len(panels))
    lines, side, tall = max(len(members) for _, members in panels) + len(base), (WIDTH - 0.7 * columns) / columns, 2.0
    step = tall + 0.85 + 0.135 * lines
    limits = _limits([epochs[row.cell.name] for row in rows], measure)
    figure = new(WIDTH, step * ceil(len(panels) / columns) + 0.1)
    for i, (group, members) in enumerate(panels):
        top = figure.get_size_inches()[1] - (i // columns) * step
        axes = place(figure, 0.55 + (i % columns) * (side + 0.7), top - 0.3 - tall, side, tall)
        looks = [(BLACK, "*")] * len(base) + list(zip(SERIES, MARKERS, strict=False))
        for row, (colour, marker) in zip([*base, *members], looks, strict=False):
            _curve(axes, runs[row.cell.name], measure, colour, marker, short(row.label, 44 if columns == 2 else 90))
        axes.set_ylim(*limits)
        axes.set_title(short(group, 44), loc="left")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(color="#E5E5E5", lw=0.5)
        below = -0.42 / tall  # of the axes: under the label of the abscissa
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, below), frameon=False, borderaxespad=0, labelspacing=0.25)
    caption = (
        "Mean over seeds after each epoch, with a band of ± one standard deviation. Dashed: no seed has finished yet, or all "
        "failed; a mean then ends with the shortest run. The axis holds what happens after the first third of the epochs."
    )
    return Picture(name, title, caption, figure)


def _limits(groups: Sequence[Sequence[Epoch]], measure: _Measure) -> tuple[float, float]:
    """Limits of the axis of all panels, from the last two thirds of the epochs: the first ones would hide later differences."""
    last = max(epoch.epoch for group in groups for epoch in group)
    known = [(epoch.epoch, value) for group in groups for epoch in group if (value := measure(epoch)) is not None]
    late = [value for at, value in known if at > last / 3] or [value for _, value in known]
    room = 0.05 * (max(late) - min(late)) or 1.0
    return min(late) - room, max(late) + room


def _drawn(runs: Sequence[Run]) -> list[Run]:
    """The finished runs; if there is none yet, the unfinished ones."""
    return [run for run in runs if run.status == "done" and run.epochs] or [run for run in runs if run.epochs]


def _curve(axes: Axes, runs: Sequence[Run], measure: _Measure, colour: str, marker: str, label: str) -> None:
    tracks = [{epoch.epoch: value for epoch in run.epochs if (value := measure(epoch)) is not None} for run in runs]
    tracks = [track for track in tracks if track]
    epochs = sorted(set.intersection(*(set(track) for track in tracks)))
    means = [fmean(track[at] for track in tracks) for at in epochs]
    unfinished = all(run.status != "done" for run in runs)
    every, size, line = max(1, len(epochs) // 5), 6.0 if marker == "*" else 3.5, "--" if unfinished else "-"
    axes.plot(epochs, means, line, color=colour, marker=marker, ms=size, markevery=(every - 1, every), label=label, zorder=3)
    if len(tracks) > 1:
        spread = [stdev(track[at] for track in tracks) for at in epochs]
        lower, upper = [m - s for m, s in zip(means, spread, strict=True)], [m + s for m, s in zip(means, spread, strict=True)]
        axes.fill_between(epochs, lower, upper, color=colour, alpha=0.22, lw=0, zorder=2)
