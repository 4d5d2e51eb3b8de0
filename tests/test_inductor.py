"""Settings of TorchInductor for GPUs. What they gain is counted in benchmarks; here they run on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from metablock.backend.inductor import MergedDraws, WrittenSums, gpu_arguments
from metablock.operators.drop_path import DropPath

RAND = torch.ops.aten.rand.default


def draws(graph: torch.fx.Graph) -> list[list[int]]:
    return [list(node.args[0]) for node in graph.find_nodes(op="call_function", target=RAND)]


def test_arguments() -> None:
    settings = gpu_arguments({"mode": "max-autotune", "options": {"realize_reads_threshold": 5}, "dynamic": False})
    assert settings["options"]["max_autotune"] is True and settings["options"]["realize_reads_threshold"] == 5
    assert "mode" not in settings and settings["dynamic"] is False
    assert gpu_arguments({"backend": "eager", "mode": None}) == {"backend": "eager", "mode": None}


class Residuals(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(64) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for norm in self.norms:
            x = x + norm(x).tanh()
        return x


def test_sums_are_written() -> None:
    """Each sum that a norm and the next sum read; the numbers and the gradients stay."""
    seen: list[int] = []

    class Counted(WrittenSums):
        def __call__(self, graph: torch.fx.Graph) -> None:
            super().__call__(graph)
            graph.lint()
            seen.append(len(graph.find_nodes(op="call_function", target=torch.ops.aten.as_strided.default)))

        def uuid(self) -> Any:
            return None

    model, x = Residuals().double(), torch.randn(32, 32, 64, dtype=torch.float64)
    arguments = gpu_arguments({"options": {"post_grad_custom_post_pass": Counted()}})
    compiled = torch.compile(model, fullgraph=True, **arguments)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x))
    assert seen == [2]
    results = []
    for function in (model, compiled):
        leaf = x.clone().requires_grad_()
        results.append(torch.autograd.grad(function(leaf).sin().sum(), [leaf, *model.parameters()]))
    torch.testing.assert_close(*results)
    assert len(seen) == 3 and seen[1] >= 2


@pytest.mark.parametrize(("returned", "count"), [(False, 1), (True, 0)])
def test_turned_sums_are_written(returned: bool, count: int) -> None:
    """In the order of their axes: a graph that returns one keeps it as it is."""

    def step(x: Tensor) -> list[Tensor]:
        turned = x.mT + x.mT.exp()
        return [turned * turned.exp()] + [turned] * returned

    graph = make_fx(step, tracing_mode="fake")(torch.randn(4, 128, 256)).graph
    WrittenSums()(graph)
    graph.lint()
    assert len(graph.find_nodes(op="call_function", target=torch.ops.aten.as_strided.default)) == count


def test_maps_with_the_channels_last_stay_so() -> None:
    def step(x: Tensor) -> Tensor:
        y = x + x.exp()
        return y * y.sin()

    x = torch.randn(2, 8, 64, 64).contiguous(memory_format=torch.channels_last)
    traced = make_fx(step, tracing_mode="fake")(x)
    WrittenSums()(traced.graph)
    traced.recompile()
    assert len(traced.graph.find_nodes(op="call_function", target=torch.ops.aten.as_strided.default)) == 1
    assert torch.equal(traced(x), step(x)) and traced(x).stride() == x.stride()


def test_other_sums_are_not() -> None:
    """Those that one reads, that add a row or a number, that a convolution reads, or that are small."""

    def step(x: Tensor, image: Tensor, small: Tensor) -> Tensor:
        once, row, added, little = (x + x.exp()).sin(), x + x[0], image + image.exp(), small + small.sin()
        return (
            once
            + row * row.exp()
            + (F.conv2d(added, image[:, :, :1, :1]) * added.exp()[:, :4]).sum()
            + (little * little.exp()).sum()
        )

    image = torch.ones(4, 16, 32, 32).contiguous(memory_format=torch.channels_last)
    graph = make_fx(step, tracing_mode="fake")(torch.ones(4, 128, 256), image, torch.ones(4, 4)).graph
    WrittenSums()(graph)
    assert not graph.find_nodes(op="call_function", target=torch.ops.aten.as_strided.default)


def test_draws_are_merged() -> None:
    drop = DropPath(rate=0.5)

    def step(x: Tensor) -> Tensor:
        return drop(x) + drop(x.flatten(1)).view_as(x) + torch.rand(1000, 1000).sum()

    graph = make_fx(step, tracing_mode="fake", _allow_non_fake_inputs=True)(torch.ones(4, 2, 3)).graph
    assert draws(graph) == [[4, 1, 1], [4, 1], [1000, 1000]]
    MergedDraws()(graph)
    graph.lint()
    assert sorted(draws(graph)) == [[8], [1000, 1000]]


class Drops(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drops = nn.ModuleList(DropPath(rate=0.5) for _ in range(3))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [drop(x) for drop in self.drops]


def test_a_compiled_step() -> None:
    """One draw for three, independent of each other, the same for forward and backward, and for the same seed."""
    seen: list[tuple[int, int]] = []

    class Counted(MergedDraws):
        def __call__(self, graph: torch.fx.Graph) -> None:
            before = len(draws(graph))
            super().__call__(graph)
            seen.append((before, len(draws(graph))))

        def uuid(self) -> Any:
            return None

    arguments = gpu_arguments({"options": {"joint_custom_pre_pass": Counted()}})
    model = torch.compile(Drops().train(), fullgraph=True, **arguments)
    x = torch.ones(4096, 2, requires_grad=True)
    torch.manual_seed(0)
    first = model(x)
    sum(y.sum() for y in first).backward()
    assert seen == [(3, 1)]
    kept = torch.stack([y[:, 0] for y in first]).detach()
    assert kept.unique().tolist() == [0, 2]
    torch.testing.assert_close(x.grad, kept.sum(0)[:, None].expand(-1, 2))
    assert (kept.mean(1) - 1).abs().max() < 0.1
    assert (torch.corrcoef(kept) - torch.eye(3)).abs().max() < 0.1
    torch.manual_seed(0)
    again, further = model(x), model(x)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(again[0], further[0])


@pytest.mark.parametrize(
    "name", ["realize_reads_threshold", "realize_opcount_threshold", "joint_custom_pre_pass", "post_grad_custom_post_pass"]
)
def test_settings_exist(name: str) -> None:
    """Those of every torch that is supported."""
    from torch._inductor import config

    assert hasattr(config, name) and name in gpu_arguments({})["options"]
