"""Every option of every verb with a value that nobody needs: a status from 0 to 2, no traceback, no word of a library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from odd import said

from metablock.cli import app

NET = "name: n\ninput: image(1, 8)\nclasses: 10\nlet:\n  t: conv(4, 3)\nmodel: t >> global_pool >> linear(classes)\n"
# What a verb needs besides; where it would train, its data are missing, so that it ends once all options are read.
BASE = {
    "check": ["net.yaml", "--no-shapes"],
    "build": ["net.yaml", "--no-compile", "--device", "meta"],
    "show": ["net.yaml"],
    "explain": ["net.yaml", "t"],
    "diff": ["net.yaml", "net.yaml"],
    "list": ["resnet18"],
    "new": ["other"],
    "fmt": ["--check", "net.yaml"],
    "schema": [],
    "probe": ["net.yaml", "--data", "npz:gone.npz"],
    "search": ["net.yaml", "--swap", "t = conv(4, 1), conv(4, 3)", "--data", "npz:gone.npz"],
    "ablate": ["net.yaml", "--swap", "t = conv(4, 1), conv(4, 3)", "--data", "npz:gone.npz", "--dry-run"],
    "train": ["net.yaml", "--data", "npz:gone.npz"],
    "report": ["gone"],
    "work": ["gone"],
    "table": ["net.yaml"],
    "ops": ["net.yaml"],
    "weights match": ["gone.pth", "net.yaml"],
    "weights import": ["gone.pth", "net.yaml", "-o", "to.safetensors"],
    "weights export": ["gone.safetensors", "--to", "timm", "-o", "to.safetensors"],
}
VALUES = ("", "-1", "0", "nan", str(10**20), "x" * 300, "\x1b[31m\u202e", "\udc80", "a\0b", "=")


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


VERBS = dict(commands(typer.main.get_command(app)))


def options(verb: str) -> list[str]:
    """The options of a verb that take a value; one that several verbs share is the first one's."""
    before = {key for other in list(VERBS)[: list(VERBS).index(verb)] for key in _keys(other)}
    return [name for name, text in _keys(verb) if (name, text) not in before]


def _keys(verb: str) -> list[tuple[str, str]]:
    # A worker with a --parent, which a study alone starts, ends its process at once: it would end the tests.
    parameters = [
        one for one in VERBS[verb].params if one.param_type_name == "option" and not one.is_flag and one.name != "parent"
    ]
    return [(max(one.opts, key=len), one.help or "") for one in parameters]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if options(verb)])
def test_odd_values(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(NET)
    for option in options(verb):
        for value in VALUES:
            output = said(*verb.split(), *BASE[verb], option, value)
            assert "\x1b" not in output and "\u202e" not in output, (verb, option, value)


def test_every_verb_has_a_base() -> None:
    assert set(VERBS) == set(BASE)
