"""Shunted Transformer. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, gelu, scaled_dot_product_attention

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 1, 1]", "dim = [16, 32, 64, 128]"]


def heads_of(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


@pytest.mark.parametrize("stage", [0, 2])
def test_two_scales_of_keys(stage: int) -> None:
    """The lower heads see the coarser keys; values are enhanced on their own reduced grid. In plain torch."""
    model = metablock.build("shunted", edits=SMALL, input=(3, 128, 192), dtype=torch.float64).eval()
    randomised_state(model)
    token, c, heads, r = model.stages[stage].blocks[0].token, 16 << stage, 2 << stage, 8 >> stage
    height, width = 32 >> stage, 48 >> stage
    x = torch.randn(2, height, width, c, dtype=torch.float64)
    mixed = []
    for group, ratio, q in zip((token.group1, token.group2), (r, r // 2), token.q(x).flatten(1, 2).chunk(2, -1), strict=True):
        reduce, enhance = group.kv.reduce, group.kv.dw
        image = conv2d(x.movedim(-1, 1), reduce.conv.weight, reduce.conv.bias, stride=ratio)
        k, v = reduce.linear(gelu(reduce.layer_norm(image.movedim(1, -1)))).chunk(2, -1)
        v = v + conv2d(v.movedim(-1, 1), enhance.weight, enhance.bias, padding=1, groups=c // 2).movedim(1, -1)
        assert k.shape[1:3] == (height // ratio, width // ratio)
        q, k, v = (heads_of(t, heads // 2) for t in (q, k.flatten(1, 2), v.flatten(1, 2)))
        mixed.append(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    with torch.no_grad():
        assert relative_error(token(x).flatten(1, 2), token.linear(torch.cat(mixed, -1))) < 1e-9


def test_three_epsilons() -> None:
    """1e-6 in blocks and at the ends of stages; 1e-5 behind convolutions, those that reduce keys among them."""
    model = metablock.build("shunted", edits=SMALL, device="meta")
    for name, module in model.named_modules():
        if name.endswith(("norm", "norm1", "norm2", ".end")):
            assert module.eps == (1e-5 if name.endswith("layer_norm") else 1e-6), name


@pytest.mark.parametrize(("variant", "last"), [("shunted_t", 3), ("shunted_s", 6), ("shunted_b", 9)])
def test_official_names_of_the_stem(variant: str, last: int) -> None:
    """Each more of the stem's units moves the last convolution's number on by three."""
    model = metablock.build("shunted", variant=variant, edits=SMALL, device="meta")
    spec = metablock.resolved("shunted")
    ours = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("stem.conv.")}
    assert len(ours) == len(model.state_dict()) - 2
    numbered = {f"patch_embed1.conv.{last}.{name}": torch.empty(0, device="meta") for name in ("weight", "bias")}
    with pytest.raises(metablock.MetablockError) as caught:
        metablock.load_weights(model, numbered, spec)
    assert all(f"patch_embed1.conv.{last}.{name} (0,)" in str(caught.value) for name in ("weight", "bias"))


def test_training_step() -> None:
    model = metablock.build("shunted", variant="shunted_s", input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
