"""ConvNeXt against timm; its token slot holds any mixer."""

from __future__ import annotations

import pytest
import torch

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

DEPTH, DIM = [1, 1, 2, 1], [32, 64, 96, 64]
SMALL = (f"depth = {DEPTH}", f"dim = {DIM}")


def test_timm() -> None:
    reference = require("timm").models.convnext.ConvNeXt(depths=DEPTH, dims=DIM, num_classes=10).double().eval()
    state = randomised_state(reference)
    options = {"classes": 10, "input": (3, 96, 64), "edits": SMALL, "dtype": torch.float64}
    model = metablock.build("convnext", weights=state, **options).eval()
    x = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


def test_official_names() -> None:
    """timm's own converter turns the official repository's names into its own: both must lead to the same place."""
    module = require("timm").models.convnext
    reference = module.ConvNeXt(depths=DEPTH, dims=DIM, num_classes=10)
    ours = metablock.build("convnext", classes=10, edits=SMALL).state_dict()
    state = {_official(name): torch.randn(tensor.shape) for name, tensor in ours.items()}
    official = metablock.build("convnext", classes=10, edits=SMALL, weights=state).state_dict()
    converted = module.checkpoint_filter_fn(state, reference)
    timm = metablock.build("convnext", classes=10, edits=SMALL, weights=converted).state_dict()
    for name, tensor in official.items():
        assert torch.equal(tensor, timm[name]), name


def _official(name: str) -> str:
    """Our name of a parameter as facebookresearch/ConvNeXt has it."""
    where, _, rest = name.partition(".")
    if where == "stem":
        return "downsample_layers.0." + rest.replace("conv", "0").replace("norm", "1")
    if where == "head":
        return rest.replace("linear", "head")
    stage, part = rest.split(".", 1)
    if part.startswith("down."):
        return f"downsample_layers.{stage}." + part.removeprefix("down.").replace("norm", "0").replace("conv", "1")
    part = part.removeprefix("blocks.").replace("channel.linear", "pwconv").replace("token", "dwconv")
    return f"stages.{stage}.{part.replace('scale.weight', 'gamma')}"


@pytest.mark.parametrize("token", ["dw(7)", "pool(3)", "attention(dim // 32)"])
def test_a_step_of_training(token: str) -> None:
    model = metablock.build("convnext", classes=10, input=(3, 64, 64), edits=[*SMALL, f"token = {token}"]).train()
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    check_gradients(model, moved=True)
