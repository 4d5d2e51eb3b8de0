"""What stands at the head of the file: what it is, where it comes from, how weights come in."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from ...backend.block import Block
from ...language.format import show_spec, spec_hash
from .text import WIDTH

# Of the spec, what says how the network was trained or counted elsewhere is left out.
_ELSEWHERE = ("weights:", "facts:", "variants:", "traits:")


def header(model: Block) -> list[str]:
    """Comments: they hold any text as it is."""
    spec = model.spec
    name = spec.variant or spec.name
    title = ": " + " ".join(spec.paper["title"].split()) if spec.paper.get("title") else ""
    sizes = ", ".join(f"({', '.join(['batch', *map(str, feature.size()[1:])])})" for feature in model.inputs)
    lines = [
        f"{name}{title}",
        "",
        f"Written by metablock {_version()}. It needs torch and nothing else.",
        f"spec: {spec.name}, variant: {spec.variant or '-'}",
        f"hash: {spec_hash(spec)}",
        f"input: {sizes}",
        *(["form: for inference; what is linear was collapsed"] if model.collapsed is not None else []),
        "",
        "    model = Model()  # in train mode, with weights of its own",
        '    model.load_state_dict(safetensors.torch.load_file("weights.safetensors"))',
        "",
        "`metablock build SPEC ... -o weights.safetensors` writes such a file. The resolved spec:",
        "",
        *(f"    {line}" for line in _spec_lines(show_spec(spec))),
    ]
    # A line of the spec is never code, whatever is in it.
    return [f"# {line}".rstrip() for long in lines for whole in long.splitlines() or [""] for line in _short(whole)]


def _version() -> str:
    """Stands in the front door, which no room below may open."""
    return str(sys.modules[__name__.partition(".")[0]].__dict__["__version__"])


def _spec_lines(text: str) -> Iterator[str]:
    shown = True
    for line in text.splitlines():
        if line[:1].strip():
            shown = not line.startswith(_ELSEWHERE)
        if shown and line.strip():
            yield line


def _short(line: str) -> list[str]:
    if len(line) <= WIDTH - 2:
        return [line]
    deeper = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, WIDTH - 2, subsequent_indent=deeper, break_on_hyphens=False, drop_whitespace=True)
