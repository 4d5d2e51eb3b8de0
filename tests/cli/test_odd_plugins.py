"""Plug-in files with faults: the plug-in's own place, what it raised, status 2, no traceback."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metablock.cli import app
from metablock.language.registry import OPERATORS

HEAD = "import torch\nimport metablock\n\n\n"
CLASS = '''@metablock.operator
class Odd(torch.nn.Module):
    """Its input."""

    takes = ("map",)

    def __init__(self, c: int):
        super().__init__()

    def forward(self, x):
        return x
'''


def changed(old: str, new: str) -> str:
    assert old in CLASS
    return HEAD + CLASS.replace(old, new)


# A file, and the beginning of what is said of it; {} is its name.
FAULTS = {
    "raises": ("x = 1\nraise KeyError('boom')\n", "{}:2: the plugin '{}' cannot be imported\n  KeyError: 'boom'\n"),
    "raises_lines": ("raise ValueError('a\\nb\\n')\n", "{}:1: the plugin '{}' cannot be imported\n  ValueError: a\n"),
    "raises_much": ("raise ValueError('long ' * 10_000)\n", "{}:1: the plugin '{}' cannot be imported\n  ValueError: long "),
    "raises_untold": (
        "class Odd(Exception):\n    def __str__(self): raise KeyError\n\n\nraise Odd\n",
        "{}:5: the plugin '{}' cannot be imported\n  Odd\n",
    ),
    "raises_its_own": ("class Odd(BaseException): pass\nraise Odd(1)\n", "{}:2: the plugin '{}' cannot be imported\n  Odd: 1\n"),
    "raises_in_torch": (HEAD + "torch.nn.Linear('a', 2)\n", "{}:5: the plugin '{}' cannot be imported\n  TypeError: "),
    "raises_escapes": ("raise ValueError('\\x1b[31m')\n", "{}:1: the plugin '{}' cannot be imported\n  ValueError: \\x1b[31m\n"),
    "wrong_syntax": ("x = 1\ndef f(:\n", "{}:2: the plugin '{}' cannot be imported\n  SyntaxError: "),
    "a_zero_byte": ("x = 1\0\n", "the plugin '{}' cannot be imported\n  SyntaxError: "),
    "exits": ("import sys\nsys.exit(5)\n", "{}:2: the plugin '{}' cannot be imported\n  it ends the process"),
    "exits_well": ("raise SystemExit\n", "{}:1: the plugin '{}' cannot be imported\n  it ends the process"),
    "recurses": ("def f(): f()\nf()\n", "{}:1: the plugin '{}' cannot be imported\n  RecursionError"),
    "empty": ("", "the plugin '{}' declares no operator\n"),
    "declares_nothing": ("x = 1\n", "the plugin '{}' declares no operator\n"),
    "redefines": (HEAD + CLASS.replace(".operator", ".operator(name='conv')"), "{}:6:1: the operator name 'conv' is taken"),
    "numbered": (HEAD + CLASS.replace(".operator", ".operator(name=3)"), "{}:6:1: '3' is no name for an operator"),
    "nameless": (HEAD + CLASS.replace(".operator", ".operator(name='')"), "{}:6:1: '' is no name for an operator"),
    "unknown_context": (changed("c: int", "width"), "{}:11:24: the compiler has no 'width' to give"),
    "stars": (changed("c: int", "*sizes"), "{}:11:25: '*sizes' cannot be given"),
    "selfless": (changed("self, c: int", ""), "{}:11:5: `__init__` of 'Odd' takes no 'self'"),
    "no_init": (
        changed("def __init__(self, c: int):\n        super().__init__()", "__init__ = 3"),
        "{}:6:1: `__init__` of 'Odd' is",
    ),
    "a_mapping": (changed("c: int", "*, a: dict"), "{}:11:27: a spec has no values of type 'dict'"),
    "no_doc": (changed('"""Its input."""', "__doc__ = 3"), "{}:6:1: the operator 'Odd' has no docstring"),
    "takes_lists": (changed('("map",)', "(['map'],)"), "{}:6:1: the operator 'Odd' does not say what it `takes`"),
    "shape_no_function": (changed("takes =", "shape = staticmethod(3)\n    takes ="), "{}:6:1: `shape` of 'Odd' is no function"),
    "a_number": (HEAD + "metablock.operator(3)\n", "'3' is no nn.Module"),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before, modules = set(OPERATORS), set(sys.modules)
    yield
    for name in set(OPERATORS) - before:
        del OPERATORS[name]
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def load(plugin: str) -> str:
    """What is said of a plug-in that cannot be used."""
    result = CliRunner().invoke(app, ["list", "--operators", "conv", "--plugin", plugin])
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result
    assert result.stdout == "" and "Traceback" not in result.stderr and "\x1b" not in result.stderr
    assert len(result.stderr.splitlines()) <= 4 and max(map(len, result.stderr.splitlines())) <= 1000
    return result.stderr


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str) -> None:
    content, message = FAULTS[name]
    Path(f"odd_{name}.py").write_text(content)
    assert load(f"odd_{name}.py").startswith(message.replace("{}", f"odd_{name}.py"))


def test_a_helper_that_raises() -> None:
    """The place is where foreign code raised, also in a file that the plug-in imports."""
    Path("odd_helper.py").write_text("def f():\n    return 1 / 0\n")
    Path("odd_user.py").write_text("import sys\n\nsys.path.insert(0, '.')\nimport odd_helper\n\nodd_helper.f()\n")
    before = list(sys.path)
    try:
        assert load("odd_user.py").startswith("odd_helper.py:2: the plugin 'odd_user.py' cannot be imported\n  ZeroDivisionError")
    finally:
        sys.path[:] = before


def test_places_without_a_file() -> None:
    Path("odd_dir.py").mkdir()
    os.mkfifo("odd_pipe.py")
    Path("odd_loop.py").symlink_to("odd_loop.py")
    Path("odd_device.py").symlink_to("/dev/zero")
    for name in ("odd_dir.py", "odd_pipe.py", "odd_loop.py", "odd_device.py", "/", "a\0b.py", "\udc80.py", "x" * 300 + ".py"):
        assert load(name).startswith("there is no file '"), name
    for name in ("", " ", ".", "a..b", "a\0b", "\udc80", "\x1b[31m"):
        assert "is no name of a module for a plugin" in load(name), name
    assert load("x" * 300).startswith("there is no module 'xxx")
    assert len(load("x" * 300)) < 300


def test_what_a_plugin_prints() -> None:
    """The standard output is the answer alone."""
    Path("odd_prints.py").write_text(HEAD + "print('hello')\n" + CLASS)
    result = CliRunner().invoke(app, ["list", "--operators", "odd", "--json", "--plugin", "odd_prints.py"])
    assert result.exit_code == 0 and result.stderr == "hello\n"
    assert [row["name"] for row in json.loads(result.stdout)] == ["odd"]
