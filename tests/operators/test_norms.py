"""Norms, activations, scales and dropping, against torch's or against their formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaves import build, feature, inputs
from metablock.shape import Feature
from oracles import randomised_state

pytestmark = pytest.mark.usefixtures("float64")
MAPS = [feature("map", 6, 11), feature("map", 6, 5, 4), feature("map", 6, 2, 5, 3)]
LAYOUTS = [*MAPS, feature("grid", 6, 5, 4), feature("tokens", 6, 5, 4, prefix=1), feature("vector", 6)]
layouts = pytest.mark.parametrize("x", LAYOUTS, ids=str)


def channels_last(x: Feature, tensor: Tensor) -> Tensor:
    return tensor.movedim(1, -1) if x.layout == "map" else tensor


@pytest.mark.parametrize("x", LAYOUTS[3:], ids=str)
@pytest.mark.parametrize("arguments", [{}, {"eps": 1e-2, "bias": False}, {"affine": False}], ids=str)
def test_layer_norm(x: Feature, arguments: dict[str, Any]) -> None:
    module = build("layer_norm.LayerNorm", x, **arguments)
    theirs = {{"affine": "elementwise_affine"}.get(k, k): v for k, v in arguments.items()}
    reference = nn.LayerNorm(6, **theirs)
    reference.load_state_dict(randomised_state(module))
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), reference(tensor))


@pytest.mark.parametrize("x", MAPS, ids=str)
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_group_norm(x: Feature, groups: int) -> None:
    module, reference = build("group_norm.GroupNorm", x, groups=groups, eps=1e-2), nn.GroupNorm(groups, 6, eps=1e-2)
    reference.load_state_dict(randomised_state(module))
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), reference(tensor))


def test_group_norm_without_bias() -> None:
    """PoolFormerV2's norm: over channels and positions, a weight alone."""
    module = build("group_norm.GroupNorm", MAPS[1], groups=1, eps=1e-6, bias=False)
    randomised_state(module)
    assert set(module.state_dict()) == {"weight"}
    (tensor,) = inputs(MAPS[1])
    var, mean = torch.var_mean(tensor, (1, 2, 3), correction=0, keepdim=True)
    expected = (tensor - mean) / (var + 1e-6).sqrt() * module.weight.view(-1, 1, 1)
    torch.testing.assert_close(module(tensor), expected)


@pytest.mark.parametrize("x", [*MAPS, LAYOUTS[-1]], ids=str)
def test_batch_norm(x: Feature) -> None:
    kind = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][x.rank]
    module, reference = build("batch_norm.BatchNorm", x, eps=1e-3, momentum=0.2), kind(6, eps=1e-3, momentum=0.2)
    reference.load_state_dict(randomised_state(module))
    for training in (True, False):
        (tensor,) = inputs(x, batch=4)
        torch.testing.assert_close(module.train(training)(tensor), reference.train(training)(tensor))
    for name, buffer in reference.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], buffer)


def test_batch_norm_starts_with_gamma_and_becomes_a_synchronised_one() -> None:
    module = build("batch_norm.BatchNorm", MAPS[1], gamma=0.25)
    assert module.weight.unique().tolist() == [0.25]
    assert isinstance(nn.SyncBatchNorm.convert_sync_batchnorm(module), nn.SyncBatchNorm)


def test_batch_norm_without_weights() -> None:
    module, reference = build("batch_norm.BatchNorm", MAPS[1], affine=False), nn.BatchNorm2d(6, affine=False)
    assert not list(module.parameters())
    (tensor,) = inputs(MAPS[1], batch=4)
    for training in (True, False):
        torch.testing.assert_close(module.train(training)(tensor), reference.train(training)(tensor))


@layouts
@pytest.mark.parametrize("unbiased", [False, True])
def test_standardize(x: Feature, unbiased: bool) -> None:
    (tensor,) = inputs(x)
    last = channels_last(x, tensor)
    for parts in (1, 2):
        apart = last.unflatten(-1, (parts, -1))
        var, mean = torch.var_mean(apart, -1, correction=int(unbiased), keepdim=True)
        for outside, divisor in ((False, (var + 0.25).sqrt()), (True, var.sqrt() + 0.25)):
            module = build("standardize.Standardize", x, eps=0.25, unbiased=unbiased, parts=parts, outside=outside)
            torch.testing.assert_close(channels_last(x, module(tensor)), ((apart - mean) / divisor).flatten(-2))


@pytest.mark.parametrize("grid", [(7,), (3, 5), (2, 3, 4)], ids=str)
def test_grn(grid: tuple[int, ...]) -> None:
    x = feature("grid", 6, *grid)
    module = build("grn.GRN", x, eps=1e-2)
    (tensor,) = inputs(x)
    assert torch.equal(module(tensor), tensor)
    randomised_state(module)
    response = tensor.flatten(1, -2).square().sum(1).sqrt()
    response = response / (response.mean(-1, keepdim=True) + 1e-2)
    response = response.view(2, *(1,) * len(grid), 6)
    torch.testing.assert_close(module(tensor), module.weight * tensor * response + module.bias + tensor)


FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": lambda x: x.clamp(min=0),
    "Relu6": lambda x: x.clamp(0, 6),
    "Gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    "QuickGelu": lambda x: x / (1 + torch.exp(-1.702 * x)),
    "Silu": lambda x: x / (1 + torch.exp(-x)),
    "Sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "Tanh": lambda x: 1 - 2 / (torch.exp(2 * x) + 1),
    "HardSwish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "HardSigmoid": lambda x: (x + 3).clamp(0, 6) / 6,
    "Softplus": lambda x: torch.log(1 + torch.exp(x)),
    "Elu": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_activation(name: str) -> None:
    tensor = torch.linspace(-8, 8, 60).view(2, 6, 5)
    torch.testing.assert_close(build(f"activations.{name}", feature("map", 6, 5))(tensor), FORMULAS[name](tensor))


def test_gelu_by_tanh() -> None:
    tensor = torch.linspace(-8, 8, 60).view(2, 6, 5)
    expected = tensor / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (tensor + 0.044715 * tensor**3)))
    torch.testing.assert_close(build("activations.Gelu", feature("map", 6, 5), approximate="tanh")(tensor), expected)


@layouts
def test_star_relu(x: Feature) -> None:
    module = build("activations.StarRelu", x, scale=0.9, bias=-0.4)
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), 0.9 * tensor.clamp(min=0) ** 2 - 0.4)
    assert [p.numel() for p in module.parameters()] == [1, 1]


@layouts
def test_softmax(x: Feature) -> None:
    module = build("softmax.Softmax", x, temperature=2.0)
    (tensor,) = inputs(x)
    for training in (True, False):
        result = channels_last(x, module.train(training)(tensor))
        torch.testing.assert_close(result, F.softmax(channels_last(x, tensor) / 2, -1))


@layouts
def test_softmax_over_parts(x: Feature) -> None:
    """The same channel of each part."""
    (tensor,) = inputs(x)
    a, b, c = channels_last(x, tensor).chunk(3, -1)
    expected = torch.stack([a, b, c]).softmax(0)
    result = build("softmax.Softmax", x, parts=3)(tensor)
    torch.testing.assert_close(channels_last(x, result), torch.cat(list(expected), -1))


def test_softmax_anneals_in_training_alone() -> None:
    x = feature("vector", 6)
    module = build("softmax.Softmax", x, temperature=1.0, start=34.0)
    assert not module.state_dict()
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), F.softmax(tensor / 34, 1))
    module.anneal(31)  # type: ignore[operator]
    torch.testing.assert_close(module(tensor), F.softmax(tensor / 31, 1))
    torch.testing.assert_close(module.eval()(tensor), F.softmax(tensor, 1))


@layouts
def test_scale(x: Feature) -> None:
    module = build("scale.Scale", x, init=1e-5)
    assert module.weight.tolist() == [1e-5] * 6
    randomised_state(module)
    (tensor,) = inputs(x)
    torch.testing.assert_close(channels_last(x, module(tensor)), channels_last(x, tensor) * module.weight)


@layouts
def test_times(x: Feature) -> None:
    module = build("times.Times", x, factor=0.3)
    assert not module.state_dict()
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), 0.3 * tensor)
    assert module(tensor.bfloat16()).dtype == torch.bfloat16


@layouts
def test_drop_path_drops_whole_items(x: Feature) -> None:
    module = build("drop_path.DropPath", x, rate=0.2)
    assert not module.state_dict()
    (tensor,) = inputs(x, batch=500)
    tensor.requires_grad_()
    result = module(tensor)
    kept = (result / tensor).flatten(1).detach()
    torch.testing.assert_close(kept, kept[:, :1].expand_as(kept), rtol=1e-6, atol=0)
    assert 0.72 < float((kept[:, 0] > 0).double().mean()) < 0.88
    assert kept[:, 0].max().item() == pytest.approx(1 / 0.8)
    (slope,) = torch.autograd.grad(result.sum(), tensor)
    torch.testing.assert_close(slope.flatten(1), kept)
    assert module.eval()(tensor) is tensor


@pytest.mark.parametrize("name", ["drop_path.DropPath", "dropout.Dropout"])
def test_nothing_dropped_at_rate_0(name: str) -> None:
    (tensor,) = inputs(MAPS[1])
    assert torch.equal(build(name, MAPS[1], rate=0.0)(tensor), tensor)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_dropout(dtype: torch.dtype) -> None:
    x = feature("map", 6, 50, 40)
    module = build("dropout.Dropout", x, rate=0.1)
    tensor = torch.ones(x.size(2), dtype=dtype, requires_grad=True)
    result = module(tensor)
    assert result.dtype == dtype
    assert (result > 0).double().mean().item() == pytest.approx(0.9, abs=0.008)
    assert result.max().item() == pytest.approx(1 / 0.9, rel=1e-12 if dtype == torch.float64 else 1e-2)
    (slope,) = torch.autograd.grad(result.sum(), tensor)
    assert torch.equal(slope, result)
    assert module.eval()(tensor) is tensor


@pytest.mark.parametrize("over", ["channels", "tokens"])
def test_l2_norm(over: str) -> None:
    """The divisor is bounded below, or the number is added under the root: a vector of zeros stays one either way."""
    x = feature("tokens", 3, 5)
    tensor = torch.randn(2, *x.size(2)[1:])
    tensor[0] = 0
    dim = -1 if over == "channels" else 1
    length = tensor.square().sum(dim, keepdim=True)
    torch.testing.assert_close(build("l2_norm.L2Norm", x, eps=0.5, over=over)(tensor), tensor / length.sqrt().clamp(min=0.5))
    inside = build("l2_norm.L2Norm", x, eps=0.5, over=over, inside=True)(tensor)
    torch.testing.assert_close(inside, tensor / (length + 0.5).sqrt())
