"""Early exit of any network with several answers, and the graphs of networks in several passes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import metablock
from metablock.backend.block import Block
from metablock.backend.compiler import _single_operators, distinct, regions
from metablock.errors import MetablockError
from metablock.language.load import load_text
from oracles import randomised_state

THREE = """
name: three
input: image(4, 8)
let:
  answer: global_pool >> linear(5)
stages:
  depth: 2
  body: depth * res(conv(c, 3) >> relu)
model: |
  x ->
  a = x >> stages
  b = a >> avg_pool(2, stride=2) >> stages
  w = x >> windows(4) >> conv(c, 3)
  d = b >> stages
  m = w >> merge >> avg_pool(2, stride=2)
  return one = a >> answer, two = b >> answer, three = d + m >> answer
"""


def build(text: str = THREE) -> Block:
    model = metablock.build(load_text(text), dtype=torch.float64).eval()
    randomised_state(model)
    return model.requires_grad_(False)


def images() -> Tensor:
    return torch.randn(9, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_each_image_takes_the_first_answer_that_is_sure() -> None:
    model, x = build(), images()
    one, two, three = model(x).values()
    first, second = (answer.softmax(-1).amax(-1) for answer in (one, two))
    reached = [0, 0, 0]
    for threshold in torch.cat([first, second]).tolist():
        stay, leave = first >= threshold, second >= threshold
        expected = torch.where(stay[:, None], one, torch.where(leave[:, None], two, three))
        torch.testing.assert_close(metablock.early_exit(model, x, threshold), expected, rtol=1e-12, atol=1e-12)
        for i, images_here in enumerate((stay, ~stay & leave, ~stay & ~leave)):
            reached[i] += bool(images_here.any()) and not bool(images_here.all())
    assert min(reached) > 0  # the data hold every case


def test_nothing_exits_to_the_bit_and_all_at_once_does_no_more() -> None:
    model, x = build(), images()
    one, _, three = model(x).values()
    runs: list[int] = []
    model.stages[0].register_forward_hook(lambda _m, inputs, _o: runs.append(len(inputs[0])))
    assert torch.equal(metablock.early_exit(model, x, 2.0), three)
    assert runs == [9, 9, 9]
    runs.clear()
    assert torch.equal(metablock.early_exit(model, x, 0.0), one)
    assert runs == [9]


def test_answers_of_predict() -> None:
    """What evaluation gives counts, not what training does."""
    model = build(THREE + "predict: one, two, three -> [one / 2, three]\n")
    x = images()
    half, three = model(x)
    assert torch.equal(metablock.early_exit(model, x, 2.0), three)
    assert torch.equal(metablock.early_exit(model, [x], 0.0), half)


def test_a_copy_and_a_deployed_network() -> None:
    model, x = build(), images()
    threshold = float(model(x)["one"].softmax(-1).amax(-1).median())
    expected = metablock.early_exit(model, x, threshold)
    other = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.zero_()
    assert torch.equal(metablock.early_exit(other, x, threshold), expected)
    deployed = metablock.reparameterize(other)
    torch.testing.assert_close(metablock.early_exit(deployed, x, threshold), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("last", "message", "hint"),
    [
        ("return a >> answer", "'three' gives one answer", "`return coarse = ..., fine = ...`"),
        ("return one = a >> answer, two = a", "answers of different shapes", "vectors of one width"),
        ("return one = a >> answer, two = a >> global_pool", "answers of different shapes", "vectors of one width"),
        ("return one = a >> answer, two = [a >> answer, a >> answer]", "answers of different shapes", "vectors of one width"),
    ],
)
def test_errors(last: str, message: str, hint: str) -> None:
    text = THREE[: THREE.index("  b = ")] + f"  {last}\n"
    with pytest.raises(MetablockError, match=message) as caught:
        metablock.early_exit(build(text), images(), 0.5)
    assert hint in str(caught.value).splitlines()[-1]


def test_it_is_for_inference() -> None:
    with pytest.raises(MetablockError, match=r"train mode\n  call \.eval"):
        metablock.early_exit(build().train(), images(), 0.5)


def test_a_graph_for_each_size_at_which_a_part_is_used() -> None:
    """And the lines of `model` are parts that are compiled, where they have any."""
    torch._dynamo.reset()
    model, graphs = build(), []
    lines = [region for region in regions(model) if region.region == "line"]
    assert len(lines) == 2  # w and m; a, b and d are made of sections, and what `return` says of bindings is none
    assert distinct(model) == 2 + len(lines)
    metablock.compile(model, way="regions", backend=lambda graph, _: (graphs.append(graph), graph.forward)[1])
    model(images())
    assert len(graphs) == distinct(model) + len(list(_single_operators(model)))
