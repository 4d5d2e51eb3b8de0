"""Building neither reads nor changes the random numbers of the process, and no thread's build changes another's."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
import torch
from cases import ONE, small
from torch import Tensor, nn

import metablock
from metablock.backend.builder import path_seed
from metablock.backend.draws import Draws
from metablock.language.load import load_text
from metablock.writers.torch_export import _inputs


def build(seed: int = 0) -> dict[str, Tensor]:
    return metablock.build("resnet18", input="3x32x32", edits=["dim = [8, 8, 8, 8]"], seed=seed).state_dict()


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_threads_draw_what_one_alone_draws() -> None:
    """While another thread draws from the global generator, which keeps its own sequence."""
    expected = [build(seed) for seed in range(3)]
    torch.manual_seed(5)
    numbers = [torch.rand(7) for _ in range(200)]
    torch.manual_seed(5)
    seen: list[Tensor] = []
    results: dict[int, dict[str, Tensor]] = {}
    threads = [threading.Thread(target=lambda i=i: results.__setitem__(i, build(i % 3))) for i in range(6)]
    for thread in threads:
        thread.start()
    while len(seen) < 200:
        seen.append(torch.rand(7))
    for thread in threads:
        thread.join()
    assert all(equal(results[i], expected[i % 3]) for i in range(6))
    assert all(map(torch.equal, seen, numbers))


@pytest.mark.parametrize(("name", "variant"), ONE, ids=[variant for _, variant in ONE])
def test_no_architecture_draws_from_the_process(name: str, variant: str) -> None:
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    small(name, variant)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), str(np.random.get_state())) == before[1:]


def test_initial_weights_are_those_of_torchs_generator() -> None:
    """The numbers that the layer draws after ``torch.manual_seed``: files and golden outputs depend on them."""
    model = metablock.build(load_text("name: n\ninput: image(3, 8)\nmodel: conv(4, 3) >> layer_norm >> linear(5)"), seed=3)
    torch.manual_seed(path_seed(3, "conv"))
    conv = nn.Conv2d(3, 4, 3, padding=1)
    torch.manual_seed(path_seed(3, "linear"))
    linear = nn.Linear(4, 5)
    for part, name in ((conv, "conv"), (linear, "linear")):
        assert torch.equal(part.weight, model.get_submodule(name).weight)
        assert torch.equal(part.bias, model.get_submodule(name).bias)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.rand(5),
        lambda: torch.randn(5),
        lambda: torch.randint(9, (5,)),
        lambda: torch.randint(2, 9, (5,)),
        lambda: torch.randperm(9),
        lambda: torch.rand_like(torch.zeros(5)),
        lambda: torch.randn_like(torch.zeros(5)),
        lambda: torch.normal(0.0, 1.0, (5,)),
        lambda: torch.normal(torch.zeros(5), 1.0),
        lambda: torch.bernoulli(torch.full((9,), 0.5)),
        lambda: torch.multinomial(torch.ones(9), 3),
        lambda: torch.empty(5).exponential_(),
        lambda: nn.init.trunc_normal_(torch.empty(5)),
        lambda: nn.init.orthogonal_(torch.empty(5, 5)),
        lambda: nn.init.sparse_(torch.empty(5, 5), 0.5),
        lambda: nn.functional.dropout(torch.ones(9)),
        lambda: torch.distributions.Normal(0.0, 1.0).sample((5,)),
        lambda: nn.MultiheadAttention(4, 2).in_proj_weight.detach(),
        lambda: nn.LSTM(3, 4).weight_ih_l0.detach(),
    ],
)
def test_whatever_draws_uses_the_generator_of_the_block(draw) -> None:
    torch.manual_seed(11)
    expected = draw()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with Draws().seeded(11):
        drawn = draw()
    assert torch.equal(drawn, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_that_is_named_is_used() -> None:
    own = torch.Generator().manual_seed(4)
    with Draws().seeded(1):
        drawn = torch.rand(3, generator=own)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(4)))


def test_the_default_device_does_not_matter() -> None:
    expected = build()
    with torch.device("meta"):
        assert equal(build(), expected)


def test_inputs_of_an_export_leave_the_process_alone() -> None:
    model = metablock.build("resnet18", device="meta")
    before = torch.get_rng_state()
    _inputs(model, 1)
    assert torch.equal(torch.get_rng_state(), before)
