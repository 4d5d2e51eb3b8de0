"""Answers of the front that are kept: when they hold, that they are the same, and that no file spoils them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cases import SPECS

import metablock
from metablock import cache
from metablock.errors import MetablockError, SpecError
from metablock.front import Front, front
from metablock.language.load import load_text
from metablock.language.plugins import load_plugin
from metablock.language.registry import OPERATORS
from metablock.lowering import recall
from metablock.lowering.record import UnwritableError, dumps, loads

ROOT = Path(__file__).resolve().parent.parent
NET = "name: net\ninput: image(3, 8)\nlet: {act: relu}\nmodel: conv(4, 3) >> act >> global_pool >> linear(classes)\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "fingerprint", lambda: "this code")  # whose files may be younger than this process
    recall.forget()
    return tmp_path / "cache" / recall.KIND


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the networks that were lowered, not remembered."""
    names: list[str] = []
    own = metablock.lowering.network.lower

    def lower(spec, **options):
        names.append(spec.name)
        return own(spec, **options)

    monkeypatch.setattr(metablock.lowering.network, "lower", lower)
    return names


def file(tmp_path: Path, text: str = NET, name: str = "net.yaml") -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def same(one: Front, other: Front) -> bool:
    """Whether two answers are equal, places and texts included."""
    return one == other and dumps(*one) == dumps(*other)


# What has streams, shared modules, loops, several inputs, a loss, fractions; all with METABLOCK_WHOLE=1.
SEVERAL = {"cf_vit", "crossvit", "detr", "hrnet", "lightconv_dynamicconv", "metaformer", "mobile_former", "resnet", "swin", "vit"}
WHOLE = os.environ.get("METABLOCK_WHOLE") == "1"


@pytest.mark.parametrize("name", [name for name in sorted(SPECS) if WHOLE or name in SEVERAL])
def test_every_architecture_comes_back(name: str):
    spec, ir = front(name)
    again = Front(*loads(dumps(spec, ir)))
    assert again == (spec, ir) and dumps(*again) == dumps(spec, ir)
    assert list(again.ir.doubts) == list(ir.doubts)
    assert all(key == id(node) for key, (node, _) in again.ir.numbers.items())


def test_from_memory_and_from_disk(lowered: list[str], folder: Path):
    first = front("resnet18", edits="token = dw(7)", classes=10, input=(3, 64, 64))
    assert front("resnet18", edits=["token = dw(7)"], classes=10, input=[3, 64, 64]).ir is first.ir
    recall.forget()
    later = front("resnet18", edits="token = dw(7)", classes=10, input=(3, 64, 64))
    assert lowered == ["resnet"] and later.ir is not first.ir and same(later, first)
    assert len(list(folder.iterdir())) == 1


def test_the_module_is_the_same(lowered: list[str]):
    first = metablock.build("poolformer_s12", input="3x32x32", edits="depth = [1, 1, 1, 1]", seed=3)
    recall.forget()
    later = metablock.build("poolformer_s12", input="3x32x32", edits="depth = [1, 1, 1, 1]", seed=3)
    assert lowered == ["metaformer"] and repr(first) == repr(later)
    assert [type(part) for part in first.modules()] == [type(part) for part in later.modules()]
    weights = later.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in first.state_dict().items())
    later(torch.zeros(1, 3, 32, 32))
    with pytest.raises(MetablockError, match="poolformer_s12"):
        later(torch.zeros(1, 4, 32, 32))


def test_every_argument_counts(tmp_path: Path):
    path = file(tmp_path, NET + "variants: {a: {}, b: {act: gelu}}\n")
    options = [
        {}, {"variant": "b"}, {"edits": "act = silu"}, {"edits": ["act = silu", "act = gelu"]}, {"classes": 7}, {"input": "3x9x9"},
        {"input": (1, 8, 8)}, {"large": True},
    ]  # fmt: skip
    for _ in range(2):
        answers = [dumps(*front(path, **option)) for option in options]
        assert len(set(answers)) == len(answers)
        recall.forget()


def test_another_text_is_another_network(tmp_path: Path, lowered: list[str]):
    path = file(tmp_path)
    assert front(path).ir.children["act"].operator == "relu"
    file(tmp_path, NET.replace("relu", "gelu"))
    assert front(path).ir.children["act"].operator == "gelu"
    file(tmp_path)
    recall.forget()
    assert front(path).ir.children["act"].operator == "relu" and lowered == ["net", "net"]
    (tmp_path / "net.yaml").unlink()
    with pytest.raises(SpecError, match="there is no file"):
        front(path)


def test_messages_name_the_file_that_was_asked_for(tmp_path: Path):
    one, other = file(tmp_path), file(tmp_path, name="other.yaml")
    assert [front(path).spec.place("model").text.name for path in (one, other, Path(other))] == [one, other, other]


def test_another_method_is_another_network(tmp_path: Path, lowered: list[str]):
    text = (ROOT / "architectures/methods/mae.yaml").read_text()
    method = file(tmp_path, text, "mine.yaml")
    first = front("vit_tiny_patch16_224", method=method)
    file(tmp_path, text.replace("mae", "name_of_mine", 1), "mine.yaml")
    assert not same(front("vit_tiny_patch16_224", method=method), first)
    file(tmp_path, text, "mine.yaml")
    recall.forget()
    assert same(front("vit_tiny_patch16_224", method=method), first) and len(lowered) == 2


def test_a_file_that_changes_meanwhile_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, own = file(tmp_path), metablock.lowering.network.lower

    def lower(spec, **options):
        file(tmp_path, NET.replace("relu", "gelu"))
        return own(spec, **options)

    monkeypatch.setattr(metablock.lowering.network, "lower", lower)
    assert front(path).ir.children["act"].operator == "relu"
    monkeypatch.setattr(metablock.lowering.network, "lower", own)
    file(tmp_path)
    assert recall.recall(recall.key_of(path, None, (), None, None, False, None)) is None


PLUGIN = '''
import metablock, torch
@metablock.operator(name="recalled")
class Recalled(torch.nn.Module):
    """Its input, times a number, of any layout and shape."""
    takes = ("map", "grid", "tokens", "vector")
    def __init__(self, *, n: int = {n}):
        super().__init__()
        self.n = n
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.n * x
'''


def test_what_uses_a_custom_operator_is_not_kept(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """An edited plug-in is another network; what does not use it is kept, under another key than without it."""
    monkeypatch.setattr(recall, "installed", lambda: None)
    front(file(tmp_path))
    try:
        for number in (2, 3):
            (tmp_path / f"plug{number}.py").write_text(PLUGIN.replace("{n}", str(number)))
            load_plugin(str(tmp_path / f"plug{number}.py"))
            assert front(file(tmp_path), edits="act = recalled").ir.children["act"].args == {"n": number}
            assert front("resnet18", edits="act = recalled").ir is not front("resnet18", edits="act = recalled").ir
            OPERATORS.pop("recalled")
        load_plugin(str(tmp_path / "plug3.py"))
        OPERATORS["recalled"] = next(
            value.metablock_operator
            for module in list(sys.modules.values())
            if getattr(module, "__file__", None) == str(tmp_path / "plug3.py")
            for value in [module.Recalled]
        )
        assert len(list(folder.iterdir())) == 1
        front(file(tmp_path))
        assert len(list(folder.iterdir())) == 2
    finally:
        OPERATORS.pop("recalled", None)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[[], [], 0]", b"[[1],[[99, 0]],1]", b"\xff", b"[[],[[1]],-5]", b"[[null],[[1,0,0]],1]"]
)
def test_other_bytes_are_no_answer(data: bytes, lowered: list[str], folder: Path):
    with pytest.raises(ValueError, match="no spec"):
        loads(data)
    expected = front("resnet18")
    (entry,) = folder.iterdir()
    cache.store(recall.KIND, entry.name, data)
    recall.forget()
    assert same(front("resnet18"), expected) and lowered == ["resnet", "resnet"]


def test_an_entry_that_names_other_modules_is_not_used(lowered: list[str], folder: Path):
    front("resnet18")
    (entry,) = folder.iterdir()
    cache.store(recall.KIND, entry.name, cache.load(recall.KIND, entry.name).replace(b"metablock.operators.conv", b"os.path"))
    recall.forget()
    assert front("resnet18").ir.children["stem"] and lowered == ["resnet", "resnet"]


def test_without_a_place_nothing_is_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lowered: list[str]):
    changes: list[Callable[[], None]] = [
        lambda: monkeypatch.setenv(cache.VARIABLE, "0"),
        lambda: monkeypatch.setenv(cache.VARIABLE, file(tmp_path, name="a file")),
        lambda: monkeypatch.setattr(cache, "fingerprint", lambda: None),
    ]
    for number, change in enumerate(changes):
        change()
        for _ in range(2):
            front("resnet18")
        recall.forget()
        assert len(lowered) == number + 1


def test_errors_are_not_kept(tmp_path: Path, folder: Path):
    for _ in range(2):
        with pytest.raises(SpecError, match="unknown name 'rel'"):
            front(file(tmp_path, NET.replace("relu", "rel")))
    assert not folder.exists()


def test_a_read_text_is_remembered_while_it_lives(lowered: list[str], folder: Path):
    spec = load_text(NET)
    assert front(spec).ir is front(spec).ir and front(load_text(NET)).ir is not front(spec).ir
    assert lowered == ["net", "net"] and not folder.exists()


def test_few_answers_stay_in_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recall, "MAX_KEPT", 2)
    specs = [load_text(NET) for _ in range(3)]
    first = [front(spec).ir for spec in specs]
    assert front(specs[2]).ir is first[2] and front(specs[1]).ir is first[1] and front(specs[0]).ir is not first[0]


def test_a_value_of_another_class_is_not_written():
    spec, ir = front("resnet18")
    with pytest.raises(UnwritableError):
        dumps(spec.with_(paper={"title": object()}), ir)


def test_processes_share_it(lowered: list[str], folder: Path):
    """Two write at once; a third lowers nothing."""
    code = "from metablock import cache, front; cache.fingerprint = lambda: 'this code'; print(front.front('resnet18').ir.output.feature)"
    run = [sys.executable, "-c", code]
    pair = [subprocess.Popen(run, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in pair] == ["vector of 1000\n"] * 2
    assert str(front("resnet18").ir.output.feature) == "vector of 1000"
    assert lowered == [] and len(list(folder.iterdir())) == 1
