"""CvT. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle.

That code computes its layer norms in float32, so that the recording, in float64 otherwise, is reached to 6e-7 only.
"""

from __future__ import annotations

import torch
from torch import nn

import metablock
from oracles import randomised_state, relative_error

SMALL = ["depth = [1, 2, 2]", "dim = [8, 16, 32]", "heads = [1, 2, 4]"]


def test_projections() -> None:
    """Three convolutions of their own; the class token passes them by; the logits have the full width's scale. In plain torch."""
    model = metablock.build("cvt", edits=SMALL, input=(3, 64, 96), dtype=torch.float64).eval()
    randomised_state(model)
    token, (height, width, c, heads) = model.stages[2].blocks[0].token, (4, 6, 32, 4)
    x = torch.randn(2, 1 + height * width, c, dtype=torch.float64)

    def projected(part: nn.Module, stride: int) -> torch.Tensor:
        image = x[:, 1:].mT.unflatten(2, (height, width))
        image = part.dw_bn.bn(nn.functional.conv2d(image, part.dw_bn.dw.weight, stride=stride, padding=1, groups=c))
        tokens = part.linear(torch.cat([x[:, :1], image.flatten(2).mT], 1))
        return tokens.unflatten(2, (heads, c // heads)).transpose(1, 2)

    q, k, v = projected(token.q, 1), projected(token.k, 2), projected(token.v, 2)
    assert [t.shape[2] for t in (q, k, v)] == [25, 7, 7]
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, scale=c**-0.5).transpose(1, 2).flatten(2)
    with torch.no_grad():
        assert relative_error(token(x), token.proj(mixed)) < 1e-9


def test_drop_path_starts_anew_in_each_stage() -> None:
    """Rates 0, 0 and 0.1, each reached at its stage's end."""
    model = metablock.build("cvt", edits=[*SMALL, "depth = [2, 2, 3]"])
    rates = [[round(float(block.drop.rate), 6) for block in stage.blocks] for stage in model.stages]
    assert rates == [[0, 0], [0, 0], [0, 0.05, 0.1]]


def test_keys_of_odd_maps() -> None:
    """A map of 7 has 4 keys an axis."""
    model = metablock.build("cvt", edits=SMALL, input=(3, 112, 80), classes=10).eval()
    assert model(torch.randn(2, 3, 112, 80)).shape == (2, 10)


def test_training_step() -> None:
    model = metablock.build("cvt", input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # Of the last block the head reads the class token alone, whose query no convolution makes.
        assert parameter.grad.any() != name.startswith("stages.2.blocks.1.token.q.dw_bn."), name
