"""Building operators without the compiler: the context from a feature, the rest by name; and one example of each."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import metablock.operators
from metablock.shape import Feature

FOLDER = Path(next(iter(metablock.operators.__path__)))


def find(name: str) -> Any:
    """A class by ``file.Class``."""
    file, _, attribute = name.partition(".")
    return getattr(importlib.import_module(f"metablock.operators.{file}"), attribute)


def build(name: str, *features: Feature, **arguments: Any) -> nn.Module:
    """The module that the compiler would make for these inputs."""
    signature = inspect.signature(find(name)).parameters.values()
    context = [getattr(features[0], p.name) for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD]
    return find(name)(*context, **arguments)


def shape(name: str, *features: Feature, **arguments: Any) -> Feature:
    """What leaves by the operator's own rule."""
    cls = find(name)
    if not hasattr(cls, "shape"):
        return features[0]
    signature = inspect.signature(cls).parameters.values()
    known = {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY} | arguments
    wanted = [p.name for p in inspect.signature(cls.shape).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return cls.shape(*features, **{word: known[word] for word in wanted})


def inputs(*features: Feature, batch: int = 2, device: str = "cpu") -> list[Tensor]:
    return [torch.randn(f.size(batch), device=device) for f in features]


def feature(layout: str, c: int, *grid: int, prefix: int = 0) -> Feature:
    return Feature(layout, c, grid, prefix)  # type: ignore[arg-type]


class Case(NamedTuple):
    name: str
    features: tuple[Feature, ...]
    arguments: dict[str, Any]


def _cases() -> list[Case]:
    grids = [(11,), (6, 9), (4, 5, 6)]
    maps = [feature("map", 6, *grid) for grid in grids]
    lasts = [feature("grid", 6, *grid) for grid in grids]
    tokens = [feature("tokens", 6, 3, 4), feature("tokens", 6, 3, 4, prefix=2)]
    vector = feature("vector", 6)
    every = [*maps, *lasts, *tokens, vector]
    found: list[Case] = []

    def add(name: str, features: list[Feature], **arguments: Any) -> None:
        found.extend(Case(name, (f,), arguments) for f in features)

    add("conv.Conv", maps, out=4, kernel=3, stride=2, groups=2)
    add("conv.Conv", maps, out=4, kernel=4, stride=3, padding="same")
    add("std_conv.StdConv", maps, out=4, kernel=3, stride=2)
    add("std_conv.StdConv", maps, out=4, kernel=3, padding=None, dilation=2, groups=2, bias=True)
    add("conv_transpose.ConvTranspose", maps, out=4, kernel=3, stride=2)
    add("conv_transpose.ConvTranspose", maps, out=4, kernel=2, stride=3, padding=1, groups=2)
    add("linear.Linear", [*lasts, *tokens, vector], out=4)
    add("layer_norm.LayerNorm", [*lasts, *tokens, vector])
    add("layer_norm.LayerNorm", tokens, affine=False)
    add("group_norm.GroupNorm", maps, groups=2)
    add("batch_norm.BatchNorm", [*maps, vector], gamma=0.5)
    add("grn.GRN", lasts)
    for activation in ["Relu", "Relu6", "Gelu", "QuickGelu", "Silu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Softplus"]:
        add(f"activations.{activation}", [maps[1], vector])
    for function in ["Exp", "Abs", "Sin", "Cos"]:
        add(f"elementwise.{function}", every if function == "Exp" else [maps[1]])
    add("elementwise.Clip", every, low=0.0)
    add("elementwise.Clip", [maps[1]], low=-0.5, high=0.5)
    add("activations.Elu", every)
    add("activations.StarRelu", every)
    add("softmax.Softmax", every, temperature=2.0, start=30.0)
    add("softmax.Softmax", every, parts=3)
    add("softmax.Softmax", [*maps, *lasts, *tokens], over="tokens")
    add("avg_pool.AvgPool", maps, kernel=3, stride=2)
    add("avg_pool.AvgPool", maps, kernel=2, stride=2, count_padding=False, ceil=True)
    add("avg_pool.AvgPool", maps, kernel=3, stride=2, padding="same")
    add("avg_pool.AvgPool", maps, kernel=3, stride=2, padding="same", count_padding=False)
    add("max_pool.MaxPool", maps, kernel=3, stride=2)
    add("max_pool.MaxPool", maps, kernel=3, stride=2, padding="same")
    add("adaptive_avg_pool.AdaptiveAvgPool", maps, size=4)
    add("adaptive_max_pool.AdaptiveMaxPool", maps, size=3)
    add("global_pool.GlobalPool", [*maps, *lasts, tokens[0]])
    add("global_pool.GlobalPool", [maps[1], lasts[1], tokens[0]], kind="max")
    add("scale.Scale", every, init=0.5)
    add("shuffle.Shuffle", every, groups=3)
    add("times.Times", every, factor=0.5)
    add("dropout.Dropout", [maps[1], tokens[1]], rate=0.25)
    add("dropout.ChannelDropout", maps, rate=0.25)
    add("drop_path.DropPath", every, rate=0.25)
    add("unfold.Unfold", [*maps, *lasts], kernel=3, stride=2)
    add("unfold.Unfold", [*maps, *lasts], kernel=2, stride=2)
    add("unfold.Unfold", [*maps, *lasts], kernel=2, stride=2, ceil=True)
    add("unfold.Unfold", [*maps, *lasts], kernel=4, stride=3, padding="same")
    add("fold.Fold", [maps[0], lasts[0]], kernel=2)
    add("fold.Fold", [maps[1], lasts[1]], kernel=[2, 3], order="y x c")
    add("fold.Fold", [feature("map", 16, *grids[2]), feature("grid", 16, *grids[2])], kernel=2)
    add("tile.Tile", [*maps, *lasts], n=2)
    add("crop.Crop", [*maps, *lasts], size=2)
    add("crop.Crop", [*maps, *lasts], size=3, start=1)
    add("tile.Tile", [*maps, *lasts], n=2, over="channels")
    add("pick.Pick", tokens, tokens=[3, -1, 0, 3])
    add("standardize.Standardize", every, eps=1e-3, unbiased=True)
    add("standardize.Standardize", every, parts=2, outside=True)
    add("batch_norm.BatchNorm", [*maps, vector], affine=False)
    add("pad.Pad", maps, start=0, end=1, value=-2.0)
    for mode in ("reflect", "replicate", "circular"):
        add("pad.Pad", maps, start=2, end=1, mode=mode)
    add("resize.Resize", maps, size=7)
    add("resize.Resize", [maps[1]], size=[4, 5], mode="bicubic", antialias=True)
    add("upsample.Upsample", maps, factor=2)
    add("position.Position", [*lasts, *tokens])
    add("position.Position", [lasts[1], *tokens], antialias=False, size=[5, 3])
    add("learned.Learned", every, n=3)
    add("learned.Learned", [maps[1]], n=3, out=5)
    add("scalar.LearnedScalar", every, start=0.5, n=3)
    add("l2_norm.L2Norm", [*lasts, *tokens, vector])
    add("l2_norm.L2Norm", [*lasts, *tokens], over="tokens")
    add("l2_norm.L2Norm", [*lasts, *tokens, vector], eps=1e-3, inside=True)
    add("l2_norm.L2Norm", [*lasts, *tokens], over="tokens", inside=True)
    add("nmf.NMF", [*lasts, *tokens], bases=2, steps=2)
    add("random_features.RandomFeatures", [*lasts, *tokens, vector], n=5)
    found += [Case("attend_linear.AttendLinear", (grid,) * 3, {"heads": 2}) for grid in lasts]
    found += [Case("attend_matrix.AttendProduct", (grid,) * 3, {"heads": 2}) for grid in lasts]
    found.append(Case("attend_given.AttendGiven", (feature("tokens", 6, 12), feature("tokens", 24, 12)), {"heads": 2}))
    add("deform_conv.DeformConv", [maps[1]], out=4, kernel=[2, 3], stride=2, padding=1)
    found += [Case("mixture_conv.MixtureConv", (m, feature("vector", 3)), {"out": 4, "kernel": 3, "experts": 3}) for m in maps]
    add("spectrum.Rfft", maps, norm="ortho")
    found += [Case("spectrum.Irfft", (m,), {"n": 2 * m.grid[-1] - 1}) for m in maps]
    found += [Case("route.Mixture", (feature("vector", 3), f, f, f), {}) for f in every]
    levels = (lasts[1], feature("grid", 4, 3, 5), feature("grid", 4, 2, 2))
    found.append(Case("attend_deformable.AttendDeformable", levels, {"heads": 2, "points": 3, "levels": 2}))
    for image, grid in zip(maps, lasts, strict=True):
        found.append(Case("sample.Sample", (image, grid.with_(c=2 * grid.rank)), {"kind": "unit"}))
        found.append(Case("sample.Sample", (image, feature("tokens", grid.rank, 5)), {"padding": "border"}))
    for grid, regions in zip(lasts, ([11], [3, 3], [2, 5, 3]), strict=True):
        found.append(Case("attend_routed.AttendRouted", (grid,) * 3, {"heads": 2, "regions": regions, "top": 2}))
    for grid in lasts:
        for border in ("mask", "zeros", "clamp"):
            found.append(Case("attend_near.AttendNear", (grid,) * 3, {"heads": 2, "size": [3] * grid.rank, "border": border}))
        weights = feature("grid", 2 * 3**grid.rank, *grid.grid)
        found.append(
            Case("attend_near.AttendNear", (*(grid,) * 3, weights), {"heads": 2, "size": [3] * grid.rank, "extra": True})
        )
        for past in ({}, {"side": "past", "border": "cut"}, {"norm": "none", "border": "zeros"}):
            found.append(Case("attend_taps.AttendTaps", (grid, weights), {"heads": 2, "size": [3] * grid.rank, **past}))
    return found


CASES = _cases()


def label(case: Case) -> str:
    return f"{case.name.partition('.')[2]}-{case.features[0]}".replace(" ", "")
