"""Maps read at places that a network computes, and position biases of keys that stand there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.language.load import load_text
from metablock.lowering.example import shape_of
from metablock.operators.moving_bias import MovingBias

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
GRIDS = [(7,), (5, 4), (3, 4, 2)]
KINDS = ["index", "unit", "signed", "centers", "signed_centers"]
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


def build(model: str, grid: tuple[int, ...] = (5, 4), c: int = 8, places: int | None = None) -> nn.Module:
    """A network of a map x, and with ``places`` of a map of so many channels, p."""
    size, kind = ", ".join(map(str, grid)), INPUTS[len(grid)]
    second = "" if places is None else f"  p: {kind}({places}, {size})\n"
    lines = "".join(f"  {line.strip()}\n" for line in model.split(";"))
    return metablock.build(load_text(f"name: tiny\ninput:\n  x: {kind}({c}, {size})\n{second}model: |\n{lines}")).eval()


def around(x: Tensor, spread: float = 1.4) -> Tensor:
    """Random places of x, some of them outside, in numbers of pixels: ``(b, rank, *grid)``."""
    middle = (torch.tensor(x.shape[2:]) - 1.0) / 2
    return (middle + spread * middle * (2 * torch.rand(len(x), *x.shape[2:], x.dim() - 2) - 1)).movedim(-1, 1)


def by_hand(x: Tensor, at: Tensor, border: bool = False) -> Tensor:
    """``x (b, c, *grid)`` at ``at (b, rank, *extents)`` in pixels, corner by corner: ``(b, c, *extents)``."""
    grid, total = x.shape[2:], torch.zeros(*x.shape[:2], *at.shape[2:])
    low = at.floor()
    for corner in range(2 ** len(grid)):
        index, share = torch.zeros(at[:, 0].shape, dtype=torch.long), torch.ones_like(at[:, 0])
        for axis, n in enumerate(grid):
            place = low[:, axis] + (corner >> axis & 1)
            share = share * (1 - (at[:, axis] - place).abs())
            if not border:
                share = share * ((place >= 0) & (place < n))
            index = index * n + place.clamp(0, n - 1).long()
        pixels = x.flatten(2).gather(2, index.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1))
        total = total + pixels.unflatten(2, at.shape[2:]) * share.unsqueeze(1)
    return total


@grids
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_sample(grid: tuple[int, ...], padding: str) -> None:
    """Linear along each axis; outside zeros, or the nearest pixel."""
    x = torch.randn(2, 8, *grid)
    at = around(x)
    expected = by_hand(x, at, padding == "border")
    torch.testing.assert_close(
        build(f'x, p -> return x >> sample(p, padding="{padding}")', grid, places=len(grid))(x, at), expected
    )


@grids
@pytest.mark.parametrize("kind", KINDS)
def test_kinds(grid: tuple[int, ...], kind: str) -> None:
    """Coordinates of a kind give the map back; every kind counts the same places."""
    x = torch.randn(2, 8, *grid)
    torch.testing.assert_close(build(f'sample(coordinates("{kind}"), "{kind}")', grid)(x), x.movedim(1, -1))
    at = around(x)
    n = torch.tensor(grid).reshape(-1, *[1] * len(grid))
    unit = (at + 0.5) / n if "centers" in kind else at / (n - 1)
    counted = at if kind == "index" else 2 * unit - 1 if "signed" in kind else unit
    torch.testing.assert_close(
        build(f'x, p -> return x >> sample(p, "{kind}")', grid, places=len(grid))(x, counted), by_hand(x, at)
    )


@pytest.mark.parametrize(("kind", "aligned"), [("signed", True), ("signed_centers", False)])
def test_torch_s_two_conventions(kind: str, aligned: bool) -> None:
    x, at = torch.randn(2, 8, 5, 4), 3 * torch.rand(2, 2, 5, 4) - 1.5
    expected = F.grid_sample(x, at.flip(1).movedim(1, -1), align_corners=aligned)
    torch.testing.assert_close(build(f'x, p -> return x >> sample(p, "{kind}")', places=2)(x, at), expected)


@grids
def test_groups_read_at_places_of_their_own(grid: tuple[int, ...]) -> None:
    x = torch.randn(2, 8, *grid)
    at = torch.cat([around(x), around(x)], 1)
    parts = [by_hand(part, places) for part, places in zip(x.chunk(2, 1), at.chunk(2, 1), strict=True)]
    model = build("x, p -> return x >> sample(p)", grid, places=2 * len(grid))
    torch.testing.assert_close(model(x, at), torch.cat(parts, 1))


def test_what_leaves_lies_as_the_places() -> None:
    assert shape_of("sample(conv(2, 3, stride=2))", "8x6x4") == "map 8 x 3x2"
    assert shape_of("sample(linear(4))", "8x6x4") == "tokens 6x4 x 8"
    assert shape_of("sample(learned(5, 2))", "8x6x4") == "tokens 5 x 8"
    x = torch.randn(2, 8, 5, 4)
    model = build("sample(learned(3, 2))")
    (table,) = model.parameters()
    at = table.detach().expand(2, -1, -1).mT
    torch.testing.assert_close(model(x), by_hand(x, at).mT)


def test_in_windows_each_has_its_own() -> None:
    """Places of a window are counted from its first pixel; those from outside are the same in all."""
    x = torch.randn(2, 8, 4, 6)
    torch.testing.assert_close(build("window(2, sample(coordinates))", (4, 6))(x), x.movedim(1, -1))
    corner = build("x ->; p = x >> zeros(4, 2) >> grid(2, 2); return x >> windows(2) >> sample(p) >> merge", (4, 6))(x)
    torch.testing.assert_close(corner.movedim(-1, 1), x[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_gradients_reach_map_and_places() -> None:
    x = torch.randn(1, 8, 5, 4, requires_grad=True)
    at = (around(x.detach(), 0.5)).requires_grad_()
    assert torch.autograd.gradcheck(build("x, p -> return x >> sample(p)", places=2), (x, at))


def test_half_precision_keeps_the_places() -> None:
    """The quarter pixels of places in float32 stay where the map is bfloat16."""
    x, at = torch.arange(512.0).reshape(1, 1, 512), torch.full((1, 1, 512), 300.25)
    model = build("x, p -> return x >> sample(p)", (512,), c=1, places=1)
    assert model(x.bfloat16(), at.float()).dtype == torch.bfloat16
    torch.testing.assert_close(model((x / 1024).bfloat16(), at.float())[0, 0, 0].double().item(), 300 / 1024, atol=2e-3, rtol=0)


@pytest.mark.parametrize("text", ["sample(at, padding=PADDING)", "attention(4, over=sample(at), pos=moving_bias(at))"])
def test_compiles_whole(text: str) -> None:
    torch._dynamo.reset()
    model = build(f"x -> at = x >> coordinates + linear(2); return x >> {text}".replace("PADDING", '"border"'))
    x = torch.randn(2, 8, 5, 4)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), model(x))


# Biases of keys that stand there


PLAIN = "q=id, k=id, v=id, proj=id"


@grids
def test_keys_on_the_grid_have_the_bias_of_the_grid(grid: tuple[int, ...]) -> None:
    moving = build(f"attention(4, over=id, {PLAIN}, pos=moving_bias(coordinates, std=1))", grid)
    fixed = build(f"attention(4, over=id, {PLAIN}, pos=relative_bias(1))", grid)
    fixed.load_state_dict(moving.state_dict())
    x = torch.randn(2, 8, *grid)
    torch.testing.assert_close(moving(x), fixed(x))


@grids
@pytest.mark.parametrize("groups", [1, 2])
def test_moving_bias_formula(grid: tuple[int, ...], groups: int) -> None:
    """The table is read at query minus key, for each group of heads at places of its own; beyond it is 0."""
    bias = MovingBias(grid, heads=4, std=1)
    rank, m = len(grid), 5
    x = torch.randn(2, 1, *grid)
    at = (torch.tensor(grid) * (3 * torch.rand(2, m, groups, rank) - 1)).reshape(2, m, -1)
    own = torch.cartesian_prod(*[torch.arange(n, dtype=x.dtype) for n in grid]).reshape(1, -1, rank).expand(2, -1, -1)
    table = bias.weight.mT.reshape(1, 4, *[2 * n - 1 for n in grid]).expand(2, *[-1] * (rank + 1))
    parts = []
    for part, places in zip(table.chunk(groups, 1), at.unflatten(-1, (groups, rank)).unbind(2), strict=True):
        rows = own[:, :, None] - places[:, None] + torch.tensor(grid) - 1  # b, N, M, rank
        parts.append(by_hand(part, rows.movedim(-1, 1)))
    torch.testing.assert_close(bias(at, own), torch.cat(parts, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_places_of_the_bias_count_as_those_of_sample(kind: str) -> None:
    """The queries stand at their own places, whatever counts them, or where they are said to."""
    x, at = torch.randn(2, 8, 5, 4), 4 * torch.rand(2, 2, 5, 4)
    n = torch.tensor([5, 4]).reshape(-1, 1, 1)
    unit = (at + 0.5) / n if "centers" in kind else at / (n - 1)
    counted = at if kind == "index" else 2 * unit - 1 if "signed" in kind else unit

    def net(kind: str, more: str = "") -> nn.Module:
        pos = f'moving_bias(p, "{kind}"{more})'
        model = build(f'x, p -> return x >> attention(4, over=sample(p, "{kind}"), {PLAIN}, pos={pos})', places=2)
        model.load_state_dict(table)
        return model

    table = {"attention.pos.table.weight": torch.randn(9 * 7, 4)}
    expected = net("index")(x, at)
    torch.testing.assert_close(net(kind)(x, counted), expected)
    torch.testing.assert_close(net(kind, f', queries=coordinates("{kind}")')(x, counted), expected)
    moved = net(kind, f', queries=coordinates("{kind}") + 0.1')(x, counted)
    assert (moved - expected).abs().max() > 1e-3


def test_bias_beside_other_keys() -> None:
    """One member of a list moves, the others stand still, or have no bias."""
    model = build(
        "x -> at = x >> pw(2); return x >> attention(4, over=[sample(at), avg_pool(2, stride=2)], pos=[moving_bias(at), none])"
    )
    assert model(torch.randn(2, 8, 5, 4)).shape == (2, 5, 4, 8)
    model = build("x -> at = x >> pw(2); return x >> attention(4, over=[sample(at), id], pos=[moving_bias(at), relative_bias])")
    assert model(torch.randn(2, 8, 5, 4)).shape == (2, 5, 4, 8)


@pytest.mark.parametrize("body", ["attention(4, over=sample(pw(2)), pos=moving_bias(pw(2)), mix=linear(4))",
                                  "window(2, attention(4, over=sample(pw(2)), pos=moving_bias(pw(2))), shift=1)"])  # fmt: skip
def test_bias_of_a_seen_matrix_and_in_windows(body: str) -> None:
    model = build(body, (4, 4))
    x = torch.randn(3, 8, 4, 4)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]))
    model(x).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("sample(pw(3))", "3 channels are no places on 2 axes", "end it in `pw(2)`"),
        ("sample(pw(6))", "6 channels are 3 places, which do not divide 8 channels", "one place for all"),
        ("sample(global_pool)", "`at=` gives vector of 8, places are a map or tokens", "coordinates + pw(2)"),
        ("sample(class_token >> linear(2))", "`at=` gives tokens 1 + 5x4 x 2", "a channel an axis"),
        ("class_token >> sample(linear(2))", "1 prefix token(s) have no place on a map", "patches"),
        ('sample(coordinates, "pixel")', 'unknown kind "pixel"', '"index"'),
        ('sample(coordinates, padding="wrap")', 'unknown padding "wrap"', '"zeros", "border"'),
        ("sample(none)", "'at' of 'sample' cannot be `none`", "`id` passes on"),
        ("id + moving_bias(coordinates)", "`moving_bias` is not inside an attention", "pos="),
        ("attention(4, over=near(3), pos=moving_bias(coordinates))", "`moving_bias` is not for neighbours", "relative_bias"),
        ('attention(4, pos=moving_bias(coordinates, "pixel"))', 'unknown kind "pixel"', '"signed_centers"'),
        ("attention(4, pos=moving_bias(first(3) >> linear(2)))", "`at=` gives tokens 3 x 2 for 20 keys", "a token for each"),
        ("attention(4, pos=moving_bias(id, queries=first(3) >> linear(2)))", "gives tokens 3 x 2 for 20 queries", "a token"),
        ("attention(4, pos=moving_bias(linear(3)))", "places of 3 channels, of the queries 2: 4 heads, 2 axes", "an axis"),
        ("attention(4, pos=moving_bias(linear(6)))", "places of 6 channels, of the queries 2: 4 heads, 2 axes", "of heads"),
        ("attention(4, pos=moving_bias(id, queries=linear(4)))", "places of 8 channels, of the queries 4", "an axis"),
        ("class_token >> attention(4, pos=moving_bias(id))", "needs queries and keys at places", "prefix tokens"),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(model)
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("<spec>:5:")
    assert message in first
    assert hint in last
