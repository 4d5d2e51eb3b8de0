"""EdgeNeXt and CoaT against timm's: attention of channels, factorised attention, modules shared by blocks and streams."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

timm = require("timm")
BACKBONES = Path(__file__).parents[2] / "examples" / "backbones"


def exact_positions(model: nn.Module) -> None:
    """timm computes EdgeNeXt's table in float32: here in float64, from the same formula."""
    table = next(module for name, module in model.named_modules() if name.endswith("pos_embd") and module is not None)

    def waves(n: int) -> Tensor:
        places = torch.arange(1, n + 1, dtype=torch.float64) / (n + 1e-6) * 2 * math.pi
        sizes = 10000.0 ** (torch.arange(0, table.hidden_dim, 2, dtype=torch.float64) / table.hidden_dim)
        angles = places[:, None] / sizes
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)

    def forward(shape: tuple[int, int, int]) -> Tensor:
        b, h, w = shape
        rows, columns = waves(h)[:, None].expand(h, w, -1), waves(w)[None].expand(h, w, -1)
        return table.token_projection(torch.cat([rows, columns], -1).permute(2, 0, 1)[None]).expand(b, -1, -1, -1)

    assert relative_error(table((1, 5, 7)), forward((1, 5, 7))) < 1e-5
    table.forward = forward


@pytest.mark.parametrize("variant", ["edgenext_xx_small", "edgenext_small"])
def test_edgenext(variant: str) -> None:
    """On any size; three branches have parts of other widths."""
    reference = timm.create_model(variant, num_classes=10).double().eval()
    state = randomised_state(reference)
    exact_positions(reference)
    model = metablock.build(BACKBONES / "edgenext.yaml", variant=variant, classes=10, weights=state, dtype=torch.float64).eval()
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())
    for size in ((64, 96), (128, 64)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        with torch.no_grad():
            assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize(
    ("variant", "changes", "edits"),
    [
        ("coat_lite_tiny", {}, []),
        ("coat_tiny", {"embed_dims": [16] * 4}, ["dim = 16"]),
    ],
)
def test_coat(variant: str, changes: dict[str, list[int]], edits: list[str]) -> None:
    """Depthwise convolutions of a scale are one set for its blocks and for those that exchange; an MLP is one for three scales."""
    reference = timm.create_model(variant, num_classes=10, img_size=64, **changes).double().eval()
    state = randomised_state(reference)
    arguments = {"variant": variant, "classes": 10, "input": (3, 64, 64), "edits": edits, "dtype": torch.float64}
    model = metablock.build(BACKBONES / "coat.yaml", weights=state, **arguments).eval()
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize(
    ("file", "edits"),
    [("edgenext", ["depth = 2", "dim = [8, 16, 24, 32]"]), ("coat", ["depth = 1", "dim = [16, 24, 32, 40]"])],
)
def test_a_step_of_training(file: str, edits: list[str]) -> None:
    model = metablock.build(BACKBONES / f"{file}.yaml", classes=4, input=(3, 64, 64), edits=edits)
    randomised_state(model)
    model.train()(torch.randn(2, 3, 64, 64)).square().mean().backward()
    check_gradients(model)
