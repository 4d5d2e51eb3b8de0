"""What of a file no network of it uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import Problem
from .standard import BUILTIN, NUMERIC
from .uses import Uses

_KINDS = {"let": "binding", "columns": "column", "shared": "shared module", "stage_shared": "shared module"}


def unused(uses: Uses, meant: Iterable[str]) -> Iterator[Problem]:
    """A problem for each section, trait and binding that nothing uses; ``meant`` are names that unknown ones may stand for.

    >>> from metablock.language.load import load_text
    >>> net = load_text("name: net\\ninput: image(3, 32)\\nlet: {spare: relu}\\nmodel: pw(8)\\n")
    >>> [problem.message for problem in unused(Uses(net), [])]
    ["the binding 'spare' is never used"]
    """
    spec, reached = uses.spec, uses.reached(meant)
    for section in uses.idle_sections():
        hint = f"name it there: `{section}`, or remove it"
        yield Problem(f"the section '{section}' is never used: the network is `model`", spec.place(section), hint)
    bases = {base for group in (spec.traits, spec.variants) for entry in group.values() for base in entry.of}
    for name, trait in spec.traits.items():
        if name not in bases:
            yield Problem(f"the trait '{name}' is never used", trait.span, "remove it, or start a variant `of` it")
    for field, table in spec.binding_tables().items():
        for name, binding in table.items():
            if name not in reached and name not in BUILTIN and name not in NUMERIC:
                hint = "remove it, or use it in a block, the stem or the head"
                yield Problem(f"the {_KINDS[field]} '{name}' is never used", binding.header.span, hint)
