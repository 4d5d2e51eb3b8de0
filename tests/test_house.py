"""The rules of the house: who may import whom, what stays free of torch, how long a file may be, what no file may name."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "metablock"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)

# A room is a module or package directly under metablock/. It imports only from itself and from the floors below its own.
HOUSE = (
    "errors shape",
    "files language operators",
    "catalogue lowering",
    "forms",
    "front",
    "backend",
    "passes weights",
    "writers",
    "api",
    "ablation bridges report",
    "cli",
)
FLOORS = {room: floor for floor, rooms in enumerate(HOUSE) for room in rooms.split()}

# The front doors belong to the room they open.
DOORS = {"__init__": "api", "__main__": "cli"}

# Operators work without the rest of metablock: these rooms, torch and the standard library are all they may use.
OPERATORS_USE = {"errors", "shape", "torch"}

# Parsing and formatting are instant, shapes are inferred from integers: these rooms import without torch.
TORCHLESS = ("errors", "shape", "files", "language", "catalogue", "lowering", "forms", "front")

LINES = 400

# Machine paths and package indices, spelt so that this file does not contain them.
FORBIDDEN = re.compile(
    r"(?<![\w.\-])/(?:work|root|tmp)/|/home/\w"
    r"|pypi\.org|pypi\.python\.org|pythonhosted\.org|download\.pytorch\.org|(?:extra-)?index[-]url|find[-]links",
    re.IGNORECASE,
)

# Install commands that would download a distribution by our name, where a package index has another product or nothing.
FROM_AN_INDEX = re.compile(r"pip3? install[^&|;`#\n]*(?<![\w./-])metablock(?:-nn)?(?![\w/-])|(?<![\w/.-])metablock\[[a-z]")

# No tracked file has more bytes, but for these: the path, and the reason.
LARGE = 500_000
LARGE_FILES: dict[str, str] = {}


def exists(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return DOORS.get(first, first)


def imports(path: Path, source: str | None = None) -> list[tuple[int, str]]:
    """Line and absolute dotted name of everything a file imports; of `from a import b`, `a.b`."""
    package = list(path.relative_to(ROOT).parent.parts)
    found = []
    for node in _running(ast.parse(path.read_text(encoding="utf-8") if source is None else source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *filter(None, [node.module])])
            found += [(node.lineno, f"{start}.{alias.name}") for alias in node.names]
    return found


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs: all but what stands under `if TYPE_CHECKING`, which types may look up from."""
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from _running(child)


def target(name: str) -> str:
    """The room a dotted name leads to, or the top package of a name from elsewhere."""
    first, *rest = name.split(".")
    if first != "metablock":
        return first
    inner = rest[0] if rest else "__init__"
    # `from metablock import build` enters by the front door.
    return DOORS.get(inner, inner) if exists(inner) else DOORS["__init__"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down(path: Path):
    here = room(path)
    assert here in FLOORS, f"{name_of(path)}: the room '{here}' has no floor; give it a place in HOUSE in {Path(__file__).name}"
    for line, name in imports(path):
        there = target(name)
        if name.split(".")[0] != "metablock" or there == here:
            continue
        assert there in FLOORS, f"{name_of(path)}:{line}: the room '{there}' has no floor; give it a place in HOUSE"
        assert FLOORS[there] < FLOORS[here], (
            f"{name_of(path)}:{line}: '{here}' (floor {FLOORS[here]}) imports '{there}' (floor {FLOORS[there]}), not from below"
        )


@pytest.mark.parametrize("path", [path for path in FILES if room(path) == "operators"], ids=name_of)
def test_operators_stand_alone(path: Path):
    for line, name in imports(path):
        there = target(name)
        allowed = there in OPERATORS_USE | {"operators"} or there in sys.stdlib_module_names
        assert allowed, f"{name_of(path)}:{line}: an operator imports '{there}'; it may use {', '.join(sorted(OPERATORS_USE))}"


def test_a_wrong_import_is_seen():
    source = (
        "import metablock.cli, torch.nn\nfrom . import errors\nfrom .language.parser import parse\nfrom metablock import build"
    )
    names = [name for _, name in imports(PACKAGE / "shape.py", source)]
    assert names == ["metablock.cli", "torch.nn", "metablock.errors", "metablock.language.parser.parse", "metablock.build"]
    inside = imports(PACKAGE / "operators" / "conv.py", "from ..shape import Feature\nfrom . import pool")
    assert inside == [(1, "metablock.shape.Feature"), (2, "metablock.operators.pool")]
    assert target("metablock.errors") == "errors"
    assert target("metablock.build") == target("metablock") == "api"
    assert target("torch.nn") == "torch"


def test_the_language_imports_no_torch():
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in FILES if room(path) in TORCHLESS]
    code = f"import importlib, sys\nfor name in {names}:\n    importlib.import_module(name)\n    if 'torch' in sys.modules: sys.exit(f'{{name}} imports torch')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_can_be_read_in_one_sitting(path: Path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES, f"{name_of(path)} has {lines} lines; the ceiling is {LINES}"


def tracked() -> list[Path]:
    """Every file of the checkout that git tracks, or would track."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    assert listed.returncode == 0, listed.stderr
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]  # one that is deleted but not yet committed is still listed


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """The lines of all tracked text files that the pattern matches, each with its place."""
    matches = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # not a text
            continue
        matches += [f"{name_of(path)}:{i}: {line.strip()}" for i, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    return matches


def test_the_project_speaks_of_itself_alone():
    assert FORBIDDEN.search("cd " + "/".join(["", "tmp", "x"]))
    assert not FORBIDDEN.search("https://example.org/work/x, docs/tmp/x")
    wrong = lines_with(FORBIDDEN)
    assert not wrong, "machine paths or package indices:\n" + "\n".join(wrong)


def test_every_install_command_installs_this_project():
    for package in ("metablock", "metablock-nn"):
        for command in (f"{package}", f"'{package}[ablate]'", f"-U {package}==1.0", f"pytest {package} && pytest"):
            assert FROM_AN_INDEX.search(f"pip install {command}"), command
        for fine in (". && {0} list", "'.[ablate]' # for `{0} train`", "dist/{0}-*.whl", "./{0}", "{0}_gated_pool"):
            assert not FROM_AN_INDEX.search("pip install " + fine.format(package)), fine
    wrong = lines_with(FROM_AN_INDEX)
    assert not wrong, "pip install '.' or '.[extra]' from a checkout, nothing from an index:\n" + "\n".join(wrong)


def test_no_large_file_is_tracked():
    sizes = {name_of(path): path.stat().st_size for path in tracked()}
    assert len(sizes) > 100
    wrong = [f"{name} has {size} bytes" for name, size in sizes.items() if size > LARGE and name not in LARGE_FILES]
    assert not wrong, f"the ceiling is {LARGE}; LARGE_FILES in {Path(__file__).name} lists exceptions:\n" + "\n".join(wrong)
    unused = [name for name in LARGE_FILES if sizes.get(name, 0) <= LARGE]
    assert not unused, f"LARGE_FILES lists what is not large, or is not there: {unused}"
