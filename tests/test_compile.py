"""The compile contract, over every shipped architecture: no graph break, one graph a distinct block, eager's numbers."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cases import ONE, small
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._inductor.utils import run_and_get_code

import metablock
from metablock.api import example
from metablock.backend.block import Block, Network
from metablock.backend.compiler import _single_operators, default_way, distinct
from metablock.backend.outline import outline
from metablock.language.load import load_text
from metablock.operators.attend import Attend
from metablock.operators.drop_path import DropPath
from metablock.operators.dropout import Dropout

# Whose backward is traced, too, as Inductor would have it: of each kind of network one. It takes as long again.
TRACED = [
    ("metaformer", "poolformer_s12"), ("vit", "vit_tiny_patch16_224"), ("swin", "swin_tiny_patch4_window7_224"),
    ("resnet", "resnet18"), ("dynamic_conv", "dy_resnet10"), ("agent_attention", "agent_deit_t"),
]  # fmt: skip


class Counting:
    """A backend that runs graphs as they are and counts them; with ``traced`` after autograd has been traced through them."""

    def __init__(self, traced: bool = False) -> None:
        self.graphs, self.traced = 0, traced

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        self.graphs += 1
        if not self.traced or not torch.is_grad_enabled():
            return graph.forward
        return aot_autograd(fw_compiler=lambda g, _: make_boxed_func(g.forward))(graph, inputs)


def total(output: object) -> Tensor:
    """Any output as one number whose gradient reaches everything."""
    if isinstance(output, Tensor):
        return (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum()
    return sum(total(part) for part in (output.values() if isinstance(output, dict) else output))


def varied(name: str, variant: str) -> Network:
    """A small network in float64 in which no branch is hidden behind a tiny layer scale, and nothing draws."""
    model = small(name, variant, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    for module in model.modules():
        if isinstance(module, Attend):
            module.drop = 0.0  # a number of the graph: it would differ between both
        if isinstance(module, (DropPath, Dropout)):
            module.rate.zero_()
    return model


@pytest.mark.parametrize(("name", "variant"), ONE, ids=[variant for _, variant in ONE])
def test_contract(name: str, variant: str) -> None:
    """Outlined blocks compute what they did, forward and backward; nested in a graph they are one graph without a break."""
    torch._dynamo.reset()
    eager = varied(name, variant)
    model = copy.deepcopy(eager)
    x = example(eager, 2)
    way, backend = default_way(model), Counting()
    if way == "nested":
        outline(model)
        agree(model, eager, x)
    metablock.compile(model, way=way, backend=backend)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(*x), eager.eval()(*x), rtol=1e-9, atol=1e-9)
    assert 0 < backend.graphs <= (1 if way == "nested" else distinct(model))


def agree(model: Network, eager: Network, x: list[Tensor], tolerance: float = 1e-6) -> None:
    """A step of training leaves the same gradients in both."""
    eager.load_state_dict(model.state_dict())  # batch norm's statistics may have moved
    for network in (model.train(), eager.train()):
        torch.manual_seed(0)  # the noise of a router
        total(network(*x)).backward()
    for (path, a), b in zip(model.named_parameters(), eager.parameters(), strict=True):
        if b.grad is not None:
            torch.testing.assert_close(
                a.grad, b.grad, rtol=tolerance, atol=tolerance / 100 * max(1.0, b.grad.abs().max().item()), msg=path
            )
    model.zero_grad(), eager.zero_grad()


# Dynamo looks at the gradient of what enters a region.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("way", ["nested", "regions"])
@pytest.mark.parametrize(("name", "variant"), TRACED, ids=[variant for _, variant in TRACED])
def test_training(name: str, variant: str, way: str) -> None:
    torch._dynamo.reset()
    eager = varied(name, variant)
    model, backend = copy.deepcopy(eager), Counting(traced=True)
    metablock.compile(model, way=way, backend=backend)
    for _ in range(2):
        agree(model, eager, example(eager, 2))
        assert 0 < backend.graphs <= (1 if way == "nested" else distinct(model) + len(list(_single_operators(model))))


TINY = """
name: tiny
input: image(3, 16)
stem: conv_bn(8, 3, stride=2)
stages:
  depth: [2]
  body: depth * res(conv_bn(c, 3) >> relu)
head: global_pool >> linear(5)
"""


def test_whole_is_one_graph() -> None:
    torch._dynamo.reset()
    model, backend = metablock.build(load_text(TINY)).eval(), Counting()
    x = torch.randn(2, 3, 16, 16)
    expected = model(x)
    metablock.compile(model, way="whole", backend=backend)
    torch.testing.assert_close(model(x), expected)
    assert backend.graphs == 1


REPEATED = """
name: repeated
input: image(3, 16)
stem: conv(8, 3)
stages:
  depth: [4]
  body: depth * res(layer_norm >> linear(16) >> gelu >> linear(c))
head: global_pool >> linear(5)
"""


def test_nested_is_one_graph_that_compiles_a_block_once() -> None:
    """Inductor itself: the answer, the gradients, and a single copy of the block's products in the code."""
    torch._dynamo.reset()
    eager = metablock.build(load_text(REPEATED)).eval()
    model, x = copy.deepcopy(eager), torch.randn(2, 3, 16, 16)
    assert outline(copy.deepcopy(model)) == 1
    metablock.compile(model)
    with torch.no_grad():
        answer, codes = run_and_get_code(model, x)
        torch.testing.assert_close(answer, eager(x), rtol=1e-4, atol=1e-5)
    assert len(codes) == 1 and codes[0].count("extern_kernels.addmm(") <= 4  # two of the block, one of the head
    agree(model, eager, [x], tolerance=1e-3)


def test_a_compiled_step_draws_anew() -> None:
    torch._dynamo.reset()
    model = metablock.build(load_text(REPEATED.replace("gelu", "gelu >> dropout(0.5)"))).train()
    metablock.compile(model)
    x = torch.randn(4, 3, 16, 16)
    torch.manual_seed(0)
    first, second = model(x), model(x)
    torch.manual_seed(0)
    torch.testing.assert_close(model(x), first)
    assert not torch.allclose(first, second)


def test_copies_and_pickles_are_plain(tmp_path: Path) -> None:
    torch._dynamo.reset()
    model = metablock.build(load_text(REPEATED)).eval()
    x = torch.randn(1, 3, 16, 16)
    expected = model(x)
    metablock.compile(model, way="nested", backend=Counting())
    torch.save(model, tmp_path / "model.pt")
    for other in (copy.deepcopy(model), torch.load(tmp_path / "model.pt", weights_only=False)):
        assert not any(isinstance(part, Block) and part._plain for part in other.modules())
        torch.testing.assert_close(other(x), expected)


def test_what_cannot_be_nested_is_compiled_whole() -> None:
    """A backend without nested regions: the network is compiled whole, and the person sees why."""
    torch._dynamo.reset()
    model, backend = metablock.build(load_text(REPEATED)).eval(), Counting()
    x = torch.randn(2, 3, 16, 16)
    expected = model(x)

    def refuses(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        if any("invoke_subgraph" in str(node.target) for node in graph.graph.nodes):
            raise RuntimeError("no invoke_subgraph here")
        return backend(graph, inputs)

    metablock.compile(model, way="nested", backend=refuses)
    message = "compiled whole: torch cannot nest a part of this network: .*no invoke_subgraph here"
    with torch.no_grad(), pytest.warns(UserWarning, match=message):
        torch.testing.assert_close(model(x), expected)
    assert backend.graphs == 1
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(model(x), expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_single_operators_are_compiled_by_regions() -> None:
    torch._dynamo.reset()
    model, backend = metablock.build(load_text(REPEATED)).eval(), Counting()
    x = torch.randn(2, 3, 16, 16)
    expected = model(x)
    metablock.compile(model, way="regions", backend=backend)
    torch.testing.assert_close(model(x), expected)
    assert backend.graphs == 3  # the stem, one block, the head


def test_ways_that_are_none() -> None:
    model = metablock.build(load_text(TINY)).eval()
    with pytest.raises(metablock.MetablockError, match=r"no way to compile is called 'fast'\n  there are nested, whole, regions"):
        metablock.compile(model, way="fast")
    with pytest.raises(metablock.MetablockError, match="what is frozen is compiled whole, not 'regions'"):
        metablock.compile(model, way="regions", freeze=True)


def test_frozen_inference() -> None:
    """Inductor itself: what is folded and packed gives eager's answer."""
    torch._dynamo.reset()
    model = metablock.build(load_text(TINY)).eval()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(metablock.compile(model, freeze=True)(x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(metablock.MetablockError, match=r"train mode cannot be frozen\n  call \.eval"):
        metablock.compile(model.train(), freeze=True)


def test_kernels_lie_channels_last() -> None:
    """On the CPU: the values, names and what is saved stay."""
    model = metablock.build(load_text(TINY))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    metablock.compile(model)
    assert model.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0, check_stride=False)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "cache"))
    model = metablock.build("resnet18", input="3x32x32", device="meta")
    with pytest.raises(
        metablock.MetablockError, match=r"the compiler cannot write to '.*cache': Not a directory\n  TORCHINDUCTOR_CACHE_DIR"
    ):
        metablock.compile(model)
