"""The command line as a process: how it starts, how it ends, what it brings along."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
from typer.main import get_command

import metablock
from metablock.cli import app
from metablock.cli.verbs import VERBS
from metablock.report.options import BuildOptions

ROOT = Path(__file__).resolve().parents[2]


def python(*args: object, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True, timeout=120, **more)  # type: ignore[call-overload, no-any-return]


# Runs a command and prints what the command line brings along, how the command ended, and whether torch came with it.
WATCH = """
import json, sys
from metablock.cli import main
before = [name for name in ("torch", "pydantic", "rich") if name in sys.modules]
sys.argv = ["metablock", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    status = end.code
print(json.dumps([before, status, [name for name in ("torch", "pydantic") if name in sys.modules]]))
"""


def watched(*args: object) -> tuple[list[str], int, list[str]]:
    done = python("-c", WATCH, *args)
    return tuple(json.loads(done.stdout.splitlines()[-1]))  # type: ignore[return-value]


@pytest.mark.parametrize("args", ["check --no-shapes", "check", "show --variant tiny_b", "show --edit token=pool(3) --as shapes"])
def test_reading_needs_neither_torch_nor_pydantic(args: str, tiny, tmp_path):
    verb, *options = args.split()
    plain = tmp_path / "plain.yaml"
    plain.write_text("".join(tiny.read_text().partition("facts:")[:1]))
    assert watched(verb, plain, *options) == ([], 0, [])


def test_what_else_needs_no_torch(broken):
    assert watched("check", broken)[1:] == (2, [])
    assert watched("list", "swin")[1:] == (0, ["pydantic"])


def test_a_custom_operator_brings_torch():
    spec = ROOT / "examples" / "plugin" / "gated.yaml"
    assert watched("check", spec, "--plugin", spec.with_name("gated_pool.py"))[1:] == (0, ["torch"])


def test_as_a_module():
    done = python("-m", "metablock", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"metablock {metablock.__version__}\n", "")


def test_a_closed_pipe_is_quiet():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "metablock", "list", "--operators"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_interrupted(run, tiny, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metablock.report.check.check", interrupt)
    result = run("check", tiny)
    assert (result.exit_code, result.output) == (130, "stopped\n")


def test_help(run):
    result = run("--help")
    assert result.exit_code == 0
    for verb in ("check", "build", "show", "list"):
        assert f"  {verb} " in result.stdout
        page = run(verb, "--help")
        assert page.exit_code == 0
        assert f"\n    metablock {verb} " in page.stdout, "an example"
        assert max(map(len, page.stdout.splitlines())) <= 100


def test_nothing_asked(run):
    result = run()
    assert result.exit_code == 2
    assert re.search(r"Usage: (metablock|root) \[OPTIONS\] COMMAND \[ARGS\]", result.output)


@pytest.mark.parametrize(
    ("verb", "spellings"),
    [
        (verb, ("--edit", "--set", "-s"))
        for verb in ("build", "show", "ops", "ablate", "train", "search", "probe", "weights import", "weights export")
    ]
    + [(verb, ("--large", "--allow-large")) for verb in ("build", "show", "ops", "weights import", "weights export")]
    + [("build", ("--reparameterize", "--deploy"))],
)
def test_the_words_of_python_and_earlier_spellings(verb: str, spellings: tuple[str, ...]):
    command = get_command(app)
    for word in verb.split():
        command = command.commands[word]
    assert any(tuple(param.opts) == spellings for param in command.params)


@pytest.mark.parametrize("spelling", ["--edit", "--set", "-s"])
def test_an_edit_in_each_spelling(run, tiny, spelling: str):
    assert "\n  token: attention(2)\n" in run("show", tiny, spelling, "token = attention(2)").stdout
    result = run("show", tiny, spelling, "tokn = pool")
    assert result.stderr.startswith("--edit:1:1: 'tokn' names no slot or column of 'tiny'")


def test_options_are_the_arguments_of_python():
    """A keyword argument of Python and the option of the command line for the same thing have one name, given first."""
    build = get_command(app).commands["build"]
    first = {param.name: param.opts[0] for param in build.params}
    keywords = [name for name, p in signature(metablock.build).parameters.items() if p.kind is p.KEYWORD_ONLY]
    assert {name: first.get(name) for name in keywords} == {
        **{name: f"--{name.replace('_', '-')}" for name in keywords},
        "edits": "--edit",  # once for each
        "features": None,  # a network of the command line gives logits
    }
    others = {"dynamic": metablock.write, "compiled": metablock.compile, "reparameterize": metablock.reparameterize}
    for name, function in others.items():
        assert first[name].removeprefix("--") in {function.__name__, *signature(function).parameters}
    assert set(BuildOptions.__dataclass_fields__) <= set(signature(metablock.build).parameters)


@pytest.mark.parametrize("line", ["--help", "chek", "check --help", "weights import --help"])
def test_one_verb_is_imported_and_all_where_none_is_named(line: str):
    code = (
        "import sys\nfrom metablock.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('metablock.cli.verbs.')))"
    )
    loaded = python("-c", code, *line.split()).stdout.splitlines()[-1]
    verb = line.split()[0]
    assert (loaded == f"['metablock.cli.verbs.{verb}']") == (verb in VERBS)
    assert loaded.count("metablock.cli.verbs.") == (1 if verb in VERBS else len(VERBS))
