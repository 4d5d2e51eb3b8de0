"""Completion, called as shells call it: names of the catalogue, files, variants, slots, operators; quick, and without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metablock.catalogue.lookup import catalogue, open_spec
from metablock.cli import completion
from metablock.language.registry import OPERATORS
from metablock.language.resources import architectures
from metablock.language.standard import standard
from tests.cli.conftest import TINY

ROOT = Path(__file__).parents[2]


def completed(line: str, cwd: Path, shell: str = "bash") -> list[str]:
    """What a shell is told for a line; the word behind the last space is the one that is typed."""
    words = line.split(" ")
    env = os.environ | {"PYTHONPATH": str(ROOT), "_METABLOCK_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        env |= {"COMP_WORDS": line.replace(" ", "\n"), "COMP_CWORD": str(len(words) - 1)}
    else:
        env |= {"_TYPER_COMPLETE_ARGS": line}
    done = subprocess.run([sys.executable, "-m", "metablock"], env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [line for line in done.stdout.splitlines() if line]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "nets").mkdir()
    for name in ("tiny.yaml", "nets/inner.yaml", "notes.txt"):
        (tmp_path / name).write_text(TINY)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("metablock exp", {"explain"}),
        ("metablock build poolformer_s", {"poolformer_s12", "poolformer_s24", "poolformer_s36"}),
        ("metablock show swin_ti", {"swin_tiny", "swin_tiny_patch4_window7_224"}),
        ("metablock ablate repvgg_a", {"repvgg_a0", "repvgg_a1", "repvgg_a2"}),
        ("metablock train ti", {"tiny.yaml"}),
        ("metablock ops ./n", {"./nets/"}),
        ("metablock check nets/", {"nets/inner.yaml"}),
        ("metablock build tiny.yaml --variant ti", {"tiny_a", "tiny_b"}),
        ("metablock build metaformer -v poolformerv2_m", {"poolformerv2_m36", "poolformerv2_m48"}),
        ("metablock explain swin_tiny to", {"token"}),
        ("metablock explain tiny.yaml bl", {"block"}),
        ("metablock list --operators global", {"global_pool"}),
        ("metablock list poolformer_s1", {"poolformer_s12"}),
        ("metablock weights im", {"import"}),
    ],
)
def test_what_a_shell_is_told(line: str, among: set[str], place: Path) -> None:
    assert among <= set(completed(line, place))
    assert "notes.txt" not in completed(line, place)


@pytest.mark.parametrize(
    "line", ["metablock build gone.yaml --variant x", "metablock explain /nowhere/a.yaml x", "metablock show /nowhere/"]
)
def test_a_file_that_is_not_there(line: str, place: Path) -> None:
    assert completed(line, place) == []


def test_in_zsh(place: Path) -> None:
    assert '"poolformer_s12"' in "".join(completed("metablock build poolformer_s1", place, "zsh"))


def test_names_are_those_of_the_specs() -> None:
    """They are read from texts, and mean what the language reads there."""
    for stem, spec in catalogue().items():
        text = architectures()[stem].read_text(encoding="utf-8")
        assert completion._section(text, "variants") == list(spec.variants)
        assert set(completion._section(text, "let")) == set(spec.let)
        assert set(spec.columns) <= set(completion._section(text, "stages"))
    names = list(completion._catalogue())
    assert {variant for spec in catalogue().values() for variant in spec.variants if len(variant) > 2} - set(names) <= {
        variant
        for spec in catalogue().values()
        for variant in spec.variants
        if sum(variant in s.variants for s in catalogue().values()) > 1
    }
    for name in names:
        assert open_spec(name)
    assert set(completion._operators()) == {*OPERATORS, *standard()}


def test_it_is_quick_and_needs_no_torch(place: Path) -> None:
    """CPU time beside that of Python itself; a key press waits for it."""
    code = (
        "import sys, time\nstart = time.process_time()\nfrom metablock.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(time.process_time() - start, {'torch', 'lark'} & set(sys.modules), file=sys.stderr)\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT), "_METABLOCK_COMPLETE": "complete_bash"}
    env |= {"COMP_WORDS": "metablock\nbuild\nswin_t", "COMP_CWORD": "2"}
    least = 1.0
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], env=env, cwd=place, capture_output=True, text=True, check=True)
        seconds, _, modules = done.stderr.strip().partition(" ")
        assert modules == "set()", modules
        least = min(least, float(seconds))
    assert least < 0.5  # 0.1 on a quiet machine


def test_installation(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    words = [sys.executable, "-m", "metablock", "--install-completion", "bash"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    script = next(path for path in tmp_path.rglob("*metablock*") if path.is_file())
    assert "_METABLOCK_COMPLETE=complete_bash" in script.read_text()


def test_installation_where_nothing_can_be_written(tmp_path: Path) -> None:
    home = tmp_path / "a_file"
    home.write_text("")
    env = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(home), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    words = [sys.executable, "-m", "metablock", "--install-completion", "bash"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "check the path" in done.stderr
