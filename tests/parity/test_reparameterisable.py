"""RepVGG, RepNeXt and UniRepLKNet in the form that is trained. (Their recordings and counts: tests/test_papers.py.)"""

from __future__ import annotations

import pytest
import torch

import metablock
from oracles import check_gradients

SMALL = {
    "repvgg_a0": ["depth = [1, 2, 1, 1, 1]"],
    "repvgg_b1g4": ["depth = [1, 2, 1, 2, 1]", "a = 0.5", "b = 0.5"],
    "repvgg_d2se": ["depth = [1, 1, 1, 2, 1]", "a = 0.5", "b = 0.5"],
    "repnext_m0": ["depth = [1, 1, 1, 1]"],
    "repnext_m0e": ["depth = [1, 1, 1, 1]"],
    "unireplknet_a": ["depth = [1, 1, 1, 1]", "drop = ramp(0.1)"],
    "unireplknet_t": ["depth = [1, 1, 3, 1]", "dim = [16, 32, 64, 128]"],
}


@pytest.mark.parametrize("name", SMALL)
def test_a_step_of_training(name: str) -> None:
    model = metablock.build(name, edits=SMALL[name], classes=10, input="3x64x96").train()
    model(torch.randn(8, 3, 64, 96)).square().mean().backward()
    check_gradients(model, moved=True)


def test_every_second_layer_is_grouped() -> None:
    """By its number in the whole network, the first being 0 and never grouped."""
    model = metablock.build("repvgg_b1g4", device="meta")
    convs = [module.groups for path, module in model.named_modules() if path.endswith("dense.conv")]
    assert convs == [4 if layer and layer % 2 == 0 else 1 for layer in range(28)]


@pytest.mark.parametrize(("name", "period"), [("unireplknet_a", 1), ("unireplknet_t", 2), ("unireplknet_s", 3)])
def test_large_kernels_alternate_with_small_ones(name: str, period: int) -> None:
    model = metablock.build(name, device="meta")
    tokens = [block.token for block in model.stages[2].blocks]
    assert [hasattr(token, "full") for token in tokens] == [index % period == 0 for index in range(len(tokens))]
    assert not hasattr(model.stages[0].blocks[0].token, "full")


@pytest.mark.parametrize("name", ["repvgg_a0", "repnext_m0", "unireplknet_a"])
def test_the_token_is_swapped_by_one_edit(name: str) -> None:
    slot = "dense" if name.startswith("repvgg") else "token"
    model = metablock.build(
        name, edits=[*SMALL[name], f"stages[-1].{slot} = pool(3)" if slot == "token" else "gate = se(16)"], input="3x64x64"
    )
    assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 1000)
