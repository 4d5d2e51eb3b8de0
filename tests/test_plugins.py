"""Operators from other packages: by ``--plugin``, by entry point, and what is said of bad ones."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import pickle
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor

import metablock
from metablock.errors import MetablockError
from metablock.language.plugins import announced, installed, load_plugin
from metablock.language.registry import OPERATORS
from metablock.writers.standalone import standalone
from oracles import randomised_state, relative_error

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "plugin"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch):
    """Operators, modules and the search path are what they were."""
    known, modules = dict(OPERATORS), set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    installed.cache_clear()
    yield
    OPERATORS.clear()
    OPERATORS.update(known)
    for name in set(sys.modules) - modules:
        if not name.startswith(("metablock", "torch")):
            del sys.modules[name]
    installed.cache_clear()


def written(folder: Path, text: str, name: str = "own_ops") -> Path:
    path = folder / f"{name}.py"
    path.write_text("import torch\nfrom torch import Tensor, nn\nimport metablock\n" + textwrap.dedent(text))
    return path


GOOD = '''
@metablock.operator
class OwnShift(nn.Module):
    """Adds a learned constant: ``(b, c, *grid) -> (b, c, *grid)``."""
    takes = ("map",)
    def __init__(self, c: int, rank: int, *, start: float = 0.5, names: "list[int] | None" = None):
        super().__init__()
        self.weight = nn.Parameter(torch.full((c, *[1] * rank), start))
    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight
'''

SPEC = """\
name: own
input: image(3, 16)
classes: 4
let:
  token: own_shift(0.25)
stages:
  depth: 2
  body:  depth * res(token)
head: global_pool >> linear(classes)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.yaml").write_text(SPEC)
    written(tmp_path, GOOD)
    return tmp_path


# The example package


def test_the_example(tmp_path: Path):
    assert load_plugin(str(EXAMPLE / "gated_pool.py")) == ["gated_pool"]
    model = metablock.build(EXAMPLE / "gated.yaml")
    x = torch.randn(2, 3, 64, 64)
    model(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert "token: gated_pool\n" in repr(model)
    assert model.state_dict()["stages.0.blocks.0.token.gate"].shape == (32, 1, 1)
    model.eval()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), model(x))


def test_the_example_in_every_host_and_rank():
    load_plugin(str(EXAMPLE / "gated_pool.py"))
    for name, size in (("poolformer_s12", None), ("swin_tiny", None), ("poolformer_s12", "12x512")):
        metablock.build(name, edits=["token = gated_pool(5)"], input=size, device="meta")


def test_the_example_compiles():
    load_plugin(str(EXAMPLE / "gated_pool.py"))
    model = metablock.build(EXAMPLE / "gated.yaml").eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = model(x)
        assert torch.allclose(metablock.compile(model, backend="eager")(x), wanted)


def test_the_example_is_written_as_plain_pytorch(tmp_path: Path):
    load_plugin(str(EXAMPLE / "gated_pool.py"))
    model = metablock.build(EXAMPLE / "gated.yaml").eval()
    text = metablock.standalone(model)
    assert "metablock" not in text.split('"""')[0].split("import torch")[1]
    assert "import metablock" not in text
    names: dict = {"__name__": "standalone_gated"}
    exec(compile(text, "standalone_gated.py", "exec"), names)
    other = names["Model"]().eval()
    other.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(other(x), model(x))


def test_an_error_of_its_shape_has_a_place():
    load_plugin(str(EXAMPLE / "gated_pool.py"))
    with pytest.raises(MetablockError, match=r"--edit.*:1:9: the kernel 4 is even\n(.*\n)*  it has a pixel in its middle"):
        metablock.build("poolformer_s12", edits=["token = gated_pool(4)"], device="meta")


# The command line


def metablock_cli(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "from metablock.cli import main; main()"  # as the console script does it, which does not see the working folder
    return subprocess.run([sys.executable, "-P", "-c", code, *args], cwd=cwd, capture_output=True, text=True, timeout=120)


def test_from_the_command_line(own: Path):
    for plugin in ("own_ops", "./own_ops.py"):
        result = metablock_cli("show", "own.yaml", "--as", "shapes", "--plugin", plugin, cwd=own)
        assert (result.returncode, result.stderr) == (0, "")
        assert "own_shift" in result.stdout
    result = metablock_cli("check", "own.yaml", cwd=own)
    assert result.returncode == 2
    assert "own.yaml:5:10: unknown operator 'own_shift'" in result.stderr


def test_it_is_listed(own: Path):
    result = metablock_cli("list", "--operators", "own_*", "--plugin", "own_ops", cwd=own)
    assert result.returncode == 0
    assert "own_shift(start=0.5" in result.stdout
    assert "Adds a learned constant" in result.stdout


def test_bad_plugins_from_the_command_line(own: Path):
    (own / "breaks.py").write_text("import metablock\n\n1 / 0\n")
    (own / "syntax.py").write_text("def f(:\n")
    (own / "empty.py").write_text("")
    (own / "exits.py").write_text("raise ImportError('no einops here')\n")
    for name, said in {
        "nowhere": "there is no module 'nowhere' for a plugin\n  give its dotted name, or the path of its file",
        "no.where": "there is no module 'no.where' for a plugin",
        "./nowhere.py": "there is no file 'nowhere.py' for a plugin",
        "breaks": "breaks.py:3: the plugin 'breaks' cannot be imported\n  ZeroDivisionError: division by zero",
        "syntax": "the plugin 'syntax' cannot be imported\n  SyntaxError: ",
        "empty": "the plugin 'empty' declares no operator\n  write `@metablock.operator` above its class",
        "exits": "ImportError: no einops here",
        "./torch.py": "torch.py' for a plugin",
    }.items():
        result = metablock_cli("check", "own.yaml", "--plugin", name, cwd=own)
        assert result.returncode == 2, name
        assert said in result.stderr, (name, result.stderr)
        assert "Traceback" not in result.stderr


def test_a_file_named_like_another_module(own: Path):
    (own / "json.py").write_text(GOOD)
    with pytest.raises(MetablockError, match=r"json.py: there is another module 'json' already\n  give the file another name"):
        load_plugin(str(own / "json.py"))


# Declarations


def test_in_python(own: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(own)
    assert load_plugin("own_ops") == load_plugin("own_ops") == ["own_shift"]
    model = metablock.build(own / "own.yaml")
    assert next(name for name, _ in model.named_parameters()) == "stages.0.blocks.0.token.weight"
    assert torch.equal(model.stages[0].blocks[0].token.weight, torch.full((3, 1, 1), 0.25))
    importlib.reload(sys.modules["own_ops"])  # as in a notebook
    with pytest.raises(MetablockError, match=r"has no argument 'stop'\n(.*\n)*  it is own_shift\(start=0.5, names=none\)"):
        metablock.build(own / "own.yaml", edits=["token = own_shift(stop=1)"])


BAD = {
    "no_docstring": (
        GOOD.replace('    """Adds a learned constant: ``(b, c, *grid) -> (b, c, *grid)``."""\n', ""),
        r"own_ops.py:6:1: the operator 'OwnShift' has no docstring\n.*\n.*\n  say what comes in and goes out",
    ),
    "no_annotation": (
        GOOD.replace("start: float = 0.5", "start=0.5"),
        r"own_ops.py:9:46: the parameter 'start' has no annotation\n.*\n +\^\^\^\^\^\n  int, float",
    ),
    "unknown_type": (GOOD.replace("start: float", "start: complex"), r"a spec has no values of type 'complex' for 'start'"),
    "part_of_a_union": (GOOD.replace("start: float", "start: float | set[int]"), r"no values of type 'set\[int\]' for 'start'"),
    "not_keyword_only": (GOOD.replace("rank: int, *, ", "rank: int, "), r"the compiler has no 'start' to give\n(.*\n)*  arguments of"),
    "any_arguments": (GOOD.replace("= None):", "= None, **more: int):"), r"'\*\*more' cannot be given"),
    "no_takes": (GOOD.replace('takes = ("map",)', ""), r"does not say what it `takes`\n(.*\n)*  for instance takes"),
    "unknown_layout": (GOOD.replace('takes = ("map",)', 'takes = ("maps",)'), r"does not say what it `takes`"),
    "no_forward": (GOOD.split("    def forward")[0], r"the operator 'OwnShift' has no `forward`"),
    "no_module": (GOOD.replace("(nn.Module)", ""), r"'OwnShift' is no nn.Module"),
    "taken": (GOOD.replace("OwnShift", "Attention"), r"the operator name 'attention' is taken: metablock.forms.attention:attention"),
    "taken_by_a_binding": (GOOD.replace("OwnShift", "Hilo"), r"'hilo' is taken: a standard binding has it\n(.*\n)*  @metablock.operator"),
    "a_word": (GOOD.replace("OwnShift", "Stage"), r"'stage' is taken: it is a word of the language"),
    "twice": (
        GOOD + GOOD.replace("class OwnShift", "class Again").replace("@metablock.operator", '@metablock.operator(name="own_shift")'),
        r"the operator name 'own_shift' is taken: own_ops:OwnShift has it",
    ),
    "bad_name": (
        GOOD.replace("@metablock.operator", '@metablock.operator(name="Own-Shift")'), r"'Own-Shift' is no name for an operator"
    ),
    "inside": (
        "def make():\n" + textwrap.indent(GOOD, "    ") + "make()\n", r"'OwnShift' stands inside a function or class"
    ),
    "shape_not_static": (GOOD + "    def shape(self, x):\n        return x\n", r"`shape` of 'OwnShift' is not static"),
    "shape_wants_more": (
        GOOD + "    @staticmethod\n    def shape(x, *, size):\n        return x\n",
        r"`shape` wants 'size', which `__init__` does not take\n(.*\n)*  arguments: names, start",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_declarations(case: str, tmp_path: Path):
    text, said = BAD[case]
    path = written(tmp_path, text)
    known = dict(OPERATORS)
    with pytest.raises(MetablockError, match=said):
        load_plugin(str(path))
    assert set(OPERATORS) - set(known) <= {"own_shift"}
    assert "own_ops" not in sys.modules


# Entry points


def install(folder: Path, points: str, package: str = "own-ops") -> None:
    """What pip leaves of a package: its metadata beside its module."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[metablock.operators]\n{points}\n")


def test_an_installed_package(own: Path, monkeypatch: pytest.MonkeyPatch):
    install(own, "own_shift = own_ops:OwnShift")
    monkeypatch.syspath_prepend(own)
    metablock.build("poolformer_s12", device="meta")
    assert "own_ops" not in sys.modules  # it is not imported before it is used
    assert isinstance(metablock.build(own / "own.yaml").stages[0].blocks[0].token, sys.modules["own_ops"].OwnShift)
    assert load_plugin("own_ops") == ["own_shift"]  # the same one, again


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ("attention = own_ops:OwnShift", "the package 'own-ops' brings an operator 'attention', but metablock.forms.attention"),
        ("hilo = own_ops:OwnShift", "brings an operator 'hilo', but a standard binding has it\n  rename it there"),
        ("own_shift = own_ops", "the package 'own-ops' has a bad entry point: own_shift = own_ops"),
        ("other = own_ops:OwnShift", "the operator 'other' is called 'own_shift' there\n  the entry point and"),
        ("own_shift = own_ops:nn", "the operator 'own_shift' is no operator there"),
        ("own_shift = own_ops:Missing", "the operator 'own_shift' cannot be imported\n  AttributeError"),
        ("own_shift = nowhere_ops:OwnShift", "the operator 'own_shift' cannot be imported\n  ModuleNotFoundError"),
    ],
)
def test_bad_entry_points(points: str, said: str, own: Path, monkeypatch: pytest.MonkeyPatch):
    install(own, points)
    monkeypatch.syspath_prepend(own)
    with pytest.raises(MetablockError) as wrong:
        metablock.build(own / "own.yaml", edits=[f"token = {points.split()[0]}"], device="meta")
    assert said in str(wrong.value)


def test_two_packages_with_one_name(own: Path, monkeypatch: pytest.MonkeyPatch):
    install(own, "own_shift = own_ops:OwnShift")
    install(own, "own_shift = others:OwnShift", "other-ops")
    monkeypatch.syspath_prepend(own)
    with pytest.raises(MetablockError, match=r"brings an operator 'own_shift', but the package '\S+' has it\n  rename it there"):
        metablock.build(own / "own.yaml", device="meta")


def test_a_spec_cannot_name_code(own: Path):
    for text in ("own_ops.OwnShift(1)", '"own_ops:OwnShift"', "__import__(1)"):
        with pytest.raises(MetablockError):
            metablock.build(own / "own.yaml", edits=[f"token = {text}"], device="meta")
    assert "own_ops" not in sys.modules


def test_a_kernel_of_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The selective scan of the example is the recurrence of the language, in plain torch and by the arguments of a kernel."""
    load_plugin(str(EXAMPLE / "selective_scan.py"))
    model = metablock.build(EXAMPLE / "selective_scan.yaml", dtype=torch.float64).eval()
    randomised_state(model)
    x = torch.randn(2, 8, 64, dtype=torch.float64)
    assert torch.equal(torch.fx.symbolic_trace(copy.deepcopy(model))(x), model(x))
    names: dict = {"__name__": "standalone_scan"}
    exec(compile(standalone(model), "standalone_scan.py", "exec"), names)
    plain = names["Model"]().double().eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain(x), model(x))

    def kernel(u: Tensor, d: Tensor, a: Tensor, k: Tensor, q: Tensor, skip: Tensor) -> Tensor:
        """The arguments of mamba_ssm's: channels before positions."""
        state, ys = u.new_zeros(*u.shape[:2], k.shape[1]), []
        for t in range(u.shape[2]):
            state = (d[:, :, t, None] * a).exp() * state + (d[:, :, t] * u[:, :, t])[..., None] * k[:, None, :, t]
            ys.append((state * q[:, None, :, t]).sum(-1))
        return torch.stack(ys, 2) + u * skip[:, None]

    library = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    library.selective_scan_fn = kernel  # type: ignore[attr-defined]
    for name, module in (("mamba_ssm", types.ModuleType("mamba_ssm")), ("mamba_ssm.ops", types.ModuleType("mamba_ssm.ops"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, library.__name__, library)
    expected = model(x)
    operator = next(module for module in model.modules() if type(module).__name__ == "SelectiveScan")
    monkeypatch.setitem(type(operator).forward.__globals__, "DEVICES", ("cpu",))
    assert 0 < relative_error(model(x), expected) < 1e-6  # a kernel takes A in float32


def test_what_may_announce_operators(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Only where nothing does, the entry points need not be asked for."""
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.mkdir()
    (other / "others-1.0.dist-info").mkdir(parents=True)
    (other / "others-1.0.dist-info" / "entry_points.txt").write_text("[console_scripts]\nothers = others:main\n")
    assert not announced([str(empty), str(other), str(tmp_path / "nowhere")])
    install(own, "own_shift = own_ops:OwnShift")
    assert announced([str(empty), str(own)])
    (empty / "archive.zip").touch()
    assert announced([str(empty / "archive.zip")])
    (other / "an.egg").mkdir()
    assert announced([str(other)])
    finder = types.SimpleNamespace(find_spec=lambda *args: None, find_distributions=lambda context: iter(()))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    assert announced([str(empty)])
