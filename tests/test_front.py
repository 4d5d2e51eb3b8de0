"""The front door: arguments of a wrong type or value are a MetablockError with a hint, never an error of Python or torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import metablock
from metablock.backend.device import parse_device, parse_dtype
from metablock.catalogue.lookup import catalogue
from metablock.front import check, parse_input
from metablock.language.load import load_text
from metablock.language.spec import Spec
from metablock.shape import Feature

SPEC = """\
name: net
input: image(3, 16)
classes: 4
let:
  token: dw(3)
stem: conv(dim[0], 4, stride=4)
stages:
  depth: [1, 1]
  dim:   [8, 8]
  body:  depth * res(token)
head: global_pool >> linear(classes)
variants:
  small: {}
  large: {dim: [16, 16]}
"""


class Thing:
    """Nothing that any argument takes."""


def _two_edits():
    yield "depth = 1"
    yield 4


# An argument, a function that gives its value (a generator can be used once), and what the message says.
Wrong = tuple[str, Callable[[], Any], str]

NAMED: list[Wrong] = [
    *(("variant", lambda value=value: value, " is no variant\n  there are small, large")
      for value in (3, 0, 2.5, True, False, b"small", ["small"], {}, Path("small"), Thing())),
    *(("variant", lambda value=value: value, "'net' has no variant ") for value in ("", "huge")),
    *(("edits", lambda value=value: value, " is no list of edits\n")
      for value in (None, 3, 2.5, True, b"depth = 1", {"token": "pool(3)"}, Path("token = pool(3)"), Thing())),
    *(("edits", lambda value=value: value, " is no edit\n")
      for value in ([None], [3], [2.5], [True], [b"depth = 1"], [("token", "pool(3)")], [["depth = 1"]], {1, 2},
                    ["depth = 1", {}], [Path("x")], torch.zeros(2))),
    ("edits", _two_edits, "4 is no edit\n"),
    *(("edits", lambda value=value: value, "--edit:1:") for value in ("depth", "", ["depth"], ["= 3"], ["tokn = pool"], ["\ud800 = 1"])),
    *(("classes", lambda value=value: value, " is no number of classes\n  write a whole number from 1")
      for value in (0, -1, True, False, "10", b"10", 2.0, 1.5, float("nan"), [10], {}, torch.tensor(10), Thing())),
    *(("input", lambda value=value: value, " is no input size\n  write channels and extents")
      for value in ("", "3x", "x3", "3", "3x0x16", "3x-1x2", "3x2.5x2", "3x2x2x2x2", "²x2x2", "3x" + "9" * 5000, b"3x16x16",
                    3, 2.5, True, (), [], (3,), (3, 224.5, 224), (3, True, 16), (None, 16), ("3", "16", "16"), (3, -1, 16),
                    (3, 2, 2, 2, 2), {"c": 3}, {3, 16}, np.array([3, 16, 16]), torch.zeros(3), Path("3x16x16"), Thing(),
                    Feature("vector", 3), Feature("tokens", 3, (4, 4)), Feature("map", 0, (4, 4)))),
]  # fmt: skip

SOURCES = (
    3,
    2.5,
    None,
    True,
    b"resnet18",
    [],
    ["resnet18"],
    ("resnet18",),
    {},
    np.array("resnet18"),
    torch.nn.Identity(),
    Thing(),
)

BUILT: list[Wrong] = [
    *(("device", lambda value=value: value, " is no device\n  write cpu, cuda") for value in (2.5, True, b"cpu", ["cpu"], Thing())),
    *(("device", lambda value=value: value, "unknown device ") for value in ("gpu", "", "CPU", "cuda:x")),
    *(("device", lambda value=value: value, "there is no device ") for value in ("cuda:99", "xla", torch.device("cuda:99"))),
    *(("dtype", lambda value=value: value, " is no dtype of weights\n  there are float32")
      for value in (3, float, np.float32, b"float32", torch.int8, torch.bool, torch.complex64, Thing())),
    ("dtype", lambda: "float23", "unknown dtype 'float23'\n  did you mean 'float32'?"),
    *(("seed", lambda value=value: value, " is no seed\n") for value in (None, "0", 1.5, True, [1])),
    *(("features", lambda value=value: value, " names no features\n") for value in (None, 0, 3, 1.5, "x", b"x", [True], ["a"], [1.5])),
    *(("weights", lambda value=value: value, " holds no weights\n") for value in (3, 2.5, [], b"x", torch.zeros(2), Thing())),
]  # fmt: skip


def ids(cases: list[Wrong]) -> list[str]:
    return [f"{number}-{argument}" for number, (argument, _, _) in enumerate(cases)]


@pytest.fixture
def spec() -> Spec:
    return load_text(SPEC)


def refused(function: Callable[..., object], source: object, **arguments: object) -> str:
    """The message of the MetablockError; its hint stands on a line of its own."""
    with pytest.raises(metablock.MetablockError) as caught:
        function(source, **arguments)
    text = str(caught.value)
    assert "\n  " in text, "no hint"
    assert len(text) < 500
    return text


@pytest.mark.parametrize(("argument", "value", "says"), NAMED, ids=ids(NAMED))
@pytest.mark.parametrize("function", [metablock.resolved, metablock.build])
def test_of_both(spec, function, argument: str, value: Callable[[], Any], says: str):
    assert says in refused(function, spec, **{argument: value()})


@pytest.mark.parametrize(("argument", "value", "says"), BUILT, ids=ids(BUILT))
def test_of_build(spec, argument: str, value: Callable[[], Any], says: str):
    assert says in refused(metablock.build, spec, **{argument: value()})


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: type(source).__name__)
@pytest.mark.parametrize("function", [metablock.resolved, metablock.build])
def test_sources(function, source: object):
    assert " is no source of a spec\n" in refused(function, source)


@pytest.mark.parametrize("source", ["", "\ud800", "a\0b", "x" * 300, "-"])
def test_names_that_nothing_has(source: str):
    assert "unknown architecture " in refused(metablock.resolved, source)


# What is accepted


@pytest.mark.parametrize(
    "edits",
    ["token = pool(3)", ["token = pool(3)"], ("token = pool(3)",), {"token = pool(3)"}, (edit for edit in ["token = pool(3)"])],
    ids=lambda edits: type(edits).__name__,
)
def test_one_edit_or_several(spec, edits: Any):
    edited = metablock.resolved(spec, edits=edits)
    assert edited == metablock.resolved(spec, edits=["token = pool(3)"]) != metablock.resolved(spec)
    assert metablock.resolved(spec, edits=()) == metablock.resolved(spec)


@pytest.mark.parametrize(
    "size", ["3x24x32", "3X24x32", " 3 x 24 x 32", (3, 24, 32), [3, 24, 32], torch.Size([3, 24, 32]), Feature("map", 3, (24, 32)),
             tuple(np.array([3, 24, 32]))]
)  # fmt: skip
def test_sizes(size: Any):
    assert parse_input(size) == Feature("map", 3, (24, 32))
    assert parse_input(None) is None


def test_numbers_of_numpy(spec):
    assert metablock.resolved(spec, classes=np.int64(7)).classes == 7


@pytest.mark.parametrize("dtype", ["float64", torch.float64])
@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), None])
def test_device_and_dtype_by_name(spec, device: Any, dtype: Any):
    weight = next(metablock.build(spec, device=device, dtype=dtype).parameters())
    assert (weight.device.type, weight.dtype) == ("cpu", torch.float64)
    assert parse_device("meta") == torch.device("meta")
    assert parse_dtype("bfloat16") is torch.bfloat16


@pytest.mark.parametrize("name", ["small", "s"])
def test_a_variant_of_two_architectures(name: str) -> None:
    """Neither is taken for the other in silence; with the file's name each is found."""
    files = [file for file, spec in catalogue().items() if name in spec.variants]
    assert len(files) > 1
    with pytest.raises(metablock.MetablockError) as caught:
        metablock.resolved(name)
    names = [f"{file}_{name}" for file in files]
    assert str(caught.value) == (
        f"'{name}' is a variant of several architectures: {', '.join(files)}\n  name the file, too: {' or '.join(names)}"
    )
    assert [metablock.resolved(one).name for one in names] == files


@pytest.mark.parametrize("table", ["let: {mine: 2 * act}", "shared: {mine: linear(4)}"])
def test_a_variant_may_use_what_it_binds(table: str) -> None:
    text = f"name: n\ninput: image(3, 8)\nlet: {{act: relu}}\nmodel: conv(4) >> act\nvariants: {{a: {{}}, b: {{{table}, model: conv(4) >> mine >> act}}}}\n"
    assert check(load_text(text)) == []
