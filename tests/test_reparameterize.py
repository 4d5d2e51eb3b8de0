"""Re-parameterisation: what collapses, what must not, and that both networks give the same."""

from __future__ import annotations

import pickle
import re

import pytest
import torch
from cases import SMALLEST, SPECS, shrunk
from torch import nn

import metablock
from metablock.api import example
from metablock.language.load import load_text
from metablock.operators.frozen_batch_norm import FrozenBatchNorm
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


def trained(model: nn.Module) -> dict[str, bool]:
    return {name: p.requires_grad for name, p in model.named_parameters()}


def test_merged_weights_train_if_what_they_are_made_of_does() -> None:
    model = randomised(network("2 * (conv_bn(8, 3) >> relu)"))
    names = list(dict(metablock.reparameterize(model).named_parameters()))
    kernels, biases = [n for n in names if n.endswith("weight")], [n for n in names if n.endswith("bias")]
    assert len(kernels) == len(biases) == 2
    blocks = [kernel.removesuffix("conv.weight") for kernel in kernels]

    def after(frozen: str) -> dict[str, bool]:
        model.requires_grad_(True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(re.search(frozen, name) is None)
        return trained(metablock.reparameterize(model))

    assert after("^$") == dict.fromkeys(names, True)
    assert after("") == dict.fromkeys(names, False)
    for mine, other in (blocks, blocks[::-1]):  # one part frozen, the first of the network or not
        assert after(re.escape(mine)) == {name: name.startswith(other) for name in names}
    assert after(r"conv\.weight") == dict.fromkeys(names, True)  # the norms' factors are in the kernels
    assert after(r"\.bn\.") == {name: name.endswith("weight") for name in names}  # the biases are made of the norms alone
    assert after("weight") == {name: name.endswith("bias") for name in names}
    assert after("bias") == dict.fromkeys(names, True)


def test_every_part_keeps_its_dtype() -> None:
    model = randomised(network("conv_bn(8, 3) >> relu >> conv_bn(8, 3)"), torch.float32)
    block = model.stages[0].blocks[0]
    result = metablock.reparameterize(model)
    block.conv_bn2.double()
    mixed = metablock.reparameterize(model, prove=False).stages[0].blocks[0]
    kinds = {name: p.dtype for name, p in mixed.named_parameters()}
    assert kinds == {
        name: torch.float64 if "conv_bn2" in name else torch.float32 for name, _ in result.stages[0].blocks[0].named_parameters()
    }


def test_parts_that_do_not_merge_are_copied_as_they_are() -> None:
    model = randomised(network("conv_bn(8, 3) >> relu >> layer_norm >> linear(8) >> gelu >> linear(8)"))
    block = model.stages[0].blocks[0]
    block.gelu = nn.Softplus().double().eval()
    block.linear2.weight = block.linear1.weight
    seen: list[str] = []
    block.register_forward_hook(lambda *_: seen.append("block"))
    block.layer_norm.register_forward_hook(lambda *_: seen.append("norm"))
    result, _ = compare(model)
    other = result.stages[0].blocks[0]
    assert isinstance(other.gelu, nn.Softplus) and other.gelu is not block.gelu
    assert other.linear2.weight is other.linear1.weight and other.linear1.weight is not block.linear1.weight
    seen.clear()
    result(*example(result))
    assert seen == ["norm", "block"]


def test_hooks_are_not_lost_in_silence() -> None:
    model = randomised(network("conv_bn(8, 3)"))
    model.stages[0].blocks[0].bn.register_forward_hook(lambda _m, _a, y: 2 * y)
    with pytest.raises(metablock.MetablockError, match=r"'stages.0.blocks.0.bn' has hooks, which merging would lose"):
        metablock.reparameterize(model, prove=False)


def test_a_replaced_block_is_refused() -> None:
    model = randomised(network("conv_bn(8, 3)"))
    model.stages[0].blocks[0] = nn.Identity().eval()
    for prove in (True, False):
        with pytest.raises(metablock.MetablockError, match=r"'stages.0.blocks.0' was 'conv_bn\(8, 3\)' and is Identity now"):
            metablock.reparameterize(model, prove=prove)


def test_random_numbers_of_the_process_stay() -> None:
    model = randomised(network("conv_bn(8, 3)"))
    before = torch.get_rng_state()
    metablock.reparameterize(model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "variant"), SMALLEST, ids=[variant for _, variant in SMALLEST])
def test_catalogue(name: str, variant: str) -> None:
    """Any network: the same outputs, and never more parameters."""
    if variant == "multi_scale_box_refine_two_stage":
        pytest.skip("inverse sigmoids of its boxes multiply rounding: outputs differ by 2e-9")
    model = metablock.build(SPECS[name], variant=variant, classes=7, dtype=torch.float64, **shrunk(name, variant)).eval()
    report = metablock.reparameterize(randomise(model)).collapsed
    constants = sum(w.numel() for m in model.modules() if isinstance(m, FrozenBatchNorm) for w in (m.weight, m.bias))
    assert report.params[1] <= report.params[0] + constants
    assert (report.difference is None) == (not report.collapsed)
    assert not report.collapsed or report.difference < 1e-9
    if any(getattr(m, "text", "").startswith("conv_bn(") for m in model.modules()):
        assert report.collapsed
