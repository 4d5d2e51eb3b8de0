"""CeiT. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = 3", "d = 128"]


def test_layer_wise_class_attention() -> None:
    """The last block's class token asks those of all blocks; the head sees nothing else."""
    model = metablock.build("ceit", edits=SMALL, input=(3, 64, 96), classes=10, dtype=torch.float64).eval()
    randomised_state(model)
    answers: list[torch.Tensor] = []
    for block in model.stages[0].blocks:
        block.register_forward_hook(lambda _module, _arguments, output: answers.append(output))
    head, lca = model.head, model.head.lca
    with torch.no_grad():
        output = model(torch.randn(2, 3, 64, 96, dtype=torch.float64))
        x = torch.stack([answer[:, 0] for answer in answers], 1) + head.position.weight
        assert x.shape == (2, 3, 128)
        y = lca.norm1(x)
        q, k, v = (t.unflatten(-1, (2, 64)).transpose(1, 2) for t in (lca.ask.q.linear(y[:, -1:]), lca.ask.k(y), lca.ask.v(y)))
        h = x[:, -1] + lca.ask.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))[:, 0]
        h = h + lca.mlp(lca.norm2(h))
        assert relative_error(output, head.linear(head.norm(h))) < 1e-9


def test_initial_values() -> None:
    """Tables of places as the official code's: that of the image drawn, that of the layers zero; no drop path in the last block."""
    model = metablock.build("ceit", edits=SMALL, classes=10)
    assert 0.018 < model.stem.position.weight.std() < 0.022
    assert not model.head.position.weight.any()
    assert not [name for name, _ in model.head.named_modules() if "drop" in name]


def test_training_step() -> None:
    """Patches of the last block reach no head: its feed-forward learns nothing, there as in the official code."""
    model = metablock.build("ceit", input=(3, 64, 96), classes=10, edits=[*SMALL, "drop = 0"]).train()
    randomised_state(model)
    cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model)
    still = {name for name, parameter in model.named_parameters() if not parameter.grad.any()}
    assert still == {f"stages.0.blocks.2.leff.{name}" for name, _ in model.stages[0].blocks[2].leff.named_parameters()}
