"""The head of the file: what the network is, where it comes from, how to load weights."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from ...backend.block import Block
from ...language.format import show_spec, spec_hash
from .text import WIDTH

# Sections of the spec that do not describe this network: other names, published figures, other variants.
_ELSEWHERE = ("weights:", "facts:", "variants:", "traits:")


def header(model: Block) -> list[str]:
    """The lines of the head, as comments."""
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
        *(["form: for inference; linear operators are merged"] if model.collapsed is not None else []),
        "",
        "    model = Model()  # in train mode, with weights of its own",
        '    model.load_state_dict(safetensors.torch.load_file("weights.safetensors"))',
        "",
        "`metablock build SPEC ... -o weights.safetensors` writes such a file. The resolved spec:",
        "",
        *(f"    {line}" for line in _spec_lines(show_spec(spec))),
    ]
    # Every line becomes a comment: a text of the spec never becomes code, whatever it contains.
    return [f"# {line}".rstrip() for long in lines for whole in long.splitlines() or [""] for line in _short(whole)]


def _version() -> str:
    """The version, without importing the package from a module below it."""
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
