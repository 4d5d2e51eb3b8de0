"""iGPT in plain arithmetic at a small size: the shift, the causal mask, RMS norms, one output for each objective."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import metablock
from oracles import randomised_state, relative_error

SMALL = ["depth = 2", "dim = 32", "heads = 4"]


def small(variant: str) -> nn.Module:
    model = metablock.build("igpt", variant=variant, edits=SMALL, input="512x12", classes=7, dtype=torch.float64).eval()
    model.load_state_dict(randomised_state(model))
    return model


def normed(x: Tensor, norm: nn.Module) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight


def logits(model: nn.Module, ids: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """The colours' logits, and what enters their matrix."""
    h = model.stem.embedding.weight[ids]
    if causal:
        h = torch.cat([model.stem.shift.sos.weight.expand(len(h), 1, -1), h[:, :-1]], 1)
    h = h + model.stem.position.weight
    for block in model.stages[0].blocks:
        q, k, v = (normed(h, block.norm1) @ block.token.qkv.weight.mT).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT / 8**0.5
        if causal:
            scores = scores.tril() - 1e10 * torch.ones_like(scores).triu(1)
        h = h + (scores.softmax(-1) @ v).transpose(1, 2).flatten(2) @ block.token.proj.weight.mT
        x = normed(h, block.norm2) @ block.channel.linear1.weight.mT
        h = h + (x * (1.702 * x).sigmoid()) @ block.channel.linear2.weight.mT
    h = normed(h, model.head.norm)
    head = model.head.both if hasattr(model.head, "both") else model.head
    return h @ head.colours.weight.mT, h


@pytest.mark.parametrize("variant", ["igpt_s", "igpt_s_clf", "igpt_s_bert"])
def test_in_plain_arithmetic(variant: str) -> None:
    model = small(variant)
    ids = torch.randint(512, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = model(ids)
        colours, h = logits(model, ids, causal="bert" not in variant)
        if "clf" in variant:
            assert relative_error(output["clf"], h.mean(1) @ model.head.both.clf.linear.weight.mT) < 1e-12
            output = output["colours"]
        assert relative_error(output, colours) < 1e-12


def test_initial_weights() -> None:
    model = metablock.build("igpt", variant="igpt_s", edits=["depth = 2", "dim = 256"])
    state = model.state_dict()
    stds = {
        "stem.embedding": 0.02, "stem.shift.sos": 0.02, "stem.position": 0.01, "stages.0.blocks.1.token.qkv": 256**-0.5,
        "stages.0.blocks.1.token.proj": 512**-0.5, "stages.0.blocks.1.channel.linear2": 0.02,
    }  # fmt: skip
    for name, std in stds.items():
        assert state[f"{name}.weight"].std().item() == pytest.approx(std, rel=0.1), name
    assert not state["head.colours.weight"].any()
