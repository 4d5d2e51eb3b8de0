"""The steps of timm's ``train.py`` and ``validate.py`` on our networks, by the functions of timm that these scripts call."""

from __future__ import annotations

import argparse
import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import metablock
from oracles import require

timm = require("timm")
bridge = pytest.importorskip("metablock.bridges.timm")
bridge.register()

# What `train.py` passes to `create_model` when nothing is set on its command line.
DEFAULTS: dict[str, Any] = {
    "pretrained": False, "in_chans": 3, "drop_rate": 0.0, "drop_path_rate": None, "drop_block_rate": None, "global_pool": None,
    "bn_momentum": None, "bn_eps": None, "scriptable": False, "checkpoint_path": "",
}  # fmt: skip
SMALL = "metablock/mobilenetv2_035"


def made(name: str, **options: Any) -> Any:
    return timm.create_model(name, **{**DEFAULTS, "num_classes": 3, "img_size": 32, **options})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, count in (("train", 6), ("validation", 2)):
        for label in ("ant", "bee", "cat"):
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(random.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(root / part / label / f"{i}.png")
    return root


def loaders(model: Any, pictures: Path, **options: Any) -> tuple[Any, Any]:
    from timm.data import create_dataset, create_loader, resolve_data_config

    config = resolve_data_config(options, model=model)
    parts = [
        create_dataset("", root=str(pictures), split=split, is_training=split == "train", batch_size=8)
        for split in ("train", "validation")
    ]
    common = {"input_size": config["input_size"], "batch_size": 8, "use_prefetcher": False, "num_workers": 0}
    common |= {"interpolation": config["interpolation"], "mean": config["mean"], "std": config["std"]}
    train = create_loader(parts[0], is_training=True, re_prob=0.2, auto_augment="rand-m9-mstd0.5", **common)
    return train, create_loader(parts[1], is_training=False, crop_pct=config["crop_pct"], **common)


@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning"
)  # timm's
@pytest.mark.parametrize("name", ["metablock/resnet18", "metablock/vit_tiny_patch16_224"])
def test_the_steps_of_the_scripts(name: str, pictures: Path, tmp_path: Path) -> None:
    from timm.models import load_checkpoint, model_parameters
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import CheckpointSaver, ModelEmaV3, accuracy, dispatch_clip_grad

    model = made(name)
    model.set_grad_checkpointing(enable=True)
    train, val = loaders(model, pictures)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.7)
    average = ModelEmaV3(model, decay=0.9)
    schedule, epochs = create_scheduler_v2(optimizer, sched="cosine", num_epochs=1, warmup_epochs=0, updates_per_epoch=len(train))
    assert epochs == 1
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    for number, (x, y) in enumerate(train):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        dispatch_clip_grad(model_parameters(model, exclude_head=False), value=1.0, mode="norm")
        optimizer.step()
        average.update(model, step=number)
        schedule.step_update(num_updates=number + 1)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert {key for key, _ in model.named_parameters()} <= changed
    arguments = argparse.Namespace(model=name)
    saver = CheckpointSaver(
        model, optimizer, args=arguments, model_ema=average, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path)
    )
    saver.save_checkpoint(0, metric=1.0)
    schedule.step(1, 1.0)

    def validated(network: Any) -> tuple[float, Tensor]:
        network.eval()
        with torch.no_grad():
            results = [(network(x), y) for x, y in val]
        output, target = torch.cat([o for o, _ in results]), torch.cat([t for _, t in results])
        return float(accuracy(output, target, topk=(1,))[0]), output

    again = timm.create_model(name, num_classes=3, img_size=32, checkpoint_path=str(tmp_path / "last.pth.tar"))
    assert torch.equal(validated(again)[1], validated(average.module)[1])  # the averaged weights, by default
    raw = made(name)
    load_checkpoint(raw, str(tmp_path / "last.pth.tar"), use_ema=False)
    assert torch.equal(validated(raw)[1], validated(model)[1])


def test_layer_decay_and_weight_decay_reach_timms_optimisers() -> None:
    from timm.optim import create_optimizer_v2

    model = made("metablock/swin_tiny_patch4_window7_224", img_size=224, device="meta")
    theirs = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, device="meta")

    def counts(network: Any) -> dict[tuple[float, float], int]:
        groups = create_optimizer_v2(network, opt="sgd", lr=1e-3, weight_decay=0.05, layer_decay=0.7).param_groups
        result: dict[tuple[float, float], int] = {}
        for group in groups:
            key = round(group["lr_scale"], 6), group["weight_decay"]
            result[key] = result.get(key, 0) + sum(parameter.numel() for parameter in group["params"])
        return result

    ours, wanted = counts(model), counts(theirs)
    norm = 2 * 768  # the final norm: in the last block's layer there, in the head's here
    ours[1.0, 0.0] -= norm
    ours[0.7, 0.0] += norm
    assert ours == wanted


def test_coarse_groups() -> None:
    from timm.models import group_parameters

    model = made("metablock/resnet18", device="meta")
    groups = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    numbers = [
        {layer for key, layer in groups.items() if key.startswith(place)} for place in ("stem", "stages.0", "stages.3", "head")
    ]
    assert numbers == [{0}, {1}, {4}, {5}]


def test_gradient_checkpointing_changes_no_gradient() -> None:
    x, model = torch.randn(4, 3, 32, 32), made("metablock/poolformer_s12", drop_path_rate=0.2)
    model.train()
    state = copy.deepcopy(model.state_dict())
    kept = []
    for enable in (False, True):
        model.load_state_dict(state)
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        inner: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: inner.append(t.numel()) or t, lambda t: t):  # noqa: B023
            torch.manual_seed(3)
            loss = model(x).square().mean()
        loss.backward()
        kept.append((sum(inner), [parameter.grad.clone() for parameter in model.parameters()]))
    assert kept[1][0] < kept[0][0] / 2
    for plain, again in zip(kept[0][1], kept[1][1], strict=True):
        assert torch.allclose(plain, again, atol=1e-6)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            assert torch.equal(other.eval()(x), model.eval()(x))
        assert all(part.forward.args[0] is part for part in other.modules() if "forward" in part.__dict__)
        assert any("forward" in part.__dict__ for part in other.modules())
    model.set_grad_checkpointing(False)
    assert not any("forward" in part.__dict__ for part in model.modules())


def test_gradient_checkpointing_compiles() -> None:
    model = made("metablock/resnet18").train()
    model.set_grad_checkpointing()
    x = torch.randn(2, 3, 32, 32)
    state = copy.deepcopy(model.state_dict())
    plain = model(x)
    model.load_state_dict(state)
    compiled = torch.compile(model, backend="aot_eager")
    output = compiled(x)
    assert torch.allclose(output, plain, atol=1e-5)
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_options_that_change_nothing() -> None:
    plain = timm.create_model(SMALL, num_classes=3, img_size=32, device="meta")
    for options in (
        {"drop_path_rate": 0.0},
        {"attn_drop_rate": 0.0},
        {"global_pool": "avg"},
        {"drop_block_rate": 0.0},
        {"bn_eps": 1e-5},
    ):
        assert made(SMALL, device="meta", **options).state_dict().keys() == plain.state_dict().keys()
    assert made("metablock/vit_tiny_patch16_224", device="meta", global_pool="token").num_features == 192


def test_options_that_take_effect() -> None:
    model = made(SMALL, device="meta", bn_eps=1e-3, bn_momentum=0.02)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.02)}
    grey = made(SMALL, device="meta", in_chans=1, pretrained_cfg_overlay={"crop_pct": 1.0})
    assert (grey.pretrained_cfg["mean"], grey.pretrained_cfg["std"], grey.default_cfg["crop_pct"]) == ((0.5,), (0.5,), 1.0)


def test_weights_of_a_file(tmp_path: Path) -> None:
    """``train.py --pretrained --pretrained-path FILE``."""
    model = made(SMALL)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    again = made(SMALL, pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "weights.pth"), "num_classes": -1})
    for key, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (SMALL, {"drop_rate": 0.1}, r"has no option 'drop_rate'\n  dropout before the classifier is the spec's"),
        ("metablock/resnet18", {"drop_path_rate": 0.1}, r"'resnet18' has no `drop` column\n  leave out drop_path_rate"),
        ("metablock/vit_tiny_patch16_224", {"bn_eps": 1e-3}, r"has no batch norm\n  leave out bn_eps"),
        (SMALL, {"global_pool": "max"}, r"this network has no global_pool 'max'\n  it has avg; the spec's `head` pools"),
        ("metablock/vit_tiny_patch16_224", {"global_pool": "avg"}, r"no global_pool 'avg'\n  it has token"),
        (SMALL, {"act_layer": "gelu"}, r"has no option 'act_layer'\n  parts are swapped in the spec"),
        (SMALL, {"pretrained": True, "cache_dir": "here"}, r"has no option 'cache_dir'\n  HF_HUB_CACHE and TORCH_HOME"),
        (SMALL, {"pretrained_cfg": "in1k"}, r"has no weights called 'in1k'\n  name a file"),
    ],
)
def test_options_that_a_network_cannot_follow(name: str, options: dict, said: str) -> None:
    with pytest.raises(metablock.MetablockError, match=said):
        made(name, device="meta", **options)


def test_checkpointing_without_blocks() -> None:
    model = made(SMALL, device="meta")
    for block in [module for module in model.modules() if getattr(module, "region", None) == "block"]:
        block.region = None
    with pytest.raises(metablock.MetablockError, match=r"gradient checkpointing needs blocks, and this network has none"):
        model.set_grad_checkpointing()
    model.set_grad_checkpointing(False)
