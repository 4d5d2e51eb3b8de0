"""Tokens that are chosen by what attention looks at: its weights as a second value, children gathered, tokens side by side."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
GRIDS = [(6,), (4, 6), (2, 4, 2)]
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


def build(lines: str, grid: tuple[int, ...] = (4, 6), c: int = 8) -> nn.Module:
    """A network that is a stream of what arrives, ``x``; its lines are parted by semicolons."""
    size = ", ".join(map(str, (c, *grid)))
    text = "".join(f"  {line.strip()}\n" for line in f"x ->; {lines}".split(";"))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: |\n{text}")).eval()


def weights(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """The weights of attention, the mean of the heads: ``(b, N, M)``."""
    q, k = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k))
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1).mean(1)


@grids
@pytest.mark.parametrize("row", [0, 2, -1])
def test_weights_of_a_query(grid: tuple[int, ...], row: int) -> None:
    """On the grid of the keys; what attention gives otherwise is as without."""
    plain = build("return x >> attention(2)", grid)
    model = build(f"y, a = x >> attention(2, row={row}); return y, a", grid)
    names = dict(zip(model.state_dict(), plain.state_dict().values(), strict=True))
    model.load_state_dict(names)
    x = torch.randn(3, 8, *grid)
    y, a = model(x)
    torch.testing.assert_close(y, plain(x))
    assert a.shape == (3, *grid, 1)
    weight, bias = [value for name, value in model.state_dict().items() if ".qkv." in name]
    q, k, _ = F.linear(x.flatten(2).mT, weight, bias).chunk(3, -1)
    torch.testing.assert_close(a.flatten(1), weights(q, k, 2)[:, row])


def test_weights_of_a_class_token() -> None:
    model = build("y, a = x >> class_token >> attention(2, row=0, drop=0.5); return y >> take(0), a >> patches, a >> prefix")
    y, a, own = model(torch.randn(3, 8, 4, 6))
    assert (y.shape, a.shape, own.shape) == ((3, 8), (3, 4, 6, 1), (3, 1, 1))
    torch.testing.assert_close(a.flatten(1).sum(1) + own.flatten(), torch.ones(3))


def test_weights_under_biases_and_masks() -> None:
    """Left-out keys have none; keys of another grid, and those of several sources, are where they are."""
    mask = "join(ones(1, 1), zeros(4, 1), ones(19, 1), prefix=0)"
    model = build(f"y, a = x >> attention(2, pos=relative_bias(std=1), mask={mask}, row=5); return y, a")
    _, a = model(torch.randn(3, 8, 4, 6))
    assert (a.flatten(1)[:, 1:5] == 0).all() and (a.flatten(1)[:, 5:] > 0).all()
    torch.testing.assert_close(a.flatten(1).sum(1), torch.ones(3))
    pooled = build("y, a = x >> attention(2, over=avg_pool(2, stride=2), row=0); return y, a")
    assert pooled(torch.randn(3, 8, 4, 6))[1].shape == (3, 2, 3, 1)
    union = build("y, a = x >> attention(2, over=[learned(2), x], row=0); return y, a")
    assert union(torch.randn(3, 8, 4, 6))[1].shape == (3, 26, 1)


def test_weights_are_those_before_dropout() -> None:
    model = build("y, a = x >> attention(2, row=0, drop=0.3); return y, a >> flatten").train()
    y, a = model(torch.randn(2, 8, 4, 6))
    torch.testing.assert_close(a.sum(1), torch.ones(2))
    (y.square().sum() + a.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@grids
def test_children_of_chosen_tokens(grid: tuple[int, ...]) -> None:
    """Each of 2 x 2 (2, 2 x 2 x 2) tokens in a row after its neighbourhood is brought to the front."""
    axes = {1: "x", 2: "y x", 3: "z y x"}[len(grid)]
    n = 2 ** len(grid)
    model = build(f'return x >> unfold(2, stride=2, order="{axes} c") >> spread({n})', grid)
    x = torch.randn(3, 8, *grid)
    y = model(x)
    assert y.shape == (3, x[0, 0].numel(), 8)
    places = torch.arange(x[0, 0].numel()).view(1, 1, *grid)
    for axis in range(len(grid)):
        places = places.unfold(2 + axis, 2, 2)
    torch.testing.assert_close(y, x.flatten(2).mT[:, places.flatten()])


def test_tokens_side_by_side() -> None:
    x = torch.randn(3, 8, 4, 6)
    t = x.flatten(2).mT
    both = torch.cat([t, t[:, :2]], 1)
    torch.testing.assert_close(build("return join(x, x >> first(2), prefix=0)")(x), both)
    model = build("y = join(x >> first(1), x, x >> first(2), prefix=1); return y >> prefix, y >> patches")
    torch.testing.assert_close(model(x), (t[:, :1], both), check_stride=False)
    torch.testing.assert_close(build("return join(x, prefix=2)")(x), t)


def test_one_token_meets_tokens_with_a_prefix() -> None:
    """One text for sets of any size, so that blocks may be used on several."""
    model = build("y = x >> class_token; z = join(y >> prefix, x >> first(3)); return [y, z] >> each(id + zeros(1, 1))", c=8)
    assert "flatten(1)" not in model.source.replace("flatten(1, 2)", "")
    assert [tuple(part.shape) for part in model(torch.randn(3, 8, 4, 6))] == [(3, 25, 8), (3, 4, 8)]


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        ("y, a = x >> attention(2, row=24); return y, a", "there is no query 24: there are 24", "numbered from 0"),
        ("y, a = x >> attention(2, row=0, over=near(3)); return y, a", "each query has keys of its own", "leave out `near(...)`"),
        ("return x >> window(2, attention(2, row=0))", "this is a list", "x[0]"),
        ("y, a = x >> attention(2); return y, a", "1 value(s) for 2 names", "attention(heads, row=0)"),
        ("return x >> class_token >> spread(2)", "1 prefix token(s) among those of `spread`", "patches >> spread(n)"),
        ("return x >> spread(3)", "3 tokens of 8 channels", "divides the width"),
        ("return join(x, x, prefix=48)", "48 prefix token(s) of 48", "at least one"),
    ],
)
def test_errors(lines: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(lines)
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("<spec>:")
    assert message in first
    assert hint in last
