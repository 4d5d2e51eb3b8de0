"""Tables of positions, learned tokens and biases against their formula."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from leaves import build, feature, find, inputs, shape
from metablock.errors import SpecError
from oracles import randomised_state, require

pytestmark = pytest.mark.usefixtures("float64")
grids = pytest.mark.parametrize("grid", [(7,), (3, 5), (2, 3, 4)], ids=str)
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
BIASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("relative_bias.RelativeBias", (), {"heads": 2}),
    ("relative_bias.RelativeBias", (), {"heads": 2, "prefix": 1}),
    ("relative_bias.RelativeBias", (), {"heads": 2, "mirror": True}),
    ("agent_bias.AgentBias", (0,), {"heads": 2, "agents": 4}),
    ("agent_bias.AgentBias", (2,), {"heads": 2, "agents": 4, "side": "queries", "table": 3}),
]


@grids
@pytest.mark.parametrize("prefix", [0, 2])
def test_position(grid: tuple[int, ...], prefix: int) -> None:
    x = feature("tokens", 6, *grid, prefix=prefix)
    module = build("position.Position", x)
    assert module.weight.shape == (1, x.n, 6)
    assert (module.grid, module.prefix, module.mode, module.antialias) == (grid, prefix, "bicubic", True)
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), tensor + module.weight)
    if not prefix:
        on_grid = tensor.view(2, *grid, 6)
        torch.testing.assert_close(build("position.Position", feature("grid", 6, *grid)).weight.shape, module.weight.shape)
        torch.testing.assert_close(module(on_grid), (tensor + module.weight).view_as(on_grid))


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize(
    ("size", "mode", "antialias"), [([5, 3], "bicubic", False), (4, "bilinear", True), ([4, 6], "bicubic", False)]
)
def test_position_of_another_size(prefix: int, size: int | list[int], mode: str, antialias: bool) -> None:
    """The grid's rows are resampled, those of the prefix are not; at its own size the table is what it is."""
    x = feature("tokens", 6, 4, 6, prefix=prefix)
    module = build("position.Position", x, size=size, mode=mode, antialias=antialias)
    extents = [size, size] if isinstance(size, int) else size
    assert module.weight.shape == (1, prefix + extents[0] * extents[1], 6)
    (tensor,) = inputs(x)
    table = module.weight[:, prefix:].view(1, *extents, 6).movedim(-1, 1)
    brought = F.interpolate(table, (4, 6), mode=mode, align_corners=False, antialias=antialias).movedim(1, -1).flatten(1, 2)
    torch.testing.assert_close(module(tensor), tensor + torch.cat([module.weight[:, :prefix], brought], 1))
    if extents == [4, 6]:
        torch.testing.assert_close(module(tensor), tensor + module.weight)


def test_position_of_a_size_that_cannot_be() -> None:
    for grid, arguments, message in [
        ((7,), {"size": 3}, "'bicubic' interpolates in 2-D only"),
        ((7,), {"size": 3, "mode": "bilinear"}, "no antialias for 'bilinear' in 1-D"),
        ((3, 5), {"size": [1, 2, 3]}, "3 numbers for 2 spatial dimensions"),
        ((3, 5), {"size": 0}, "at least 1"),
    ]:
        with pytest.raises(SpecError, match=message):
            shape("position.Position", feature("grid", 6, *grid), **arguments)


def test_learned() -> None:
    module = build("learned.Learned", feature("map", 6, 3, 5), n=4)
    result = module(torch.zeros(3, 6, 3, 5))
    torch.testing.assert_close(result, torch.stack([module.weight[0]] * 3))
    assert 0.01 < module.weight.std().item() < 0.03


@grids
def test_relative_bias(grid: tuple[int, ...]) -> None:
    module = find("relative_bias.RelativeBias")(grid, heads=3, std=0.5)
    assert set(module.state_dict()) == {"weight"}
    result = module()
    table = module.weight.view(*(2 * g - 1 for g in grid), 3)
    places = list(itertools.product(*map(range, grid)))
    for (i, query), (j, key) in itertools.product(enumerate(places), repeat=2):
        index = [q - k + g - 1 for q, k, g in zip(query, key, grid, strict=True)]
        assert torch.equal(result[:, i, j], table[*index])


@grids
def test_a_mirrored_bias_knows_distances_alone(grid: tuple[int, ...]) -> None:
    module = find("relative_bias.RelativeBias")(grid, heads=3, std=0.5, mirror=True)
    result, table = module(), module.weight.view(*grid, 3)
    places = list(itertools.product(*map(range, grid)))
    for (i, query), (j, key) in itertools.product(enumerate(places), repeat=2):
        assert torch.equal(result[:, i, j], table[*[abs(q - k) for q, k in zip(query, key, strict=True)]])
    assert not find("relative_bias.RelativeBias")(grid, heads=3, std=0.0, mirror=True).weight.any()


def test_a_mirrored_bias_of_another_size() -> None:
    """Resized as the table of both directions that it stands for."""
    whole, half = (find("relative_bias.RelativeBias")((6, 5), heads=2, mirror=mirror) for mirror in (False, True))
    table = torch.randn(4, 4, 2)
    rows = torch.cat([table.flip(0)[:-1], table])
    both = torch.cat([rows.flip(1)[:, :-1], rows], 1)
    expected = whole.resized(both.flatten(0, 1)).view(11, 9, 2)[5:, 4:]
    torch.testing.assert_close(half.resized(table.flatten(0, 1)), expected.flatten(0, 1))
    assert half.resized(table.flatten(0, 1)[:-1]) is None


@pytest.mark.parametrize("grid", [(3, 5), (4, 4)])
def test_relative_bias_with_a_class_token_is_timm_s(grid: tuple[int, int]) -> None:
    """BEiT's table: three rows more, the class token's to the others, theirs to it, its own."""
    beit = require("timm.models.beit")
    module = find("relative_bias.RelativeBias")(grid, heads=3, prefix=1, std=0.5)
    index = beit.gen_relative_position_index(grid)
    assert module.weight.shape == (index.max() + 1, 3)
    torch.testing.assert_close(module(), module.weight[index].permute(2, 0, 1))


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_agent_bias_as_on_the_page(prefix: int) -> None:
    """agent_attention.md: PB of the keys, AB of the queries."""
    h, n, height, width = 2, 4, 9, 5
    keys = find("agent_bias.AgentBias")((height, width), prefix, heads=h, agents=n)
    queries = find("agent_bias.AgentBias")((height, width), prefix, heads=h, agents=n, side="queries")
    for module in (keys, queries):
        for parameter in module.parameters():
            nn.init.normal_(parameter)
    an, (ah, aw) = keys.weight, keys.axes
    na, (ha, wa) = queries.weight, queries.axes
    assert [p.shape for p in (an, ah, aw)] == [(h, n, 7, 7), (1, h, n, height, 1), (1, h, n, 1, width)]
    assert [p.shape for p in (na, ha, wa)] == [(h, n, 7, 7), (1, h, height, 1, n), (1, h, 1, width, n)]

    first = F.interpolate(an, (height, width), mode="bilinear", align_corners=False).reshape(1, h, n, -1)
    expected = first + (ah + aw).reshape(1, h, n, -1)
    if prefix:
        assert keys.prefix.shape == (1, h, n, prefix)
        expected = torch.cat([keys.prefix, expected], dim=-1)
    torch.testing.assert_close(keys(), expected[0])

    first = F.interpolate(na, (height, width), mode="bilinear", align_corners=False).reshape(1, h, n, -1).permute(0, 1, 3, 2)
    expected = first + (ha + wa).reshape(1, h, -1, n)
    if prefix:
        assert queries.prefix.shape == (1, h, prefix, n)
        expected = torch.cat([queries.prefix, expected], dim=-2)
    torch.testing.assert_close(queries(), expected[0])


@grids
def test_agent_bias_in_any_rank(grid: tuple[int, ...]) -> None:
    modules = [
        find("agent_bias.AgentBias")(grid, 0, heads=2, agents=4, table=3, side=side, std=1.0) for side in ("keys", "queries")
    ]
    modules[1].weight.data = modules[0].weight.data
    for theirs, mine in zip(modules[1].axes, modules[0].axes, strict=True):
        theirs.data = mine.movedim(2, -1).contiguous()
    result = modules[0]()
    torch.testing.assert_close(modules[1](), result.mT)
    table = F.interpolate(modules[0].weight, grid, mode=LINEAR[len(grid)]).flatten(2)
    for i, place in enumerate(itertools.product(*map(range, grid))):
        axes = sum(axis[0].flatten(2)[:, :, p] for axis, p in zip(modules[0].axes, place, strict=True))
        torch.testing.assert_close(result[:, :, i], table[:, :, i] + axes)


@pytest.mark.parametrize(("name", "context", "arguments"), BIASES)
def test_biases_are_built_on_meta_train_and_compile(name: str, context: tuple[Any, ...], arguments: dict[str, Any]) -> None:
    here = find(name)((3, 5), *context, **arguments)
    with torch.device("meta"):
        there = find(name)((3, 5), *context, **arguments)
    assert there().shape == here().shape
    there.to_empty(device="cpu")
    for module in (here, there):
        torch.manual_seed(1)
        module.reset_parameters()
    torch.testing.assert_close(here(), there())
    randomised_state(here)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(here, fullgraph=True, backend="eager")(), here())
    here().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in here.parameters())
