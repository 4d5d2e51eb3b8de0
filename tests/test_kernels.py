"""What compilation on a GPU is told: small depthwise convolutions as arithmetic, and Inductor's options. Runs on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._inductor.utils import run_and_get_code
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

import metablock
from metablock.backend import compiler
from metablock.kernels import fusion, store_depthwise
from metablock.kernels.small_convolutions import HALF, SmallConvolutions

CONVOLUTIONS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "line": (nn.Conv1d, {"kernel_size": 3, "padding": 1}),
    "map": (nn.Conv2d, {"kernel_size": 3, "padding": 1, "bias": False}),
    "stride": (nn.Conv2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "uneven": (nn.Conv2d, {"kernel_size": (1, 7), "stride": (1, 2), "padding": (0, 3)}),
    "dilated": (nn.Conv2d, {"kernel_size": 3, "padding": 2, "dilation": 2}),
    "valid": (nn.Conv2d, {"kernel_size": 3}),
    "volume": (nn.Conv3d, {"kernel_size": 2, "stride": (1, 2, 1)}),
}
CPU = SmallConvolutions(("cpu",), (torch.float64, torch.bfloat16))


def traced(conv: nn.Module, x: Tensor) -> torch.fx.GraphModule:
    """The graph of a convolution of ``x``, ``weight`` and ``bias``, as Inductor's passes get it."""
    function = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.dim()]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        weight, bias = (*parameters, None)[:2]
        return function(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)

    return make_fx(run, tracing_mode="fake")(x, *conv.parameters())


def replaced(graph: torch.fx.GraphModule) -> bool:
    return not graph.graph.find_nodes(op="call_function", target=torch.ops.aten.convolution.default)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_small_convolution_is_its_sum_over_taps(case: str) -> None:
    make, options = CONVOLUTIONS[case]
    conv = make(6, 6, groups=6, dtype=torch.float64, **options)
    x = torch.randn(2, 6, *(9, 8, 7)[: conv.weight.dim() - 2], dtype=torch.float64)
    graph = traced(conv, x)
    assert not replaced(graph)
    CPU(graph.graph, is_inference=True)
    graph.graph.lint()
    graph.recompile()
    assert replaced(graph)
    torch.testing.assert_close(graph(x, *conv.parameters()), conv(x), rtol=1e-12, atol=1e-12)


def test_inductor_computes_the_sum() -> None:
    """Two in one graph, to compile once."""
    torch._dynamo.reset()
    kinds = [CONVOLUTIONS[case] for case in ("stride", "uneven")]
    made = [make(6, 6, groups=6, dtype=torch.float64, **options) for make, options in kinds]
    inputs = [torch.randn(2, 6, *(9, 8, 7)[: conv.weight.dim() - 2], dtype=torch.float64) for conv in made]

    def every(*inputs: Tensor) -> list[Tensor]:
        return [conv(x) for conv, x in zip(made, inputs, strict=True)]

    run = torch.compile(every, options={"post_grad_custom_pre_pass": CPU, "fx_graph_cache": False})
    with torch.no_grad():
        outputs, (code,) = run_and_get_code(run, *inputs)
        torch.testing.assert_close(outputs, every(*inputs), rtol=1e-12, atol=1e-12)
    assert "extern_kernels.convolution" not in code


def test_half_precision_sums_in_float32() -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False, dtype=torch.bfloat16)
    x = torch.randn(2, 8, 9, 9, dtype=torch.bfloat16)
    graph = traced(conv, x)
    CPU(graph.graph, is_inference=True)
    graph.recompile()
    exact = F.conv2d(x.float(), conv.weight.float(), padding=1, groups=8)
    torch.testing.assert_close(graph(x, conv.weight), exact.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("conv", "change", "inference"),
    [
        (nn.Conv2d(6, 6, 3, groups=6), CPU, True),  # float32
        (nn.Conv2d(6, 6, 5, groups=6, dtype=torch.float64), CPU, True),  # 25 taps
        (nn.Conv2d(6, 12, 3, groups=6, dtype=torch.float64), CPU, True),  # two outputs a channel
        (nn.Conv2d(6, 6, 3, groups=3, dtype=torch.float64), CPU, True),
        (nn.Conv2d(6, 6, 3, groups=6, dtype=torch.float64), CPU, False),  # training
        (nn.Conv2d(6, 6, 3, groups=6, dtype=torch.bfloat16), SmallConvolutions(), True),  # not on a GPU
    ],
    ids=["dtype", "taps", "multiplier", "grouped", "training", "device"],
)
def test_other_convolutions_stay(conv: nn.Module, change: SmallConvolutions, inference: bool) -> None:
    graph = traced(conv, torch.randn(1, 6, 8, 8, dtype=conv.weight.dtype))
    change(graph.graph, is_inference=inference)
    assert not replaced(graph)


def test_inductor_fuses_what_stands_behind() -> None:
    """One kernel for the convolution, the norm and the activation; the numbers are eager's."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()).eval()
    x = torch.randn(2, 8, 6, 6)
    change = SmallConvolutions(("cpu",), (torch.float32,))
    run = torch.compile(model, options={"post_grad_custom_pre_pass": change, "fx_graph_cache": False})
    with torch.no_grad():
        y, (code,) = run_and_get_code(run, x)
        torch.testing.assert_close(y, model(x), rtol=1e-5, atol=1e-5)
    assert code.count("async_compile.cpp_pybinding(") == 1
    assert "extern_kernels.convolution" not in code


def test_stored_kernels_compute_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 3), nn.Conv2d(16, 16, 7, groups=16)).double()
    x = torch.randn(2, 8, 12, 12, dtype=torch.float64)
    model(x).sum().backward()
    before = {name: (value.clone(), value.stride()) for name, value in model.state_dict().items()}
    expected, gradient = model(x), model[0].weight.grad.clone()
    store_depthwise(model)
    model.zero_grad()
    model(x).sum().backward()
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(model[0].weight.grad, gradient)
    changed = set()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name][0])
        changed |= {name} if value.stride() != before[name][1] else set()
    assert changed == {"0.weight"}


def test_a_mode_becomes_options_and_what_is_given_wins() -> None:
    plain = fusion({"fullgraph": True}, products=False)
    assert plain["fullgraph"] is True
    assert set(plain["options"]) == {"post_grad_custom_pre_pass"}
    every = fusion({"mode": "max-autotune", "options": {"max_autotune_gemm_backends": "ATEN"}})
    assert "mode" not in every
    assert every["options"]["max_autotune_gemm_backends"] == "ATEN"
    assert every["options"]["triton.cudagraphs"] is True
    assert every["options"]["max_autotune_gemm"] is True
    torch._TorchCompileInductorWrapper(None, every["options"], False)  # torch knows every name


def test_the_pass_has_an_identity_for_inductors_cache() -> None:
    assert SmallConvolutions().uuid() == SmallConvolutions(("cuda",), HALF).uuid() != CPU.uuid()


@pytest.mark.parametrize(
    ("arguments", "convolutions", "products"),
    [
        ({}, True, False),
        ({"fused": True}, True, True),
        ({"fused": False}, False, False),
        ({"mode": "max-autotune"}, True, True),
        ({"mode": "reduce-overhead"}, True, False),
        ({"backend": "eager"}, False, False),
    ],
)
def test_what_compile_asks_for_on_a_gpu(
    arguments: dict[str, Any], convolutions: bool, products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(compiler, "_device_type", lambda model: "cuda")
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: seen.update(options))
    model = metablock.build("mobilenetv2_100", device="meta")
    metablock.compile(model, way="whole", **arguments)
    options = seen.get("options", {})
    assert ("post_grad_custom_pre_pass" in options) is convolutions
    assert ("max_autotune_gemm" in options) is products
    assert ("realize_reads_threshold" in options) is (bool(options) and not products)  # or residual streams are not in memory
    stored = [m.weight.stride(0) == 1 for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert stored == [convolutions] * 17
