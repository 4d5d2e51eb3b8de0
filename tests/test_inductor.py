"""Settings of TorchInductor for GPUs. What they gain is counted in benchmarks; here they run on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from metablock.backend.inductor import MergedDraws, gpu_arguments
from metablock.operators.drop_path import DropPath

RAND = torch.ops.aten.rand.default


def draws(graph: torch.fx.Graph) -> list[list[int]]:
    return [list(node.args[0]) for node in graph.find_nodes(op="call_function", target=RAND)]


def test_arguments() -> None:
    settings = gpu_arguments(
        nn.Linear(3, 3), {"mode": "max-autotune", "options": {"realize_reads_threshold": 5}, "dynamic": False}
    )
    assert settings["options"]["max_autotune"] is True and settings["options"]["realize_reads_threshold"] == 5
    assert "mode" not in settings and settings["dynamic"] is False
    assert gpu_arguments(nn.Linear(3, 3), {"backend": "eager", "mode": None}) == {"backend": "eager", "mode": None}


@pytest.mark.parametrize(("batch", "layer", "reads"), [(1, 0, 6), (1, 3, 6), (1, 4, 2), (0, 1, 2), (0, 0, None)])
def test_bounds(batch: int, layer: int, reads: int | None) -> None:
    model = nn.Sequential(*[nn.BatchNorm1d(3)] * batch, *[nn.LayerNorm(3) for _ in range(layer)])
    assert gpu_arguments(model, {})["options"].get("realize_reads_threshold") == reads


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

    arguments = gpu_arguments(nn.Linear(3, 3), {"options": {"joint_custom_pre_pass": Counted()}})
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


@pytest.mark.parametrize("name", ["realize_reads_threshold", "realize_opcount_threshold", "joint_custom_pre_pass"])
def test_settings_exist(name: str) -> None:
    """Those of every torch that is supported."""
    from torch._inductor import config

    assert hasattr(config, name) and name in gpu_arguments(nn.BatchNorm1d(3), {})["options"]
