"""Studies in real processes: killed at any moment, two at once on one journal, with runs that crash."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree

import pytest
from typer.testing import CliRunner, Result

from metablock.cli import app
from metablock.language.registry import OPERATORS

SPEC = """\
name: mini
input: image(1, 16)
classes: 10
let:
  norm: group_norm(1)
  token: pool(3)
  block: res(norm >> token) >> res(norm >> mlp(2))
stem: conv(dim[0], 4, stride=4)
stages:
  depth: 2
  dim:   16
  drop:  0.1
  body:  depth * block
head: norm >> global_pool >> linear(classes)
"""
ABLATE = ["ablate", "mini.yaml"]
SWAP = ["--swap", "token = dw(3)", "--seeds", "2", "--epochs", "3", "--input", "1x16x16", "--with", "mixup=0.2"]

PLUGIN = '''
import os, signal, torch
from torch import Tensor, nn
import metablock

@metablock.operator
class Dies(nn.Module):
    """Ends its process in the first step: ``(b, c, *grid) -> (b, c, *grid)``."""
    takes = ("map",)
    def __init__(self, c: int, *, how: int = 9):
        super().__init__()
        self.how = how
    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.device.type != "meta" and not os.path.exists("healed"):
            os.kill(os.getpid(), self.how) if self.how else os._exit(3)
        return x

@metablock.operator
class Raises(nn.Module):
    """Fails: ``(b, c, *grid) -> (b, c, *grid)``."""
    takes = ("map",)
    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.device.type != "meta" and not os.path.exists("healed"):
            raise ValueError("no such thing\\nas this")
        return x

@metablock.operator
class Vanishes(nn.Module):
    """Gives no numbers: ``(b, c, *grid) -> (b, c, *grid)``."""
    takes = ("map",)
    def forward(self, x: Tensor) -> Tensor:
        return x * float("nan") if self.training and x.device.type != "meta" and not os.path.exists("healed") else x
'''


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "metablock", *ABLATE, *words, "--no-report"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return out + err


def rows(folder: Path, query: str) -> list[tuple]:
    with sqlite3.connect(folder / "journal.sqlite", timeout=30) as connection:
        return connection.execute(query).fetchall()


def numbers(folder: Path) -> list[tuple]:
    """Every number of every epoch but the time it took."""
    return rows(
        folder, "SELECT cell, seed, epoch, train_loss, val_loss, val_top1, lr FROM epochs JOIN wanted USING (id) ORDER BY 1, 2, 3"
    )


def until(folder: Path, query: str, process: subprocess.Popen[str]) -> None:
    """Waits until a query of the journal finds something."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if (folder / "journal.sqlite").exists():
            try:
                if rows(folder, query):
                    return
            except sqlite3.OperationalError:
                pass
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError(f"{query}: nothing; {process.communicate()}")


def here(folder: Path, *words: str) -> Result:
    """A command by this process, with workers of their own: one start less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, SystemExit | None)
    return result


def finished(result: Result) -> str:
    assert result.exit_code == 0, result.stderr
    return result.output


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "mini.yaml").write_text(SPEC)
    said = finished(here(folder, *ABLATE, *SWAP, "-o", "study"))
    assert "4 of 4 runs are done" in said
    return folder / "study"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """With a base in it. Operators of plugins are gone behind it."""
    (tmp_path / "mini.yaml").write_text(SPEC)
    known = set(OPERATORS)
    yield tmp_path
    for name in set(OPERATORS) - known:
        del OPERATORS[name]
    sys.modules.pop("dying", None)


def test_what_a_study_leaves(whole: Path):
    assert len(numbers(whole)) == 12
    assert {path.name for path in whole.iterdir()} >= {
        "journal.sqlite",
        "report.html",
        "probes.html",
        "table.md",
        "table.tex",
        "results.csv",
        "specs",
    }
    assert not list((whole / "checkpoints").iterdir())
    assert {status for (status,) in rows(whole, "SELECT status FROM runs")} == {"done"}


def test_killed_and_started_again(whole: Path, folder: Path):
    """Twice, in the middle of runs: not one number differs from the study that was left alone."""
    study = folder / "study"
    for epochs in (1, 5):
        process = start(folder, *SWAP, "-o", "study")
        until(study, f"SELECT 1 FROM epochs GROUP BY 1 HAVING COUNT(*) >= {epochs}", process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finished(here(folder, *ABLATE, *SWAP, "-o", "study", "--no-report"))
    assert numbers(study) == numbers(whole)
    assert rows(study, "SELECT DISTINCT status FROM runs") == [("done",)]
    assert max(attempts for (attempts,) in rows(study, "SELECT attempts FROM runs")) > 1
    before = rows(study, "SELECT id, finished FROM runs")
    finished(here(folder, *ABLATE, *SWAP, "-o", "study", "--no-report"))  # nothing is left to do
    assert rows(study, "SELECT id, finished FROM runs") == before


def test_two_at_once(whole: Path, folder: Path):
    study = folder / "study"
    first = start(folder, *SWAP, "-o", "study")
    until(study, "SELECT 1 FROM wanted", first)
    finished(here(folder, *ABLATE, *SWAP, "-o", "study", "--no-report"))
    finish(first)
    assert numbers(study) == numbers(whole)
    assert rows(study, "SELECT attempts FROM runs") == [(1,)] * 4
    assert len({owner for (owner,) in rows(study, "SELECT owner FROM runs")}) > 1


def test_an_edited_study_keeps_what_still_applies(whole: Path, folder: Path):
    study = folder / "study"
    copytree(whole, study)
    before = dict(rows(study, "SELECT id, finished FROM runs"))
    words = [*SWAP[2:], "-o", "study", "--no-report"]
    finished(here(folder, *ABLATE, "--swap", "token = dw(3), id", *words))
    after = dict(rows(study, "SELECT id, finished FROM runs"))
    assert {name: after[name] for name in before} == before
    assert len(after) == 6
    assert [row for row in numbers(study) if row[0] != "token = id"] == numbers(whole)
    finished(here(folder, *ABLATE, "--swap", "token = id", *words))  # a cell less: its runs stay known
    assert rows(study, "SELECT DISTINCT cell FROM wanted ORDER BY place") == [("base",), ("token = id",)]
    assert dict(rows(study, "SELECT id, finished FROM runs")) == after


def test_another_base_is_refused(whole: Path, folder: Path):
    (folder / "mini.yaml").write_text(SPEC.replace("dim:   16", "dim:   24"))
    before = numbers(whole)
    result = here(folder, *ABLATE, *SWAP, "-o", str(whole))
    assert result.exit_code == 2
    assert "this journal is of another base ('mini.yaml')" in result.stderr
    assert "name another folder with -o" in result.stderr
    assert numbers(whole) == before


def test_runs_that_crash(folder: Path):
    (folder / "dying.py").write_text(PLUGIN)
    words = [
        "--swap",
        "token = dies(9), dies(0), raises, vanishes",
        "--seeds",
        "1",
        "--epochs",
        "2",
        "--input",
        "1x16x16",
        "-o",
        "study",
    ]
    said = finished(here(folder, *ABLATE, *words, "--plugin", "dying", "--no-report"))
    study = folder / "study"
    reasons = dict(rows(study, "SELECT cell, reason FROM wanted JOIN runs USING (id)"))
    assert reasons["base"] == ""
    assert reasons["token = dies(9)"] == "its process was ended by SIGKILL, most likely for want of memory"
    assert reasons["token = dies(0)"].startswith("its process ended with status 3")
    assert reasons["token = raises"] == "ValueError: no such thing (dying.py:24)"
    assert "1 of 5 runs are done, 4 failed" in said
    assert reasons["token = vanishes"].startswith("the loss is NaN or infinite (epoch 1")
    (folder / "healed").touch()
    finished(here(folder, *ABLATE, *words, "--plugin", "dying", "--no-report"))
    assert len(rows(study, "SELECT 1 FROM runs WHERE status = 'failed'")) == 4  # not without being asked
    said = finished(here(folder, *ABLATE, *words, "--plugin", "dying", "--retry", "failed", "--no-report"))
    assert "5 of 5 runs are done" in said


def test_a_plugin_that_is_edited_makes_other_runs(folder: Path):
    (folder / "dying.py").write_text(PLUGIN)
    words = ["--swap", "token = vanishes", "--seeds", "1", "--epochs", "1", "--input", "1x16x16", "-o", "study", "--no-report"]
    (folder / "healed").touch()
    finished(here(folder, *ABLATE, *words, "--plugin", "dying"))
    sys.modules.pop("dying")
    (folder / "dying.py").write_text(PLUGIN.replace('float("nan")', 'float("inf")'))
    said = finished(here(folder, *ABLATE, *words, "--plugin", "dying"))
    assert "2 of 2 runs are done" in said
    assert "1 run of other code is kept in the journal: the source of vanishes has changed." in said.replace("\n", " ")
    assert len(rows(folder / "study", "SELECT id FROM runs")) == 3  # the base is what it was


def interrupted(folder: Path, command: list[str], ready: Callable[[subprocess.Popen[str]], object]) -> tuple[int, str, str]:
    """Ctrl-C for a command and all that it started, once it is `ready`: the status, standard output and standard error."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # it is ignored where tests run in the background
    )
    ready(process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def written(path: Path) -> None:
    end = time.monotonic() + 300
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)


LONG = ["--epochs", "500", "--input", "1x16x16"]
MODULE = [sys.executable, "-m", "metablock"]


@pytest.mark.parametrize("verb", ["ablate", "search", "train"])
def test_ctrl_c(verb: str, folder: Path):
    """What happened, what the same command will do, once; status 130, no traceback."""
    words = {
        "ablate": [*ABLATE, *SWAP, "-o", "study", "--no-report"],
        "search": ["search", "mini.yaml", "--swap", "token = dw(3), dw(5)", "-o", "study"],
        "train": ["train", "mini.yaml", "--checkpoint", "run.pt"],
    }[verb]
    status, out, err = interrupted(
        folder,
        [*MODULE, *words, *LONG],
        lambda process: (
            written(folder / "run.pt") if verb == "train" else until(folder / "study", "SELECT 1 FROM epochs", process)
        ),
    )
    assert status == 130, err
    assert "Traceback" not in out + err
    last = err.strip().splitlines()[-1]
    assert err.count("stopped") == 1
    if verb == "train":
        assert re.fullmatch(r"stopped after epoch \d+ of 500; the same command goes on from there", last)
        return
    if verb == "search":
        assert last == "stopped; what is trained is in the journal, and the same command goes on from there"
    else:
        assert last == "stopped: 0 of 4 runs are done; the same command goes on, with interrupted runs from their last epoch"
    assert rows(folder / "study", "SELECT DISTINCT status FROM runs") == [("pending",)]
    assert "Traceback" not in (folder / "study" / "logs" / "worker-0.log").read_text()


# Holds `table` up where it looks at its first network, and where it imports what it needs.
HELD = """\
import pathlib, sys, time
import metablock.cli.application
def wait(*args, **named):
    pathlib.Path("ready").touch()
    time.sleep(300)
if sys.argv[1] == "imports":
    class Slow:
        def find_spec(self, name, *rest):
            if name == "metablock.report.table":
                wait()
    sys.meta_path.insert(0, Slow())
else:
    import metablock.report.table
    metablock.report.table.front = wait
from metablock.cli import app
app(["table", "mini.yaml"])
"""


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("works", "stopped; nothing is printed of a part of the table, the same command starts again"),
        ("imports", "stopped"),
    ],
)
def test_ctrl_c_of_a_table(place: str, said: str, folder: Path):
    status, out, err = interrupted(folder, [sys.executable, "-c", HELD, place], lambda _: written(folder / "ready"))
    assert (status, out, err.strip()) == (130, "", said)


# Several processes for one training


def test_a_batch_shared_by_two_processes(folder: Path):
    """DistributedDataParallel around a network: without random numbers in it, the losses are those of one process, up to rounding."""
    (folder / "mini.yaml").write_text(SPEC.replace("drop:  0.1", "drop:  0"))
    words = ["train", "mini.yaml", "--epochs", "2", "--input", "1x16x16", "--with", "shift=0", "--with", "lr=3e-4"]
    one = here(folder, *words)
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "metablock", *words]
    said = subprocess.run([*two, "-o", "out.safetensors"], cwd=folder, capture_output=True, text=True, timeout=600)
    assert (one.exit_code, said.returncode) == (0, 0), said.stderr
    lines = [[line.split() for line in result.stderr.splitlines() if line.startswith("epoch")] for result in (one, said)]
    assert [len(epochs) for epochs in lines] == [2, 2]
    for a, b in zip(*lines, strict=True):
        assert float(a[3]) == pytest.approx(float(b[3]), abs=2e-3)
        assert float(a[5]) == pytest.approx(float(b[5]), abs=1.0)
    assert (folder / "out.safetensors").exists()


def test_ctrl_c_of_two_processes(folder: Path):
    """One of them says it, the other nothing."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *MODULE[1:]]
    words = [*torchrun, "train", "mini.yaml", "--checkpoint", "run.pt", *LONG]
    status, _, err = interrupted(folder, words, lambda _: written(folder / "run.pt"))
    assert status != 0
    assert re.findall(r"^stopped.*", err, re.MULTILINE) == re.findall(
        r"^stopped after epoch \d+ of 500; the same command goes on from there$", err, re.MULTILINE
    )
    assert err.count("\nstopped after") == 1
    assert "metablock" not in err.partition("Traceback")[2].replace("-m metablock", "")  # torchrun's own may follow


# Ray


def workers() -> list[int]:
    """Processes of Ray that train just now."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::_train"):
                pids.append(int(path.parent.name))
        except OSError:
            continue
    return pids


def test_ray_with_a_killed_worker(whole: Path, folder: Path):
    """A worker of a real local cluster dies in the middle of its run: the run goes on elsewhere, and the numbers are the same."""
    pytest.importorskip("ray")
    process = start(folder, *SWAP, "-o", "study", "--executor", "ray", "--jobs", "2")
    until(folder / "study", "SELECT 1 FROM epochs", process)
    victims = workers()
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    said = finish(process)
    assert "4 of 4 runs are done" in said
    # The nodes have another number of threads: sums round otherwise.
    for ours, theirs in zip(numbers(folder / "study"), numbers(whole), strict=True):
        assert ours[:3] == theirs[:3]
        assert ours[3:5] == pytest.approx(theirs[3:5], rel=1e-4)
