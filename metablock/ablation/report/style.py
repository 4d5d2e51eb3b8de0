"""The style of figures: a palette for colour-blind readers, sizes for a printed page, and reproducible files.

Figures use matplotlib's objects, not ``pyplot``: there is no window, and no state that other code could have changed.
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

# Okabe and Ito (2008), without yellow, which is invisible on white.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
GREY, PALE = "#767676", "#E9E9E9"
SERIES = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# By shape as well as by colour, for prints in grey.
VERDICT_STYLE: dict[str, tuple[str, str]] = {
    BETTER: (BLUE, "^"),
    WORSE: (VERMILLION, "v"),
    EQUIVALENT: (GREEN, "D"),
    UNDECIDED: (GREY, "o"),
}
VERDICT_SIGN = {BETTER: "▲", WORSE: "▼", EQUIVALENT: "◆", UNDECIDED: "○"}

WIDTH = 7.2  # inches: the text of a page
_RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # part of matplotlib: the same on every machine
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
    """A figure of the report; if there is no ``figure``, the caption says why."""

    name: str
    title: str
    caption: str
    figure: Figure | None = None


@contextmanager
def styled(name: str = "") -> Iterator[None]:
    """A context in which figures are drawn and written in this style, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = {**_RC, "svg.hashsalt": name or "metablock"}
        matplotlib.rcParams.update(settings)
        yield


def new(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, with a canvas of its own."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def to_svg(picture: Picture) -> str:
    """The figure as SVG; the same figure always gives the same text."""
    assert picture.figure is not None
    sheet = io.StringIO()
    with styled(picture.name):
        picture.figure.savefig(sheet, format="svg", metadata={"Date": None, "Creator": None})
    return sheet.getvalue()


def to_png(picture: Picture, dpi: int = 200) -> bytes:
    """The figure as PNG."""
    assert picture.figure is not None
    sheet = io.BytesIO()
    with styled(picture.name):
        picture.figure.savefig(sheet, format="png", dpi=dpi, metadata={"Software": None})
    return sheet.getvalue()


def inline(svg: str, name: str, title: str) -> str:
    """An SVG as part of an HTML page, where its ids must differ from those of other figures.

    Args:
        svg: a whole file; the part before ``<svg`` is left out.
        name: the prefix of its ids.
        title: for readers who cannot see the figure; escaped for HTML.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    return body.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def short(name: str, length: int = 36) -> str:
    """A name cut to this many characters by leaving out its middle.

    >>> short("agent_attention(dim // 32, pool=7)", 20)
    'agent_attent…pool=7)'
    """
    name = one_line(name)
    if len(name) <= length:
        return name
    return f"{name[: length * 2 // 3 - 1]}…{name[-(length - length * 2 // 3) :]}"


def text_width(text: str, size: float = 7.5) -> float:
    """An upper estimate of the width of a text in DejaVu Sans, in inches; ``size`` is in points."""
    return len(text) * size * 0.62 / 72
