"""Names of architectures: files of the catalogue and their variants."""

from __future__ import annotations

import os.path
import re
import reprlib
from functools import cache
from pathlib import Path

from ..errors import MetablockError, suggest
from ..language.load import load_file, load_text
from ..language.resources import architectures
from ..language.spec import Spec


@cache
def catalogue() -> dict[str, Spec]:
    """Every spec of the catalogue by the name of its file."""
    return {name: _shipped(name) for name in architectures()}


@cache
def _shipped(name: str) -> Spec:
    """One file of the catalogue, read once."""
    return load_file(architectures()[name])


def is_shipped(spec: Spec) -> bool:
    """Whether this is a file of the catalogue as it stands there."""
    return spec.name in architectures() and spec is _shipped(spec.name)


def open_spec(source: str | Path | Spec) -> tuple[Spec, str | None]:
    """A spec and the variant that the name means.

    ``source`` is a spec, a path (with a slash or a suffix), or a catalogue name: a variant (``poolformer_s12``), an
    abbreviation of one at an underscore (``swin_tiny``), a file and a variant (``repvgg_a0``), or a file (``swin``: its first
    variant). Raises MetablockError for an unknown name.
    """
    if isinstance(source, Spec):
        return source, None
    if not isinstance(source, (str, Path)):
        raise MetablockError(f"{reprlib.repr(source)} is no source of a spec", "name a catalogue entry or a path, or pass a spec")
    if isinstance(source, Path) or "/" in source or source.endswith((".yaml", ".yml")):
        return load_file(source), None
    return _by_name(source)


def source_of(source: str | Path) -> str:
    """The text of the file that a path or a catalogue name means. Raises MetablockError as :func:`open_spec` does."""
    spec, _ = open_spec(source)
    shipped = not (isinstance(source, Path) or "/" in source or source.endswith((".yaml", ".yml")))
    return (architectures()[spec.name] if shipped else Path(source)).read_text(encoding="utf-8")


def parse_spec(text: str, name: str = "<spec>") -> Spec:
    """A spec from the text of a file."""
    return load_text(text, name)


def _by_name(name: str) -> tuple[Spec, str | None]:
    files = architectures()
    if name in files and not any(variant == name for variant in _shipped(name).variants):
        return _shipped(name), None
    for stem in files:  # `repvgg_a0` is variant `a0` of `repvgg`
        if name.startswith(f"{stem}_") and name.removeprefix(f"{stem}_") in _shipped(stem).variants:
            return _shipped(stem), name.removeprefix(f"{stem}_")
    fits: list[tuple[Spec, str]] = []
    for stem, path in files.items():
        if not re.search(rf"^ +{re.escape(name)}(_\w+)?:", path.read_text(encoding="utf-8"), re.MULTILINE):
            continue  # cheaper than reading the file as a spec
        spec = _shipped(stem)
        if name in spec.variants:
            return spec, name
        fits += [(spec, variant) for variant in spec.variants if variant.startswith(f"{name}_")]
    if len(fits) == 1:
        return fits[0]
    variants = [variant for spec in catalogue().values() for variant in spec.variants]
    known = [*files, *variants, *(variant[: cut.start()] for variant in variants for cut in re.finditer("_", variant))]
    if fits:
        hint = f"several begin so: {', '.join(variant for _, variant in fits[:8])}"
    elif os.path.isfile(name):
        hint = f"to build the file, write ./{name}"
    else:
        hint = suggest(name, known, "`metablock list` shows the catalogue; a file is named by its path") or ""
    raise MetablockError(f"unknown architecture '{name}'", hint)
