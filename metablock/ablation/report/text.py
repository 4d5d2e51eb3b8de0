"""Numbers as papers write them, and what HTML, Markdown and TeX must not take for markup."""

from __future__ import annotations

import html as _html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, log10

NOTHING = "–"
NAMES = {"macs": "MACs", "params": "parameters"}  # what a study matches, in words
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
MILLISECONDS = ((1.0, "ms"),)

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': "{''}", "`": r"\textasciigrave{}", "'": "'", "[": "{[}", "]": "{]}", "−": r"\ensuremath{-}",
    "±": r"\ensuremath{\pm}", "×": r"\ensuremath{\times}", "Δ": r"\ensuremath{\Delta}", "≡": r"\ensuremath{\equiv}",
    "≤": r"\ensuremath{\leq}", "≥": r"\ensuremath{\geq}", "†": r"\dag{}", "–": r"\textendash{}", "*": "{*}",
    "…": r"\ldots{}", "\u202f": r"\,", "·": r"\ensuremath{\cdot}",
}  # fmt: skip


def html(text: str) -> str:
    """Also for attributes."""
    return _html.escape(text, quote=True)


def markdown(text: str) -> str:
    """One line, safe in a cell of a table."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", one_line(text)).replace("<", "&lt;").replace(">", "&gt;")


def tex(text: str) -> str:
    """One line, for text mode; needs UTF-8 input for letters beyond ASCII."""
    plain = re.sub(r"-(?=-)", "-{}", one_line(text))  # options of a command line are no dashes
    parts = re.split(r"(-\{\})", plain)
    return "".join(part if part == "-{}" else "".join(_TEX.get(char, char) for char in part) for part in parts)


def one_line(text: str) -> str:
    """Without line breaks and control characters, which have no place in any of the three."""
    return re.sub(r"\s+", " ", "".join(char if char.isprintable() or char.isspace() else "�" for char in text)).strip()


def signed(value: float, digits: int = 2) -> str:
    """With its sign, and a true minus."""
    shown = f"{value:+.{digits}f}"
    return shown.replace("-", "−") if float(shown) else f"{0:.{digits}f}"


def number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def probability(p: float | None) -> str:
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def interval(bounds: tuple[float, float] | None, digits: int = 2) -> str:
    return NOTHING if bounds is None else f"[{signed(bounds[0], digits)}, {signed(bounds[1], digits)}]"


def per_cent(part: float | None, digits: int = 1) -> str:
    """A relative difference."""
    return NOTHING if part is None else f"{signed(100 * part, digits)} %"


def level(value: float) -> str:
    """A confidence level: 98.3 %."""
    return f"{100 * value:.4g} %"


def slug(name: str) -> str:
    """A file's name on any system: letters, digits, dots, lines."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:80] or "cell"


@dataclass(frozen=True)
class Unit:
    """A power of a thousand and the decimals that suit all numbers of a column."""

    scale: float
    prefix: str
    digits: int

    def show(self, value: float | None) -> str:
        return NOTHING if value is None else f"{value / self.scale:.{self.digits}f}"


def unit(values: Iterable[float | None], prefixes: Sequence[tuple[float, str]] = _PREFIXES) -> Unit:
    """By the smallest number: it is written with three digits."""
    smallest = min((value for value in values if value), default=1.0)
    scale, prefix = next(((scale, prefix) for scale, prefix in prefixes if smallest >= 0.1 * scale), prefixes[-1])
    if scale == 1 and prefixes is _PREFIXES:
        return Unit(scale, prefix, 0)  # counts
    return Unit(scale, prefix, max(0, min(3, 2 - floor(log10(smallest / scale)))))
