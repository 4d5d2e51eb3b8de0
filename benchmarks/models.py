"""The models that the benchmarks compare, built by either library."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import metablock

# Our name of a model: timm's.
MODELS = {
    "poolformer_s12": "poolformer_s12",
    "convnext_tiny": "convnext_tiny",
    "swin_tiny": "swin_tiny_patch4_window7_224",
    "deit_small": "deit_small_patch16_224",
    "caformer_s18": "caformer_s18",
    "mobilenetv2_100": "mobilenetv2_100",
    "mixer_s16": "mixer_s16_224",
    "maxvit_tiny": "maxvit_tiny_tf_224",
    "fastvit_t8": "fastvit_t8",
    "hrnet_w18_small": "hrnet_w18_small",
    "volo_d1": "volo_d1_224",
    "gcvit_xxtiny": "gcvit_xxtiny",
    "mobilevit_s": "mobilevit_s",
    "tnt_s": "tnt_s_patch16_224",
}
SIDES = ("ours", "timm")


def load_timm() -> Any:
    """timm, with the two schemas that its torchvision needs where torchvision's compiled half does not load."""
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _KEEP.append(library)
    import timm

    return timm


_KEEP: list[object] = []


def build(name: str, side: str, *, train: bool = False, drop: float = 0.0, edits: tuple[str, ...] = ()) -> nn.Module:
    """A model with random weights, in evaluation or in training.

    Args:
        name: ours or timm's; a model outside of ``MODELS`` has the same name in both libraries.
        side: ``"ours"`` or ``"timm"``.
        train: whether it trains.
        drop: the rate of stochastic depth in training.
        edits: of our spec; timm has none.
    """
    name = MODELS.get(name, name)
    if side == "timm":
        rates = {"drop_path_rate": drop} if drop else {}
        model: nn.Module = load_timm().create_model(name, num_classes=1000, **rates)
    else:
        rated = train and "drop" in metablock.resolved(name).columns
        model = metablock.build(name, edits=[*edits, *([f"drop = {drop:g}"] if rated else [])])
    return model.train(train)


def input_size(model: nn.Module) -> int:
    """Height and width of the square image that a model of either library takes."""
    network: Any = model
    return int(network.pretrained_cfg["input_size"][-1] if hasattr(network, "pretrained_cfg") else network.inputs[0].grid[0])


def outputs(value: Any) -> list[torch.Tensor]:
    """The tensors of what a model returns: one, several, or some by name."""
    if isinstance(value, torch.Tensor):
        return [value]
    return list(value.values()) if isinstance(value, dict) else list(value)
