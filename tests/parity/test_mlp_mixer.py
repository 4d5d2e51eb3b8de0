"""MLP-Mixer against timm, under timm's names and under those of the JAX code."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

timm = require("timm")
EDITS = ["depth = 3", "dim = 24"]
SIZE = (64, 96)  # 24 tokens, as many as channels: nothing but the numbers tells the two axes apart


def oracle(act: type[nn.Module] | partial[nn.Module] = nn.GELU) -> nn.Module:
    model = timm.models.mlp_mixer.MlpMixer(
        img_size=SIZE, patch_size=16, num_blocks=3, embed_dim=24, num_classes=10, act_layer=act
    )
    randomised_state(model)
    return model.double().eval()


def ours(state: dict[str, Tensor], *edits: str) -> nn.Module:
    model = metablock.build("mlp_mixer", input=(3, *SIZE), classes=10, edits=[*EDITS, *edits], weights=state, dtype=torch.float64)
    return model.eval()


def jax_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state of timm's as the official checkpoint, flattened: kernels are inputs by outputs."""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        *path, last = (
            name.replace("stem.proj", "stem").replace("norm.", "pre_head_layer_norm.", name.startswith("norm.")).split(".")
        )
        if path[0] == "blocks":
            path = [f"MixerBlock_{path[1]}", *path[2:]]
            path[1] = {
                "norm1": "LayerNorm_0",
                "norm2": "LayerNorm_1",
                "mlp_tokens": "token_mixing",
                "mlp_channels": "channel_mixing",
            }[path[1]]
            path[2:] = [f"Dense_{int(part[2:]) - 1}" for part in path[2:]]
        if last == "weight":
            last = "scale" if tensor.dim() == 1 else "kernel"
            tensor = tensor.mT if tensor.dim() == 2 else tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor
        result["/".join([*path, last])] = tensor
    return result


def test_timm() -> None:
    theirs, x = oracle(), torch.randn(2, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(ours(theirs.state_dict())(x), theirs(x)) < 1e-9


def test_official_names_and_gelu() -> None:
    """The JAX code's GELU is the approximation by a hyperbolic tangent."""
    theirs, x = oracle(partial(nn.GELU, approximate="tanh")), torch.randn(2, 3, *SIZE, dtype=torch.float64)
    state = jax_names(theirs.state_dict())
    with torch.no_grad():
        expected = theirs(x)
        assert relative_error(ours(state, 'act = gelu("tanh")')(x), expected) < 1e-9
        assert relative_error(ours(state)(x), expected) > 1e-5


def test_a_new_model_answers_zero() -> None:
    model = metablock.build("mlp_mixer", input=(3, *SIZE), classes=10, edits=EDITS)
    assert not model(torch.randn(2, 3, *SIZE)).any()


def test_the_number_of_tokens_is_a_width() -> None:
    other = timm.models.mlp_mixer.MlpMixer(img_size=(80, 112), patch_size=16, num_blocks=3, embed_dim=24, num_classes=10)
    with pytest.raises(metablock.MetablockError, match=r"linear1\.weight \(12, 24\) from .* \(12, 35\)"):
        ours(other.state_dict())


def test_training_step() -> None:
    model = metablock.build("mlp_mixer", input=(3, *SIZE), classes=10, edits=EDITS).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(2, 3, *SIZE)), torch.tensor([1, 7])).backward()
    check_gradients(model, moved=True)
