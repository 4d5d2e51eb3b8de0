"""``ablate``, ``train``, ``report``, ``search``, ``probe``: what they print, and what they say of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

import metablock
from metablock.report.study_models import CopyReport, SearchReport, StudyPlan, StudyReport, TrainReport

SPEC = """\
name: mini
input: image(1, 16)
classes: 10
let:
  token: pool(3)
stem: conv(dim[0], 4, stride=4)
stages:
  depth: [1]
  dim:   [16]
  body:  depth * (res(token) >> res(mlp(2)))
head: global_pool >> linear(classes)
"""
SMALL = ["--input", "1x16x16", "--epochs", "1"]


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini.yaml").write_text(SPEC)
    return tmp_path


def test_a_dry_run(run, mini):
    result = run("ablate", "mini.yaml", "--swap", "token = dw(3), attention(3), id", "--match", "macs", *SMALL, "--dry-run")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["cell", "parameters", "MACs", "to", "the", "base", "widths"]
    assert lines[2].split()[:2] == ["base", "1,514"]
    assert "cannot be built: 3 heads do not divide 16" in result.stdout
    assert "9 runs of 1 epochs on digits: 1,433 examples, 364 for validation, 10 classes" in result.stdout
    assert "3 seeds show (power 0.8, alpha 0.05 over 2 comparisons) differences" in result.stdout
    assert not (mini / "mini.study").exists()
    one = run("ablate", "mini.yaml", "--swap", "token = id", *SMALL, "--seeds", "1", "--dry-run")
    assert "one seed shows no difference: --seeds 3 or more" in one.stdout


def test_a_study_file(run, mini):
    (mini / "s.yaml").write_text(
        "study: s\nbase: mini.yaml\nfactors: {token: [id]}\ninput: 1x16x16\nrecipe: {epochs: 7}\nseeds: 2\n"
    )
    result = run("ablate", "s.yaml", "--dry-run")
    assert "4 runs of 7 epochs" in result.stdout
    assert "4 runs of 2 epochs" in run("ablate", "s.yaml", "--dry-run", "--epochs", "2").stdout
    (mini / "s.yaml").write_text("study: s\nbase: mini.yaml\nfactors: {tokn: [id]}\ninput: 1x16x16\n")
    result = run("ablate", "s.yaml", "--dry-run")
    assert result.exit_code == 2
    assert result.stderr.startswith("s.yaml:3:11: 'tokn' names no slot or column of 'mini'")
    assert "did you mean 'token'?" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ablate", "mini.yaml"], "nothing varies in this study\n  --swap"),
        (["ablate", "mini.yaml", "--swap", "tokn = id", "--dry-run"], "--swap:1:1: 'tokn' names no slot or column of 'mini'"),
        (["ablate", "mini.yaml", "--swap", "token", "--dry-run"], "--swap:1:1: a swap is `slot = value, value, ...`"),
        (
            ["ablate", "mini.yaml", "--swap", "token = id", "--match", "flops"],
            "unknown --match 'flops'\n  known: macs, params, none",
        ),
        (["ablate", "mini.yaml", "--swap", "token = id", "--design", "al"], "unknown --design 'al'"),
        (["ablate", "mini.yaml", "--swap", "token = id", "--data", "digit"], "unknown data set 'digit'\n  did you mean 'digits'"),
        (["ablate", "mini.yaml", "--swap", "token = id", "--recipe", "smal"], "unknown recipe 'smal'\n  did you mean 'small'"),
        (
            ["ablate", "mini.yaml", "--swap", "token = id", "--with", "lr"],
            "--with 'lr' has no '='\n  for instance --with lr=3e-4",
        ),
        (["ablate", "mini.yaml", "--swap", "token = id", "--with", "lrate=1"], "a recipe has no 'lrate'"),
        (["ablate", "mini.yaml", "--swap", "token = id", "--retry", "all"], "unknown --retry 'all'\n  --retry failed"),
        (["ablate", "mini.yaml", "--swap", "token = id", "--executor", "slurm"], "unknown executor 'slurm'\n  known: local, ray"),
        (["ablate", "nothing.yaml", "--swap", "token = id"], "there is no file 'nothing.yaml'"),
        (["report", "nowhere"], "there is no study in 'nowhere'\n  name the folder that `metablock ablate` wrote"),
        (
            ["train", "mini.yaml", "--recipe", "deit", "--with", "distill=soft", "--with", "precision=float32", *SMALL],
            "the recipe distils",
        ),
        (["train", "mini.yaml", "-o", "x.bin"], "cannot write '.bin' files"),
        (["train", "mini.yaml", "--device", "mps", *SMALL], "there is no device 'mps' here\n  there is: cpu\n"),
        (["train", "mini.yaml", "--device", "gpu", *SMALL], "unknown device 'gpu'\n  write cpu, cuda, cuda:1, mps or meta\n"),
        (["train", "mini.yaml", "--device", "meta", *SMALL], "nothing is trained on 'meta'"),
        (["train", "mini.yaml", "--with", "precision=float16", *SMALL], "float16 needs a GPU\n  bfloat16 works on the CPU"),
        (
            [
                "train",
                "mini.yaml",
                "--with",
                "batch=1",
                "-s",
                "token = pool(1)",
                "-s",
                "stem = conv(16, 16, stride=16) >> bn",
                *SMALL,
            ],
            "a batch norm gets one value",
        ),
        (["ablate", "mini.yaml", "--swap", "token = id, dw(3)", "--device", "gpu", *SMALL], "unknown device 'gpu'"),
        (
            ["ablate", "mini.yaml", "--swap", "token = id, dw(3)", "--device", "cuda:7", *SMALL],
            "there is no device 'cuda:7' here",
        ),
        (["ablate", "mini.yaml", "--swap", "token = id, dw(3)", "--with", "precision=float16", *SMALL], "float16 needs a GPU"),
        (["search", "mini.yaml", "--swap", "token = id, dw(3)", "--device", "gpu", *SMALL], "unknown device 'gpu'"),
        (["search", "mini.yaml", "--swap", "token = id, dw(3)", "--with", "precision=float16", *SMALL], "float16 needs a GPU"),
        (["search", "mini.yaml", *SMALL], "nothing varies in this study"),
        (
            ["search", "mini.yaml", "--swap", "token = id, dw(3)", "--objectives", "macs", *SMALL],
            "a front needs accuracy and a cost",
        ),
        (["probe", "mini.yaml", "--input", "1x64"], "takes no single picture"),
    ],
    ids=lambda value: " ".join(value[2:]) if isinstance(value, list) else "",
)
def test_bad_input(words: list[str], said: str, run, mini):
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not list(mini.glob("*.study"))


def test_train(run, mini):
    result = run("train", "mini.yaml", *SMALL, "-o", "mini.safetensors", "--checkpoint", "mini.pt")
    assert result.exit_code == 0
    assert "epoch 1/1  loss " in result.stderr
    assert result.stdout == "mini.safetensors is written\n"
    assert (mini / "mini.pt").exists()
    again = run("build", "mini.yaml", "--weights", "mini.safetensors", "--no-compile")
    assert again.exit_code == 0


def test_what_the_data_replace_is_said(run, mini):
    """A network takes its input and its classes from the data: a line says so where the spec has others."""
    said = "of the data, not of 'mini': input 1x32x32 instead of 1x16x16\n"
    assert said in run("train", "mini.yaml", "--epochs", "1").stderr
    both = run("train", "mini.yaml", *SMALL, "-s", "classes = 7", "-s", "input = image(3, 24)").stderr
    assert "of the data, not of 'mini': input 1x16x16 instead of 3x24x24, 10 classes instead of 7\n" in both
    assert "of the data" not in run("train", "mini.yaml", *SMALL).stderr
    dry = ["--swap", "token = dw(3)", "--dry-run"]
    assert said in run("ablate", "mini.yaml", *dry).stderr
    assert "of the data" not in run("ablate", "mini.yaml", *dry, *SMALL).stderr


def test_probe(run, mini):
    result = run(
        "probe", "mini.yaml", "--swap", "token = dw(3)", "--images", "2", "--data", "digits", "--input", "1x16x16", "-o", "p"
    )
    assert result.exit_code == 0
    assert "| mini | 0 | 4 × 4 |" in result.stdout
    assert "| dw(3) | 0 | 4 × 4 |" in result.stdout
    assert len(list((mini / "p").glob("*.png"))) == 5


def test_probed_values_of_one_name(run, mini):
    """Two slots with a value of one name are two networks, with files of their own."""
    (mini / "mini.yaml").write_text(
        SPEC.replace("res(mlp(2))", "res(channel)").replace("token: pool(3)", "token: pool(3)\n  channel: mlp(2)")
    )
    words = ["--swap", "token = dw(3)", "--swap", "channel = dw(3)", "--images", "1", "--input", "1x16x16", "-o", "p"]
    result = run("probe", "mini.yaml", *words)
    assert result.exit_code == 0
    assert "| dw(3) | 0 |" in result.stdout
    assert "| channel = dw(3) | 0 |" in result.stdout
    assert len(list((mini / "p").glob("*.png"))) == 7


def test_weights_of_an_unknown_grid(run, mini):
    """Every verb that reads weights takes the input that they were trained on, and whose names they have."""
    (mini / "mini.yaml").write_text(
        SPEC.replace("stride=4)", "stride=4) >> position")
        .replace("token >> ", "")
        .replace("res(token) >> res(mlp(2))", "res(token >> pw(c))")
        + "weights: {theirs: {stem.*: stem.*, stages.*: stages.*, head.*: head.*}}\n"
    )
    model = metablock.build("mini.yaml", input="1x64x64")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, "w.safetensors")
    probe = ["probe", "mini.yaml", "--input", "1x32x128", "--images", "1", "-o", "p", "--weights", "w.safetensors"]
    train = ["train", "mini.yaml", "--input", "1x32x128", "--epochs", "1", "--with", "distill=soft", "--data", "npz:d.npz"]
    train += ["--teacher", "mini.yaml", "--teacher-weights", "w.safetensors"]
    export = [
        "weights",
        "export",
        "mini.yaml",
        "--input",
        "1x32x128",
        "--weights",
        "w.safetensors",
        "--to",
        "theirs",
        "-o",
        "o.pth",
    ]
    images = np.random.default_rng(0).integers(0, 255, (20, 1, 32, 128), dtype=np.uint8)
    np.savez("d.npz", x_train=images, y_train=np.arange(20) % 10, x_val=images, y_val=np.arange(20) % 10)
    for words, prefix in ((probe, "--"), (train, "--teacher-"), (export, "--")):
        result = run(*words)
        assert result.exit_code == 2 and "256 rows, of 16x16 or of 8x32?" in result.stderr, result.stderr
        options = [f"{prefix}weights-input", "1x64x64"]
        assert run(*words, *options).exit_code == 0
        if words is not export:  # these weights are ours
            assert "'mini' has no weight rules 'nobody'" in run(*words, *options, f"{prefix}names", "nobody").stderr
            assert run(*words, *options, f"{prefix}names", "ours").exit_code == 0


@pytest.mark.parametrize("place", ["loop", "a" * 300, "file"])
def test_places_that_cannot_be_written(place: str, run, mini):
    (mini / "loop").symlink_to("loop")
    (mini / "file").write_text("")
    for words in (
        ["ablate", "mini.yaml", "--swap", "token = id", *SMALL, "-o", place],
        ["train", "mini.yaml", *SMALL, "--checkpoint", f"{place}/x" if place == "file" else place],
        ["probe", "mini.yaml", "--images", "1", "--input", "1x16x16", "-o", place],
        ["report", place],
    ):
        result = run(*words)
        assert result.exit_code == 2, words
        assert "Errno" not in result.output
        assert "\n  " in result.stderr


def test_a_study_that_is_copied_and_recovered(run, mini):
    said = run("ablate", "mini.yaml", "--swap", "token = dw(3)", *SMALL, "--seeds", "1", "-o", "s", "--no-report")
    assert "2 of 2 runs are done" in said.stdout
    assert run("report", "s", "--copy", "t").exit_code == 0
    assert (mini / "t" / "journal.sqlite").exists()
    path = mini / "s" / "journal.sqlite"
    content = path.read_bytes()
    path.write_bytes(bytes(4096) + content[4096:])
    broken = run("report", "s")
    assert broken.exit_code == 2
    assert "--recover" in broken.stderr
    again = run("report", "s", "--recover")
    assert again.exit_code == 0, again.stderr
    assert "2 runs (2 of them done), 2 epochs, 2 probes were read" in again.stdout
    assert "2 of 2 runs are done" in again.stdout
    assert (mini / "s" / "journal.damaged.sqlite").exists()


def test_what_is_missing_is_told(run, mini, monkeypatch: pytest.MonkeyPatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "accelerate" else real(name, *rest))
    result = run("train", "mini.yaml", *SMALL)
    assert (result.exit_code, result.stderr) == (2, "training needs accelerate\n  from a checkout: pip install '.[ablate]'\n")


def answer(result, model):
    """The one document on standard output, by its model; progress is on standard error."""
    assert result.exit_code == 0, result.stderr
    return model.model_validate(json.loads(result.stdout))


def test_a_plan_as_json(run, mini):
    words = ["ablate", "mini.yaml", "--swap", "token = dw(3), attention(3)", *SMALL, "--dry-run"]
    plan = answer(run(*words, "--json"), StudyPlan)
    assert [(cell.name, cell.base) for cell in plan.cells] == [
        ("base", True),
        ("token = dw(3)", False),
        ("token = attention(3)", False),
    ]
    assert (plan.runs, plan.epochs, plan.data, plan.classes, plan.seeds) == (6, 1, "digits", 10, (0, 1, 2))
    assert "3 heads do not divide 16" in plan.cells[2].problem and plan.cells[2].macs is None
    assert f"{plan.cells[1].parameters:,}" in run(*words).stdout
    assert answer(run(*words, "--json", "--seeds", "1"), StudyPlan).smallest is None


def test_a_study_as_json(run, mini):
    words = ["ablate", "mini.yaml", "--swap", "token = id", *SMALL, "--seeds", "2", "-o", "s", "--json"]
    study = answer(run(*words), StudyReport)
    assert (study.planned, study.done, study.failed, study.complete) == (4, 4, 0, True)
    base, other = study.rows
    assert base.base and base.difference is None and base.verdict is None
    assert set(other.seeds) == {"0", "1"} and other.verdict in ("better", "worse", "equivalent", "undecided")
    assert other.difference == pytest.approx(other.mean - base.mean)
    assert any(Path(file).name == "report.html" for file in study.files)
    assert answer(run("report", "s", "--json"), StudyReport).rows == study.rows
    copied = answer(run("report", "s", "--copy", "t", "--json"), CopyReport)
    assert copied.folder == "t" and copied.files


def test_a_training_as_json(run, mini):
    words = ["train", "mini.yaml", "--input", "1x16x16", "-o", "w.safetensors", "--checkpoint", "c.ckpt", "--json"]
    first = answer(run(*words, "--epochs", "2"), TrainReport)
    assert [epoch.epoch for epoch in first.epochs] == [1, 2]
    assert (first.name, first.data, first.input, first.seed) == ("mini", "digits", "1x16x16", 0)
    assert (first.top1, first.written, first.recipe["epochs"]) == (first.epochs[-1].top1, "w.safetensors", 2)
    assert answer(run(*words, "--epochs", "2"), TrainReport).epochs == first.epochs, "nothing is left to do"


def test_a_search_as_json(run, mini):
    pytest.importorskip("optuna")
    words = ["search", "mini.yaml", "--swap", "token = id, attention(3)", *SMALL, "--trials", "2", "-o", "f", "--json"]
    report = answer(run(*words), SearchReport)
    assert report.objectives == ("top1", "macs") and len(report.trials) == 2
    front = [trial.front for trial in report.trials]
    assert front == sorted(front, reverse=True) and front[0]
    assert all(set(trial.values) <= {"top1", "macs"} for trial in report.trials)
    assert [trial.values for trial in report.trials if trial.problem] == [{}]
    assert Path(report.folder).is_dir()
