"""Other people's tools find torch's own modules in a network, and do what they are for."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import pytest
import torch
from cases import ONE, SPECS, small
from torch import Tensor, nn

from leaves import build, feature
from metablock.api import example
from metablock.backend.block import Block
from metablock.backend.costs import macs
from oracles import randomised_state, relative_error, require

# Convolutions, attention, attention in windows, layer norm beside convolutions, inverted residuals, pooling as a mixer.
NETWORKS = {
    "resnet18": "resnet",
    "vit_tiny_patch16_224": "vit",
    "swin_tiny_patch4_window7_224": "swin",
    "convnext_tiny": "convnext",
    "mobilenetv2_035": "mobilenet_v2",
    "poolformer_s12": "metaformer",
}
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
networks = pytest.mark.parametrize("variant", NETWORKS)


def network(variant: str) -> Block:
    """A small network in evaluation, no part of it switched off by its initial values."""
    model = small(NETWORKS[variant], variant).eval()
    randomised_state(model)
    return model


def linears(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def counted(model: Block, x: Tensor) -> dict[str, int]:
    return macs(copy.deepcopy(model).to("meta"), x.to("meta"))


MAP, GRID, TOKENS, VECTOR = feature("map", 6, 8, 8), feature("grid", 6, 8, 8), feature("tokens", 6, 8, 8), feature("vector", 6)
LEAVES: list[tuple[str, Any, dict[str, Any], type[nn.Module]]] = [
    ("linear.Linear", TOKENS, {"out": 4}, nn.Linear),
    ("conv.Conv", feature("map", 6, 8), {"out": 4}, nn.Conv1d),
    ("conv.Conv", MAP, {"out": 4, "kernel": 3, "stride": 2}, nn.Conv2d),
    ("conv.Conv", MAP, {"out": 4, "kernel": 3, "padding": "same"}, nn.Conv2d),
    ("conv.Conv", feature("map", 6, 8, 8, 8), {"out": 4}, nn.Conv3d),
    ("conv_transpose.ConvTranspose", MAP, {"out": 4, "kernel": 2, "stride": 2}, nn.ConvTranspose2d),
    ("batch_norm.BatchNorm", VECTOR, {}, nn.BatchNorm1d),
    ("batch_norm.BatchNorm", MAP, {"gamma": 0.0}, nn.BatchNorm2d),
    ("layer_norm.LayerNorm", GRID, {}, nn.LayerNorm),
    ("group_norm.GroupNorm", MAP, {"groups": 2}, nn.GroupNorm),
    ("avg_pool.AvgPool", MAP, {"kernel": 3}, nn.AvgPool2d),
    ("max_pool.MaxPool", MAP, {"kernel": 3}, nn.MaxPool2d),
    ("adaptive_avg_pool.AdaptiveAvgPool", MAP, {"size": 2}, nn.AdaptiveAvgPool2d),
    ("adaptive_max_pool.AdaptiveMaxPool", MAP, {"size": 2}, nn.AdaptiveMaxPool2d),
    ("upsample.Upsample", MAP, {"factor": 2}, nn.Upsample),
    ("resize.Resize", MAP, {"size": 4}, nn.Upsample),
    ("shuffle.Shuffle", MAP, {"groups": 2}, nn.ChannelShuffle),
    ("fold.Fold", feature("map", 8, 4, 4), {"kernel": 2}, nn.PixelShuffle),
    ("activations.Relu", MAP, {}, nn.ReLU),
    ("activations.Relu6", MAP, {}, nn.ReLU6),
    ("pad.Pad", MAP, {"start": 1}, nn.ConstantPad2d),
    ("pad.Pad", MAP, {"start": 1, "mode": "reflect"}, nn.ReflectionPad2d),
    ("activations.Gelu", MAP, {}, nn.GELU),
    ("activations.Silu", MAP, {}, nn.SiLU),
    ("activations.Sigmoid", MAP, {}, nn.Sigmoid),
    ("activations.Tanh", MAP, {}, nn.Tanh),
    ("activations.HardSwish", MAP, {}, nn.Hardswish),
    ("activations.HardSigmoid", MAP, {}, nn.Hardsigmoid),
    ("activations.Elu", MAP, {}, nn.ELU),
    ("activations.Softplus", MAP, {}, nn.Softplus),
    ("recurrent.Lstm", TOKENS, {"out": 4}, nn.LSTM),
    ("recurrent.Gru", TOKENS, {"out": 4, "bidirectional": True}, nn.GRU),
]


@pytest.mark.parametrize(("name", "x", "arguments", "cls"), LEAVES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_leaf_is_torchs_own(name: str, x: Any, arguments: dict[str, Any], cls: type[nn.Module]) -> None:
    """Not a subclass: many tools compare types."""
    assert type(build(name, x, **arguments)) is cls


@pytest.mark.parametrize(
    ("name", "arguments", "cls"),
    [
        ("conv.Conv", {"out": 4, "kernel": 3, "stride": 2, "padding": "same"}, nn.Conv2d),
        ("std_conv.StdConv", {"out": 4, "kernel": 3}, nn.Conv2d),
        ("max_pool.MaxPool", {"kernel": 3, "stride": 2, "padding": "same"}, nn.MaxPool2d),
        ("avg_pool.AvgPool", {"kernel": 3, "stride": 2, "padding": "same"}, nn.AvgPool2d),
        ("group_norm.GroupNorm", {"groups": 2, "bias": False}, nn.GroupNorm),
        ("resize.Resize", {"size": 4, "antialias": True}, nn.Upsample),
        ("softmax.Softmax", {}, nn.Softmax),
        ("dropout.Dropout", {"rate": 0.5}, nn.Dropout),
    ],
)
def test_what_needs_more_is_a_subclass(name: str, arguments: dict[str, Any], cls: type[nn.Module]) -> None:
    assert isinstance(build(name, MAP, **arguments), cls)


def test_the_rate_of_a_dropout_is_set_as_torchs() -> None:
    drop = build("dropout.Dropout", VECTOR, rate=0.5).train()
    assert isinstance(drop, nn.Dropout)
    assert drop.p == 0.5
    drop.p = 0.0
    assert torch.equal(drop(torch.ones(9)), torch.ones(9))
    copied = copy.deepcopy(drop)
    copied.reset_parameters()
    assert torch.equal(copied(torch.ones(9)), torch.ones(9))


@networks
def test_peft_trains_low_rank_updates(variant: str) -> None:
    peft = require("peft")
    model = network(variant)
    (x,), names = example(model, 2), linears(model)
    with torch.no_grad():
        before = model(x)
    frozen = {name: parameter.clone() for name, parameter in model.named_parameters()}
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=names))
    assert len([m for m in adapted.modules() if isinstance(m, peft.tuners.lora.Linear)]) == len(names) > 0
    trainable = [p for p in adapted.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trainable) == sum(2 * sum(frozen[f"{name}.weight"].shape) for name in names)
    torch.testing.assert_close(adapted(x), before)  # an update starts as zero
    optimizer = torch.optim.SGD(trainable, 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        adapted(x).square().mean().backward()
        optimizer.step()
    assert relative_error(adapted(x), before) > 1e-6
    merged = adapted.merge_and_unload()
    state = dict(merged.named_parameters())
    assert state.keys() == frozen.keys()
    moved = {name for name, value in state.items() if not torch.equal(value, frozen[name])}
    assert moved and moved <= {f"{name}.weight" for name in names}
    with torch.no_grad():
        assert relative_error(merged(x), before) > 1e-6


@networks
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, :UserWarning")
def test_linear_layers_are_quantised(variant: str) -> None:
    model = network(variant)
    (x,) = example(model, 2)
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    kinds = {name: type(module) for name, module in quantised.named_modules()}
    assert {name for name, kind in kinds.items() if kind is torch.ao.nn.quantized.dynamic.Linear} == set(linears(model))
    with torch.no_grad():
        error = relative_error(quantised(x), model(x))
    assert 0 < error < 0.1


@networks
def test_channels_are_pruned(variant: str) -> None:
    """Half of the channels inside each block, and of a network of convolutions half of all."""
    tp = require("torch_pruning")
    model = network(variant)
    (x,) = example(model, 1)
    before, width = counted(model, x)[""], sum(p.numel() for p in model.parameters())
    if any(isinstance(module, nn.LayerNorm | nn.GroupNorm) for module in model.modules()):
        wrapped = {
            id(p) for m in model.modules() if type(m).__module__.startswith("torch.nn") for p in m.parameters(recurse=False)
        }
        alone = [(parameter, parameter.dim() - 1) for parameter in model.parameters() if id(parameter) not in wrapped]
        graph = tp.DependencyGraph().build_dependency(model, example_inputs=x, unwrapped_parameters=alone)
        hidden = [module for name, module in model.named_modules() if name.endswith("channel.linear1")]
        hidden += [module for name, module in model.named_modules() if name.endswith("channel.conv1")]
        assert len(hidden) >= 2
        for module in hidden:
            conv = isinstance(module, nn.Conv2d)
            indices = list(range(module.weight.shape[0] // 2))
            prune = tp.prune_conv_out_channels if conv else tp.prune_linear_out_channels
            group = graph.get_pruning_group(module, prune, indices)
            assert graph.check_pruning_group(group)
            group.prune()
    else:
        classifier = model.get_submodule(linears(model)[-1])
        importance = tp.importance.MagnitudeImportance(p=2)
        tp.pruner.MagnitudePruner(model, x, importance, pruning_ratio=0.5, ignored_layers=[classifier]).step()
    assert sum(p.numel() for p in model.parameters()) < 0.8 * width
    assert counted(model, x)[""] < 0.9 * before
    with torch.no_grad():
        assert model(x).shape == (1, 7)
        assert model(x).isfinite().all()


@networks
def test_ptflops_counts_every_convolution_and_linear_layer(variant: str) -> None:
    """Its count of a layer has the additions of the bias, ours does not."""
    engine, operators = require("ptflops.pytorch_engine"), require("ptflops.pytorch_ops")
    model = network(variant)
    (x,) = example(model, 1)
    ours, biases = counted(model, x), [0]
    layers = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, *CONVS))]
    for module in map(model.get_submodule, layers):
        module.register_forward_hook(lambda m, _, y: biases.append(y.numel() if m.bias is not None else 0))
    with torch.no_grad():
        model(x)
    added = sum(biases)
    others = [cls for cls in operators.MODULES_MAPPING if not issubclass(cls, (nn.Linear, *CONVS))]
    with contextlib.redirect_stdout(io.StringIO()):
        count, parameters = engine.get_flops_pytorch(
            model,
            tuple(x.shape[1:]),
            print_per_layer_stat=False,
            ignore_modules=others,
            extra_config={"count_functional": False},
        )
    assert parameters == sum(p.numel() for p in model.parameters())
    assert count == sum(ours[name] for name in layers) + added


@networks
@pytest.mark.filterwarnings("ignore:`torch.jit.:DeprecationWarning")
def test_fvcore_counts_what_we_count(variant: str) -> None:
    """But for the products of attention, which it does not see inside torch's fused kernel."""
    fvcore = require("fvcore.nn")
    model = network(variant)
    (x,) = example(model, 1)
    ours = counted(model, x)
    analysis = fvcore.FlopCountAnalysis(model, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    theirs = analysis.by_operator()
    attention = sum(count for name, count in ours.items() if type(model.get_submodule(name)).__name__ == "Attend")
    assert (attention > 0) == (variant[:3] in ("vit", "swi"))
    assert theirs["conv"] + theirs["linear"] == ours[""] - attention
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, *CONVS)):
            assert analysis.by_module()[name] == ours[name], name


@networks
@pytest.mark.parametrize("training", [False, True])
def test_fx_traces(variant: str, training: bool) -> None:
    """The traced graph gives the same to the bit; torch's own modules are its leaves."""
    model = small(NETWORKS[variant], variant).train(training)
    randomised_state(model)
    (x,) = example(model, 2)
    traced = torch.fx.symbolic_trace(copy.deepcopy(model))
    called = {node.target for node in traced.graph.nodes if node.op == "call_module"}
    assert set(linears(model)) <= called
    results = []
    for run in (model, traced):
        torch.manual_seed(0)
        with torch.no_grad():
            results.append(run(x))
    assert torch.equal(*results)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), ONE)
def test_fx_traces_the_catalogue(name: str, variant: str) -> None:
    model = small(name, variant).eval()
    x = example(model, 2)
    with torch.no_grad():
        torch.testing.assert_close(torch.fx.symbolic_trace(model)(*x), model(*x), rtol=0, atol=0)


@networks
def test_torchvision_extracts_features(variant: str) -> None:
    extraction = require("torchvision.models.feature_extraction")
    model = network(variant)
    (x,) = example(model, 2)
    wanted = {"first": "stages.0.blocks.0", "last": f"stages.{len(model.stages) - 1}"}
    extractor = extraction.create_feature_extractor(model, {path: name for name, path in wanted.items()})
    expected: dict[str, Tensor] = {}
    for name, path in wanted.items():
        model.get_submodule(path).register_forward_hook(lambda _m, _x, y, name=name: expected.update({name: y}))
    with torch.no_grad():
        features = extractor(x)
        model(x)
    assert features.keys() == wanted.keys()
    for name, value in features.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("name", ["swin", "coatnet", "transnext", "dynamic_conv", "smt"])
def test_a_network_that_is_materialised_from_meta(name: str, reset: bool) -> None:
    """The way of sharded training: indices, masks and rates that no state dict holds are computed again."""
    variant = next(iter(SPECS[name].variants))
    model, other = small(name, variant), small(name, variant, device="meta").to_empty(device="cpu")
    if reset:
        with torch.no_grad():
            for tensor in [*other.parameters(), *other.buffers()]:
                tensor.fill_(7 if tensor.is_floating_point() else 0)
        for module in other.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    other.load_state_dict(model.state_dict())
    unsaved = {name for name, _ in model.named_buffers()} - model.state_dict().keys()
    assert unsaved and all(torch.equal(model.get_buffer(name), other.get_buffer(name)) for name in unsaved)


@pytest.mark.parametrize("name", ["vit", "cmt", "mobile_former"])
def test_torchs_flop_counter_without_gradients(name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model, counts = small(name, next(iter(SPECS[name].variants))).eval(), list[int]()
    for trained in (True, False):
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(trained):
            model(*example(model))
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
