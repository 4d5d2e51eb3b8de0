"""Numbers as papers write them, and text escaped for HTML, Markdown and TeX."""

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
    """Escapes a text for HTML, attributes included."""
    return _html.escape(text, quote=True)


def markdown(text: str) -> str:
    """Escapes a text for a cell of a Markdown table; it becomes one line."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", one_line(text)).replace("<", "&lt;").replace(">", "&gt;")


def tex(text: str) -> str:
    """Escapes a text for TeX's text mode; it becomes one line. Letters beyond ASCII need UTF-8 input."""
    plain = re.sub(r"-(?=-)", "-{}", one_line(text))  # `--seeds` must not become a dash
    parts = re.split(r"(-\{\})", plain)
    return "".join(part if part == "-{}" else "".join(_TEX.get(char, char) for char in part) for part in parts)


def one_line(text: str) -> str:
    """A text without line breaks; other control characters become a replacement character."""
    return re.sub(r"\s+", " ", "".join(char if char.isprintable() or char.isspace() else "�" for char in text)).strip()


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign and a typographic minus.

    >>> signed(-1.234), signed(0.001)
    ('−1.23', '0.00')
    """
    shown = f"{value:+.{digits}f}"
    return shown.replace("-", "−") if float(shown) else f"{0:.{digits}f}"


def number(value: float, digits: int = 2) -> str:
    """A number with a typographic minus."""
    return f"{value:.{digits}f}".replace("-", "−")


def probability(p: float | None) -> str:
    """A p value with three digits."""
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def interval(bounds: tuple[float, float] | None, digits: int = 2) -> str:
    """An interval: [−2.95, +4.24]."""
    return NOTHING if bounds is None else f"[{signed(bounds[0], digits)}, {signed(bounds[1], digits)}]"


def per_cent(part: float | None, digits: int = 1) -> str:
    """A relative difference in per cent, from a share."""
    return NOTHING if part is None else f"{signed(100 * part, digits)} %"


def level(value: float) -> str:
    """A confidence level: 98.3 %."""
    return f"{100 * value:.4g} %"


def slug(name: str) -> str:
    """A name as a file name that every system takes: letters, digits, dots and dashes.

    >>> slug("token = attention(dim // 32)")
    'token-attention-dim-32'
    """
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:80] or "cell"


def slugs(names: Iterable[str]) -> dict[str, str]:
    """A file name of its own for each of several names: where two would have one, a number follows.

    >>> slugs(["dw(3)", "dw 3", "dw-3"])
    {'dw(3)': 'dw-3', 'dw 3': 'dw-3-2', 'dw-3': 'dw-3-3'}
    """
    files: dict[str, str] = {}
    for name in names:
        file, number = slug(name), 2
        while file in files.values():
            file, number = f"{slug(name)}-{number}", number + 1
        files[name] = file
    return files


@dataclass(frozen=True)
class Unit:
    """How the numbers of a column are written: divided by ``scale``, with ``digits`` decimals; ``prefix`` is for its title."""

    scale: float
    prefix: str
    digits: int

    def show(self, value: float | None) -> str:
        """A value in this unit."""
        return NOTHING if value is None else f"{value / self.scale:.{self.digits}f}"


def unit(values: Iterable[float | None], prefixes: Sequence[tuple[float, str]] = _PREFIXES) -> Unit:
    """The unit in which the smallest of the values has three digits.

    >>> unit([11_400_000, 9_790_000]).show(11_400_000)
    '11.40'
    """
    smallest = min((value for value in values if value), default=1.0)
    scale, prefix = next(((scale, prefix) for scale, prefix in prefixes if smallest >= 0.1 * scale), prefixes[-1])
    if scale == 1 and prefixes is _PREFIXES:
        return Unit(scale, prefix, 0)  # counts
    return Unit(scale, prefix, max(0, min(3, 2 - floor(log10(smallest / scale)))))
