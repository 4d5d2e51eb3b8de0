"""Inputs that may have padding: how the mask comes in, what reads it, and that every way out takes it."""

from __future__ import annotations

import copy
import importlib.util
import pickle
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import metablock
from metablock.backend.block import Block
from metablock.errors import MetablockError, MetablockWarning, SpecError
from metablock.language.load import load_text
from metablock.writers.outputs import write

NET = """
name: padded
input: image(3, 32, padded=true)
stem: conv(8, 3, stride=2)
stages: {body: "res(conv(8, 3)) >> res(conv(8, 3))"}
model: |
  image ->
  x = image >> stem >> stages
  valid = image.valid >> resize_like(x, mode="nearest")
  p = x >> sine(start=1, normalize=true, order="axis band wave", valid=valid)
  return x >> attention(2, q=id + p >> linear(c), k=id + p >> linear(c), mask=valid)
"""


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def net(text: str = NET) -> Block:
    return metablock.build(load_text(text)).eval()


def batch() -> tuple[Tensor, Tensor]:
    """Two pictures; the second fills 20 of 32 columns and 24 of 32 rows."""
    valid = torch.ones(2, 1, 32, 32)
    valid[1, :, 24:], valid[1, :, :, 20:] = 0, 0
    return torch.randn(2, 3, 32, 32) * valid, valid


def test_a_mask_comes_in_by_place_or_by_name_and_is_ones_by_default() -> None:
    model, (x, valid) = net(), batch()
    with torch.no_grad():
        whole, masked = model(x), model(x, valid=valid)
        assert torch.equal(masked, model(x, valid)) and torch.equal(masked, model(x, valid.bool()))
        assert torch.equal(whole, model(x, torch.ones_like(valid))) and torch.equal(whole, model(x, None))
        assert torch.equal(whole[0], masked[0]) and not torch.allclose(whole[1], masked[1])


def test_what_is_padding_changes_nothing_behind_the_convolutions() -> None:
    text = NET.replace("conv(8, 3, stride=2)", "conv(8, 2, stride=2)").replace("res(conv(8, 3)) >> res(conv(8, 3))", "id")
    model, (x, valid) = net(text), batch()
    with torch.no_grad():
        assert torch.allclose(model(x, valid)[1:, :12, :10], model(x[1:, :, :24, :20]), atol=1e-6)


@pytest.mark.parametrize(("change", "hint"), [(lambda v: v[:, 0], "`valid[:, None]`"), (lambda v: v[:1], "one channel")])
@pytest.mark.parametrize("traced", [False, True])
def test_a_mask_of_another_shape_is_told(change: object, hint: str, traced: bool) -> None:
    model, (x, valid) = net(), batch()
    run = torch.compile(model, backend="eager") if traced else model
    with pytest.raises(MetablockError) as wrong:
        run(x, valid=change(valid))  # type: ignore[operator]
    assert "`valid` is " in str(wrong.value) and hint in str(wrong.value)


def test_a_padded_network_takes_any_size_in_one_graph() -> None:
    model, (x, valid) = net(), batch()
    assert model._input_sizes().step() == 1
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(x, valid), model(x, valid)) and torch.equal(compiled(x), model(x))
        wide, mask = F.pad(x, (0, 16)), F.pad(valid, (0, 16))
        assert torch.equal(compiled(wide, mask), model(wide, mask))


def test_every_way_out_takes_the_mask(tmp_path: Path) -> None:
    model, (x, valid) = net(), batch()
    with torch.no_grad():
        wanted, whole = model(x, valid), model(x)
        program = metablock.export(model, dynamic=["batch", "height", "width"]).module()
        assert torch.allclose(program(x, valid), wanted, atol=1e-6)
        graph = torch.fx.symbolic_trace(model)
        assert torch.equal(graph(x, valid), wanted) and torch.equal(graph(x), whole)
        write(model, tmp_path / "net.py")
        plain = load_module(tmp_path / "net.py").Model().eval()
        plain.load_state_dict(model.state_dict())
        assert torch.allclose(plain(x, valid=valid), wanted, atol=1e-6) and torch.allclose(plain(x), whole, atol=1e-6)
        for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(same(x, valid), wanted)
        assert [len(m) for m in metablock.features(model)(x)] == [2, 2]


def test_several_inputs_have_masks_of_their_own() -> None:
    text = """
    name: two
    input: {left: "image(3, 8, padded=true)", right: "image(3, 6)", far: "image(1, 4, padded=true)"}
    model: "left, right, far -> return left.valid + (left >> conv(1)), right >> conv(1), far * far.valid"
    """
    model = net(text)
    left, right, far = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 6, 6), torch.randn(1, 1, 4, 4)
    with torch.no_grad():
        none = torch.zeros_like(far)
        one, two = model(left, right, far), model(left, right, far, valid3=none)
    assert torch.equal(one[0], two[0]) and torch.equal(one[2], far) and not two[2].any()
    with pytest.raises(MetablockError, match="`valid3` is"):
        model(left, right, far, valid3=none[:, :, :2])


def test_early_exit_of_a_padded_network() -> None:
    model = net("""
    name: two
    input: image(3, 8, padded=true)
    model: |
      x ->
      a = x >> global_pool
      b = x * x.valid >> global_pool
      return one = a >> linear(5), two = b >> linear(5)
    """)
    with torch.no_grad():
        assert metablock.early_exit(model, torch.randn(4, 3, 8, 8), threshold=0.9).shape == (4, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: n\ninput: image(3, 8)\nmodel: x -> x * x.valid", "only an input that may have padding has `valid`"),
        (
            "name: n\ninput: image(3, 8, padded=true)\nmodel: x -> y = x >> relu return y * y.valid",
            "only an input that may have padding",
        ),
        ("name: n\ninput: image(3, 8, padded=2)\nmodel: x -> x * x.valid", "`padded` is true or false"),
        ("name: n\ninput: image(3, 8, pad=true)\nmodel: x -> x", "the sizes of an input have no names"),
        ("name: n\ninput: image(3, 8, padded=true)\nmodel: x -> x * x.mask", "a wire has no 'mask'"),
        ("name: n\ninput: image(3, 8, padded=true)\nmodel: x -> x >> avg_pool(2) >> sine(4, valid=x.valid)", "the mask of"),
    ],
)
def test_what_is_no_mask(text: str, message: str) -> None:
    with pytest.raises(SpecError) as wrong:
        net(text)
    assert message in str(wrong.value)


def test_a_mask_that_nothing_reads_is_doubted() -> None:
    with pytest.warns(MetablockWarning, match="nothing reads the `valid`"):
        net("name: n\ninput: image(3, 8, padded=true)\nmodel: conv(4)")


@pytest.mark.parametrize("shift", [0.0, -0.5])
def test_sines_of_a_mask_are_those_of_detr(shift: float, float64: None) -> None:
    text = "name: n\ninput: image(3, 16, 20, padded=true)\nmodel: "
    arguments = f'start=1, normalize=true, shift={shift}, order="axis band wave"'
    model = net(f"{text}'x -> x >> sine(8, {arguments}, valid=x.valid)'").double()
    valid = torch.ones(2, 1, 16, 20)
    valid[1, :, 11:], valid[1, :, :, 7:] = 0, 0
    rows, columns = valid[:, 0].cumsum(1), valid[:, 0].cumsum(2)
    rows = (rows + shift) / (rows[:, -1:] + 1e-6) * 2 * torch.pi
    columns = (columns + shift) / (columns[:, :, -1:] + 1e-6) * 2 * torch.pi
    for i in range(8):
        along = (rows if i < 4 else columns) / 10000 ** (i % 4 // 2 / 2)
        wave = along.cos() if i % 2 else along.sin()
        assert torch.allclose(model(torch.zeros(2, 3, 16, 20), valid)[..., i], wave, rtol=0, atol=1e-9)
    whole = net(f"name: n\ninput: image(3, 16, 20)\nmodel: sine(8, {arguments})").double()
    x = torch.zeros(1, 3, 16, 20)
    assert torch.allclose(model(x), whole(x).reshape(model(x).shape), rtol=0, atol=1e-12)


def test_sines_of_numbers() -> None:
    model = net('name: n\ninput: image(2, 4)\nmodel: global_pool >> sine(8, of=times(3), order="axis band wave")')
    x = torch.randn(2, 2, 4, 4)
    numbers = 3 * x.mean((2, 3))
    waves = [f(n / p) for n in numbers.unbind(1) for p in (1, 100) for f in (torch.sin, torch.cos)]
    assert torch.allclose(model(x), torch.stack(waves, 1), atol=1e-5)
    with pytest.raises(SpecError, match="takes numbers as they are"):
        net("name: n\ninput: image(2, 4)\nmodel: sine(8, of=id, start=1)")


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_resize_like_takes_the_extents_of_any_wire(mode: str) -> None:
    model = net(f'name: n\ninput: image(2, 8)\nmodel: x -> x >> resize_like(x >> conv(4, 3, stride=2), mode="{mode}")')
    x = torch.randn(1, 2, 12, 10)
    wanted = F.interpolate(x, (6, 5), mode=mode, align_corners=None if mode == "nearest" else False)
    assert torch.equal(model(x), wanted)
    with pytest.raises(SpecError, match="unknown mode"):
        net('name: n\ninput: image(2, 8)\nmodel: x -> x >> resize_like(x, mode="linear")')
