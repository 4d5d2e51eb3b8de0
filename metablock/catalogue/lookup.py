"""Finds architectures by name: files of the catalogue and their variants."""

from __future__ import annotations

import os.path
import re
import reprlib
from functools import cache
from pathlib import Path

from ..errors import MetablockError, suggest
from ..language.load import load_file
from ..language.resources import architectures
from ..language.spec import Spec


@cache
def catalogue() -> dict[str, Spec]:
    """Every spec of the catalogue, by the stem of its file.

    >>> catalogue()["swin"].name
    'swin'
    """
    return {name: catalogue_file(name) for name in architectures()}


@cache
def catalogue_file(name: str) -> Spec:
    """The spec of one file of the catalogue, by its stem, which is read once.

    >>> catalogue_file("swin").name
    'swin'
    """
    return load_file(architectures()[name])


def is_shipped(spec: Spec) -> bool:
    """Whether this is a file of the catalogue as it stands there.

    >>> is_shipped(catalogue()["resnet"]), is_shipped(catalogue()["resnet"].with_(name="mine"))
    (True, False)
    """
    return spec.name in architectures() and spec is catalogue_file(spec.name)


def open_spec(source: str | Path | Spec) -> tuple[Spec, str | None]:
    """The spec that a name means, and the variant; None for the file's first.

    Args:
        source: a spec, a path (with a slash or the suffix ``.yaml``), or a catalogue name: a variant (``poolformer_s12``), an
            abbreviation of one up to an underscore (``swin_tiny``), a file and a variant (``repvgg_a0``), or a file (``swin``).

    Raises:
        MetablockError: an unknown name, or a file that cannot be read (SpecError, with every problem).

    >>> spec, variant = open_spec("swin_tiny")
    >>> spec.name, variant
    ('swin', 'swin_tiny_patch4_window7_224')
    """
    if isinstance(source, Spec):
        return source, None
    if not isinstance(source, (str, Path)):
        raise MetablockError(f"{reprlib.repr(source)} is no source of a spec", "name a catalogue entry or a path, or pass a spec")
    if isinstance(source, str) and "\n" in source:
        raise MetablockError(
            f"{reprlib.repr(source)} is the text of a file, not its path", "read it first: metablock.load_text(text)"
        )
    if isinstance(source, Path) or "/" in source or source.endswith((".yaml", ".yml")):
        spec = load_file(source)
        if spec.holes:
            message = f"'{spec.name}' is a method, which trains a backbone"
            raise MetablockError(message, f"name one: vit_tiny_patch16_224 --method {source}")
        return spec, None
    return _by_name(source)


def source_of(source: str | Path) -> str:
    """The text of the file that a path or a catalogue name means. Raises MetablockError as :func:`open_spec` does.

    >>> "window" in source_of("swin_tiny")
    True
    """
    spec, _ = open_spec(source)
    shipped = not (isinstance(source, Path) or "/" in source or source.endswith((".yaml", ".yml")))
    return (architectures()[spec.name] if shipped else Path(source)).read_text(encoding="utf-8")


def _by_name(name: str) -> tuple[Spec, str | None]:
    files = architectures()
    if name in files and not any(variant == name for variant in catalogue_file(name).variants):
        return catalogue_file(name), None
    for stem in files:  # `repvgg_a0` is variant `a0` of `repvgg`
        if name.startswith(f"{stem}_") and name.removeprefix(f"{stem}_") in catalogue_file(stem).variants:
            return catalogue_file(stem), name.removeprefix(f"{stem}_")
    exact: list[tuple[Spec, str]] = []
    fits: list[tuple[Spec, str]] = []
    for stem, path in files.items():
        if not re.search(rf"^ +{re.escape(name)}(_\w+)?:", path.read_text(encoding="utf-8"), re.MULTILINE):
            continue  # no variant is called so: cheaper than loading the spec
        spec = catalogue_file(stem)
        exact += [(spec, name)] if name in spec.variants else []
        fits += [(spec, variant) for variant in spec.variants if variant.startswith(f"{name}_")]
    for several in (exact, fits):
        if len(several) == 1:
            return several[0]
    if exact:
        files_of = [spec.name for spec, _ in exact]
        hint = f"name the file, too: {' or '.join(f'{file}_{name}' for file in files_of)}"
        raise MetablockError(f"'{name}' is a variant of several architectures: {', '.join(files_of)}", hint)
    variants = [variant for spec in catalogue().values() for variant in spec.variants]
    short = (variant[: cut.start()] for variant in variants for cut in re.finditer("_", variant))
    known = list(dict.fromkeys([*variants, *files, *short]))
    if fits:
        hint = f"several begin so: {', '.join(variant for _, variant in fits[:8])}"
    elif os.path.isfile(name):
        hint = f"to build the file, write ./{name}"
    else:
        hint = suggest(name, known, "`metablock list` shows the catalogue; a file is named by its path") or ""
    raise MetablockError(f"unknown architecture '{name}'", hint)
