"""What holds for every operator: its rule on integers is true, it can be built on ``meta``, it trains, it compiles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounter

from leaves import CASES, Case, build, feature, inputs, label, shape
from metablock.errors import SpecError
from metablock.shape import Feature
from oracles import check_gradients

every = pytest.mark.parametrize("case", CASES, ids=label)
PLAIN = [
    f"activations.{name}"
    for name in ["Relu", "Relu6", "Gelu", "QuickGelu", "Silu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Softplus"]
]
# One of each, in two dimensions where there are two.
SOME = {(case.name, str(case.arguments)): case for case in sorted(CASES, key=lambda case: case.features[0].rank == 2)}
# The plain activations are a single call each: one of them stands for all.
one_each = pytest.mark.parametrize("case", [c for (name, _), c in SOME.items() if name not in PLAIN], ids=label)


@every
def test_shape_is_the_tensors(case: Case) -> None:
    module = build(case.name, *case.features, **case.arguments)
    expected = shape(case.name, *case.features, **case.arguments)
    for training in (True, False):
        assert tuple(module.train(training)(*inputs(*case.features)).shape) == expected.size(2)


@every
def test_gradients_are_finite(case: Case) -> None:
    module = build(case.name, *case.features, **case.arguments)
    arrives = [x.requires_grad_() for x in inputs(*case.features)]
    module(*arrives).square().sum().backward()
    check_gradients(module)
    if not case.name.startswith(("learned", "scalar")):
        assert all(x.grad is not None and x.grad.isfinite().all() for x in arrives)


@every
def test_built_on_meta_and_filled_later(case: Case) -> None:
    here = build(case.name, *case.features, **case.arguments)
    with torch.device("meta"):
        there = build(case.name, *case.features, **case.arguments)
    assert {t.device.type for t in [*there.parameters(), *there.buffers()]} <= {"meta"}
    assert tuple(there(*inputs(*case.features, device="meta")).shape) == shape(case.name, *case.features, **case.arguments).size(
        2
    )
    there.to_empty(device="cpu")
    for module in (here, there):
        torch.manual_seed(1)
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    for name in tensors(here) | tensors(there):
        assert torch.equal(tensors(here)[name], tensors(there)[name]), name


def tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return dict([*module.named_parameters(), *module.named_buffers()])


@one_each
def test_one_graph(case: Case) -> None:
    torch._dynamo.reset()
    module = build(case.name, *case.features, **case.arguments).eval()
    arrives = inputs(*case.features)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*arrives), module(*arrives))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("times.Times", ({"factor": 0.5}, {"factor": 0.25})),
        ("dropout.Dropout", ({"rate": 0.1}, {"rate": 0.2})),
        ("drop_path.DropPath", ({"rate": 0.1}, {"rate": 0.2})),
        ("softmax.Softmax", ({"temperature": 1.0, "start": 9.0}, {"temperature": 2.0, "start": 8.0})),
        ("scale.Scale", ({"init": 0.1}, {"init": 0.2})),
        ("batch_norm.BatchNorm", ({"gamma": 0.0}, {"gamma": 1.0})),
    ],
)
def test_numbers_that_differ_between_blocks_share_a_graph(name: str, arguments: tuple[dict[str, float], ...]) -> None:
    torch._dynamo.reset()
    counter = CompileCounter()
    x = feature("map", 6, 3, 4)
    blocks = [build(name, x, **each) for each in arguments]

    @torch.compile(fullgraph=True, backend=counter)
    def run(block: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return block(x)

    for block in blocks:
        run(block, *inputs(x))
    assert counter.frame_count == 1


@settings(max_examples=100)
@given(st.data())
def test_windows_anywhere(data: st.DataObject) -> None:
    """Whatever the extents: the rule says what the tensor does, or explains why it cannot."""
    name = data.draw(
        st.sampled_from(
            [
                "conv.Conv",
                "std_conv.StdConv",
                "mixture_conv.MixtureConv",
                "conv_transpose.ConvTranspose",
                "deform_conv.DeformConv",
                "avg_pool.AvgPool",
                "max_pool.MaxPool",
                "unfold.Unfold",
            ]
        )
    )
    rank = data.draw(st.integers(1, 3))
    layout = data.draw(st.sampled_from(["map", "grid"])) if name == "unfold.Unfold" else "map"

    def numbers(low: int, high: int) -> st.SearchStrategy[int | list[int]]:
        return st.one_of(st.integers(low, high), st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    x = feature(layout, 4, *data.draw(st.lists(st.integers(1, 6), min_size=rank, max_size=rank)))
    arguments = {"kernel": data.draw(numbers(1, 4)), "stride": data.draw(numbers(1, 4))}
    padding = data.draw(st.one_of(st.none(), numbers(0, 2), st.just("same")))
    strict = name in ("conv_transpose.ConvTranspose", "avg_pool.AvgPool", "unfold.Unfold", "deform_conv.DeformConv")
    if padding is not None and not (strict and padding == "same"):
        arguments["padding"] = padding
    if name == "avg_pool.AvgPool":
        arguments |= {"ceil": data.draw(st.booleans()), "count_padding": data.draw(st.booleans())}
    if "onv" in name:
        arguments["out"] = 6
    if name in ("conv.Conv", "std_conv.StdConv", "mixture_conv.MixtureConv"):
        arguments |= {"dilation": data.draw(st.integers(1, 2)), "groups": data.draw(st.integers(1, 2))}
    features = (x, Feature("vector", 4)) if name.startswith("mixture") else (x,)
    try:
        expected = shape(name, *features, **arguments)
    except SpecError:
        return
    result = build(name, *features, **arguments)(*inputs(*features, batch=1))
    assert tuple(result.shape) == expected.size(1)
    assert result.isfinite().all()
