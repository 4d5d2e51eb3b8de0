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


def test_match(run, tmp_path, monkeypatch) -> None:
    """The text is YAML: it can be appended to the spec, whose network then takes the file."""
    monkeypatch.chdir(tmp_path)
    spec, file = tmp_path / "small.yaml", tmp_path / "theirs.pth"
    spec.write_text(RULES.partition("weights:")[0])
    model = metablock.build(spec)
    state = {key.replace("stem.", "root.").replace("head.linear", "fc"): value for key, value in model.state_dict().items()}
    torch.save(state | {"mask": torch.ones(3, 9), "index": torch.arange(3)}, file)
    result = run("weights", "match", file, spec, "--names", "official")
    assert (result.exit_code, result.stderr) == (0, "")
    text = result.stdout
    assert text.startswith(
        "weights:\n  official:\n    stem.*: root.*\n    head.linear.*: fc.*\n    ignore: [index, mask]\n# proved: a new"
    )
    assert "6 of 6 tensors, by shape; each of theirs is used once, 2" in " ".join(text.replace("#", "").split())
    assert "# not proved: that outputs agree" in text and max(map(len, text.splitlines())) <= 80
    spec.write_text(spec.read_text() + text)
    assert run("check", spec).exit_code == 0
    assert "6 tensors by the names of 'official'" in run("build", spec, "--weights", file).stdout
    assert "names of 'official' take this checkpoint as well" in run("weights", "match", file, spec).stdout
    report = json.loads(run("weights", "match", file, spec, "--json").stdout)
    assert report["rules"] == {"stem.*": "root.*", "head.linear.*": "fc.*"} and report["complete"]
    del state["fc.bias"]
    torch.save(state, file)
    result = run("weights", "match", file, spec)
    assert result.exit_code == 2 and "5 of 6 tensors of 'small' are matched" in result.stderr
    assert "# 1 ours without partner: head.linear.bias\n" in result.stdout
    for names in ("ours", "a b", "of"):
        result = run("weights", "match", file, spec, "--names", names)
        assert result.exit_code == 2 and "--names timm" in result.stderr
