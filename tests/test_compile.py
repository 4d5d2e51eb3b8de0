"""The compile contract, over every shipped architecture: no graph break, one graph a distinct block, eager's numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from cases import ONE, small
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd

import metablock
from metablock.api import example
from metablock.backend.compiler import distinct
from metablock.language.load import load_text
from metablock.operators.attend import Attend
from metablock.operators.drop_path import DropPath
from metablock.operators.dropout import Dropout

# Whose backward is traced, too, as inductor would have it: of each kind of network one. It takes as long again.
TRACED = (
    "poolformer_s12", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "resnet18", "dy_resnet10", "agent_deit_t",
)  # fmt: skip


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


# Dynamo looks at the gradient of what enters a region.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(("name", "variant"), ONE, ids=[variant for _, variant in ONE])
def test_contract(name: str, variant: str) -> None:
    torch._dynamo.reset()
    eager = small(name, variant, dtype=torch.float64)
    with torch.no_grad():
        for parameter in eager.parameters():  # tiny layer scales would hide a branch
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    for module in eager.modules():
        if isinstance(module, Attend):
            module.drop = 0.0  # a number of the graph: it would differ between both
    model = copy.deepcopy(eager)
    backend = Counting(traced=variant in TRACED)
    metablock.compile(model, backend=backend)
    x = example(eager, 2)

    model.eval(), eager.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(*x), eager(*x), rtol=1e-9, atol=1e-9)
    assert 0 < backend.graphs <= distinct(model)

    backend.graphs = 0
    model.train(), eager.train()
    model(*x)  # with drop-path on
    assert 0 < backend.graphs <= distinct(model)
    for module in [*model.modules(), *eager.modules()]:
        if isinstance(module, (DropPath, Dropout)):
            module.rate.zero_()
    before = backend.graphs
    eager.load_state_dict(model.state_dict())  # batch norm's statistics moved
    for network in (model, eager):
        torch.manual_seed(0)  # the noise of a router
        total(network(*x)).backward()
    assert backend.graphs == before
    for (path, a), b in zip(model.named_parameters(), eager.parameters(), strict=True):
        if b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-8 * max(1.0, b.grad.abs().max().item()), msg=path)


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
    metablock.compile(model, whole=True, backend=backend)
    torch.testing.assert_close(model(x), expected)
    assert backend.graphs == 1


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
