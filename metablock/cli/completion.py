"""What a shell completes: names of the catalogue, files of specs, variants, slots, operators. Reads texts, imports neither torch
nor the language: a key press waits for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..language.resources import architectures, methods, resource

_NAME = re.compile(r"^  (\w+)(?=[(:])", re.MULTILINE)
_MOST = 1_000_000  # characters of a file that are looked at


def specs(incomplete: str) -> list[str]:
    """Names of the catalogue, and folders and spec files, that begin so.

    >>> specs("poolformer_s1"), "swin_tiny" in specs("swin_t")
    (['poolformer_s12'], True)
    """
    named = [] if incomplete.startswith((".", "/", "~")) else _catalogue()
    return [*dict.fromkeys(name for name in named if name.startswith(incomplete)), *_files(incomplete)]


def variants(ctx: Any, incomplete: str) -> list[str]:
    """The variants of the spec that stands on the command line."""
    return [name for name in _section(_text(_spec(ctx)), "variants") if name.startswith(incomplete)]


def slots(ctx: Any, incomplete: str) -> list[str]:
    """The bindings and columns of the spec that stands on the command line, its sections, and operators."""
    text = _text(_spec(ctx))
    own = [*_section(text, "stages"), *_section(text, "let"), *_section(text, "shared")]
    own += [name for name in ("stem", "head", "model", "input", "stages") if re.search(rf"^{name}:", text, re.MULTILINE)]
    return [name for name in dict.fromkeys([*own, *_operators()]) if name.startswith(incomplete)]


def patterns(ctx: Any, incomplete: str) -> list[str]:
    """What ``list`` takes: names of the catalogue, or of operators behind ``--operators``."""
    names = _operators() if ctx.params.get("operators") else _catalogue()
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def safely(complete: Callable[..., list[str]], *arguments: Any) -> list[str]:
    """What a completion gives; nothing where a file cannot be read.

    >>> safely(specs, "poolformer_s2")
    ['poolformer_s24']
    """
    with suppress(OSError, ValueError):
        return complete(*arguments)
    return []


def complete_spec(incomplete: str) -> list[str]:
    """For an argument that is a spec."""
    return safely(specs, incomplete)


def complete_file(incomplete: str) -> list[str]:
    """For the spec files that a verb reads."""
    return safely(lambda: list(_files(incomplete)))


def complete_method(incomplete: str) -> list[str]:
    """For ``--method``."""
    return safely(lambda: [name for name in methods() if name.startswith(incomplete)] + list(_files(incomplete)))


def complete_variant(ctx: Any, incomplete: str) -> list[str]:
    """For ``--variant``."""
    return safely(variants, ctx, incomplete)


def complete_slot(ctx: Any, incomplete: str) -> list[str]:
    """For a name of a spec."""
    return safely(slots, ctx, incomplete)


def complete_pattern(ctx: Any, incomplete: str) -> list[str]:
    """For the pattern of ``list``."""
    return safely(patterns, ctx, incomplete)


def _catalogue() -> Iterator[str]:
    """The variants of the catalogue, their abbreviations up to an underscore that mean one of them, and the files."""
    texts = {stem: _section(path.read_text(encoding="utf-8"), "variants") for stem, path in architectures().items()}
    every = [(stem, variant) for stem, names in texts.items() for variant in names]
    starts: dict[str, set[str]] = {}
    for _, variant in every:
        for cut in re.finditer("_", variant):
            starts.setdefault(variant[: cut.start()], set()).add(variant)
    names = [variant for _, variant in every]
    for stem, variant in every:  # a letter alone, or a name that two files have, stands behind the file's
        yield variant if names.count(variant) == 1 and len(variant) > 2 else f"{stem}_{variant}"
    yield from (start for start, means in starts.items() if len(means) == 1 and len(start) > 2)
    yield from texts


def _section(text: str, name: str) -> list[str]:
    """The keys of a section, as they are indented by two."""
    match = re.search(rf"^{name}:[^\n]*\n((?:(?:  [^\n]*|\s*|#[^\n]*)\n)*)", text + "\n", re.MULTILINE)
    inline = re.search(rf"^{name}: *\{{(.*)", text, re.MULTILINE)
    if inline is not None:
        return re.findall(r"(?:^|,)\s*(\w+)(?=[(:])", inline[1])
    return list(_NAME.findall(match[1])) if match else []


def _operators() -> Iterator[str]:
    from ..language.registry import OPERATORS

    yield from OPERATORS
    yield from re.findall(r"^(\w+)(?=[(:])", resource("standard.yaml"), re.MULTILINE)


def _spec(ctx: Any) -> str:
    """The spec on the command line; where an option still lacks its value, it is among what is left over."""
    return str(ctx.params.get("spec") or ctx.params.get("study") or next(iter(ctx.args), ""))


def _text(spec: str) -> str:
    """The text of the file that a name or path means; empty where it means none."""
    if "/" in spec or spec.endswith((".yaml", ".yml")):
        with Path(spec).expanduser().open(encoding="utf-8") as file:
            return file.read(_MOST)
    for stem, path in architectures().items():
        text = path.read_text(encoding="utf-8")
        names = _section(text, "variants")
        if spec == stem or any(name == spec or name.startswith(f"{spec}_") or f"{stem}_{name}" == spec for name in names):
            return text
    return ""


def _files(incomplete: str) -> Iterator[str]:
    """Folders and ``*.yaml`` files that begin so."""
    folder, _, start = incomplete.rpartition("/")
    prefix = f"{folder}/" if folder or incomplete.startswith("/") else ""
    for path in sorted((Path(prefix or ".").expanduser()).iterdir()):
        if path.name.startswith(start) and (start or not path.name.startswith(".")):
            if path.is_dir():
                yield f"{prefix}{path.name}/"
            elif path.suffix in (".yaml", ".yml"):
                yield f"{prefix}{path.name}" if prefix else f"{path.name}"


__all__ = ["complete_file", "complete_pattern", "complete_slot", "complete_spec", "complete_variant"]
