"""``metablock weights``: through our names and back, and every message."""

from __future__ import annotations

import json

import pytest
import torch
from cases import RULES
from safetensors import safe_open
from safetensors.torch import save_file

import metablock
from metablock.weights.export_names import export_state


def test_import_and_export(run, tmp_path) -> None:
    spec, file = tmp_path / "small.yaml", tmp_path / "theirs.pth"
    spec.write_text(RULES)
    model = metablock.build(spec)
    state = export_state(model, model.spec, "theirs", {"a.weight": (1, 6), "b.weight": (3, 6)})
    torch.save({"model": state, "epoch": 3}, file)
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    result = run("weights", "import", file, spec, "-o", ours)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{ours}: 6 tensors by the names of 'theirs'")
    with safe_open(ours, "pt") as opened:
        assert json.loads(opened.metadata()["layout"])["shapes"]["b.weight"] == [3, 6]
    result = run("weights", "export", ours, "--to", "theirs", "-o", back)
    assert (result.exit_code, result.stdout) == (0, f"{back}: 7 tensors by the names of 'theirs'\n")
    again = torch.load(back)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
    for output in (tmp_path / "b.pth", tmp_path / "b.safetensors"):
        result = run("weights", "export", spec, "--weights", file, "--to", "theirs", "--like", file, "-o", output)
        assert result.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "b.pth", "b.safetensors", "back.pth", "ours.safetensors", "small.yaml", "theirs.pth",
    ]  # fmt: skip


def test_export_of_a_variant_that_leaves_bindings_of_its_file_unused(run, tmp_path) -> None:
    file, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    metablock.write(metablock.build("resnet18", classes=3), file)
    result = run("weights", "export", file, "--to", "torchvision", "-o", back)
    assert (result.exit_code, result.stderr) == (0, "")
    assert torch.load(back)["fc.weight"].shape == (3, 512)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["import", "none.pth", "SPEC", "-o", "x.safetensors"], "none.pth: no such file"),
        (["import", "none.pth", "SPEC", "-o", "x.pth"], "x.pth: weights are kept in .safetensors files\n  -o x.safetensors"),
        (["import", "broken.pth", "SPEC", "-o", "x.safetensors"], "broken.pth: damaged, or not a checkpoint"),
        (["import", "broken.safetensors", "SPEC", "-o", "x.safetensors"], "broken.safetensors: damaged, or not a checkpoint"),
        (["import", "timm", "SPEC", "-o", "x.safetensors"], "'small' names no checkpoints\n  give a file"),
        (["export", "SPEC", "--to", "theirs", "-o", "x.pth"], "whose weights of 'small'?\n  give a file of ours: --weights"),
        (["export", "broken.safetensors", "--to", "theirs", "-o", "x.pth"], "broken.safetensors: damaged"),
        (["export", "bare.safetensors", "--to", "theirs", "-o", "x.pth"], "bare.safetensors: holds no spec"),
        (["export", "SPEC", "--to", "theirs", "-o", "x.onnx"], "x.onnx: cannot write '.onnx' files here"),
    ],
)
def test_bad_input(run, tmp_path, monkeypatch, words: list[str], says: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(RULES)
    for name in ("broken.pth", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    save_file({"a": torch.ones(1)}, tmp_path / "bare.safetensors")
    result = run("weights", *["./small.yaml" if word == "SPEC" else word for word in words])
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert not list(tmp_path.glob("x.*"))
