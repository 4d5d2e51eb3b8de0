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
    "cache errors shape",
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
OPERATORS_NEED = {"hungarian": {"scipy"}}  # packages of an extra, imported where they are used

# Parsing and formatting are instant, shapes are inferred from integers: these rooms import without torch.
TORCHLESS = ("cache", "errors", "shape", "files", "language", "catalogue", "lowering", "forms", "front")

LINES = 400

# How many positional arguments an error has with its hint, by what makes it.
HINTED = {"error": 3, "Problem": 3, "MetablockError": 2, "WeightsError": 2, "suggest": 3}

# Words that say where a thing comes from, not what it is: no variable or parameter is called so.
BARE = {"found", "given", "made", "kept", "told"}

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


def imports(path: Path, source: str | None = None, deferred: bool = True) -> list[tuple[int, str]]:
    """Line and absolute dotted name of everything a file imports; of `from a import b`, `a.b`.

    Without `deferred`, only what is imported when the file is: nothing inside functions.
    """
    package = list(path.relative_to(ROOT).parent.parts)
    found = []
    for node in _running(ast.parse(path.read_text(encoding="utf-8") if source is None else source), deferred):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *filter(None, [node.module])])
            found += [(node.lineno, f"{start}.{alias.name}") for alias in node.names]
    return found


def _running(tree: ast.AST, deferred: bool) -> Iterator[ast.AST]:
    """What runs: all but what stands under `if TYPE_CHECKING`, which types may look up from; functions only if `deferred`."""
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not deferred:
        return
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from _running(child, deferred)


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


def test_there_is_one_door_from_a_source_to_the_ir():
    """Only `front` lowers; the examples of composite operators, below it, lower their own one-line specs."""
    entrances = {name_of(path) for path in FILES for _, name in imports(path) if name == "metablock.lowering.network.lower"}
    below = {"metablock/lowering/example.py"}
    assert entrances == {"metablock/front.py", *below}


@pytest.mark.parametrize("path", [path for path in FILES if room(path) == "operators"], ids=name_of)
def test_operators_stand_alone(path: Path):
    for line, name in imports(path):
        there = target(name)
        allowed = (
            there in OPERATORS_USE | OPERATORS_NEED.get(path.stem, set()) | {"operators"} or there in sys.stdlib_module_names
        )
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


def module_of(path: Path) -> str:
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__")


def needed(path: Path) -> set[str]:
    """The modules of metablock that must run before this one has: its imports outside functions."""
    modules = {module_of(file) for file in FILES}
    names = {name for _, name in imports(path, deferred=False)}
    return {name if name in modules else name.rpartition(".")[0] for name in names} & modules - {module_of(path)}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The first way back to itself that a depth-first walk meets from each module which has one."""
    result: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            result.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in sorted(graph[name]):
                visit(other, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return result


def test_no_module_imports_itself_through_others():
    wrong = circles({module_of(path): needed(path) for path in FILES})
    assert not wrong, "imports in a circle:\n" + "\n".join(" -> ".join(circle) for circle in wrong)


def test_a_circle_is_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c", "b"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert {"metablock.errors", "metablock.language.ast", "metablock.language.parser"} <= needed(PACKAGE / "language" / "load.py")
    source = "from . import ast as e\nfrom .yaml import read\ndef f():\n    from .check import check_names\n"
    path = PACKAGE / "language" / "load.py"
    assert [name for _, name in imports(path, source, deferred=False)] == [
        "metablock.language.ast",
        "metablock.language.yaml.read",
    ]


def test_a_class_has_a_name_of_its_own():
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{name_of(path)}:{node.lineno}")
    wrong = [f"{name}: {', '.join(where)}" for name, where in places.items() if len(where) > 1]
    assert not wrong, "classes of one name:\n" + "\n".join(wrong)


def bare_names(source: str) -> list[tuple[int, str]]:
    """Line and name of every variable and parameter that is called by one of the `BARE` words."""
    result = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                pass
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                pass
            case _:
                continue
        if name in BARE:
            result.append((node.lineno, name))
    return sorted(result)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_variable_is_called_what_it_is(path: Path):
    wrong = [f"{name_of(path)}:{line}: {name}" for line, name in bare_names(path.read_text(encoding="utf-8"))]
    assert not wrong, "say what the thing is:\n" + "\n".join(wrong)


def test_a_bare_name_is_seen():
    source = "def f(given, *, kept=1):\n    found = [made for made in given]\n    return found, lambda told: told\n"
    assert bare_names(source) == [(1, "given"), (1, "kept"), (2, "found"), (2, "made"), (3, "told")]
    assert bare_names("givens = found()\ndef found(): ...\nx.kept = y(told=1)\n") == []


def without_hint(tree: ast.AST) -> Iterator[int]:
    """The lines of errors that are made without a hint, and of suggestions that do not say what else."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(isinstance(arg, ast.Starred) for arg in node.args):
            continue
        wanted = HINTED.get(getattr(node.func, "id", ""), 0)
        hints = [keyword.value for keyword in node.keywords if keyword.arg in ("hint", "otherwise", None)] or node.args[
            wanted - 1 :
        ]
        if wanted and (not hints or (isinstance(hints[0], ast.Constant) and hints[0].value == "")):
            yield node.lineno


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_error_has_a_hint(path: Path):
    for line in without_hint(ast.parse(path.read_text(encoding="utf-8"))):
        raise AssertionError(f"{name_of(path)}:{line}: an error says what to do instead")


def test_an_error_without_a_hint_is_seen():
    text = 'error("no", span)\nerror("no", span, "yes")\nerror("no", hint="")\nMetablockError("no")\nsuggest(word, words)\nerror(*args)\n'
    assert list(without_hint(ast.parse(text))) == [1, 3, 4, 5]


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
