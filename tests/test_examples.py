"""The examples run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

import metablock
from metablock.api import example
from metablock.catalogue.lookup import open_spec
from metablock.front import check
from oracles import randomised_state, relative_error, require

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> dict:
    return runpy.run_path(str(EXAMPLES / name))


def test_my_backbone() -> None:
    spec, _ = open_spec(EXAMPLES / "my_backbone.yaml")
    assert not check(spec)
    model = metablock.build(spec, device="meta")
    assert sum(p.numel() for p in model.parameters()) < 10e6


@pytest.mark.parametrize(
    ("name", "input", "edit"),
    [
        ("ecg.yaml", "12x2500", "token = pool(9)"),
        ("volume.yaml", "1x16x64x32", "stages[-1].token = window([2, 4, 4], attention(dim // 32, pos=relative_bias))"),
    ],
)
def test_signals_and_volumes(name: str, input: str, edit: str) -> None:
    spec, _ = open_spec(EXAMPLES / name)
    assert not check(spec)
    for model in (metablock.build(spec), metablock.build(spec, input=input, edits=[edit])):
        model(*example(model, 2)).square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("variant", ["axial", "mixed"])
def test_vit_rotary(variant: str) -> None:
    """Exact to timm's, and its weights fit images of any size."""
    spec, _ = open_spec(EXAMPLES / "vit_rotary.yaml")
    assert not check(spec)
    model = metablock.build(spec, variant=variant, edits=["depth = 2", "drop = 0"], dtype=torch.float64).eval()
    randomised_state(model)
    reference = (
        require("timm.models.eva")
        .Eva(
            img_size=(96, 144), num_classes=100, embed_dim=192, depth=2, num_heads=3, mlp_ratio=8 / 3, swiglu_mlp=True,
            swiglu_align_to=64, attn_type="rope", qk_norm=True, num_reg_tokens=4, use_abs_pos_emb=False, use_rot_pos_emb=True,
            rope_type="cat" if variant == "axial" else "mixed", rope_temperature=100.0, rope_grid_indexing="ij",
            init_values=1e-5, global_pool="token",
        )
        .double()
        .eval()
    )  # fmt: skip
    names = {
        "stem.conv": "patch_embed.proj", "stages.0.": "", "token": "attn", "channel.linear1": "mlp.fc1_g", "head.norm": "norm",
        "channel.linear2": "mlp.fc1_x", "channel.linear3": "mlp.fc2", "scale1.weight": "gamma_1", "scale2.weight": "gamma_2",
        "head.linear": "head",
    }  # fmt: skip
    state = model.state_dict()
    theirs = {"cls_token": state["stem.learned.weight"][:, :1], "reg_token": state["stem.learned.weight"][:, 1:]}
    for name, value in state.items():
        for ours, other in names.items():
            name = name.replace(ours, other)
        if "rotary" not in name and "learned" not in name:
            theirs[name] = value
    if variant == "mixed":
        weights = [block.token.rotary.linear.weight.detach() for block in model.stages[0].blocks]
        theirs["rope.freqs"] = torch.stack(weights).unflatten(1, (3, 32)).permute(3, 0, 1, 2)
    reference.load_state_dict(theirs)
    wide = metablock.build(spec, variant=variant, edits=["depth = 2", "drop = 0"], input="3x96x144", dtype=torch.float64).eval()
    wide.load_state_dict(state)
    x = torch.randn(2, 3, 96, 144, dtype=torch.float64)
    with torch.no_grad():  # timm's sines and cosines are float32's
        assert relative_error(wide(x), reference(x)) < 1e-6


def test_an_image_network_for_signals() -> None:
    model = metablock.build("poolformer_s12", input="12x512", classes=5, edits=["depth = [1, 1, 1, 1]"]).eval()
    assert model(*example(model, 2)).shape == (2, 5)


def test_swap_mixers(capsys) -> None:
    load("swap_mixers.py")["main"]("poolformer_s12")
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["pool(3)", "11.92M", "1.81G"]
    assert len(lines) == 7


def test_train() -> None:
    assert load("train.py")["main"](steps=20, compiled=False) < 0.7


def test_segment() -> None:
    assert load("segment.py")["main"](steps=60) > 0.4


def test_sample_pixels() -> None:
    space = load("sample_pixels.py")
    torch.manual_seed(0)
    model, data = space["network"](), space["pixels"]()
    values = space["train"](model, data, steps=12, batch=16)
    assert sum(values[-3:]) < sum(values[:3])
    model.eval()
    with torch.no_grad():  # what stands behind a pixel does not change what is said of it
        other = data[:2].clone()
        other[:, 40:] = (other[:, 40:] + 1) % space["GREYS"]
        assert torch.allclose(model(data[:2])[:, :41], model(other)[:, :41], atol=1e-5)


def test_a_small_detector_learns() -> None:
    """The loss of the spec falls in few steps."""
    spec, _ = open_spec(EXAMPLES / "small_detector.yaml")
    assert not check(spec)
    history, result = load("detect_shapes.py")["main"](steps=30, batch=4)
    assert sum(history[-5:]) < 0.8 * sum(history[:5])
    assert all(0 <= figure <= 1 for figure in result)


def test_translate() -> None:
    """A few steps of training; a beam of one is greedy decoding, and the padding of a batch changes nothing."""
    here = load("translate.py")
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = metablock.build("lightconv_dynamicconv", variant="lightweight_wmt_en_de", edits=here["EDITS"])
    assert here["train"](model, "copy", 60, generator) < 2.5
    source, target = here["sentences"](4, "reverse", generator)
    assert here["words"](target[0].tolist()) == here["words"](source[0].tolist())[::-1]
    together = here["greedy"](model.eval(), source)
    for row, one in zip(together, source, strict=True):
        alone = one[one != here["PADDING"]][None]
        ids = here["greedy"](model, alone)[0]
        assert torch.equal(row[: len(ids)], ids)
        for _, best in here["beam"](model, alone, width=1):
            assert best == ids[: len(best)].tolist()
