"""Docstrings of operators taken apart: what they are, argument by argument, what they raise, where they come from, examples."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_HEADS = ("Args", "Returns", "Raises", "Example")
_ENTRY = re.compile(r"\*?(\w+(?:, \*?\w+)*): +(.*)", re.DOTALL)
# A paragraph that says where an operator comes from.
_SOURCE = re.compile(r"arXiv|et al\.|\bet al\b|https?://")


@dataclass(frozen=True)
class DocExample:
    """``code`` as a person types it, and the ``output`` that Python prints."""

    code: str
    output: str


@dataclass(frozen=True)
class DocText:
    """A docstring in parts, each of which is one line; ``arguments`` by name, ``errors`` without the name of the exception."""

    summary: str
    details: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    returns: str | None = None
    errors: tuple[str, ...] = ()
    examples: tuple[DocExample, ...] = ()

    @property
    def formulas(self) -> tuple[str, ...]:
        """The code in the summary: ``x * sigmoid(1.702 x)``, ``(b, c) -> (b, n)``."""
        return tuple(re.findall(r"``(.+?)``", self.summary))


def doc_text(doc: str) -> DocText:
    """The parts of a docstring in Google's style.

    >>> text = doc_text("Half of ``x``.\\n\\nArgs:\\n    n: how often,\\n        a number.\\n\\nVaswani et al. 2017.\\n")
    >>> text.summary, text.arguments, text.sources
    ('Half of ``x``.', {'n': 'how often, a number.'}, ('Vaswani et al. 2017.',))
    """
    sections: dict[str, list[str]] = {}
    paragraphs: list[str] = []
    for block in _blocks(doc.strip()):
        head = block.partition("\n")[0].removesuffix(":")
        if head in _HEADS and block.startswith(f"{head}:\n"):
            sections.setdefault(head, []).append(textwrap.dedent(block.partition("\n")[2]))
        elif block.startswith(">>> "):
            sections.setdefault("Example", []).append(block)
        else:
            paragraphs.append(_line(block))
    errors = [error.partition(": ")[2] or error for error in _entries(sections.get("Raises", []))]
    return DocText(
        summary=paragraphs[0] if paragraphs else "",
        details=tuple(text for text in paragraphs[1:] if not _SOURCE.search(text)),
        sources=tuple(text for text in paragraphs[1:] if _SOURCE.search(text)),
        arguments=dict(_arguments(sections.get("Args", []))),
        returns=" ".join(map(_line, sections["Returns"])) if "Returns" in sections else None,
        errors=tuple(part.strip() for error in errors for part in error.rstrip(".").split("; ")),
        examples=tuple(example for block in sections.get("Example", []) for example in _examples(block)),
    )


def _blocks(doc: str) -> Iterator[str]:
    """The paragraphs of a docstring; one that is indented belongs to the section before it."""
    block = ""
    for part in re.split(r"\n[ \t]*\n", doc):
        if block and not part.startswith(" "):
            yield block
            block = part
        else:
            block = f"{block}\n\n{part}" if block else part
    yield block


def _entries(blocks: list[str]) -> Iterator[str]:
    """The entries of a section: each begins at the margin, its further lines are indented."""
    for block in blocks:
        yield from (_line(entry) for entry in re.split(r"\n(?=\S)", block.strip()) if entry.strip())


def _arguments(blocks: list[str]) -> Iterator[tuple[str, str]]:
    for entry in _entries(blocks):
        if match := _ENTRY.fullmatch(entry):
            yield from ((name.lstrip("*"), match[2]) for name in match[1].split(", "))


def _examples(block: str) -> Iterator[DocExample]:
    code: list[str] = []
    output: list[str] = []
    for line in [*block.strip().splitlines(), ">>> "]:
        if line.startswith(">>> ") and (output or line == ">>> "):
            if code:
                yield DocExample("\n".join(code), "\n".join(output))
            code, output = [], []
        if line.startswith((">>> ", "... ")):
            code.append(line[4:])
        elif line.strip():
            output.append(line)


def _line(text: str) -> str:
    return " ".join(text.split())


__all__ = ["DocExample", "DocText", "doc_text"]
