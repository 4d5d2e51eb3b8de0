"""What training scripts save, numbers that are no weights, odd files."""

from __future__ import annotations

import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import NET, equal, net, plain
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from typer.testing import CliRunner

import metablock
from metablock.cli import app
from metablock.errors import MetablockError, MetablockWarning
from metablock.language.load import load_text
from metablock.weights.checkpoint import read_checkpoint, read_state

# What training scripts save

OTHERS = {
    "epoch": 3,
    "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
    "scheduler": {"t": 1},
}
RAW, MEAN = 1, 2  # seeds


def raw() -> dict[str, Tensor]:
    return plain(net(seed=RAW))


def mean() -> dict[str, Tensor]:
    return plain(net(seed=MEAN))


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


WRAPPED: dict[str, tuple[Callable[[], Any], str, Callable[[], dict[str, Tensor]]]] = {
    "compiled DDP": (lambda: under("_orig_mod.module.", raw()), "the names after '_orig_mod.module.'", raw),
    "DDP compiled": (lambda: under("module._orig_mod.", raw()), "the names after 'module._orig_mod.'", raw),
    "AveragedModel": (lambda: AveragedModel(net(seed=MEAN)).state_dict(), "the names after 'module.'", mean),
    "Lightning": (lambda: {**OTHERS, "state_dict": under("model.", raw())}, "'state_dict' the names after 'model.'", raw),
    "Lightning, a loss": (
        lambda: {**OTHERS, "state_dict": {**under("net.", raw()), "loss.weight": torch.ones(5)}},
        "'state_dict' the names after 'net.'",
        raw,
    ),
    "Lightning, averaged": (
        lambda: {"state_dict": {**under("model.", raw()), **under("ema_model.module.", mean())}},
        "'state_dict' the names after 'ema_model.module.'",
        mean,
    ),
    "DeepSpeed": (lambda: {**OTHERS, "module": raw(), "ds_version": "0.1"}, "'module'", raw),
    "two levels": (
        lambda: {"checkpoint": {"model": under("module.", raw())}},
        "'checkpoint.model' the names after 'module.'",
        raw,
    ),
    "three levels": (lambda: {"a": {"b": {"c": raw()}}}, "'a.b.c'", raw),
    "beside raw ones": (lambda: {**raw(), "ema": mean()}, "'ema'", mean),
    **{
        word: (lambda word=word: {**OTHERS, word: raw()}, f"'{word}'", raw)
        for word in ("model_state_dict", "net", "state_dict", "mine")
    },
    **{
        word: (lambda word=word: {**OTHERS, "model": raw(), word: mean()}, f"'{word}'", mean)
        for word in ("ema", "model_ema", "state_dict_ema", "params_ema", "average", "ema_state_dict", "swa_model")
    },
    **{
        word: (lambda word=word: {**OTHERS, "model": raw(), word: mean()}, f"'{word}'", mean)
        for word in ("emaModel", "modelEMA", "ema1", "EMAModel", "ModelAveraged")
    },
    **{
        f"{word} beside": (lambda word=word: {"model": raw(), word: mean()}, "'model'", raw)
        for word in ("fisher_avg", "avg_sq", "exp_avg", "fisherAvg", "ema_sq", "optimizer_ema")
    },
    "statistics with a prefix": (lambda: under("model.", raw()) | under("fisher_avg.", mean()), "the names after 'model.'", raw),
    "ema in two levels": (lambda: {"model": raw(), "ema": {"decay": 0.9, "module": mean()}}, "'ema.module'", mean),
    "ema's counters alone": (lambda: {"model": raw(), "ema": {"decay": torch.tensor(0.9)}}, "'model'", raw),
    "no average": (lambda: {"model": raw(), "average": None}, "'model'", raw),
}


@pytest.mark.parametrize("case", WRAPPED)
@pytest.mark.parametrize("way", ["mapping", "file"])
def test_what_training_scripts_save(case: str, way: str, tmp_path: Path) -> None:
    content, taken, wanted = WRAPPED[case]
    weights: Any = content()
    if way == "file":
        torch.save(weights, tmp_path / "c.pth")
        weights = tmp_path / "c.pth"
    model = net(weights=weights)
    assert equal(model, wanted())
    assert model.loaded.taken == taken and f", from {taken}" in str(model.loaded)
    if "loss" in case:
        assert model.loaded.beside == ["loss.weight"] and "1 beside them: loss.weight" in str(model.loaded)
    if case == "AveragedModel":
        assert model.loaded.beside == ["n_averaged"]


@pytest.mark.parametrize("content", [lambda: {"state": {"avg_sq": raw()}}, lambda: under("exp_avg_sq.", raw())])
def test_statistics_are_no_weights(content: Callable[[], Any]) -> None:
    with pytest.raises(MetablockError, match=r"hold no tensors|do not fit"):
        net(weights=content())


def test_foreign_names_are_unwrapped_too() -> None:
    names = {"stem": "first", "stages.0.blocks.0": "block", "head.linear": "fc"}
    theirs = {
        re.sub("^(stem|stages.0.blocks.0|head.linear)", lambda match: names[match[0]], name): value
        for name, value in raw().items()
    }
    model = net(weights={"ema": under("module.model.", theirs), "epoch": 1})
    assert equal(model, raw()) and model.loaded.source == "theirs"


def test_averaged_weights_of_another_network_are_mentioned() -> None:
    model = net(weights={"model": raw(), "model_ema": {**mean(), "more": torch.ones(1)}})
    assert equal(model, raw())
    assert "'model_ema' holds averaged weights that do not fit" in str(model.loaded)


@pytest.mark.parametrize(
    "content", [lambda: {"student": raw(), "teacher": mean()}, lambda: under("a.", raw()) | under("b.", mean())]
)
def test_several_networks_that_fit(content: Callable[[], Any]) -> None:
    with pytest.raises(MetablockError, match=r"holds several networks that fit: .* and .*\n  pass one of them"):
        net(weights=content())
    assert equal(net(weights={"student": raw(), "teacher": raw()}), raw())


def test_what_is_left_over_under_a_prefix_is_refused() -> None:
    with pytest.raises(MetablockError, match="1 left over: more"):
        net(weights=under("module.", {**raw(), "more": torch.ones(1)}))
    with pytest.raises(MetablockError, match="1 left over: more"):
        net(weights={**raw(), "more": torch.ones(1)})


def test_a_mapping_that_holds_itself() -> None:
    content: dict[str, Any] = {"model": raw()}
    content["self"] = content["model"]["model"] = content
    assert equal(net(weights=content), raw())
    for content in ({}, {"a": {}}):
        content["model"] = content
        with pytest.raises(MetablockError, match="hold no tensors"):
            net(weights=content)
    deep: dict[str, Any] = raw()
    for _ in range(10_000):
        deep = {"model": deep}
    with pytest.raises(MetablockError, match="hold no tensors"):
        net(weights=deep)


@pytest.mark.parametrize("averaged", [True, False])
def test_the_checkpoint_of_our_own_training(averaged: bool, tmp_path: Path) -> None:
    from metablock.ablation.data import load_data
    from metablock.ablation.recipe import recipe
    from metablock.ablation.training import train
    from metablock.front import parse_input, resolved

    spec = resolved(load_text(NET), classes=10, input="1x16x16", edits=["stem = conv(8, 4, stride=4)", "body = relu"])
    data = load_data("digits", parse_input("1x16x16"))
    path = tmp_path / "c.pt"
    model, _ = train(spec, data, recipe("small", epochs=1, batch=256, ema=0.9 if averaged else 0.0), 0, checkpoint=path)
    loaded = metablock.build(spec, weights=path)
    assert equal(loaded, plain(model))
    assert loaded.loaded.taken == ("'average' the names after 'module.'" if averaged else "'model'")
    content = torch.load(path)
    assert torch.equal(content["model"]["head.linear.weight"], loaded.head.linear.weight) != averaged


# Numbers that are no weights


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_is_said(value: float, tmp_path: Path) -> None:
    state = raw()
    state["stem.conv.weight"] = state["stem.conv.weight"].clone()
    state["stem.conv.weight"][0, 0, 0, 0] = value
    with pytest.warns(MetablockWarning, match=r"NaN or infinite weights in 'net': stem\.conv\.weight"):
        model = net(weights=state)
    assert model.loaded.nonfinite == ["stem.conv.weight"] and equal(model, state) != (value != value)
    assert "1 with NaN or infinite numbers: stem.conv.weight" in str(model.loaded)
    (tmp_path / "net.yaml").write_text(NET)
    save_file(state, tmp_path / "n.safetensors")
    words = ["build", str(tmp_path / "net.yaml"), "--weights", str(tmp_path / "n.safetensors"), "--no-compile"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and result.stderr.startswith("warning: NaN or infinite weights in 'net': stem.conv.weight")


def test_numbers_too_large_for_the_dtype_are_said() -> None:
    state = {**raw(), "head.linear.weight": torch.full((5, 8), 1e6)}
    with pytest.warns(MetablockWarning, match=r"NaN or infinite weights in 'net': head\.linear\.weight"):
        model = net(weights=state, dtype=torch.float16)
    assert model.loaded.nonfinite == ["head.linear.weight"] and "too large for float16" in str(model.loaded)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not net(weights=state, dtype=torch.bfloat16).loaded.nonfinite


def quantised(x: Tensor) -> Tensor:
    return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)


ODD: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sparse": (lambda x: x.to_sparse(), r"\(sparse\)"),
    "sparse rows": (lambda x: x.flatten(1).to_sparse_csr(), r"\(sparse\)"),
    "quantised": (quantised, r"\(quantised\)"),
    "meta": (lambda x: x.to("meta"), r"\(on meta, without numbers\)"),
    "complex": (lambda x: x.to(torch.complex64), r"\(complex64\)"),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), r"\(float8_e4m3fn\)"),
    "int8": (lambda x: x.to(torch.int8), r"\(int8\)"),
    "bool": (lambda x: x > 0, r"\(bool\)"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ODD)
def test_tensors_that_hold_no_plain_numbers(kind: str, tmp_path: Path) -> None:
    odd, says = ODD[kind]
    state = raw()
    state["stem.conv.weight"] = odd(state["stem.conv.weight"])
    with pytest.raises(MetablockError, match=rf"1 of another shape: stem\.conv\.weight .*{says}"):
        net(weights=state)
    if kind != "quantised":
        torch.save(state, tmp_path / "odd.pth")
        with pytest.raises(MetablockError, match=rf"1 of another shape: stem\.conv\.weight .*{says}"):
            net(weights=tmp_path / "odd.pth")


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_weights(kind: torch.dtype) -> None:
    state = {name: value.to(kind) for name, value in raw().items()}
    assert equal(net(weights=state), {name: value.to(torch.float32) for name, value in state.items()})


# Odd files


def test_files_that_hold_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo.pth")
    Path("folder.pth").mkdir()
    Path("loop.pth").symlink_to("loop.pth")
    Path("empty.pth").touch()
    Path("empty.safetensors").touch()
    save_file({"a": torch.ones(2)}, "really.pth")
    torch.save({"a": torch.ones(2)}, "really.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), "script.pt")
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), "program.pt2")
    Path("spec.yaml").write_text(NET)
    says = {
        "fifo.pth": "not a file",
        "folder.pth": "not a file",
        "loop.pth": "no such file|cannot be read",
        "no\0thing.pth": "no such file",
        f"{'n' * 300}.pth": "cannot be read|no such file",
        "empty.pth": "damaged, or not a checkpoint\n  nothing was loaded; the file is empty",
        "empty.safetensors": "damaged, or not a checkpoint\n  nothing was loaded; the file is empty",
        "really.pth": "damaged, or not a checkpoint\n  .*if it is a .safetensors file, rename it",
        "really.safetensors": "damaged, or not a checkpoint\n  .*torch wrote it: rename it to .pth",
        "script.pt": "holds a program, not weights",
        "program.pt2": "holds a program, not weights",
        "spec.yaml": "damaged, or not a checkpoint",
    }
    for name, text in says.items():
        with pytest.raises(MetablockError, match=text) as caught:
            read_checkpoint(name)
        assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_holds_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = OrderedDict(a=torch.ones(2))
    content["model"] = content
    torch.save(content, tmp_path / "self.pth")
    assert read_state(tmp_path / "self.pth")["a"].sum() == 2
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"model": deep}
    torch.save(deep, tmp_path / "deep.pth")
    with pytest.raises(MetablockError, match="hold no tensors"):
        net(weights=tmp_path / "deep.pth")
