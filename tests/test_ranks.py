"""Every operator in one, two and three dimensions, through a network of one expression."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import metablock
from metablock.language.load import load_text
from metablock.language.registry import OPERATORS

INPUTS = {1: "signal(6, 8)", 2: "image(6, 8, 4)", 3: "volume(6, 8, 4, 4)"}

# How an operator is written, where its name alone is not enough, and the extents that leave where they are not those that enter.
WRITTEN: dict[str, str] = {
    "above": "above(0.5)",
    "below": "below(0.5)",
    "constant": "constant(conv(c, 3))",
    "resize_like": "resize_like(avg_pool(2, stride=2))",
    "adaptive_avg_pool": "adaptive_avg_pool(3)",
    "adaptive_max_pool": "adaptive_max_pool(3)",
    "agent_bias": "|\n    a = adaptive_avg_pool(2)\n    return attention(2, q=a, pos=agent_bias(3))",
    "argsort": "linear(1) >> argsort",
    "attention": "attention(2)",
    "average": 'average(over="all")',
    "avg_pool": "avg_pool(3, stride=2)",
    "axial": "attention(1, head_dim=12, rotary=axial)",
    "binary_cross_entropy": 'binary_cross_entropy(target=sigmoid, over="all")',
    "cascade": "cascade(linear(c), parts=2)",
    "clip": "clip(0, 1)",
    "continuous_bias": "attention(2, over=avg_pool(2, stride=2), pos=continuous_bias(linear(2)))",
    "channel_dropout": "channel_dropout(0.1)",
    "centre": "global_pool >> centre",
    "chunk": "|\n    a, b = chunk(2)\n    return a * b",
    "concat": "concat(conv(c), linear(c))",
    "conv": "conv(4, 3, stride=2)",
    "crop": "crop(3, 1)",
    "cross_entropy": 'linear(4) >> cross_entropy(target=softmax, over="all")',
    "deconv": "deconv(4, 2, stride=2)",
    "deform_conv": "deform_conv(4, 3, stride=2)",
    "deformable": "deformable(2)",
    "dilated": "dilated(2, conv(c, 3))",
    "distill": 'linear(c) >> distill(teacher=softmax, over="all")',
    "drop_path": "drop_path(0.1)",
    "dropout": "dropout(0.1)",
    "each": "|\n    y = [id, id] >> each(linear(c))\n    return y[0] + y[1]",
    "ema": "|\n    shared f = linear(c)\n    y = f\n    return y + (y >> ema(f, 0.9))",
    "embedding": "embedding(4)",
    "first": "first(3)",
    "focal": 'focal(target=sigmoid, over="all")',
    "fold": "linear(2 * 4 ** 2) >> fold(2)",
    "fourier": "fourier(12)",
    "frozen": "frozen(conv(c, 3))",
    "grid": "|\n    y = tokens\n    return y >> grid(2, y.n // 2)",
    "group_norm": "group_norm(2)",
    "gru": "gru(4)",
    "info_nce": "global_pool >> linear(4) >> info_nce(id)",
    "inner": "inner(outer(id, linear(3)), linear(3))",
    "join": "join(learned(2), id)",
    "irfft": "irfft(2 * grid[-1] - 2)",
    "keys_seen": "attention(2, over=near(3), scale=keys_seen >> log)",
    "knob": "knob(0.5)",
    "learned": "id * learned(1)",
    "linear": "linear(4)",
    "log": "softplus >> log",
    "lstm": "lstm(4, over=0)",
    "max_pool": "max_pool(3, stride=2)",
    "maximum": "maximum(conv(c), linear(c))",
    "matmul": "|\n    y = linear(3)\n    return matmul(transpose) >> matmul(y)",
    "mean": "mean(conv(c), linear(c))",
    "merge": "windows(2) >> global_pool >> merge",
    "minimum": "minimum(conv(c), linear(c))",
    "mixture_conv": "mixture_conv(4, 3, stride=2)",
    "moving_bias": "attention(2, pos=moving_bias(coordinates))",
    "near": "attention(2, over=near(3))",
    "past": "attention(2, over=past)",
    "nmf": "nmf(2)",
    "ones": "ones(2)",
    "outer": "outer(id, linear(3))",
    "pad": "pad(0, 1)",
    "pair_bias": "attention(2, over=avg_pool(2, stride=2), pos=pair_bias)",
    "patches": "join(learned(1), id) >> patches",
    "per_head": "per_head(2, conv(c, 3, stride=2) >> linear(4))",
    "pick": "pick([0, -1, 0])",
    "prefix": "join(learned(1), id) >> prefix",
    "random_features": "random_features(4)",
    "recurrence": "recurrence(sigmoid, id, over=0)",
    "relative_bias": "attention(2, pos=relative_bias)",
    "relative_keys": "attention(2, over=avg_pool(2, stride=2), pos=relative_keys)",
    "reorder": "reorder(linear(1) >> argsort) >> linear(c)",
    "res": "res(conv(c, 3))",
    "resize": "resize(5)",
    "rest": "rest(3)",
    "restore": "|\n    o = linear(1) >> argsort\n    return reorder(o) >> linear(c) >> restore(o)",
    "route": "route(2, [linear(c), id, dw(3)])",
    "routed": "attention(2, over=routed(2, 2))",
    "sample": "sample(coordinates)",
    "sine": "sine(12)",
    "scalar": "id * scalar(0.5)",
    "scan": "scan((x, h -> (x || h) >> linear(4)), start=4, over=0)",
    "shuffle": "shuffle(3)",
    "split": "split(conv(c, 3), linear(c))",
    "spread": "unfold(2, stride=2) >> spread(2)",
    "sqrt": "softplus >> sqrt",
    "std_conv": "std_conv(4, 3, stride=2)",
    "steps": "|\n    y = steps(2 * linear(c))\n    return y[0] + y[1]",
    "take": "take(3)",
    "tile": "tile(2)",
    "tied": "|\n    shared table = embedding(4)\n    return table >> linear(4) >> tied(table)",
    "times": "times(2)",
    "transpose": "transpose >> linear(3)",
    "transposed": "transposed(linear(c))",
    "unfold": "unfold(2, stride=2)",
    "unused": "unused(3)",
    "upsample": "upsample(2)",
    "window": "window(2, attention(2), shift=1)",
    "windows": "windows(2)",
    "zeros": "zeros(2)",
}
# What leaves, by the shape that would be of a map: channels, and extents of the two-dimensional input.
SHAPES: dict[str, tuple[int, ...]] = {
    "avg_pool": (6, 4, 2),
    "conv": (4, 4, 2),
    "crop": (6, 3, 3),
    "deconv": (4, 16, 8),
    "fold": (8, 16, 8),
    "linear": (4, 8, 4),
    "max_pool": (6, 4, 2),
    "merge": (6, 4, 2),
    "mixture_conv": (4, 4, 2),
    "irfft": (3, 8, 6),
    "random_features": (4, 8, 4),
    "resize": (6, 5, 5),
    "resize_like": (6, 4, 2),
    "rfft": (12, 8, 3),
    "tile": (6, 16, 8),
    "unfold": (24, 4, 2),
    "upsample": (6, 16, 8),
}
# Ranks, where they are not all.
ONLY = {"deform_conv": [2], "deformable": [2], "embedding": [1], "tied": [1]}
# Those that are about ids.
IDS = ("embedding", "tied")
# Those that give one number for the whole batch.
LOSSES = ("average", "binary_cross_entropy", "cross_entropy", "distill", "focal", "info_nce")
# What reads the objects of a picture, which a loss alone has: tests/operators/test_hungarian.py.
OF_OBJECTS = ("hungarian",)
CASES = [(name, rank) for name in OPERATORS if name not in OF_OBJECTS for rank in ONLY.get(name, [1, 2, 3])]
WRONG = [
    ("deform_conv(4, 3)", 1, "works in 2 dimensions, not in 1"),
    ("deform_conv(4, 3)", 3, "works in 2 dimensions, not in 3"),
    ("deformable(2)", 1, "deformable attention works in 2 dimensions, not in 1"),
    ("deformable(2)", 3, "deformable attention works in 2 dimensions, not in 3"),
    ("position(size=4)", 3, "'bicubic' interpolates in 2-D only"),
    ('resize(5, mode="bicubic")', 1, "'bicubic' interpolates in 2-D only"),
    ('resize(5, mode="bicubic")', 3, "'bicubic' interpolates in 2-D only"),
    ('upsample(2, mode="bicubic")', 3, "'bicubic' interpolates in 2-D only"),
    ("resize(5, antialias=true)", 1, "no antialias for 'bilinear' in 1-D"),
    ("conv(4, [3, 3])", 1, "2 numbers for 1 spatial dimension"),
    ("conv(4, [3, 3])", 3, "2 numbers for 3 spatial dimensions"),
    ('unfold(2, order="c y x")', 1, "an order of 'c y x' in 1 dimension"),
    ('unfold(2, order="c x")', 3, "an order of 'c x' in 3 dimensions"),
    ("window([2, 2], id)", 1, "a window of [2, 2] on 1 axis"),
    ("dilated([2, 2], id)", 3, "a rate of [2, 2] on 3 axes"),
    ("attention(2, over=near([3, 3]))", 3, "a neighbourhood of [3, 3] on 3 axes"),
]


def network(body: str, rank: int, source: str | None = None) -> str:
    return f"name: tiny\ninput: {source or INPUTS[rank]}\nstages:\n  body: {body}\n"


def network_of(name: str, rank: int) -> str:
    """The text of a network of one operator."""
    return network(WRITTEN.get(name, name), rank, "tokens(6, 8)" if name in IDS else None)


def outputs(name: str, rank: int) -> tuple[torch.nn.Module, Tensor, Tensor]:
    model = metablock.build(load_text(network_of(name, rank)))
    x = torch.randint(6, (2, 8)) if name in IDS else torch.randn(2, 6, *(8, 4, 4)[:rank])
    return model, x, model.eval()(x)


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_every_operator_in_every_rank(name: str, rank: int) -> None:
    model, x, y = outputs(name, rank)
    assert y.isfinite().all()
    if name not in ("merge", "windows", *LOSSES):
        assert y.shape[0] == 2
    parameters = [p for p in model.parameters() if p.requires_grad]
    if parameters and name not in ("argsort", "unused"):
        model.train()(x).square().mean().backward()
        assert any(p.grad is not None and p.grad.isfinite().all() for p in parameters)


@pytest.mark.parametrize("name", SHAPES)
def test_extents_that_leave(name: str) -> None:
    c, *grid = SHAPES[name]
    _, _, y = outputs(name, 2)
    assert tuple(y.shape) in {(2, c, *grid), (2, *grid, c)}


def test_the_table_knows_its_operators() -> None:
    assert {*WRITTEN, *SHAPES, *ONLY} <= set(OPERATORS)
    assert all(
        name in (*WRITTEN, *OF_OBJECTS) for name, operator in OPERATORS.items() if any(p.required for p in operator.schema.params)
    )


@pytest.mark.parametrize(("body", "rank", "message"), WRONG)
def test_what_a_rank_does_not_have_is_said_at_its_place(body: str, rank: int, message: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        metablock.build(load_text(network(body, rank)))
    first = str(caught.value).splitlines()[0]
    assert first.startswith("<spec>:4:")
    assert message in first
