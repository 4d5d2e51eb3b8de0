"""What a name means, as a tree in lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from ..report.name_models import Explanation, NameText, StageText

_STEP = "  "
# What lines of streams give names to: the text is the whole line.
_LINES = ("wire", "shared module", "recipe")


def explain_text(explanation: Explanation, width: int) -> Iterator[str]:
    """The lines of an explanation, none longer than ``width`` unless a word is."""
    for index, name in enumerate(explanation.names):
        if index:
            yield ""
        yield from _name(name, width, "", root=True)
        if name.set_by[1:]:
            yield from ("", "set by")
            for setting in name.set_by:
                place = f" ({setting.place})" if setting.place else ""
                yield from _wrapped(f"{setting.by}{place}", width, _STEP)
                yield from _wrapped(setting.text, width, _STEP * 3)
        if name.stages:
            yield from ("", "in the stages")
            yield from _stages(name.stages, width)
        if name.used_by:
            yield ""
            yield from _wrapped(f"used by {', '.join(name.used_by)}", width, "", _STEP)


def _name(name: NameText, width: int, margin: str, root: bool = False) -> Iterator[str]:
    """A name with its expression, its kind and place, and what the names in it mean, deeper each."""
    head = name.header or name.name if root else name.name
    stream = name.text if name.text is not None and "\n" in name.text else None
    text = head if name.text is None else f"{head} =" if stream else f"{head} = {name.text}"
    text = name.text if name.kind.partition(" of ")[0] in _LINES and name.text is not None else text
    text = f"{text} = {name.value}" if name.value is not None else text
    about = [name.kind, *([name.place] if name.place else [])]
    about += [", ".join(f"{key} = {value}" for key, value in name.arguments.items())] if name.arguments else []
    about += ["explained above"] if name.above else []
    if name.note:
        about.append(name.note.replace("``", "`"))
    remark = "; ".join(about)
    if len(margin) + len(text) + 2 + len(remark) + 2 <= width:
        yield f"{margin}{text}  [{remark}]"
    else:
        yield from _wrapped(text, width, margin)
        yield from _wrapped(f"[{remark}]", width, margin + _STEP * 2)
    for line in (stream or "").splitlines():
        yield from _wrapped(line, width, margin + _STEP * 2)
    for part in name.parts:
        yield from _name(part, width, margin + _STEP)


def _stages(stages: Sequence[StageText], width: int) -> Iterator[str]:
    """A line for stages of equal texts and numbers."""
    one_text = len({one.text for one in stages}) == 1 and all(one.values for one in stages)
    for _, group in groupby(stages, lambda one: (one.text, one.values)):
        several = list(group)
        first, last = several[0], several[-1]
        label = f"stage {first.stage}" if first is last else f"stages {first.stage}-{last.stage}"
        numbers = _numbers(first.values)
        texts = [] if one_text else [first.text]
        text = f"{label}: {' = '.join([*texts, *([numbers] if numbers and [numbers] != texts else [])])}"
        yield from _wrapped(text, width, _STEP, _STEP * 3)


def _numbers(values: Sequence[str]) -> str:
    """The numbers of the blocks of a stage; one where they are equal."""
    return values[0] if len(set(values)) == 1 else ", ".join(values)


def _wrapped(text: str, width: int, first: str, later: str | None = None) -> list[str]:
    """Lines of at most ``width``; names stay whole."""
    later = first + _STEP * 2 if later is None else later
    return textwrap.wrap(
        text, max(width, 40), initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
