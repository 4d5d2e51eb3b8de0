"""Feature maps: what is taken out, against timm's and against the network itself; what is said about it; what cannot be."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest
import torch
from cases import PICTURES, shrunk
from torch import Tensor

import metablock
from metablock.api import example
from oracles import randomised_state, relative_error, require


def hooked(model: torch.nn.Module, paths: list[str], x: Tensor) -> list[Tensor]:
    """What these parts of a network give."""
    got: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(path).register_forward_hook(lambda _m, _a, out, path=path: got.__setitem__(path, out))
        for path in paths
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return [got[path] for path in paths]


@pytest.mark.parametrize(("name", "variant"), PICTURES, ids=[variant for _, variant in PICTURES])
def test_every_architecture(name: str, variant: str):
    if name == "cf_vit":
        pytest.skip("its stages run twice: `test_what_cannot_be`")
    model = metablock.build(name, variant=variant, device="meta", features=True).eval()
    maps = model(*example(model, 2))
    info = model.feature_info
    grid = model.inputs[0].grid
    assert len(maps) == len(info) >= 1
    for one, item in zip(maps, info, strict=True):
        assert one.shape[:2] == (2, item["num_chs"])
        assert round(grid[0] / one.shape[2]) == item["reduction"]
    assert info.reduction() == sorted(info.reduction())
    parts = {"stem", "stages", "shared"} | ({"head"} if name == "vit_adapter" else set())  # whose maps its head makes
    assert {key.split(".")[0] for key in model.state_dict()} <= parts


@pytest.mark.parametrize("name", ["poolformer_s12", "swin_tiny", "mobile_former"])
def test_numbers_are_those_of_the_network(name: str):
    """Also compiled, exported with the network's own modules, copied and pickled."""
    spec = metablock.resolved(name)
    whole = metablock.build(name, **shrunk(spec.name, name)).eval()
    maps = metablock.features(whole)
    x = example(whole, 2)[0]
    names = maps.feature_info.module_name()
    with torch.no_grad():
        got = maps(x)
        if all(len(part.split(".")) == 2 for part in names):
            inside = [value[0] if isinstance(value, (tuple, list)) else value for value in hooked(whole, names, x)]
            for a, b in zip(got, inside, strict=True):
                assert torch.equal(a, b if b.shape == a.shape else b.movedim(-1, 1))
        for other in (copy.deepcopy(maps), pickle.loads(pickle.dumps(maps))):
            assert other.feature_info == maps.feature_info
            assert all(torch.equal(a, b) for a, b in zip(got, other(x), strict=True))
    shared = {id(p) for p in whole.parameters()}
    assert all(id(p) in shared for p in maps.parameters())
    assert len(list(maps.parameters())) < len(shared)


def test_stages_of_ones_choice():
    model = metablock.build("swin_tiny", device="meta", features=[-1, 1])
    assert model.feature_info.channels() == [192, 768]
    assert model.feature_info.module_name() == ["stages.1", "stages.3"]
    assert model.feature_info.get_dicts(["reduction"]) == [{"reduction": 8}, {"reduction": 32}]
    assert (model.feature_info.reduction(1), model.feature_info.channels([0])) == (32, [192])
    assert len(metablock.build("swin_tiny", device="meta", features=[0]).stages) == 1


def test_blocks_of_a_plain_network():
    edits, x = ["depth = 5", "dim = 64", "heads = 2"], torch.randn(2, 3, 64, 96)
    whole = metablock.build("vit_tiny_patch16_224", edits=edits, input="3x64x96").eval()
    maps = metablock.features(whole, [1, 3])
    paths = ["stages.0.blocks.1", "stages.0.blocks.3"]
    assert maps.feature_info.module_name() == paths
    assert len(maps.stages[0].blocks) == 4
    with torch.no_grad():
        for got, tokens in zip(maps(x), hooked(whole, paths, x), strict=True):
            assert torch.equal(got, tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 6)))
    assert metablock.features(whole).feature_info.get("index") == [0, 1, 2, 4]
    short = metablock.build("vit_tiny_patch16_224", edits=["depth = 2"], device="meta", features=True)
    assert short.feature_info.get("index") == [0, 1]


# Of each: timm's name, which of its maps, what makes it small there and here, the size of the images.
CASES: dict[str, tuple[tuple[int, ...], dict[str, Any], list[str], int]] = {
    "convnext_tiny": (
        (0, 1, 2, 3),
        {"depths": (1, 1, 2, 1), "dims": (16, 32, 48, 64)},
        ["depth = [1, 1, 2, 1]", "dim = [16, 32, 48, 64]"],
        64,
    ),
    "resnet18": ((1, 2, 3, 4), {"layers": (1, 1, 2, 1)}, ["depth = [1, 1, 2, 1]"], 64),
    "mobilenetv2_035": ((0, 1, 2, 3, 4), {}, [], 64),
    "swin_tiny_patch4_window7_224": (
        (0, 1, 2, 3),
        {"depths": (2, 1, 1, 1), "embed_dim": 32, "num_heads": (1, 2, 4, 8)},
        ["depth = [2, 1, 1, 1]", "dim = [32, 64, 128, 256]", "heads = [1, 2, 4, 8]"],
        224,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_timm(name: str):
    indices, theirs, edits, size = CASES[name]
    timm = require("timm")
    state = randomised_state(timm.create_model(name, **theirs).double())
    oracle = timm.create_model(name, features_only=True, out_indices=indices, **theirs).double().eval()
    state_of_maps = {re.sub(r"^(layers|stages|stem)\.", r"\1_", key): tensor for key, tensor in state.items()}
    keys = oracle.load_state_dict(state_of_maps if name.startswith(("swin", "convnext")) else state, strict=False)
    assert not keys.missing_keys
    ours = metablock.build(name, edits=edits, input=(3, size, size), weights=state, dtype=torch.float64, features=True).eval()
    assert ours.feature_info.channels() == oracle.feature_info.channels()
    assert ours.feature_info.reduction() == oracle.feature_info.reduction()
    x = torch.randn(1, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        for a, b in zip(ours(x), oracle(x), strict=True):
            assert relative_error(a, b if b.shape == a.shape else b.movedim(-1, 1)) < 1e-9


def test_timm_plain():
    """`forward_intermediates` of a plain ViT: the maps after chosen blocks, before the last norm."""
    oracle = require("timm").create_model("vit_tiny_patch16_224", depth=4, img_size=(64, 96)).double().eval()
    state = randomised_state(oracle)
    ours = metablock.build(
        "vit_tiny_patch16_224", edits=["depth = 4"], input="3x64x96", weights=state, dtype=torch.float64, features=[1, 3]
    ).eval()
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        for a, b in zip(ours(x), oracle.forward_intermediates(x, indices=[1, 3], intermediates_only=True), strict=True):
            assert relative_error(a, b) < 1e-9


def test_compiled_collapsed_and_written(tmp_path):
    maps = metablock.build("repvgg_a0", features=True, input="3x32x32", edits=["depth = 1", "dim = [8, 8, 16, 16]"]).eval()
    x = example(maps, 2)[0]
    with torch.no_grad():
        wanted = maps(x)
        deployed = metablock.reparameterize(maps)
        assert deployed.feature_info == maps.feature_info
        for other in (deployed, metablock.compile(maps, backend="eager")):
            for a, b in zip(wanted, other(x), strict=True):
                assert relative_error(b, a) < 1e-4
    metablock.write(maps, tmp_path / "maps.py")
    space: dict[str, Any] = {}
    exec((tmp_path / "maps.py").read_text(), space)


def test_another_size_is_explained():
    maps = metablock.build("vit_tiny_patch16_224", edits=["depth = 2"], features=True)
    with pytest.raises(
        metablock.MetablockError, match=r"stem.position: position is made for one size: build it with input='3x64x64'"
    ):
        maps(torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "stages", "says"),
    [
        ("swin_tiny", [4], "features of 'swin_tiny_patch4_window7_224': no 4 among its stages\n  its stages are 0 to 3"),
        ("swin_tiny", [], r"\[\] names none"),
        ("swin_tiny", [1, -3], r"\[1, -3\] names one twice"),
        ("vit_tiny_patch16_224", [-13], "no -13 among its blocks\n  its blocks are 0 to 11"),
        ("cf_vit", True, "the stages of 'cf_deit_small_7' run more than once"),
    ],
)
def test_what_cannot_be(name: str, stages: Any, says: str):
    with pytest.raises(metablock.MetablockError, match=says):
        metablock.build(name, device="meta", features=stages)


def test_no_stages(tmp_path):
    path = tmp_path / "line.yaml"
    path.write_text("name: line\ninput: image(3, 32)\nclasses: 10\nmodel: conv(8, 3) >> global_pool >> linear(classes)\n")
    with pytest.raises(metablock.MetablockError, match="'line' has no stages"):
        metablock.build(path, features=True)


def test_modes_and_what_trains_stay_as_they_are() -> None:
    model = metablock.build("resnet18", classes=5, input="3x32x32", edits=["dim = [8, 8, 8, 8]"]).train()
    frozen = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in frozen:
        norm.eval()
    model.stages[0].eval()
    model.stem.requires_grad_(False)
    before = {name: m.training for name, m in model.named_modules()}
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    for stages in (True, [0, 2]):
        maps = metablock.features(model, stages)
        assert {name: m.training for name, m in model.named_modules()} == before
        assert {name: m.training for name, m in maps.named_modules()}.items() <= before.items()
        assert {name: p.requires_grad for name, p in maps.named_parameters()}.items() <= trained.items()
    assert not any(norm.training for norm in frozen)


def test_modes_of_a_stage_that_is_cut() -> None:
    model = metablock.build("vit_tiny_patch16_224", edits=["depth = 4"], device="meta").train()
    for part in (model.stages[0], model.stages[0].blocks[1]):
        part.eval()
    before = {name: m.training for name, m in model.named_modules()}
    assert {name: m.training for name, m in metablock.features(model, [0, 2]).named_modules()}.items() <= before.items()


def test_a_stage_put_in_by_hand_is_refused_where_it_is_cut() -> None:
    model = metablock.build("vit_tiny_patch16_224", edits=["depth = 4"], device="meta")
    model.stages[0] = torch.nn.Identity()
    with pytest.raises(metablock.MetablockError, match="a Identity stands for"):
        metablock.features(model, [0, 2])
    with pytest.raises(metablock.MetablockError, match="was not built by metablock"):
        metablock.features(torch.nn.Identity())
