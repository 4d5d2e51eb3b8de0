"""EMO. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, cross_entropy, gelu, pad, silu

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 2, 2]", "dim = [16, 24, 40, 42]"]


def test_one_residual() -> None:
    """A grid of every third pixel of a padded map; weights of 7 x 7 tokens act on what was normed, before it widens. In plain torch."""
    model = metablock.build("emo", edits=SMALL, input=(3, 256, 224), dtype=torch.float64).eval()
    randomised_state(model)
    block = model.stages[2].blocks[1]
    x = torch.randn(2, 40, 16, 14, dtype=torch.float64)
    normed = block.norm(x.movedim(1, -1))
    seen = pad(normed, (0, 0, 0, 0, 0, 5))  # 21 rows: windows of 3 by 2 phases
    mixed = torch.zeros_like(seen)
    projections = block.token.attention.q, block.token.attention.k
    q, k = (conv2d(seen.movedim(-1, 1), conv.weight, conv.bias).movedim(1, -1) for conv in projections)
    for i in range(3):
        for j in range(2):
            heads = [t[:, i::3, j::2].flatten(1, 2).unflatten(-1, (2, 20)).transpose(1, 2) for t in (q, k, seen)]
            weights = (heads[0] @ heads[1].mT * 20**-0.5).softmax(-1)
            mixed[:, i::3, j::2] = (weights @ heads[2]).transpose(1, 2).reshape(2, 7, 7, 40)
    wide = gelu(conv2d(mixed[:, :16].movedim(-1, 1), block.widen.pw.weight, block.widen.pw.bias))
    local = conv2d(wide, block.local.dw.weight, None, padding=2, groups=120)
    expected = x + conv2d(wide + silu(block.local.bn(local)), block.pw.weight)
    with torch.no_grad():
        assert relative_error(block(x), expected) < 1e-9


def test_epsilons() -> None:
    """1e-6 everywhere, of both kinds of norm."""
    norms = [module for module in metablock.build("emo", edits=SMALL, device="meta").modules() if hasattr(module, "eps")]
    assert len(norms) == 15 and all(norm.eps == 1e-6 for norm in norms)


def test_first_weights() -> None:
    """The classifier's are a truncated normal's; the others start as torch's convolutions do, those of the gate too."""
    model = metablock.build("emo")
    assert abs(model.head.linear.weight.std() / 0.02 - 1) < 0.05 and not model.head.linear.bias.any()
    for linear in (model.stem.se.linear1, model.stages[2].blocks[1].token.attention.q):
        bound = linear.weight[0].numel() ** -0.5
        assert 0.9 * bound < linear.weight.abs().max() <= bound and linear.bias.any()


def test_training_step() -> None:
    model = metablock.build("emo", input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model)
