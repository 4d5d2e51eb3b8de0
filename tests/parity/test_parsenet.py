"""ParseNet. The networks were published for Caffe: plain torch and the recorded output (tests/test_papers.py) are the oracles."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import metablock
from metablock.backend.block import Block
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["dim = [8, 8, 16, 16, 16]", "wide = 24"]
FCN = [*SMALL, "fc6 = conv(wide, 7, padding=0)"]


def build(variant: str, size: tuple[int, int], edits: list[str] = SMALL) -> Block:
    model = metablock.build("parsenet", variant=variant, input=(3, *size), classes=5, edits=edits, dtype=torch.float64).eval()
    kernel = model.state_dict().get("head.enlarge.deconv.weight")
    kernel = None if kernel is None else kernel.clone()
    randomised_state(model)
    if kernel is not None:  # fixed
        model.head.enlarge.deconv.weight.copy_(kernel)
    return model


def unit_length(x: Tensor, scale: Tensor) -> Tensor:
    return scale.view(-1, 1, 1) * x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt()


def reference(model: Block, x: Tensor, fcn: bool, late: bool = False) -> Tensor:
    """The network by functions of torch. Caffe's pooling keeps a last window that sticks out."""
    state = dict(model.named_parameters())

    def conv(x: Tensor, name: str, **options: int) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    image = x
    for i, depth in enumerate((2, 2, 3, 3, 3)):
        d = 2 if i == 4 and not fcn else 1
        for j in range(depth):
            x = conv(x, f"stages.{i}.blocks.{j}.conv", padding=100 if fcn and i == j == 0 else d, dilation=d).relu()
        x = F.max_pool2d(x, 2, 2, ceil_mode=True) if fcn else F.max_pool2d(x, 3, 2 if i < 3 else 1, padding=1)
    x = conv(x, "head.fc6") if fcn else conv(F.avg_pool2d(x, 3, 1, padding=1), "head.fc6", padding=12, dilation=12)
    x = conv(x.relu(), "head.pw").relu()
    whole = x.mean((2, 3), keepdim=True)
    if late:
        places = unit_length(x, state["head.score.norm1.scale.weight"])
        whole = unit_length(whole, state["head.score.norm2.scale.weight"]).flatten(1)
        scores = F.linear(whole, state["head.score.linear.weight"], state["head.score.linear.bias"])
        x = conv(places, "head.score.pw") + scores[..., None, None]
    else:
        places = unit_length(x, state["head.context.norm1.scale.weight"])
        whole = unit_length(whole, state["head.context.norm2.scale.weight"]).expand_as(places)
        x = conv(torch.cat([places, whole], 1), "head.score")
    if not fcn:
        return F.interpolate(x, image.shape[2:], mode="bilinear")
    ramp = 1 - (torch.arange(64, dtype=torch.float64) - 31.5).abs() / 32
    x = F.conv_transpose2d(x, (ramp[:, None] * ramp).expand(5, 1, 64, 64), stride=32, groups=5)
    return x[:, :, 19 : 19 + image.shape[2], 19 : 19 + image.shape[3]]


@pytest.mark.parametrize(
    ("variant", "size"),
    [("largefov_early", (65, 97)), ("largefov_late", (65, 97)), ("fcn32s_early", (64, 90))],
)
def test_in_plain_torch(variant: str, size: tuple[int, int]) -> None:
    """Outputs and gradients."""
    fcn = variant.startswith("fcn")
    model = build(variant, size, FCN if fcn else SMALL)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    gradients = []
    for outputs in (model(x), reference(model, x, fcn, late=variant.endswith("late"))):
        gradients.append((outputs, torch.autograd.grad(outputs.square().mean(), list(model.parameters()))))
    (ours, first), (theirs, second) = gradients
    assert relative_error(ours, theirs) < 1e-9
    assert all(relative_error(a, b) < 1e-9 for a, b in zip(first, second, strict=True))


def test_late_fusion_is_early_fusion() -> None:
    """The halves of the early classifier, one a branch of the late one, give the same scores."""
    early, late = build("largefov_early", (65, 65)), build("largefov_late", (65, 65))
    late.load_state_dict(early.state_dict(), strict=False)
    places, whole = early.head.score.weight.chunk(2, 1)
    with torch.no_grad():
        late.head.score.norm1.scale.weight.copy_(early.head.context.norm1.scale.weight)
        late.head.score.norm2.scale.weight.copy_(early.head.context.norm2.scale.weight)
        late.head.score.pw.weight.copy_(places)
        late.head.score.pw.bias.copy_(early.head.score.bias)
        late.head.score.linear.weight.copy_(whole.flatten(1))
        late.head.score.linear.bias.zero_()
        x = torch.randn(1, 3, 65, 65, dtype=torch.float64)
        assert relative_error(late(x), early(x)) < 1e-9


def test_the_enlargement_is_fixed() -> None:
    """An interpolation: a constant stays one, away from the border; it has no parameters."""
    model = build("fcn32s_early", (224, 224), FCN)
    assert not any("enlarge" in name for name, _ in model.named_parameters())
    with torch.no_grad():
        flat = model.head.enlarge(torch.ones(1, 5, 8, 8, dtype=torch.float64))
    torch.testing.assert_close(flat[:, :, 29:-29, 29:-29], torch.ones(1, 5, 166, 166, dtype=torch.float64))


def test_scales_start_above_one() -> None:
    model = metablock.build("parsenet", edits=SMALL)
    assert all((norm.scale.weight == 10).all() for norm in (model.head.context.norm1, model.head.context.norm2))


def test_training_step() -> None:
    model = metablock.build("parsenet", input=(3, 65, 65), classes=5, edits=SMALL).train()
    randomised_state(model)
    F.cross_entropy(model(torch.randn(2, 3, 65, 65)), torch.randint(5, (2, 65, 65))).backward()
    check_gradients(model, moved=True)
