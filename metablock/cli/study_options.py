"""Options that the verbs of studies share, and a study from them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import MetablockError, install_hint

if TYPE_CHECKING:
    from ..ablation.study import Study

Data = Annotated[
    str | None,
    typer.Option("--data", metavar="NAME", help="digits, folder:PATH, hf:NAME[:config] or npz:FILE.", show_default="digits"),
]
RecipeName = Annotated[str | None, typer.Option("--recipe", metavar="NAME", help="small, deit or resnet.", show_default="small")]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", min=1, help="Instead of the recipe's.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--with", metavar="KEY=VALUE", help="A value of the recipe: lr=3e-4, batch=128. Repeatable.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, mps.")]
Compiled = Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the networks.")]
NEEDED = ("accelerate", "scipy", "matplotlib", "sklearn")


def need() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = {"sklearn": "scikit-learn"}
        raise MetablockError(f"training needs {', '.join(names.get(name, name) for name in missing)}", install_hint("ablate"))


def values_of(overrides: list[str] | None, epochs: int | None) -> dict[str, Any]:
    from ..ablation.recipe import parse_override

    values: dict[str, Any] = {}
    for text in overrides or ():
        key, mark, value = text.partition("=")
        if not mark:
            raise MetablockError(f"--with '{text}' has no '='\n  for instance --with lr=3e-4")
        values[key.strip()] = parse_override(key.strip(), value.strip())
    return {**values, **({"epochs": epochs} if epochs is not None else {})}


def study_of(
    name: str, swaps: list[str] | None, variant: str | None, edits: list[str] | None, match: str | None, design: str | None,
    data: str | None, input: str | None, recipe: str | None, epochs: int | None, overrides: list[str] | None, seeds: int | None,
) -> Study:  # fmt: skip
    """A study from its file and the options, which come after it; or from the options alone."""
    from dataclasses import replace

    from ..ablation.study import DESIGNS, MATCHES, Study, edits_of, parse_swap
    from ..ablation.study_file import is_study, load_study
    from ..errors import suggest

    for word, known, what in ((match, MATCHES, "--match"), (design, DESIGNS, "--design")):
        if word is not None and word not in known:
            raise MetablockError(f"unknown {what} '{word}'\n  {suggest(word, known, 'known: ' + ', '.join(known))}")
    study = load_study(name) if is_study(name) else Study(Path(name).stem, name)
    given: dict[str, Any] = {"variant": variant, "data": data, "input": input, "recipe": recipe, "design": design}
    study = replace(study, **{key: value for key, value in given.items() if value is not None})
    if edits:
        study = replace(study, edits=(*study.edits, *edits_of(edits)))
    if match is not None:
        study = replace(study, match=replace(study.match, by=match))
    if seeds is not None:
        study = replace(study, seeds=tuple(range(seeds)))
    study = replace(study, overrides={**study.overrides, **values_of(overrides, epochs)})
    if swaps:
        base = study.resolved()
        study = replace(study, factors=(*study.factors, *(parse_swap(swap, base) for swap in swaps)))
    return study
