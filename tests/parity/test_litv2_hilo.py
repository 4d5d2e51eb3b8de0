"""LITv2. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from metablock.backend import costs
from oracles import check_gradients, randomised_state

SMALL = ["depth = [1, 1, 2, 1]", "dim = [8, 16, 40, 64]", "heads = [1, 2, 10, 8]"]


@pytest.mark.parametrize(
    ("alpha", "params"),
    [(0, 28089760), (0.2, 27844000), (0.4, 27696544), (0.5, 27647392), (0.7, 27696544), (0.9, 27844000), (1, 28089760)],
)
def test_share_of_low_heads(alpha: float, params: int) -> None:
    """The study of alpha on LITv2-S in the official README."""
    model = metablock.build("litv2_hilo", edits=[f"alpha = {alpha}"], device="meta")
    assert costs.parameters(model) == (params, 0)
    token = model.stages[2].blocks[0].token
    assert (hasattr(token, "hifi"), hasattr(token, "lofi")) == (alpha < 1, alpha > 0)


def test_first_stages_mix_no_tokens() -> None:
    """Their blocks are the second half alone, without a norm for the first; the drop rate counts them all the same."""
    model = metablock.build("litv2_hilo", device="meta")
    for i, stage in enumerate(model.stages):
        for block in stage.blocks:
            assert (hasattr(block, "norm1"), hasattr(block, "token")) == ((i > 1), (i > 1))
    buffers = metablock.build("litv2_hilo", edits=SMALL).named_buffers()
    rates = [float(rate) for name, rate in buffers if name.endswith("drop.rate")]
    torch.testing.assert_close(rates, [0.2 * i / 4 for i in range(5)])


def test_last_stage_is_hilo_with_windows_of_one() -> None:
    """The official code has it so; the function is full attention."""
    plain = metablock.build("litv2_hilo", edits=SMALL, input=(3, 64, 96), dtype=torch.float64).eval()
    edit = ["stages[3].token = hilo(heads, size=1)"]
    as_hilo = metablock.build("litv2_hilo", edits=[*SMALL, *edit], input=(3, 64, 96), dtype=torch.float64).eval()
    state = randomised_state(as_hilo)
    start = "stages.3.blocks.0.token."
    for kind in ("weight", "bias"):
        state[f"{start}qkv.{kind}"] = torch.cat([state.pop(f"{start}lofi.q.{kind}"), state.pop(f"{start}lofi.kv.{kind}")])
        state[f"{start}proj.{kind}"] = state.pop(f"{start}lofi.proj.{kind}")
    plain.load_state_dict(state)
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), as_hilo(x))


def test_token_merging_starts_as_a_convolution() -> None:
    """Offsets are 0 in a fresh model, which is why counts and fresh outputs do not see an error in them; the golden does."""
    down = metablock.build("litv2_hilo", edits=SMALL).stages[2].down.eval()
    x = torch.randn(2, 16, 6, 10)
    conv = down.deform_conv
    assert not conv.offset.weight.any()
    with torch.no_grad():
        plain = down.gelu(down.bn(nn.functional.conv2d(x, conv.weight, conv.bias, stride=2)))
        torch.testing.assert_close(down(x), plain)


def test_init() -> None:
    """The depthwise convolutions: variance 2 / (outputs * taps / groups) = 2 / 9."""
    block = metablock.build("litv2_hilo").stages[1].blocks[0]
    assert abs(block.channel.dw.weight.std() - (2 / 9) ** 0.5) < 0.02
    assert not block.channel.dw.bias.any()
    assert abs(block.channel.linear1.weight.std() - 0.02) < 1e-3


def test_training_step() -> None:
    model = metablock.build("litv2_hilo", input=(3, 64, 96), classes=10, edits=[*SMALL, "drop = 0"]).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(4, 3, 64, 96)), torch.arange(4)).backward()
    check_gradients(model, moved=True)
