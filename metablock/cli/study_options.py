"""The options that the verbs of training and studies share, and the study that they describe."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import MetablockError, install_hint
from .application import INTERRUPTED, first_process

if TYPE_CHECKING:
    from ..ablation.study import Study

Data = Annotated[
    str | None,
    typer.Option("--data", metavar="NAME", help="digits, folder:PATH, hf:NAME[:config] or npz:FILE.", show_default="digits"),
]
Swaps = Annotated[
    list[str] | None, typer.Option("--swap", metavar="'SLOT = A, B'", help="A slot or column and its values. Repeatable.")
]
RecipeName = Annotated[str | None, typer.Option("--recipe", metavar="NAME", help="small, deit or resnet.", show_default="small")]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", min=1, help="Replaces the recipe's number of epochs.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="KEY=VALUE", help="Replaces a value of the recipe: lr=3e-4, batch=128. Repeatable."),
]
Score = Annotated[
    str | None,
    typer.Option(
        "--score",
        metavar="HOW",
        help="How features without classes are judged: neighbours, or probe (a linear one). As --with score=HOW.",
        show_default="neighbours",
    ),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", metavar="N", min=1, max=1_000, help="Runs at a time; on GPUs, one on each.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, mps.")]
Compiled = Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the networks.")]
REQUIRED = ("accelerate", "scipy", "matplotlib", "sklearn")


def require_packages() -> None:
    """Raises MetablockError where a package that training needs is not installed."""
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join({"sklearn": "scikit-learn"}.get(name, name) for name in missing)
        raise MetablockError(f"training needs {names}", install_hint("ablate"))


@contextmanager
def stopping(say: Callable[[], str]) -> Iterator[None]:
    """Ends Ctrl-C within with status 130 and a line on standard error: what happened, and what the same command will do."""
    try:
        yield
    except KeyboardInterrupt:
        if first_process():
            typer.echo(f"\n{say()}" if sys.stderr.isatty() else say(), err=True)
        raise typer.Exit(INTERRUPTED) from None


def typed_command() -> str:
    """The command line that is running, as a shell takes it. The journal of a study keeps it."""
    import shlex

    return shlex.join(["metablock", *sys.argv[1:]])


def recipe_values(overrides: list[str] | None, epochs: int | None, score: str | None = None) -> dict[str, Any]:
    """The values that replace a recipe's.

    Args:
        overrides: the ``key=value`` texts of ``--with``.
        epochs: the value of ``--epochs``, which comes last.
        score: the value of ``--score``.

    Raises:
        MetablockError: a text without ``=``; an unknown key or a wrong value.

    >>> recipe_values(["lr=1e-3"], 5)
    {'lr': 0.001, 'epochs': 5}
    """
    from ..ablation.recipe import parse_override

    values: dict[str, Any] = {}
    for text in overrides or ():
        key, mark, value = text.partition("=")
        if not mark:
            raise MetablockError(f"--with '{text}' has no '='", "for instance --with lr=3e-4")
        values[key.strip()] = parse_override(key.strip(), value.strip())
    more = {"epochs": epochs, "score": parse_override("score", score) if score is not None else None}
    return {**values, **{key: value for key, value in more.items() if value is not None}}


def study_of(
    source: str,
    *,
    swaps: list[str] | None = None,
    variant: str | None = None,
    edits: list[str] | None = None,
    match: str | None = None,
    design: str | None = None,
    data: str | None = None,
    input: str | None = None,
    recipe: str | None = None,
    epochs: int | None = None,
    overrides: list[str] | None = None,
    seeds: int | None = None,
    method: str | None = None,
    methods: str | None = None,
    score: str | None = None,
) -> Study:
    """A study from a study file whose values the options replace, or, for any other source, from the options alone.

    Args:
        source: a study file, or the base: a catalogue name or a spec file.
        swaps: ``slot = value, value``: further factors.
        edits: changes to the base, applied after the file's.
        match: what the widths are scaled to match: ``macs``, ``params``, ``none``.
        design: ``one_at_a_time`` or ``grid``.
        seeds: the number of runs a cell.
        methods: names of methods: a factor, whose first value the base has.
        variant, data, input, recipe, epochs, overrides, method, score: replace the file's values; None leaves them.

    Raises:
        MetablockError: an unknown word, a file that cannot be read, a swap or edit that is wrong (SpecError, with its place).

    >>> study = study_of("poolformer_s12", swaps=["token = dw(7), none"], match="macs", seeds=5)
    >>> [level.name for level in study.factors[0].levels], study.match.by, study.seeds
    (['dw(7)', 'none'], 'macs', (0, 1, 2, 3, 4))
    """
    from dataclasses import replace

    from ..ablation.study import DESIGNS, MATCHES, Study, edits_of, method_factor, parse_swap
    from ..ablation.study_file import is_study, load_study
    from ..errors import suggest

    for word, known, option in ((match, MATCHES, "--match"), (design, DESIGNS, "--design")):
        if word is not None and word not in known:
            raise MetablockError(f"unknown {option} '{word}'", suggest(word, known, "known: " + ", ".join(known)))
    study = load_study(source) if is_study(source) else Study(Path(source).stem, source)
    several = method_factor(methods) if methods is not None else None
    if several is not None:
        method = method or several.levels[0].method
    values: dict[str, Any] = {"variant": variant, "data": data, "input": input, "recipe": recipe, "design": design}
    values["method"] = method
    study = replace(study, **{key: value for key, value in values.items() if value is not None})
    if edits:
        study = replace(study, edits=(*study.edits, *edits_of(edits)))
    if match is not None:
        study = replace(study, match=replace(study.match, by=match))
    if seeds is not None:
        study = replace(study, seeds=tuple(range(seeds)))
    study = replace(study, overrides={**study.overrides, **recipe_values(overrides, epochs, score)})
    if several is not None:
        study = replace(study, factors=(*study.factors, several))
    if swaps:
        base = study.resolved()
        study = replace(study, factors=(*study.factors, *(parse_swap(swap, base) for swap in swaps)))
    return study
