"""ShuffleNet: neither timm nor torchvision has it. Its shuffle, its first weights, a step of training."""

from __future__ import annotations

import pytest
import torch

import metablock
from metablock.language.load import load_text
from oracles import check_gradients, randomised_state


@pytest.mark.parametrize(("c", "g"), [(12, 3), (16, 8), (6, 1)])
def test_the_shuffle_of_the_code(c: int, g: int) -> None:
    """Channel ``k * (c / g) + j`` is the old ``j * g + k``: the inverse of the usual order, none for one group."""
    spec = load_text(f"name: s\ninput: image({c}, 2)\nstages: {{body: shuffle(c // {g})}}\n")
    x = torch.randn(2, c, 2, 2)
    expected = [j * g + k for k in range(g) for j in range(c // g)]
    assert torch.equal(metablock.build(spec)(x), x[:, expected])


def test_a_groups_outputs_reach_all_groups() -> None:
    """What the shuffle is for: without it, a unit behind one group's inputs changes that group's outputs alone."""
    reached = {}
    for mingle in ("shuffle(c // g)", "id"):
        edits = [f"mingle = {mingle}", "g = 8", "dim = [384, 768, 1536]", "depth = [2, 1, 1]"]
        model = metablock.build("shufflenet_v1", edits=edits, classes=10, input="3x64x96", dtype=torch.float64).eval()
        randomised_state(model)
        unit = model.stages[0].blocks[1].branch
        x = torch.randn(1, 384, 8, 12, dtype=torch.float64)
        y = x.clone()
        y[:, :48] += 1  # the first of eight groups
        with torch.no_grad():
            reached[mingle] = ((unit(x) - unit(y)).abs().amax((0, 2, 3)) > 1e-9).view(8, -1).any(1).sum().item()
    assert reached == {"shuffle(c // g)": 8, "id": 1}


@pytest.mark.parametrize("variant", ["g3_0_5x", "g8_0_5x", "g1_0_5x_paper"])
@pytest.mark.parametrize("token", ["dw_bn(3)", "pool(3)"])
def test_a_step_of_training(variant: str, token: str) -> None:
    edits = [f"token = {token}", "depth = [2, 2, 2]"]
    model = metablock.build(f"shufflenet_v1_{variant}", classes=10, input="3x64x96", edits=edits).train()
    model(torch.randn(4, 3, 64, 96)).square().mean().backward()
    check_gradients(model, moved=True)


def test_first_weights() -> None:
    """A standard deviation of 1 / inputs of a group, biases that are not quite 0."""
    state = metablock.build("shufflenet_v1_g3_0_5x").state_dict()
    assert state["stem.conv_bn.conv.weight"].std().item() == pytest.approx(0.01, rel=0.15)
    assert state["stages.2.blocks.1.branch.widen.conv.weight"].std().item() == pytest.approx(1 / 40, rel=0.1)
    assert state["stages.2.blocks.1.branch.mix.dw.weight"].std().item() == pytest.approx(1, rel=0.1)
    assert state["stages.2.blocks.1.branch.mix.bn.bias"].eq(0.0001).all()
