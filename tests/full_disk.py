"""Writes files of every kind onto a disk that is full, and prints as JSON what was said and what is left. One argument: a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

import metablock
from metablock.errors import MetablockError
from metablock.files import write_whole
from metablock.report.fmt import reformat
from metablock.report.options import BuildOptions
from metablock.report.weights import export_weights, import_weights

SPEC = """
name: full
input: image(3, 16)
classes: 10
stem: conv(64, 4, stride=4)
stages:
  body:   conv(64, 3)
head: global_pool >> linear(classes)
weights:
  theirs:
    "*": x.*
"""


def main(disk: Path) -> None:
    spec = disk / "spec.yaml"
    spec.write_text(SPEC)
    model = metablock.build(spec).eval()
    own = disk / "own.safetensors"
    metablock.write(model, own)
    options = BuildOptions(str(spec))
    actions: dict[str, Callable[[Path], object]] = {
        "net.safetensors": lambda path: metablock.write(model, path),
        "net.pt2": lambda path: metablock.write(model, path),
        "net.onnx": lambda path: metablock.write(model, path),
        "net.py": lambda path: metablock.write(model, path),
        "out.pth": lambda path: export_weights(options, "theirs", str(path), weights=str(own)),
        "out.safetensors": lambda path: export_weights(options, "theirs", str(path), weights=str(own)),
        "in.safetensors": lambda path: import_weights(str(own), options, str(path)),
        "report.md": lambda path: write_whole(path, "new" * 2000),
        "spec.yaml": lambda path: reformat(str(path)),
    }
    for name in actions:
        if name != "spec.yaml":
            (disk / name).write_text("old")
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while ballast.write(b"\0" * size):
                    pass
            except OSError:
                pass
    before = {path.name: path.read_bytes() for path in disk.iterdir()}
    results = {}
    for name, action in actions.items():
        try:
            action(disk / name)
            text = "written"
        except MetablockError as wrong:
            text = str(wrong)
        left = sorted({path.name for path in disk.iterdir()} - before.keys())
        results[name] = {"text": text, "kept": (disk / name).read_bytes() == before[name], "left": left}
    print(json.dumps(results))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
