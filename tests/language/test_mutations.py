"""A file with one token too few, too many or wrong gives located problems, or a network. Never anything else.

Not promised: that every such file is wrong. Without a pair of brackets, or a `res`, it may be a network of its own.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from language.mutants import Mutant, mutants

from metablock.errors import Problem, SpecError
from metablock.front import front
from metablock.language.check import check_names
from metablock.language.edits import resolve
from metablock.language.format import show_spec
from metablock.language.load import load_text
from metablock.language.resources import architectures
from metablock.language.spec import Spec

SKETCHES = Path(__file__).parent / "sketches"
# Every shipped file, and some of the drafts.
BUILT = list(architectures().values())
READ = [*BUILT, *(SKETCHES / f"{name}.yaml" for name in ("detr", "gcvit", "mobilenet_v3"))]


def read(mutant: Mutant) -> tuple[Spec | None, list[Problem]]:
    try:
        spec = load_text(mutant.text, "mutant.yaml")
    except SpecError as wrong:
        return None, list(wrong.problems)
    return spec, check_names(spec)


def assert_located(problems: list[Problem], mutant: Mutant) -> None:
    for problem in problems:
        assert problem.span is not None, f"{mutant.done}: '{problem.message}' has no place"
        assert problem.hint, f"{mutant.done}: '{problem.message}' has no hint"
        assert problem.render().count("\n") == 3


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_mutants_are_read(path: Path):
    wrong = 0
    sample = mutants(path.read_text(encoding="utf-8"), path.name, 20)
    for mutant in sample:
        spec, problems = read(mutant)
        assert_located(problems, mutant)
        if spec is None:
            wrong += 1
        else:
            assert load_text(show_spec(spec)) == spec
    assert wrong > len(sample) / 4


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.stem)
def test_mutants_are_shaped(path: Path):
    """Only those that read well: the others are above."""
    content = path.read_text(encoding="utf-8")
    read_well = ((mutant, spec) for mutant in mutants(content, path.name, 50, seed=1) if (spec := read(mutant)[0]) is not None)
    sample = list(islice(read_well, 3))
    assert sample
    for mutant, spec in sample:
        try:
            front(resolve(spec))
        except SpecError as wrong:
            assert_located(list(wrong.problems), mutant)


def test_a_sample_has_every_kind():
    path = SKETCHES / "hrnet.yaml"
    content = path.read_text(encoding="utf-8")
    sample = mutants(content, path.name, 100)
    assert {mutant.done.split()[1] for mutant in sample} == {"drop", "double", "swap"}
    assert all(mutant.text != content for mutant in sample if mutant.done.split()[1] != "swap")
    assert mutants(content, path.name, 100) == sample
