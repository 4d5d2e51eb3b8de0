"""Dynamic convolution against torchvision: kernels that are all alike make a static network, whatever the attention is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.backend import costs
from metablock.operators.mixture_conv import MixtureConv
from metablock.operators.softmax import Softmax, anneal
from oracles import check_gradients, randomised_state, relative_error, require

SIZE = (3, 64, 96)
# MobileNetV2's t, c, n, s; and what makes a small network of each family.
ROWS = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 1], [6, 64, 1, 2]]
MOBILENET = ["t = [1, 6, 6, 6]", "out = [16, 24, 32, 64]", "depth = [1, 2, 2, 1]", "stride = [1, 2, 1, 2]"]
VGG = [8, "M", 16, 16, "M", 24, "M"]
SMALL = {
    "dy_mobilenet_v2_1_0": MOBILENET,
    "dy_resnet10": ["dim = [8, 16, 24, 32]"],
    "dy_resnet50": ["depth = [1, 2, 1, 1]", "dim = [8, 16, 24, 32]"],
    "dy_vgg11": ["depth = [1, 2, 1]", "dim = [8, 16, 24]"],
    "dy_vgg16_bn": ["depth = [1, 2, 1]", "dim = [8, 16, 24]"],
}


def build(variant: str, *edits: str, **options: Any) -> nn.Module:
    return metablock.build("dynamic_conv", variant=variant, classes=10, input=SIZE, edits=[*SMALL[variant], *edits], **options)


def mobilenet() -> nn.Module:
    return require("torchvision.models.mobilenetv2").MobileNetV2(num_classes=10, inverted_residual_setting=ROWS)


def vgg(batch_norm: bool) -> nn.Module:
    """As the paper's code has it: convolutions without bias, one linear layer as the head."""
    module = require("torchvision.models.vgg")
    network = module.VGG(module.make_layers(VGG, batch_norm), num_classes=10, init_weights=False)
    network.classifier = nn.Sequential(nn.Linear(24 * 7 * 7, 10))
    for part in network.features:
        if isinstance(part, nn.Conv2d):
            part.bias = None
    return network


def dynamic(state: dict[str, Tensor], static: str) -> dict[str, Tensor]:
    """Every convolution but ``static`` as four equal kernels and an attention; the names are those of the paper's code."""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        prefix = name.removesuffix(".weight")
        if tensor.dim() != 4 or prefix == static:
            result[name] = tensor
            continue
        groups = 1 if tensor.shape[1] > 1 else tensor.shape[0]
        c = groups * tensor.shape[1]
        hidden = 4 if c == 3 else c // 4 + 1
        result[name] = tensor.expand(4, *tensor.shape)
        result[f"{prefix}.attention.fc1.weight"] = torch.randn(hidden, c, 1, 1, dtype=tensor.dtype)
        result[f"{prefix}.attention.fc2.weight"] = torch.randn(4, hidden, 1, 1, dtype=tensor.dtype)
        result[f"{prefix}.attention.fc2.bias"] = torch.randn(4, dtype=tensor.dtype)
    return result


@pytest.mark.parametrize(
    ("variant", "source", "static"),
    [
        ("dy_mobilenet_v2_1_0", "mobilenet_v2", "features.0.0"),
        ("dy_vgg11", "vgg", ""),
        ("dy_vgg16_bn", "vgg_bn", ""),
    ],
)
def test_equal_kernels_are_one_convolution(variant: str, source: str, static: str) -> None:
    reference = mobilenet() if source == "mobilenet_v2" else vgg(source == "vgg_bn")
    assert error(reference, variant, source, static) < 1e-9


@pytest.mark.parametrize(("variant", "block"), [("dy_resnet10", "BasicBlock"), ("dy_resnet50", "Bottleneck")])
def test_equal_kernels_are_one_convolution_in_a_resnet(variant: str, block: str) -> None:
    module = require("torchvision.models.resnet")
    depth = [1, 1, 1, 1] if variant == "dy_resnet10" else [1, 2, 1, 1]
    reference = module.ResNet(getattr(module, block), depth, num_classes=10)
    edits = [] if variant == "dy_resnet10" else ["depth = [1, 2, 1, 1]"]
    assert error(reference, variant, "resnet", "conv1", edits) < 1e-9


def error(reference: nn.Module, variant: str, source: str, static: str, edits: list[str] | None = None) -> float:
    reference = reference.double().eval()
    state = dynamic(randomised_state(reference), static)
    edits = SMALL[variant] if edits is None else edits
    model = metablock.build("dynamic_conv", variant=variant, classes=10, input=SIZE, edits=edits, dtype=torch.float64).eval()
    assert metablock.load_weights(model, state, model.spec).source == source
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        return relative_error(model(x), reference(x))


def test_each_image_has_a_kernel_of_its_own() -> None:
    """Alone or beside others, an image gets the same answer; and it is not that of another image's kernel."""
    model = build("dy_resnet10", dtype=torch.float64).eval()
    randomised_state(model)
    x = torch.randn(3, *SIZE, dtype=torch.float64) * torch.tensor([0.1, 1, 10]).view(3, 1, 1, 1)
    with torch.no_grad():
        together = model(x)
        alone = torch.cat([model(image) for image in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)


def test_the_static_network_is_one_edit_away() -> None:
    static = metablock.build("dynamic_conv", edits=["dy = conv_bn(n, k, stride=stride, groups=groups)"], device="meta")
    mobilenet_v2 = metablock.build("mobilenet_v2", device="meta")
    assert sum(costs.parameters(static)) == sum(costs.parameters(mobilenet_v2)) == 3_504_872
    image = torch.empty(1, 3, 224, 224, device="meta")
    assert costs.macs(static, image)[""] == costs.macs(mobilenet_v2, image)[""]


# The temperature


def test_training_and_inference_differ_by_the_temperature_alone() -> None:
    """Of this network, which has neither batch norm nor dropout."""
    model = build("dy_vgg11", dtype=torch.float64)
    state = randomised_state(model)
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    # What the code's model computes when it is made anew.
    flat = build(
        "dy_vgg11", "temperature = 34", weights=state, dtype=torch.float64
    ).eval()  # what the code computes when freshly made
    with torch.no_grad():
        at_inference, when_training_begins = model.eval()(x), model.train()(x)
        assert relative_error(when_training_begins, flat(x)) < 1e-12
        assert relative_error(when_training_begins, at_inference) > 1e-6
        for epoch in range(13):
            assert anneal(model, max(1, 34 - 3 * epoch)) == 4
            assert relative_error(model.eval()(x), at_inference) == 0
        assert relative_error(model.train()(x), at_inference) < 1e-12


def test_the_temperature_is_no_weight() -> None:
    model = build("dy_resnet10")
    assert not any("temperature" in name or "current" in name for name in model.state_dict())
    anneal(model, 7.0)
    fresh = build("dy_resnet10", weights=model.state_dict())
    assert {float(part.current) for part in fresh.modules() if isinstance(part, Softmax)} == {34.0}
    assert {float(part.temperature) for part in fresh.modules() if isinstance(part, Softmax)} == {1.0}
    with pytest.raises(ValueError, match="a temperature is above 0"):
        anneal(model, 0)
    assert anneal(nn.Sequential(Softmax("vector"), nn.ReLU()), 3) == 0


# Dynamo looks at the gradient of what enters a region.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_annealing_makes_no_further_graphs() -> None:
    torch._dynamo.reset()
    graphs = []
    model = build("dy_vgg11")
    metablock.compile(model, backend=lambda graph, _: (graphs.append(1), graph.forward)[1])
    x = torch.randn(2, *SIZE)
    first = model.train()(x)
    before = len(graphs)
    assert 0 < before <= metablock.backend.compiler.distinct(model)
    anneal(model, 4)
    assert not torch.equal(model(x), first)
    assert len(graphs) == before


# Training


@pytest.mark.parametrize("variant", SMALL)
def test_a_step_of_training(variant: str) -> None:
    model = build(variant).train()
    model(torch.randn(4, *SIZE)).square().mean().backward()
    check_gradients(model, moved=True)


def test_init() -> None:
    """Each kernel by itself; the attention normal with the variance of its outputs; the head as each family's code has it."""
    model = metablock.build("dynamic_conv", variant="dy_mobilenet_v2_0_35")
    for part in model.modules():
        if isinstance(part, MixtureConv):
            bound = (6 / part.weight[0, 0].numel()) ** 0.5
            assert all(0.8 * bound < kernel.abs().max() <= bound for kernel in part.weight.detach())
    by = model.stages[6].blocks[0].project.dynamic_conv.by
    assert float(by.linear1.weight.detach().std()) == pytest.approx((2 / by.linear1.weight.shape[0]) ** 0.5, rel=0.05)
    assert not by.linear2.bias.any()
    assert float(model.head.linear.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    resnet = metablock.build("dynamic_conv", variant="dy_resnet10", edits=["dim = [8, 8, 8, 64]"])
    assert float(resnet.head.linear.weight.detach().abs().max()) == pytest.approx(1 / 8, rel=0.05)  # torch's own
