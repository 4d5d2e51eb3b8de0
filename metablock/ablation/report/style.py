"""How figures look: one palette that colour-blind readers can tell apart, sizes for a printed page, files that do not change.

Figures are made with matplotlib's objects alone: no window, no state that other code could have set.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..statistics import BETTER, EQUIVALENT, UNDECIDED, WORSE
from .text import one_line

# Okabe and Ito (2008). Yellow is left out: it does not show on white.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
GREY, PALE = "#767676", "#E9E9E9"
SERIES = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# By shape as well as by colour: a print in grey says the same.
VERDICT_STYLE: dict[str, tuple[str, str]] = {
    BETTER: (BLUE, "^"),
    WORSE: (VERMILLION, "v"),
    EQUIVALENT: (GREEN, "D"),
    UNDECIDED: (GREY, "o"),
}
VERDICT_SIGN = {BETTER: "▲", WORSE: "▼", EQUIVALENT: "◆", UNDECIDED: "○"}

WIDTH = 7.2  # inches: the text of a page
_RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same on any machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # a `$` in a name is a `$`
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "svg.fonttype": "path",
    "figure.dpi": 100,
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Picture:
    """A figure of the report. Without ``figure`` the caption says why there is none."""

    name: str
    title: str
    caption: str
    figure: Figure | None = None


@contextmanager
def styled(name: str = "") -> Iterator[None]:
    """Within, figures are made and written in this style, whatever the user's own matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = {**_RC, "svg.hashsalt": name or "metablock"}
        matplotlib.rcParams.update(settings)
        yield


def new(width: float, height: float) -> Figure:
    """An empty figure, in inches, that draws by itself."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def to_svg(picture: Picture) -> str:
    """The same figure gives the same text, on any day."""
    assert picture.figure is not None
    sheet = io.StringIO()
    with styled(picture.name):
        picture.figure.savefig(sheet, format="svg", metadata={"Date": None, "Creator": None})
    return sheet.getvalue()


def to_png(picture: Picture, dpi: int = 200) -> bytes:
    assert picture.figure is not None
    sheet = io.BytesIO()
    with styled(picture.name):
        picture.figure.savefig(sheet, format="png", dpi=dpi, metadata={"Software": None})
    return sheet.getvalue()


def inline(svg: str, name: str, title: str) -> str:
    """An SVG as part of an HTML page: no prologue, names of its own (figures share a page), a title for those who cannot see it.

    Args:
        svg: a whole file.
        name: what its names begin with.
        title: in words, escaped.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    return body.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def short(name: str, length: int = 36) -> str:
    """A name that fits into a figure: its middle is what can be spared."""
    name = one_line(name)
    if len(name) <= length:
        return name
    return f"{name[: length * 2 // 3 - 1]}…{name[-(length - length * 2 // 3) :]}"


def text_width(text: str, size: float = 7.5) -> float:
    """In inches, estimated from above for DejaVu Sans."""
    return len(text) * size * 0.62 / 72
