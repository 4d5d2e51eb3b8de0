"""Re-parameterisation: what collapses, what must not, and that both networks give the same."""

from __future__ import annotations

import pickle

import pytest
import torch
from cases import SMALLEST, SPECS, shrunk
from torch import nn

import metablock
from metablock.api import example
from metablock.language.load import load_text
from metablock.passes.reparameterize import Report
from oracles import relative_error

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def network(block: str, input: str = "image(8, 11, 9)") -> str:
    """One block: what stands in several is never merged."""
    return f"name: s\ninput: {input}\nlet:\n  block: {block}\nstages:\n  body: block\n"


def randomised(text: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network in evaluation, all its parameters and statistics at random."""
    return randomise(metablock.build(load_text(text), dtype=dtype).eval())


def randomise(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point() and (name in dict(model.named_parameters()) or "running" in name):
                noise = torch.rand(value.shape, generator=generator, dtype=torch.float64)
                value.copy_(0.5 + noise if "var" in name or value.dim() == 1 else noise - 0.5)
    return model


def compare(model: nn.Module) -> tuple[nn.Module, Report]:
    result = metablock.reparameterize(model)
    x = [t.double() for t in example(model, 2)]
    with torch.no_grad():
        assert relative_error(result(*x), model(*x)) < 1e-12
    return result, result.collapsed


def convs(model: nn.Module) -> list[tuple[object, ...]]:
    """Extents, stride, padding and groups of the convolutions that are left."""
    return [(*m.weight.shape[2:], *m.stride, *m.padding, m.groups) for m in model.modules() if isinstance(m, CONVS)]


# What is written, and extents, strides, paddings, groups of what is left.
TABLE = {
    "conv_bn(8, 3)": [(3, 3, 1, 1, 1, 1, 1)],
    "(conv_bn(8, 3) + conv_bn(8, 1) + bn) >> relu": [(3, 3, 1, 1, 1, 1, 1)],
    "dw(3) + dw(7) + id": [(7, 7, 1, 1, 3, 3, 8)],
    "dw(5) - dw(3, dilation=2)": [(5, 5, 1, 1, 2, 2, 8)],
    "dw(7) + dw([5, 3]) + dw([1, 7]) + dw(2, dilation=2)": [(7, 7, 1, 1, 3, 3, 8)],
    "dw(7, stride=2) + dw(5, stride=2)": [(7, 7, 2, 2, 3, 3, 8)],
    "dw_bn(13) + dw_bn(3, dilation=5) >> bn": [(13, 13, 1, 1, 6, 6, 8)],
    "res(conv(c, 3))": [(3, 3, 1, 1, 1, 1, 1)],
    "res(conv(c, 3), scale=0.5)": [(3, 3, 1, 1, 1, 1, 1)],
    "mean(conv(c, 3), conv(c, 5)) >> times(3)": [(5, 5, 1, 1, 2, 2, 1)],
    "conv(8, 3, groups=2, bias=false) + conv(8, 3, groups=4)": [(3, 3, 1, 1, 1, 1, 2)],
    "pw(8, bias=false) >> conv(8, 3)": [(3, 3, 1, 1, 1, 1, 1)],
    "pw(8) >> conv(8, 3, padding=0)": [(3, 3, 1, 1, 0, 0, 1)],
    "conv(8, 3) >> bn >> scale(2) >> pw(8)": [(3, 3, 1, 1, 1, 1, 1)],
    "(dw([1, 3], bias=false) >> dw([3, 1])) || dw(3)": [(1, 3, 1, 1, 0, 1, 8), (3, 1, 1, 1, 1, 0, 8), (3, 3, 1, 1, 1, 1, 8)],
    "dw(7) + (dw([1, 7], bias=false) >> dw([7, 1]))": [(7, 7, 1, 1, 3, 3, 8)],
    "dw(7, stride=2) + (dw([1, 7], stride=[1, 2], bias=false) >> dw([7, 1], stride=[2, 1]))": [(7, 7, 2, 2, 3, 3, 8)],
    "bn >> pw(8)": [(1, 1, 1, 1, 0, 0, 1)],
    # Left as they are:
    "pw(8) >> conv(8, 3)": [(1, 1, 1, 1, 0, 0, 1), (3, 3, 1, 1, 1, 1, 1)],  # the bias does not reach the zeros around
    "bn >> conv(8, 3)": [(3, 3, 1, 1, 1, 1, 1)],
    "conv(8, 3, bias=false) >> conv(8, 3)": [(3, 3, 1, 1, 1, 1, 1)] * 2,  # nor does what the first sees beyond the map
    "dw([1, 7], bias=false) >> dw([7, 1])": [(1, 7, 1, 1, 0, 3, 8), (7, 1, 1, 1, 3, 0, 8)],  # 49 weights instead of 14
    "dw(3) - dw(5, dilation=2)": [(3, 3, 1, 1, 1, 1, 8), (5, 5, 1, 1, 4, 4, 8)],  # 81 weights instead of 9 + 25
    "pw(2, bias=false) >> pw(8)": [(1, 1, 1, 1, 0, 0, 1)] * 2,  # 64 instead of 32
    "conv(8, 3, stride=2) + avg_pool(3, stride=2)": [(3, 3, 2, 2, 1, 1, 1)],
    "conv(8, 3) >> relu >> pw(8)": [(3, 3, 1, 1, 1, 1, 1), (1, 1, 1, 1, 0, 0, 1)],
    'conv(8, 3, padding="same") + pw(8)': [(3, 3, 1, 1, 1, 1, 1), (1, 1, 1, 1, 0, 0, 1)],
    "max_pool(3) >> relu": [],
}


@pytest.mark.parametrize("body", TABLE)
def test_table(body: str) -> None:
    model = randomised(network(body))
    result, report = compare(model)
    assert convs(result) == TABLE[body]
    assert report.params[1] <= report.params[0]
    assert sum(p.numel() for p in result.parameters()) == report.params[1]


@pytest.mark.parametrize(("input", "kernel"), [("signal(8, 21)", 1), ("volume(8, 5, 7, 6)", 3)])
def test_other_ranks(input: str, kernel: int) -> None:
    result, report = compare(randomised(network("dw_bn(5) + dw_bn(3) + bn", input)))
    assert len(report.collapsed) == 1
    assert [len(m.kernel_size) for m in result.modules() if isinstance(m, CONVS)] == [kernel]


def test_what_is_read_twice_is_kept() -> None:
    text = network("|\n    x ->\n    y = x >> conv_bn(8, 3)\n    return (y >> conv_bn(8, 1)) + (y >> bn)")
    result, report = compare(randomised(text))
    assert sorted(one.path for one in report.collapsed) == ["stages.0.blocks.0.conv_bn.conv", "stages.0.blocks.0.y.conv"]
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in result.modules())


def test_a_bias_behind_grn_moves_into_the_next_layer() -> None:
    result, report = compare(randomised(network("linear(16) >> gelu >> grn >> linear(8, bias=false) >> bn")))
    assert not [name for name, _ in result.named_parameters() if "grn" in name and name.endswith("bias")]
    assert any("linear2" in one.path for one in report.collapsed)


def test_shared_modules_stay() -> None:
    text = "name: s\ninput: image(8, 9)\nshared:\n  one: conv_bn(8, 3)\nstages:\n  body: one >> relu >> one\n"
    result, report = compare(randomised(text))
    assert not report.collapsed
    assert result.state_dict().keys() == randomised(text).state_dict().keys()


def test_what_it_says() -> None:
    _, report = compare(randomised(network("(conv_bn(8, 3) + conv_bn(8, 1) + bn) >> relu")))
    (one,) = report.collapsed
    assert one.into == "conv(8, 3)"
    assert [text for _, text in one.parts] == [
        "conv(8, 3, bias=false)",
        "batch_norm",
        "conv(8, bias=false)",
        "batch_norm",
        "batch_norm",
    ]
    assert report.params == (8 * 72 + 64 + 3 * 16, 8 * 72 + 8)
    assert report.difference is not None and report.difference < 1e-12


def test_the_result_is_an_ordinary_model() -> None:
    model = randomised(network("3 * (conv_bn(8, 3) >> relu)"))
    result = metablock.reparameterize(model)
    again = pickle.loads(pickle.dumps(result))
    (x,) = example(model, 2)
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x))
        torch.testing.assert_close(metablock.compile(result, backend="eager")(x), model(x))
    assert "conv(8, 3)" in repr(result)
    assert not metablock.reparameterize(result).collapsed.collapsed  # once is enough
    assert set(model.state_dict()) != set(result.state_dict())  # the given one is as it was


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_precisions(dtype: torch.dtype) -> None:
    model = randomised(network("conv_bn(8, 3) + conv_bn(8, 1)"), dtype)
    result = metablock.reparameterize(model)
    assert {p.dtype for p in result.parameters()} == {dtype}
    assert result.collapsed.difference is not None


def test_on_meta_the_structure_alone() -> None:
    model = metablock.build(load_text(network("conv_bn(8, 3) + bn")), device="meta").eval()
    result = metablock.reparameterize(model)
    assert all(p.is_meta for p in result.parameters())
    assert result.collapsed.difference is None
    assert sum(p.numel() for p in result.parameters()) == 8 * 72 + 8


def test_refusals() -> None:
    model = randomised(network("conv_bn(8, 3)"))
    with pytest.raises(metablock.MetablockError, match="a model in train mode cannot be re-parameterised"):
        metablock.reparameterize(model.train())
    with pytest.raises(metablock.MetablockError, match="only what metablock built"):
        metablock.reparameterize(nn.Conv2d(3, 3, 3))
    model.eval()
    model.stages[0].blocks[0].bn = nn.Identity().eval()
    with pytest.raises(metablock.MetablockError, match=r"'stages.0.blocks.0.bn' was batch_norm and is Identity now"):
        metablock.reparameterize(model)


def test_a_layer_with_other_settings_is_refused() -> None:
    """Another class is not needed for a part to be another."""
    model = randomised(network("conv_bn(8, 3)"))
    part = model.stages[0].blocks[0]
    part.conv = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", bias=False, dtype=torch.float64).eval()
    with pytest.raises(
        metablock.MetablockError, match=r"'stages.0.blocks.0.conv' was conv\(.*\) and is Conv2d\(.*reflect.*\) now"
    ):
        metablock.reparameterize(model)


def test_what_does_not_agree_is_not_given_back() -> None:
    model = randomised(network("conv_bn(8, 3)"), torch.float32)
    model.stages[0].blocks[0].conv.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(metablock.MetablockError, match="the outputs before and after differ by nan"):
        metablock.reparameterize(model)


@pytest.mark.parametrize(("name", "variant"), SMALLEST, ids=[variant for _, variant in SMALLEST])
def test_catalogue(name: str, variant: str) -> None:
    """Any network: the same outputs, and never more parameters."""
    model = metablock.build(SPECS[name], variant=variant, classes=7, dtype=torch.float64, **shrunk(name, variant)).eval()
    report = metablock.reparameterize(randomise(model)).collapsed
    assert report.params[1] <= report.params[0]
    assert (report.difference is None) == (not report.collapsed)
    assert not report.collapsed or report.difference < 1e-9
    if any(getattr(m, "text", "").startswith("conv_bn(") for m in model.modules()):
        assert report.collapsed
