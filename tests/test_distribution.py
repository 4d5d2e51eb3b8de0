"""The project as a distribution: its name and extras, and the files that speak of them."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import metablock
from metablock.errors import install_hint

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CI = yaml.load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"), yaml.BaseLoader)


def supported() -> list[str]:
    """The Python versions of the classifiers, in order."""
    pattern = r"Programming Language :: Python :: (3\.\d+)"
    return [match[1] for line in PROJECT["classifiers"] if (match := re.fullmatch(pattern, line))]


def test_the_name() -> None:
    """The distribution, the package and the command."""
    assert PROJECT["name"] == "metablock-nn"
    assert PROJECT["scripts"] == {"metablock": "metablock.cli:main"}
    assert "metablock-nn" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_extras_refer_to_this_distribution() -> None:
    """An extra includes others as `metablock-nn[...]`: by another name pip would install another product."""
    own = [need for needs in EXTRAS.values() for need in needs if need.startswith("metablock")]
    assert own
    for need in own:
        match = re.fullmatch(rf"{PROJECT['name']}\[([\w,]+)\]", need)
        assert match, need
        assert set(match[1].split(",")) <= set(EXTRAS), need


def test_the_example_plugin_needs_this_distribution() -> None:
    plugin = tomllib.loads((ROOT / "examples" / "plugin" / "pyproject.toml").read_text(encoding="utf-8"))
    assert plugin["project"]["dependencies"] == [PROJECT["name"]]


def test_messages_and_pages_name_extras_that_exist() -> None:
    assert install_hint("ablate") == "from a checkout: pip install '.[ablate]'"
    named: dict[str, set[str]] = {}
    for path in (ROOT / "metablock").rglob("*.py"):
        named[path.name] = set(re.findall(r"install_hint\(\"(\w+)\"\)", path.read_text(encoding="utf-8")))
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        extras = re.findall(r"pip install (?:-e )?'\.\[([\w,]+)\]'", path.read_text(encoding="utf-8"))
        named[path.name] = {extra for group in extras for extra in group.split(",")}
    assert set().union(*named.values()) == set(EXTRAS)
    for name, extras in named.items():
        assert extras <= set(EXTRAS), name


def test_one_version() -> None:
    """It stands in `metablock/__init__.py`, from where the build takes it; the citation repeats it."""
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    citation = yaml.load((ROOT / "CITATION.cff").read_text(encoding="utf-8"), yaml.BaseLoader)
    assert citation["version"] == metablock.__version__


def test_the_citation() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)  # what the format demands
    assert citation["authors"] == PROJECT["authors"]
    assert citation["license"] == PROJECT["license"]
    assert citation["keywords"] == PROJECT["keywords"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert "(CITATION.cff)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_oldest_python() -> None:
    assert PROJECT["requires-python"] == f">={supported()[0]}"


def test_types_are_shipped() -> None:
    assert (ROOT / "metablock" / "py.typed").read_bytes() == b""
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_the_workflow_calls_ci_run() -> None:
    """With the oldest and the newest Python and torch, by the variables that `.ci/run` reads."""
    assert {"push", "pull_request"} <= set(CI["on"])
    (job,) = CI["jobs"].values()
    steps = [step for step in job["steps"] if "run" in step]
    assert [step["run"] for step in steps] == [".ci/run"]
    assert steps[0]["env"] == {"PYTHON": "python${{ matrix.python }}", "TORCH": "${{ matrix.torch }}"}
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for variable in steps[0]["env"]:
        assert f"${{{variable}:-" in script
    oldest, newest = job["strategy"]["matrix"]["include"]
    assert [oldest["python"], newest["python"]] == [supported()[0], supported()[-1]]
    (torch,) = [need for need in PROJECT["dependencies"] if need.startswith("torch")]
    low, high = re.fullmatch(r"torch>=2\.(\d+),<2\.(\d+)", torch).groups()
    assert [oldest["torch"], newest["torch"]] == [f"2.{low}.*", f"2.{int(high) - 1}.*"]


@pytest.mark.parametrize("name", ["run", "versions"])
def test_the_scripts_of_ci(name: str) -> None:
    path = ROOT / ".ci" / name
    assert os.access(path, os.X_OK)
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_checked_is_one_list() -> None:
    """Format, lint and types: in `.ci/run`, before a commit, and in the table of CONTRIBUTING.md."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for command in ("ruff check", "ruff format --check", "mypy"):
        assert command in script
        assert f"`{command}`" in page
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repository in hooks["repos"] for hook in repository["hooks"]]
    assert entries == ["ruff format", "ruff check --fix", "mypy"]


def test_the_slice_exists() -> None:
    script = (ROOT / ".ci" / "versions").read_text(encoding="utf-8")
    paths = re.search(r"(?s)slice=\((.*?)\)", script)[1].split()
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path
