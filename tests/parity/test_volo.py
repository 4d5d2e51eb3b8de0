"""VOLO against timm, which has the official names; in training both answers come out, one for the image and one for each token."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

DEPTH, DIM, HEADS = [2, 1, 1, 1], [16, 32, 32, 32], [2, 4, 4, 4]
SMALL = [f"depth = {DEPTH}", f"dim = {DIM}", f"heads = {HEADS}", "width = 8"]


def small(size: tuple[int, int], **options: object) -> nn.Module:
    return metablock.build("volo", edits=SMALL, input=(3, *size), classes=10, dtype=torch.float64, **options)


@pytest.mark.parametrize("size", [(64, 96), (120, 104)])  # the second has odd maps, which the windows' grid rounds up
def test_timm(size: tuple[int, int]) -> None:
    timm = require("timm").models.volo
    options = {"embed_dims": DIM, "num_heads": HEADS, "mlp_ratio": 3, "stem_hidden_dim": 8, "num_classes": 10}
    reference = timm.VOLO(layers=DEPTH, img_size=size, **options).double().eval()
    model = small(size, weights=randomised_state(reference)).eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


def test_outlookers_never_drop() -> None:
    """Elsewhere the rate counts all blocks, theirs too."""
    model = metablock.build("volo", edits=[*SMALL, "depth = [2, 1, 1, 1]"], input=(3, 64, 64))
    assert not hasattr(model.stages[0].blocks[0], "drop")
    rates = [float(stage.blocks[0].drop.rate) for stage in model.stages[1:]]
    torch.testing.assert_close(rates, [0.1 * 2 / 4, 0.1 * 3 / 4, 0.1])


def test_two_answers() -> None:
    """Evaluation adds half the maximum over all tokens, for each class."""
    model = small((64, 96)).eval()
    randomised_state(model)
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        found = model(x)
        model.training = True  # of the whole alone: batch norm and drop path stay as they are
        both = model(x)
    assert both["aux"].shape == (2, 4, 6, 10)
    torch.testing.assert_close(found, both["main"] + both["aux"].amax((1, 2)) / 2)


def test_training_step() -> None:
    model = small((64, 96)).train()
    randomised_state(model)
    both = model(torch.randn(8, 3, 64, 96, dtype=torch.float64))
    loss = nn.functional.cross_entropy(both["main"], torch.arange(8))
    (loss + nn.functional.cross_entropy(both["aux"].flatten(0, 2), torch.arange(8 * 24) % 10)).backward()
    check_gradients(model, moved=True)


def test_mixed_tokens() -> None:
    """Token labelling: a box of the partner's map, and its tokens' answers put back. In plain torch; no box, no mixing."""
    options = {"classes": 10, "dtype": torch.float64, "edits": [*SMALL, "side = 96"]}
    model = metablock.build("volo", variant="volo_d1_224_mix_token", **options).eval()
    state = randomised_state(model)
    plain = metablock.build("volo", weights=state, **options).eval()
    model.training = plain.training = True  # of the whole alone
    x, box = torch.randn(4, 3, 96, 96, dtype=torch.float64), torch.zeros(4, 1, 6, 6, dtype=torch.float64)

    def partners(output: torch.Tensor, *axes: slice) -> torch.Tensor:
        result = output.clone()
        result[axes] = output.flip(0)[axes]
        return result

    every = slice(None)
    with torch.no_grad():
        torch.testing.assert_close(model(x, box), plain(x))
        box[:, :, 1:3, 2:6] = 1
        both = model(x, box)
        plain.stem.register_forward_hook(lambda _module, _arguments, y: partners(y, every, every, slice(2, 6), slice(4, 12)))
        expected = plain(x)
        assert relative_error(both["main"], expected["main"]) < 1e-9
        assert relative_error(both["aux"], partners(expected["aux"], every, slice(1, 3), slice(2, 6))) < 1e-9
