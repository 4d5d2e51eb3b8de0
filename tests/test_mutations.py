"""Two thousand texts with one thing changed: each gives located problems, or a network that computes what it declares.

By one fixed seed. ``METABLOCK_MUTANTS=20000 METABLOCK_SEED=1 pytest tests/test_mutations.py`` makes as many others. Networks of the
small bases are all run; of the catalogue's, every second that can be built.

Not promised: that a text with one thing changed is wrong. Without a pair of brackets, or a `res`, it may be a network of its own.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from mutations.bases import CATALOGUE, FOLDER, SMALL, catalogue_text
from mutations.judge import FaultError, compute, judge, meaning, read, tried
from mutations.mutants import KINDS, Mutant, dropped, mutant, reordered

from metablock.ablation.recipe import recipe
from metablock.ablation.study_file import load_study_text
from metablock.cli.study_options import recipe_values
from metablock.errors import MetablockError
from metablock.front import front
from metablock.language.load import load_text
from metablock.language.registry import OPERATORS
from metablock.language.resources import architectures
from metablock.language.standard import standard

COUNT = int(os.environ.get("METABLOCK_MUTANTS", "2000"))
SEED = int(os.environ.get("METABLOCK_SEED", "0"))
FILES = {path.stem: path.read_text(encoding="utf-8") for path in architectures().values()}
STUDIES = {
    path.stem: path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parent / "mutations/studies").glob("*.yaml"))
}
# What share of all mutants the texts of a group get.
SHARES = {"small": 0.61, "catalogue": 0.14, "files": 0.05, "edits": 0.08, "studies": 0.07, "recipes": 0.05}


def each_of(group: str, name: str, texts: int, text: str, judged: Callable[[Mutant, Random], str]) -> Counter[str]:
    """Judges the share of one text. Returns how many came how far; fails with every fault."""
    random, outcomes, faults = Random(f"{SEED} {group} {name}"), Counter[str](), []
    for number in range(round(COUNT * SHARES[group] / texts)):
        changed = mutant(text, list(KINDS)[number % len(KINDS)], random)
        if changed is None:
            continue
        try:
            outcomes[judged(changed, random)] += 1
        except FaultError as fault:
            faults.append(f"{changed.kind}, {changed.done}\n{fault}")
    assert not faults, f"{len(faults)} faults of {name}:\n" + "\n\n".join(faults)
    return outcomes


@pytest.mark.parametrize("name", SMALL)
def test_small_networks(name: str) -> None:
    outcomes = each_of("small", name, len(SMALL), SMALL[name], judge)
    assert outcomes["refused"] + outcomes["misshapen"] > outcomes.total() / 4
    assert outcomes["run"] > outcomes.total() / 20


@pytest.mark.parametrize("name", CATALOGUE)
def test_networks_of_the_catalogue(name: str) -> None:
    each_of(
        "catalogue",
        name,
        len(CATALOGUE),
        catalogue_text(name),
        lambda changed, random: judge(changed, random, random.random() < 0.5),
    )


@pytest.mark.parametrize("name", FILES)
def test_whole_files(name: str) -> None:
    """With their papers, variants, weight rules and facts; they are only lowered."""
    each_of("files", name, len(FILES), FILES[name], lambda changed, random: judge(changed, random, run=False))


EDITS = {
    "hierarchy": [
        "stages[1:].token = res(dw(3) >> norm, scale=0.1)", "dim = [8, 8]", "ffn(r=4) = linear(r * c) >> relu >> linear(c)",
        "head = norm >> global_pool(\"max\") >> linear(classes)", "stages[-1].drop = 0.5", "input = image(3, 20)", "classes = 7",
    ],
    "streams": ["look(x) = attention(4, over=x, head_dim=2)", "stages[*].body = mix >> mix", "predict = logits, aux -> logits"],
    "mixers": ["token = one_of(dw(3), id)", "stages[0].body = 3 * block"],
}  # fmt: skip


def test_edits() -> None:
    texts = [(name, text) for name, edits in EDITS.items() for text in edits]
    outcomes: Counter[str] = Counter()
    for name, text in texts:
        spec = load_text(SMALL[name])

        def judged(changed: Mutant, random: Random, spec=spec) -> str:
            network = tried(lambda: front(spec, edits=[changed.text]))
            return "refused" if network is None else compute(network.spec, network.ir)

        outcomes += each_of("edits", f"{name}: {text}", len(texts), text, judged)
    assert min(outcomes["refused"], outcomes["run"]) > outcomes.total() / 10


@pytest.mark.parametrize("name", STUDIES)
def test_study_files(name: str) -> None:
    """With the recipe, the edits and the factors in them."""

    def judged(changed: Mutant, random: Random) -> str:
        study = tried(lambda: load_study_text(changed.text, "study.yaml", FOLDER))
        if study is None:
            return "refused"
        ready = tried(lambda: (study.varied().resolved(), recipe(study.recipe, **study.overrides)), places=False)
        return "misshapen" if ready is None else "run"

    outcomes = each_of("studies", name, len(STUDIES), STUDIES[name], judged)
    assert min(outcomes["refused"], outcomes["run"]) > outcomes.total() / 10


RECIPES = [
    "lr=3e-4",
    "epochs=20",
    "optimizer=sgd",
    "schedule=constant",
    "crop=0.25",
    "layer_decay=0.75",
    "loss=bce",
    "shift=2",
    "ema=0.99",
]


def test_recipes() -> None:
    """As ``--with`` takes them."""
    outcomes: Counter[str] = Counter()

    def judged(changed: Mutant, random: Random) -> str:
        values = tried(lambda: recipe_values([changed.text], None), places=False)
        return "refused" if values is None or tried(lambda: recipe(**values), places=False) is None else "run"

    for text in RECIPES:
        outcomes += each_of("recipes", text, len(RECIPES), text, judged)
    assert min(outcomes["refused"], outcomes["run"]) > outcomes.total() / 10


@pytest.mark.parametrize("name", SMALL)
def test_the_order_of_sections_means_nothing(name: str) -> None:
    random, spec = Random(SEED), load_text(SMALL[name])
    for _ in range(5):
        assert load_text(reordered(SMALL[name], random)) == spec


# A token less


def same() -> dict[tuple[str, str], str]:
    """Tokens without which a text means the same, each with its reason: by the base, and the line without the token."""
    lines = (FOLDER.parent / "same.txt").read_text(encoding="utf-8").splitlines()
    parts = [line.split(" | ") for line in lines if line and not line.startswith("#")]
    return {(base, line): reason for base, line, reason in parts}


@pytest.mark.parametrize("name", SMALL)
def test_a_token_less_means_something_else(name: str) -> None:
    """Where the text without it is a network at all, another is built; or ``same.txt`` says why not. Every token, one by one."""
    text = SMALL[name]
    spec = load_text(text)
    network, listed, silent = meaning(spec), {line for base, line in same() if base == name}, []
    for token, changed in dropped(text):
        try:
            other = read(changed.text)
            if other is None:
                continue
            if other != spec and (not _computes(text, token.start) or meaning(other) != network):
                continue
        except MetablockError:
            continue
        line = " ".join(changed.text.split("\n")[text.count("\n", 0, token.start)].split())
        if line in listed:
            listed.discard(line)
        else:
            silent.append(f"{changed.done}: {line}")
    assert not silent, "nothing changes without a token:\n" + "\n".join(silent)
    assert not listed, f"{listed} are listed, but mean something else or are wrong"


def _computes(text: str, at: int) -> bool:
    """Whether a place is in a section that a network is computed from."""
    section = [line.partition(":")[0] for line in text[:at].split("\n") if line[:1].isalpha()]
    return (
        section[-1] in ("input", "let", "shared", "stem", "stages", "head", "model", "predict", "classes", "loss")
        if section
        else False
    )


# The bases themselves


def test_the_bases_use_every_operator() -> None:
    used = {token.content for text in SMALL.values() for token, _ in dropped(text)}
    used |= {token for binding in standard().values() for token in str(binding).replace("'", " ").split()}
    assert set(OPERATORS) - used == {"hungarian"}  # it reads the objects of a batch: tests/operators/test_hungarian.py


@pytest.mark.parametrize("name", SMALL)
def test_the_bases_run(name: str) -> None:
    assert judge(Mutant("", "", SMALL[name]), Random(0)) == "run"
