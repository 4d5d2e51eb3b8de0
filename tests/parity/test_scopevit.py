"""ScopeViT. The recorded output of the official code (tests/test_papers.py) is the oracle; of its bias, timm's."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import conv2d, cross_entropy, scaled_dot_product_attention

import metablock
from oracles import check_gradients, exact_log_distances, randomised_state, relative_error, require

SMALL = ["depth = [1, 1, 1, 1]", "dim = [8, 16, 32, 64]"]


def test_keys_of_several_scales() -> None:
    """In the first stage half of the heads see a kernel of 7, half one of 5, at a stride of 4, padded by 4 and 3. In plain torch."""
    model = metablock.build("scopevit", edits=SMALL, dtype=torch.float64).eval()
    randomised_state(model)
    mssa = model.stages[0].blocks[0].mssa
    x = torch.randn(2, 64, 64, 8, dtype=torch.float64)
    enhanced = mssa.mbconv(x).movedim(-1, 1)
    kernels = [conv.weight for conv in mssa.attention.over.scale]
    assert [kernel.shape[-1] for kernel in kernels] == [7, 5]
    parts = zip(enhanced.chunk(2, 1), kernels, (4, 3), strict=True)
    source = torch.cat([conv2d(part, kernel, stride=4, padding=pad, groups=4) for part, kernel, pad in parts], 1)
    assert source.shape[2:] == (17, 17)
    queries, keys = enhanced.flatten(2).mT @ mssa.attention.q.weight.T, source.flatten(2).mT @ mssa.attention.kv.weight.T
    heads = [t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (queries, *keys.chunk(2, -1))]
    mixed = scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2).unflatten(1, (64, 64))
    with torch.no_grad():
        assert relative_error(mssa(x), mssa.attention.proj(mixed)) < 1e-9


def test_the_bias_is_timms() -> None:
    """Of its "cr" coordinates, in windows of 8 x 8; timm's index counts as ours does."""
    theirs = require("timm.layers").RelPosMlp(window_size=(8, 8), num_heads=2, hidden_dim=512, mode="cr").double().eval()
    exact_log_distances(nn.ModuleList([theirs]))
    randomised_state(theirs)
    pos = metablock.build("scopevit", edits=SMALL, dtype=torch.float64).eval().stages[0].blocks[0].gsda.attention.pos
    for ours, layer in ((pos.by.linear1, theirs.mlp.fc1), (pos.by.linear2, theirs.mlp.fc2)):
        ours.load_state_dict(layer.state_dict())
    with torch.no_grad():
        assert relative_error(pos(), theirs.get_bias()[0]) < 1e-9


def test_first_weights() -> None:
    """Convolutions by what leaves a group; layer scales of 1e-6."""
    model = metablock.build("scopevit", variant="small")
    conv = model.stages[3].blocks[0].mssa.mbconv.conv_bn1.conv.weight
    assert abs(conv.std() / (2 / 2048) ** 0.5 - 1) < 0.02
    deep = model.stages[3].blocks[0].mssa.attention.over.scale[0].weight
    assert abs(deep.std() / (2 / 49) ** 0.5 - 1) < 0.02
    scales = [parameter for name, parameter in model.named_parameters() if ".scale" in name and "over" not in name]
    assert len(scales) == 4 * 7 and all((scale == 1e-6).all() for scale in scales)


def test_training_step() -> None:
    model = metablock.build("scopevit", input=(3, 64, 128), classes=10, edits=SMALL).train()
    randomised_state(model)
    cross_entropy(model(torch.randn(8, 3, 64, 128)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
