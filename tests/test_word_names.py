"""Names that mean something in Python, in torch or in a module: as a wire, a parameter, an arrow's input, a loop's variable, a
binding, a column, a network is what it is under any other name."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

import metablock
from metablock.language.load import load_text

BASE = """\
name: t
input: image(3, 16)
classes: 4
let:
  block: conv(dim, 3)
stem: conv(8, 4, stride=4)
stages:
  depth: 2
  dim: 8
  body: depth * block
head: global_pool >> linear(classes)
"""
NAMES = [
    "self",
    "torch",
    "F",
    "nn",
    "forward",
    "training",
    "x",
    "class",
    "lambda",
    "None",
    "super",
    "print",
    "__init__",
    "children",
]
WAYS = {
    "a wire": ("block: conv(dim, 3)", "block: |\n    NAME = conv(dim, 3)\n    return NAME"),
    "a parameter": ("block: conv(dim, 3)", "turned(NAME): conv(NAME, 3)\n  block: turned(dim)"),
    "an arrow's input": ("block: conv(dim, 3)", "block: NAME -> NAME >> conv(dim, 3)"),
    "a loop's variable": ("block: conv(dim, 3)", "block: sum([conv(dim, NAME) for NAME in [1, 3]])"),
    "a binding": ("block: conv(dim, 3)", "NAME: conv(dim, 3)\n  block: NAME >> relu"),
    "a column": ("body: depth * block", "NAME: 3\n  body: depth * conv(dim, NAME)"),
}


def outputs(text: str, folder: Path) -> list[torch.Tensor]:
    """What a network, its pickled copy and its standalone file answer, with the same weights."""
    model = metablock.build(load_text(text), seed=3).eval()
    with torch.no_grad():
        for number, value in enumerate(model.state_dict().values()):  # the initial ones depend on names
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(number)))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    metablock.write(model, folder / "net.py")
    space: dict[str, object] = {"__name__": "net"}
    exec(compile((folder / "net.py").read_text(), "net.py", "exec"), space)
    alone = space["Model"]()  # type: ignore[operator]
    alone.load_state_dict(model.state_dict())
    with torch.no_grad():
        return [network(x) for network in (model, pickle.loads(pickle.dumps(model)), alone.eval())]


@pytest.mark.parametrize("way", WAYS)
def test_names(way: str, tmp_path: Path) -> None:
    old, new = WAYS[way]
    text = BASE.replace(old, new)
    if way == "a column":
        text = text.replace("let:\n  block: conv(dim, 3)\n", "")
    expected = outputs(text.replace("NAME", "plain"), tmp_path)[0]
    refused = []
    for name in NAMES:
        try:
            results = outputs(text.replace("NAME", name), tmp_path)
        except metablock.MetablockError:
            refused.append(name)
            continue
        for result in results:
            torch.testing.assert_close(result, expected)
    assert not {"self", "torch", "F", "forward", "training"} & set(refused), refused
