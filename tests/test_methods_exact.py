"""Methods against the official code: the loss of a batch, and what a step of plain SGD makes of every tensor."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from nets import SMALL_VIT
from torch import nn

import metablock
from oracles import golden, golden_inputs, recipe, relative_error

BLOCK = {
    r"(.*)stages\.0\.blocks\.(\d)\.(.*)": r"\1blocks.\2.\3",
    r"(.*decoder)\.vits\.(\d)\.(.*)": r"\1_blocks.\2.\3",
}
INNER = {"attention.": "attn.", "mlp.linear": "mlp.fc"}
MAE = {
    r"embedded\.embed\.": "patch_embed.proj.",
    r"embedded\.class_token\.learned\.weight": "cls_token",
    r"embedded\.table\.position\.weight": "pos_embed",
    r"y\.table\.position\.weight": "decoder_pos_embed",
    r"y\.fill\.weight": "mask_token",
    r"y\.linear\.": "decoder_pred.",
    r"y\.decoder\.norm\.": "decoder_norm.",
    r"y\.decoder_blocks": "decoder_blocks",
    r"final\.": "norm.",
    r"^linear\.": "decoder_embed.",
}
MOCO = {
    r"^(?!base\.|momentum\.|predictor\.)": "base_encoder.",
    r"^base\.": "base_encoder.",
    r"^momentum\.": "momentum_encoder.",
    r"stem\.embed\.": "patch_embed.proj.",
    r"stem\.class_token\.learned\.weight": "cls_token",
    r"stem\.position\.weight": "pos_embed",
    r"head\.norm\.": "norm.",
    r"hiddens\.0\.linear\.": "head.0.",
    r"hiddens\.0\.bn\.": "head.1.",
    r"hiddens\.1\.linear\.": "head.3.",
    r"hiddens\.1\.bn\.": "head.4.",
    r"encoder\.last\.linear\.": "encoder.head.6.",
    r"encoder\.last\.batch_norm\.": "encoder.head.7.",
    r"predictor\.hidden\.linear\.": "predictor.0.",
    r"predictor\.hidden\.bn\.": "predictor.1.",
    r"predictor\.ask\.linear\.": "predictor.3.",
    r"predictor\.ask\.batch_norm\.": "predictor.4.",
}
CASES = {
    "mae": (MAE, ["p = 8", "decoder_width = 24", "decoder_depth = 2", "decoder_heads = 3"]),
    "moco_v3": (
        MOCO,
        ["hidden = linear(64, bias=false) >> bn >> relu", "last = linear(16, bias=false) >> batch_norm(affine=false)"],
    ),
}


def official(name: str, rules: dict[str, str]) -> str:
    """The official name of one of our tensors."""
    for pattern, other in {**BLOCK, **rules}.items():
        name = re.sub(pattern, other, name)
    for ours, theirs in INNER.items():
        name = name.replace(ours, theirs)
    return name


def network(method: str) -> tuple[nn.Module, dict[str, str], dict[str, Any]]:
    """The network that trains a small ViT with the weights of a recorded step, the official names of its tensors, the record."""
    rules, edits = CASES[method]
    model = metablock.build(metablock.load_text(SMALL_VIT), method=method, edits=edits, dtype=torch.float64)
    g = golden(f"methods/{method}.json")
    names = {name: official(name, rules) for name in model.state_dict() if not name.endswith("num_batches_tracked")}
    assert sorted(names.values()) == sorted([*g["keys"], *g["kept"]])
    weights = recipe(g["keys"], g["gain"])
    state = {ours: weights[theirs] for ours, theirs in names.items() if theirs in weights}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    return model, names, g


@pytest.mark.parametrize("method", CASES)
def test_the_loss_and_a_step_are_the_official_code_s(method: str) -> None:
    model, names, g = network(method)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=g["lr"])
    metablock.update_averages(model, g.get("progress", 0.0))
    loss = sum(metablock.losses(model, *golden_inputs(g)).values())
    loss.backward()
    optimiser.step()
    assert loss.item() == pytest.approx(g["loss"], rel=1e-6)
    moved = 0
    for name, tensor in model.state_dict().items():
        if name not in names:
            continue
        step, wanted = (tensor - before[name]).flatten(), g["steps"][names[name]]
        assert step.norm().item() == pytest.approx(wanted["norm"], rel=1e-6, abs=1e-12), name
        if wanted["norm"]:
            moved += 1
            error = relative_error(step[wanted["index"]], torch.tensor(wanted["value"], dtype=torch.float64))
            assert error < 1e-6, name
    assert moved == sum(1 for step in g["steps"].values() if step["norm"])


@pytest.mark.parametrize("method", CASES)
def test_what_the_official_code_does_not_train_is_frozen(method: str) -> None:
    model, names, g = network(method)
    trained = {names[name] for name, parameter in model.named_parameters() if parameter.requires_grad}
    still = {name for name, step in g["steps"].items() if not step["norm"]}
    assert not trained & (still - {"base_encoder.norm.bias"})  # a batch norm behind it takes its gradient away
    assert not any(name.startswith("momentum_encoder") for name in trained)
