"""What a network can be written to: whole or not at all, as the model to the bit, with sizes left open where it can be."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from cases import SPECS
from typer.testing import CliRunner

import metablock
from metablock.backend.block import Block
from metablock.cli import app
from metablock.errors import MetablockError
from metablock.language.load import load_text
from metablock.lowering.network import input_features
from metablock.writers.torch_export import AXES, check_dynamic, export

onnx = pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="the extra `onnx` is not installed")

# Networks of convolutions and pooling run on any size; the others have tables, windows or matrices made for theirs.
OPEN = ["convnext_tiny", "resnet18", "poolformer_s12", "caformer_s18"]
BOUND = {
    "swin_tiny_patch4_window7_224": "stages.0.blocks.0.token: window",
    "vit_tiny_patch16_224": "stem.position: position",
    "mixer_s16_224": "stages.0.blocks.0.token.mix.linear1: linear",
    "randformer_s12": "stages.2.blocks.0.token.matrix: linear",
    "agent_swin_t": "agent_bias",
}


HEAD = "global_pool >> linear(classes)"


def small(name: str, side: int = 64) -> Block:
    edits = [f"depth = {[1] * (7 if 'mobilenet' in name else 4)}"]
    return metablock.build(name, edits=edits, input=(3, side, side), classes=5)


def tiny(text: str = "conv(4, 3, stride=2) >> batch_norm >> relu >> conv(4, 3)", source: str = "image(3, 16)") -> Block:
    return metablock.build(load_text(f"name: tiny\ninput: {source}\nstages:\n  body: {text}\nhead: {HEAD}\n"), classes=3)


def rewritten(model: Block, path: Path, dynamic: tuple[str, ...] = ()) -> object:
    said = metablock.write(model, path, dynamic=dynamic)
    assert "torch.export: as eager to the bit" in said
    return torch.export.load(path).module()


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "resnet18"])
def test_a_program_of_one_size(name: str, tmp_path: Path) -> None:
    edits = ["depth = [1, 2, 1, 1]"] if "swin" in name else ["depth = [1, 1, 1, 1]"]
    model = metablock.build(name, edits=edits, classes=5, input=(3, 64, 64)).train()
    program = rewritten(model, tmp_path / "net.pt2")
    assert model.training  # it stays as it was
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(program(x), model.eval()(x))
    with pytest.raises(AssertionError, match="Guard failed"):
        program(torch.randn(2, 3, 64, 64))


@pytest.mark.parametrize("name", OPEN)
def test_sizes_that_stay_open(name: str, tmp_path: Path) -> None:
    model = small(name).eval()
    program = rewritten(model, tmp_path / "net.pt2", ("batch", "height", "width"))
    for shape in ((1, 3, 64, 96), (3, 3, 160, 64 + 32)):
        x = torch.randn(shape)
        with torch.no_grad():
            assert torch.equal(program(x), model(x))


@pytest.mark.parametrize("name", BOUND)
def test_an_architecture_that_is_bound_to_its_size(name: str) -> None:
    spec = metablock.resolved(name)
    with pytest.raises(MetablockError, match=f"(?s)height and width cannot be left open.*{BOUND[name]}"):
        check_dynamic(spec, input_features(spec), ("batch", "height", "width"))
    check_dynamic(spec, input_features(spec), ("batch",))


# Convolutional networks, and those whose attention has neither position tables nor windows of a fixed number.
ABLE = """
    biformer cloformer conformer_speech conv2former convnext crossvit ddf deformable_detr detr dfn dilateformer dynamic_conv
    edgevit efficientnet fastvit fat hrnet inception_next lightconv_dynamicconv metaformer mobile_former mobilenet_v1 mobilenet_v2 mobilenet_v3
    repnext repvgg resnest resnet segnext shufflenet_v1 shufflenet_v2 shunted smt twins unireplknet xception
"""


def test_which_of_the_catalogue_can() -> None:
    able = set()
    for name, spec in SPECS.items():
        first = metablock.resolved(spec, variant=next(iter(spec.variants)))
        sizes = input_features(first)
        try:
            check_dynamic(first, sizes, AXES[sizes[0].rank])
        except MetablockError:
            continue
        able.add(name)
    assert able == set(ABLE.split())


def test_one_axis_alone() -> None:
    spec = metablock.resolved(load_text("name: s\ninput: image(3, 16)\nstages:\n  body: conv(4) >> transposed(linear(c))\n"))
    for names in (("height",), ("width",)):
        with pytest.raises(MetablockError, match=f"{names[0]} cannot be left open.*\n.*linear: linear"):
            check_dynamic(spec, input_features(spec), names)


@pytest.mark.parametrize(("source", "names"), [("signal(3, 32)", ("length",)), ("volume(3, 8, 8, 8)", ("depth", "width"))])
def test_signals_and_volumes(source: str, names: tuple[str, ...], tmp_path: Path) -> None:
    model = tiny(source=source).eval()
    program = rewritten(model, tmp_path / "net.pt2", names)
    x = torch.randn(1, 3, 40) if "signal" in source else torch.randn(1, 3, 12, 8, 10)
    with torch.no_grad():
        assert torch.equal(program(x), model(x))


def test_a_compiled_model_can_be_written(tmp_path: Path) -> None:
    model = metablock.compile(tiny().eval(), backend="eager")
    rewritten(model, tmp_path / "net.pt2")


def test_several_inputs(tmp_path: Path) -> None:
    text = """
name: pair
input:
  left: image(3, 8)
  right: image(3, 8)
model: |
  left, right ->
  a = left >> conv(4, 3)
  b = right >> conv(4, 3)
  return one = a * b >> global_pool >> linear(2), two = a >> global_pool >> linear(2)
predict: one, two -> (one + two) / 2
"""
    model = metablock.build(load_text(text)).eval()
    program = rewritten(model, tmp_path / "net.pt2", ("batch", "width"))
    x = torch.randn(5, 3, 8, 12), torch.randn(5, 3, 8, 12)
    assert torch.equal(program(*x), model(*x))
    with pytest.raises(MetablockError, match="unknown size 'length'"):
        export(model, dynamic=("length",))


@onnx
@pytest.mark.parametrize(
    ("name", "dynamic"), [("poolformer_s12", ("batch", "height", "width")), ("mobilenetv2_035", ()), ("tiny", ("batch",))]
)
def test_onnx(name: str, dynamic: tuple[str, ...], tmp_path: Path) -> None:
    import onnxruntime

    model = tiny("conv(8, 3) >> attention(2)").eval() if name == "tiny" else small(name).eval()
    before = torch.random.get_rng_state()
    said = metablock.write(model, tmp_path / "net.onnx", dynamic=dynamic)
    assert said.startswith("onnxruntime: ") and torch.equal(before, torch.random.get_rng_state())
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    side = model.inputs[0].grid[0]
    x = torch.randn(4 if dynamic else 1, 3, side, side + 32 * (len(dynamic) > 1))
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(y), model(x), rtol=1e-3, atol=1e-4)


@onnx
@pytest.mark.parametrize("dynamic", [(), ("batch",)])
def test_onnx_of_shifted_windows_with_biases(dynamic: tuple[str, ...], tmp_path: Path) -> None:
    """The weights need gradients, as in a model that was just built."""
    model = tiny("conv(8, 4, stride=4) >> window(2, attention(2, pos=relative_bias), shift=1)")
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert metablock.write(model, tmp_path / "net.onnx", dynamic=dynamic).startswith("onnxruntime: ")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_onnx_without_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else found(name))
    result = CliRunner().invoke(app, ["build", "no such thing", "-o", str(tmp_path / "net.onnx")])
    assert result.exit_code == 2  # said before the spec is even looked for
    assert "need onnx and onnxscript and onnxruntime\n  from a checkout: pip install '.[onnx]'" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-o", "net.pt"], "cannot write '.pt' files\n  did you mean '.pt2'"),
        (["-o", "nowhere/net.pt2"], "there is no folder"),
        (["-o", "net.py", "--dynamic", "batch"], "--dynamic is for .pt2 and .onnx"),
        (["--dynamic", "batch"], "add -o net.pt2 or -o net.onnx"),
        (["-o", "net.pt2", "--dynamic", "batch,hight"], "unknown size 'hight'\n  did you mean 'height'?"),
        (["-o", "net.pt2", "--dynamic", ""], "unknown size ''\n  there are batch, height, width"),
        (["-o", "net.pt2", "--dynamic", "height"], "height cannot be left open: the architecture is bound to its size"),
    ],
)
def test_what_cannot_be(args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["build", "vit_tiny_patch16_224", "--no-compile", *args])
    assert result.exit_code == 2 and said in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(f"name: net\ninput: image(3, 16)\nstages:\n  body: conv(4, 3)\nhead: {HEAD}\n")
    args = ["build", str(tmp_path / "net.yaml"), "--no-compile"]
    result = CliRunner().invoke(app, [*args, "-o", str(tmp_path / "net.pt2"), "--json"])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["written"] == str(tmp_path / "net.pt2") and report["checked"] == "torch.export: as eager to the bit"
    result = CliRunner().invoke(app, [*args, "-o", str(tmp_path / "net.py")])
    assert result.exit_code == 0 and "written" in result.stdout
    compile((tmp_path / "net.py").read_text(encoding="utf-8"), "net.py", "exec")


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    model = tiny()
    for name in ("net.py", "net.pt2"):
        (tmp_path / name).write_text("old")
    model.head.linear = Stubborn()
    with pytest.raises(MetablockError, match="put in by hand"):
        metablock.write(model, tmp_path / "net.py")
    with pytest.raises(MetablockError, match=r"torch\.export cannot do this network"):
        metablock.write(model, tmp_path / "net.pt2")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"net.py": "old", "net.pt2": "old"}


def test_another_network_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.export.load

    class Other:
        def __init__(self, path: Path):
            self.made = real(path)

        def module(self) -> object:
            return lambda x: self.made.module()(x) * 1.1

    monkeypatch.setattr(torch.export, "load", Other)
    with pytest.raises(MetablockError, match="gives other numbers than the model"):
        metablock.write(tiny(), tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())


class Stubborn(torch.nn.Module):
    """What no tracer can follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(x.sum())
