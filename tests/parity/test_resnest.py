"""ResNeSt against timm, which has the official names: splits and cardinal groups, pooling before and after them."""

from __future__ import annotations

import pytest
import torch

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

DEPTH, DIM = [1, 2, 1, 1], [32, 64, 64, 128]
SMALL = [f"depth = {DEPTH}", f"dim = {DIM}"]


@pytest.mark.parametrize(
    ("variant", "radix", "groups", "base", "first"),
    [("resnest50d", 2, 1, 64, False), ("resnest50d_1s4x24d", 1, 4, 24, True), ("resnest50d_4s2x40d", 4, 2, 40, True)],
)
def test_timm(variant: str, radix: int, groups: int, base: int, first: bool) -> None:
    models = require("timm").models
    reference = models.resnet.ResNet(
        models.resnest.ResNestBottleneck, DEPTH, num_classes=10, channels=DIM, stem_type="deep", stem_width=DIM[0] // 2,
        avg_down=True, base_width=base, cardinality=groups, block_args={"radix": radix, "avd": True, "avd_first": first},
    ).double().eval()  # fmt: skip
    state = randomised_state(reference)
    small = {"classes": 10, "input": (3, 48, 64), "edits": SMALL, "dtype": torch.float64}
    model = metablock.build("resnest", variant=variant, weights=state, **small).eval()
    x = torch.randn(2, 3, 48, 64, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("variant", ["resnest50d", "resnest50d_1s4x24d"])
def test_training_step(variant: str) -> None:
    model = metablock.build("resnest", variant=variant, input=(3, 48, 64), classes=10, edits=SMALL).train()
    model(torch.randn(2, 3, 48, 64)).square().mean().backward()
    check_gradients(model, moved=True)


def test_the_splits_of_a_channel_share_one() -> None:
    """What weighs the splits is a softmax over them, for each channel of each group."""
    model = metablock.build("resnest", variant="resnest50d_4s2x40d", input=(3, 64, 64), classes=10, edits=SMALL).eval()
    seen: list[torch.Tensor] = []
    gate = next(module for path, module in model.named_modules() if path.endswith("gate"))
    gate.register_forward_hook(lambda module, given, made: seen.append(made))
    model(torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(seen[0].unflatten(1, (4, -1)).sum(1), torch.ones(2, seen[0].shape[1] // 4, 1, 1))
