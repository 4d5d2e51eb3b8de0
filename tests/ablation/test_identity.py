"""A run's identity: what changes it, what does not, what a checkpoint and a worker do with it."""

from __future__ import annotations

import ast
import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import metablock
from metablock.ablation import source
from metablock.ablation.checkpoint import CheckpointError
from metablock.ablation.data import Data, load_data
from metablock.ablation.identity import Identity, code_of, identity_of
from metablock.ablation.journal import Journal
from metablock.ablation.owners import owner
from metablock.ablation.plan import Cell
from metablock.ablation.prepare import enter, prepare
from metablock.ablation.recipe import recipe
from metablock.ablation.record import latencies, network_key
from metablock.ablation.study import Study, parse_swap
from metablock.ablation.teacher import teacher_digest
from metablock.ablation.timing import measure
from metablock.ablation.training import Options, train
from metablock.ablation.work import StaleError, work
from metablock.front import Front, front
from metablock.language.load import load_text
from metablock.language.plugins import load_plugin
from metablock.language.registry import OPERATORS

SPEC = """\
name: mini
input: image(1, 8)
classes: 3
let: {token: pool(3)}
stem: conv(8, 2, stride=2)
stages: {depth: 1, body: depth * res(token)}
head: global_pool >> linear(classes)
"""
PLUGIN = '''
import torch
from torch import Tensor, nn
import metablock
import helper_of_it

@metablock.operator
class Shifted(nn.Module):
    """Adds a number: ``(b, c, *grid) -> (b, c, *grid)``."""
    takes = ("map",)
    def forward(self, x: Tensor) -> Tensor:
        return x + helper_of_it.NUMBER
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "mini.yaml").write_text(SPEC)
    draw = np.random.default_rng(0)
    np.savez("data.npz", x=draw.normal(size=(30, 1, 8, 8)), y=np.arange(30) % 3)
    known = set(OPERATORS)
    yield tmp_path
    for name in set(OPERATORS) - known:
        del OPERATORS[name]
    for name in ("shifting", "helper_of_it"):
        sys.modules.pop(name, None)


def data() -> Data:
    return load_data("npz:data.npz")


def network(text: str = SPEC) -> Front:
    return front(load_text(text))


def test_what_changes_it(here: Path):
    same = identity_of(network(), data(), recipe(), 0)
    assert identity_of(network(SPEC.replace("mini", "other")), data(), recipe(), 0).id == same.id
    assert Identity.from_json(same.to_json()) == same
    for other, said in (
        (identity_of(network(SPEC.replace("pool(3)", "pool(5)")), data(), recipe(), 0), "another network"),
        (identity_of(network(), data(), recipe(lr=1e-2), 0), "lr 0.001 there, 0.01 here"),
        (identity_of(network(), data(), recipe(), 1), "seed 0 there, 1 here"),
        (identity_of(network(), data(), recipe(), 0, compiled=True), "compilation off there, on here"),
        (identity_of(network(), data(), recipe(), 0, processes=2), "processes 1 there, 2 here"),
        (identity_of(network(), data(), recipe(), 0, teacher="x"), "another teacher"),
    ):
        assert other.id != same.id
        assert list(same.differences(other)) == [said]


def test_data_by_their_content(here: Path):
    before = data()
    with np.load("data.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    np.savez("again.npz", x=x, y=y)
    again = load_data("npz:again.npz")
    same = [identity_of(network(), one, recipe(), 0) for one in (before, again)]
    assert same[0].id == same[1].id
    x[3, 0, 0, 0] += 1e-3
    np.savez("data.npz", x=x, y=y)
    changed = identity_of(network(), data(), recipe(), 0)
    assert list(same[0].differences(changed)) == ["the content of 'npz:data.npz' has changed"]


def test_pictures_by_their_content(tmp_path: Path):
    """Two files of one name and one size."""
    image = pytest.importorskip("PIL.Image")
    for part in ("train", "val"):
        for label in ("cat", "dog"):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(2):
                image.new("RGB", (8, 8), (i * 60, 0, 0)).save(tmp_path / part / label / f"{i}.bmp")
    path = tmp_path / "train" / "cat" / "0.bmp"
    size, before = path.stat().st_size, load_data(f"folder:{tmp_path}", None).fingerprint
    image.new("RGB", (8, 8), (9, 9, 9)).save(path)
    assert path.stat().st_size == size
    assert load_data(f"folder:{tmp_path}", None).fingerprint != before


def test_the_source_of_operators_and_plugins(here: Path):
    """A plug-in's file, and what it imports from beside it; comments and docstrings do not count; unused operators neither."""
    (here / "shifting.py").write_text(PLUGIN)
    (here / "helper_of_it.py").write_text("NUMBER = 1\n")
    load_plugin("./shifting.py")
    shifted = SPEC.replace("pool(3)", "shifted")
    before, plain = code_of(network(shifted)), code_of(network())
    for text in ("# a comment\nNUMBER = 1\n", "NUMBER = 2\n"):
        (here / "helper_of_it.py").write_text(text)
        assert code_of(network(shifted)) == before  # what was loaded is what is trained
        reloaded()
        after = code_of(network(shifted))
        assert (after == before) is text.startswith("#")
    assert {name for name in after if after[name] != before[name]} == {"shifted"}
    assert code_of(network()) == plain


def reloaded() -> None:
    """Loads the plug-in as another process would."""
    for name in ("shifting", "helper_of_it"):
        sys.modules.pop(name)
    del OPERATORS["shifted"]
    importlib.invalidate_caches()
    load_plugin("./shifting.py")


def test_a_plugin_that_is_edited_after_its_import(here: Path):
    """The process trains the code that it has loaded, and says so; another process that loads the new code finds another run."""
    (here / "shifting.py").write_text(PLUGIN)
    (here / "helper_of_it.py").write_text("NUMBER = 1\n")
    load_plugin("./shifting.py")
    (here / "shifting.py").write_text(PLUGIN.replace("x +", "x -"))  # before anything has been asked for
    shifted, settings, path = SPEC.replace("pool(3)", "shifted"), recipe(epochs=1, batch=8), here / "run.pt"
    train(load_text(shifted), data(), settings, 0, checkpoint=path)
    train(load_text(shifted), data(), settings, 0, checkpoint=path)
    reloaded()
    with pytest.raises(CheckpointError, match="the source of shifted has changed"):
        train(load_text(shifted), data(), settings, 0, checkpoint=path)


def test_the_modules_of_training():
    """Every module of `ablation` and `backend` that `training` uses is part of a run's identity, or is named here with a reason."""
    reasons = {
        "ablation.recipe": "its values are in the identity",
        "ablation.results": "holds numbers",
        "ablation.outside": "names packages and errors",
        "ablation.progress": "shows progress",
        "ablation.places": "refuses or does nothing",
        "ablation.checkpoint": "stores and reads back, to the bit",
        "ablation.identity": "is what is tested",
        "ablation.source": "is what is tested",
        "ablation.teacher": "names the teacher; that is in the identity",
        "ablation.digest": "names content",
        "ablation.store": "a file",
        "backend.compiler": "calls torch.compile on regions; the choice is in the identity",
        "backend.codegen": "what it writes is in the identity",
        "backend.device": "names of devices",
        "backend.input_size": "words of an error",
        "backend.limits": "refuses or does nothing",
        "backend.without_dynamo": "decides when torch's compiler is imported",
    }
    seen, pending = set(), ["ablation.training", "backend.builder", "backend.init"]
    package = Path(metablock.__file__).parent
    while pending:
        name = pending.pop()
        path = package / f"{name.replace('.', '/')}.py"
        if name in seen or not path.is_file() or name.split(".")[0] not in ("ablation", "backend"):
            continue
        seen.add(name)
        if name in reasons:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = [] if node.level == 2 else [name.split(".")[0]]
                module = ".".join([*base, *([node.module] if node.module else [])])
                pending += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    assert seen - set(reasons) - {"ablation.data"} == set(source.TRAINING)  # that one finds the loader by name


# Checkpoints


def test_a_checkpoint_of_another_training(here: Path):
    path, settings = here / "run.pt", recipe(epochs=1, batch=8)
    train(load_text(SPEC), data(), settings, 0, checkpoint=path)
    content = path.read_bytes()
    for spec, chosen, seed, said in (
        (SPEC, settings, 1, "seed 0 there, 1 here"),
        (SPEC, recipe(epochs=1, batch=8, lr=0.5), 0, "lr 0.001 there, 0.5 here"),
        (SPEC.replace("pool(3)", "pool(5)"), settings, 0, "another network"),
    ):
        with pytest.raises(CheckpointError, match=f"is of another training: {said}\n  name another --checkpoint"):
            train(load_text(spec), data(), chosen, seed, checkpoint=path)
        assert path.read_bytes() == content
    state = torch.load(path, weights_only=True)
    del state["identity"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="does not say which training it is of"):
        train(load_text(SPEC), data(), settings, 0, checkpoint=path)


def test_another_teacher(here: Path):
    path, settings = here / "run.pt", recipe(epochs=1, batch=8, distill="soft")
    teachers = [metablock.build(load_text(SPEC), seed=seed).eval() for seed in (1, 2)]
    assert teacher_digest(teachers[0]) != teacher_digest(teachers[1])
    train(load_text(SPEC), data(), settings, 0, checkpoint=path, teacher=teachers[0])
    with pytest.raises(CheckpointError, match="another teacher"):
        train(load_text(SPEC), data(), settings, 0, checkpoint=path, teacher=teachers[1])


def test_a_teacher_of_another_architecture(here: Path):
    """Equal weights, and another activation or number of heads, in metablock's networks and in others."""
    path, settings = here / "run.pt", recipe(epochs=1, batch=8, distill="soft")
    specs = [SPEC.replace("let: {token: pool(3)}", f"let: {{token: conv(8) >> {name}}}") for name in ("relu", "gelu")]
    relu, gelu = (metablock.build(load_text(spec), seed=1).eval() for spec in specs)
    gelu.load_state_dict(relu.state_dict())
    assert teacher_digest(relu) == teacher_digest(metablock.build(load_text(specs[0]), seed=1).eval())
    train(load_text(SPEC), data(), settings, 0, checkpoint=path, teacher=relu)
    with pytest.raises(CheckpointError, match="another teacher"):
        train(load_text(SPEC), data(), settings, 0, checkpoint=path, teacher=gelu)
    heads = [metablock.build(load_text(SPEC.replace("pool(3)", f"attention({n})")), seed=1) for n in (2, 4)]
    assert teacher_digest(heads[0]) != teacher_digest(heads[1])
    foreign = []
    for n in (2, 4, 2):
        torch.manual_seed(0)
        foreign.append(teacher_digest(torch.nn.TransformerEncoderLayer(8, n)))
    assert foreign[0] == foreign[2] != foreign[1]
    relu.stem = torch.nn.Sequential(relu.stem, torch.nn.ReLU())
    assert teacher_digest(relu) != teacher_digest(metablock.build(load_text(specs[0]), seed=1))


def test_an_altered_checkpoint(here: Path):
    path, settings = here / "run.pt", recipe(epochs=2, batch=8)
    train(load_text(SPEC), data(), settings, 0, checkpoint=path)
    content = path.read_bytes()
    for part in ("model", "epochs", "optimizer"):
        path.write_bytes(content)
        state = torch.load(path, weights_only=True)
        if part == "model":
            next(iter(state["model"].values())).view(-1)[0] += 1
        elif part == "epochs":
            del state["epochs"][1:]
        else:
            state["optimizer"]["param_groups"][0]["lr"] *= 2
        torch.save(state, path)
        with pytest.raises(CheckpointError, match="the content of this checkpoint is not what was written"):
            train(load_text(SPEC), data(), settings, 0, checkpoint=path)


# Workers


def study(**values: object) -> Study:
    base = Study("mini", "mini.yaml", data="npz:data.npz", seeds=(0,), overrides={"epochs": 1, "batch": 8, **values})
    return replace(base, factors=(parse_swap("token = dw(3)", base.resolved()),))


def test_a_worker_trains_what_a_run_says(here: Path):
    """Two plans with different recipes on one folder: each worker's numbers are those of a folder of its own."""
    metrics = {}
    for lr in (1e-3, 1e-1):
        journal = enter(prepare(study(lr=lr)), here / f"alone {lr}")
        work(journal.folder, Options(threads=1))
        metrics[lr] = [run.epochs[0].train_loss for run in journal.runs()]
        journal.close()
    journals = {lr: enter(prepare(study(lr=lr)), here / "both") for lr in (1e-3, 1e-1)}
    for journal in journals.values():  # the first plan is not the one that was entered last
        assert work(journal.folder, Options(threads=1), plan=journal.plan) == 2
    for lr, journal in journals.items():
        assert [run.epochs[0].train_loss for run in journal.runs()] == metrics[lr]
        journal.close()


def test_a_worker_leaves_what_it_cannot_serve(here: Path):
    journal = enter(prepare(study()), here / "s")
    np.savez("data.npz", x=np.zeros((30, 1, 8, 8)), y=np.arange(30) % 3)
    with pytest.raises(StaleError, match=r"the content of 'npz:data.npz' has changed\n  start the same command again"):
        work(journal.folder, Options(threads=1))
    assert journal.counts() == {"pending": 2, "running": 0, "done": 0, "failed": 0}
    journal.close()


def test_a_checkpoint_that_cannot_be_read(here: Path):
    """The run fails with the whole hint; another attempt begins it anew, and gives what an undisturbed one does."""
    journal = enter(prepare(study()), here / "s")
    job = journal.claim(owner())
    assert job is not None
    journal.release(owner())
    path = journal.checkpoint(job.id)
    path.parent.mkdir()
    path.write_bytes(b"nothing")
    work(journal.folder, Options(threads=1))
    [failed] = [run for run in journal.runs() if run.status == "failed"]
    assert "this checkpoint cannot be read" in failed.reason
    assert "`--retry failed` begins the run anew" in failed.reason
    assert path.with_name(f"{path.name}.unused").read_bytes() == b"nothing"
    assert journal.retry_failed() == 1
    work(journal.folder, Options(threads=1))
    assert journal.counts()["done"] == 2
    journal.close()


# Caches


def test_latency_belongs_to_the_network(here: Path, monkeypatch: pytest.MonkeyPatch):
    journal = Journal(here / "s")
    cells = [Cell("base", (), load_text(text), name, None) for text, name in ((SPEC, "a"), (SPEC.replace("3", "5"), "b"))]
    monkeypatch.setattr("metablock.ablation.timing.device_name", lambda device: device)
    for cell in (*cells, cells[0]):
        measure(journal, [cell], "cpu")
    known = latencies(journal.about(), "cpu")
    assert set(known) == {network_key(cell) for cell in cells}
    assert latencies(journal.about(), "cuda") == {}
    journal.close()


def test_cells_are_planned_again_where_the_code_is_another(here: Path, monkeypatch: pytest.MonkeyPatch):
    first = prepare(study())
    enter(first, here / "s").close()
    monkeypatch.setattr("metablock.ablation.prepare.plan", lambda *args: pytest.fail("planned again"))
    assert prepare(study(), here / "s").cells == first.cells
    monkeypatch.setattr("metablock.ablation.record.planning_digest", lambda custom: "other")
    with pytest.raises(pytest.fail.Exception, match="planned again"):
        prepare(study(), here / "s")


def test_a_level_may_leave_a_binding_unused(tmp_path: Path):
    """A worker reads back what was planned, also where a swap leaves a binding of the base behind."""
    text = (
        "name: n\ninput: image(1, 8)\nclasses: 10\nlet:\n  shift: 1\n  token: dw(3 + 2 * shift)\nstages:\n  depth: 1\n  dim: 8\n"
    )
    (tmp_path / "n.yaml").write_text(
        text + "  down: conv(dim, 1)\n  body: depth * res(token)\nhead: global_pool >> linear(classes)\n"
    )
    study = Study("s", str(tmp_path / "n.yaml"), overrides={"epochs": 1}, seeds=(0,), input="1x8x8")
    study = replace(study, factors=(parse_swap("token = pool(3)", study.resolved()),))
    journal = enter(prepare(study), tmp_path / "study")
    assert work(tmp_path / "study", Options(threads=1)) == 2
    assert [run.status for run in journal.runs()] == ["done", "done"]
    journal.close()
