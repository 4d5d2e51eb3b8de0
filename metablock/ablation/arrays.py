"""Data sets that fit into memory: scikit-learn's digits, and arrays in an ``.npz`` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import MetablockError
from ..shape import Feature
from .dataset import Data, extents, fifths, in_memory
from .outside import first_line, require
from .progress import Progress

_Pair = tuple[np.ndarray, np.ndarray]  # inputs and labels


def digits(name: str, rest: str, input: Feature | None, progress: Progress) -> Data:
    """scikit-learn's 1797 handwritten digits of 8 x 8 pixels, scaled to ``input``; a fifth of each class is for validation."""
    require("sklearn", "the data set 'digits' needs scikit-learn")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = np.asarray(bunch.images, dtype=np.float32)[:, None] / 16, np.asarray(bunch.target)
    feature = input or Feature("map", 1, (32, 32))
    if feature.rank != 2:
        raise MetablockError(f"digits are images, not {extents(feature)}", "for instance --input 1x32x32")
    train, val = fifths(y)
    scaled = F.interpolate(torch.from_numpy(x), feature.grid, mode="bilinear", align_corners=False)
    scaled = (scaled - scaled[train].mean()) / scaled[train].std()
    return in_memory(name, scaled.repeat(1, feature.c, 1, 1), torch.from_numpy(y).long(), train, val, feature, x)


def npz(name: str, rest: str, input: Feature | None, progress: Progress) -> Data:
    """Arrays of a file, normalised channel by channel with the mean and standard deviation of the training examples."""
    pairs = _pairs(rest)
    for x, y in pairs:
        _check(rest, x, y)
    if len(pairs) == 2 and pairs[0][0].shape[1:] != pairs[1][0].shape[1:]:
        shapes = f"x_train is {pairs[0][0].shape}, x_val {pairs[1][0].shape}"
        raise MetablockError(f"'{rest}': {shapes}", "their examples must have one shape")
    labels = np.concatenate([y.reshape(-1) for _, y in pairs]).astype(np.int64)
    count = pairs[0][1].size
    train, val = (np.arange(count), np.arange(count, len(labels))) if len(pairs) == 2 else fifths(labels)
    absent = sorted(set(range(int(labels.max()) + 1)) - set(labels[train].tolist()))
    if absent:
        message = f"'{rest}': no training example has the label {absent[0]}"
        raise MetablockError(message, "labels are 0 to classes - 1, each of them used")
    inputs = torch.from_numpy(np.concatenate([x for x, _ in pairs]).astype(np.float32))
    if input is not None and tuple(inputs.shape[1:]) != (input.c, *input.grid):
        raise MetablockError(f"'{rest}' has examples of {'x'.join(map(str, inputs.shape[1:]))}", "leave out the input's size")
    axes = [0, *range(2, inputs.dim())]
    mean, std = inputs[train].mean(axes, keepdim=True), inputs[train].std(axes, keepdim=True).clamp_min(1e-6)
    feature = Feature("map", inputs.shape[1], tuple(inputs.shape[2:]))
    normal = (inputs - mean) / std
    return in_memory(name, normal, torch.from_numpy(labels), train, val, feature, inputs.numpy())


def _pairs(path: str) -> list[_Pair]:
    """One pair (all examples) or two (training, validation)."""
    try:
        with np.load(Path(path), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise MetablockError(f"there is no file '{path}'", "check the path, relative to where you are") from None
    except Exception as wrong:  # numpy raises many kinds for other files
        raise MetablockError(
            f"'{path}' is not an archive of arrays: {first_line(wrong)}", "numpy.savez(file, x=x, y=y)"
        ) from None
    if {"x_train", "y_train", "x_val", "y_val"} <= set(arrays):
        return [(arrays["x_train"], arrays["y_train"]), (arrays["x_val"], arrays["y_val"])]
    if {"x", "y"} <= set(arrays):
        return [(arrays["x"], arrays["y"])]
    names = ", ".join(sorted(arrays)) or "nothing"
    raise MetablockError(f"'{path}' has the arrays {names}", "x and y are needed, or x_train, y_train, x_val, y_val")


def _check(path: str, x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim not in (3, 4, 5) or len(x) != y.size or len(x) == 0:
        raise MetablockError(f"'{path}': x is {x.shape}, y {y.shape}", "x is (n, channels, extents), y has n labels")
    if not np.issubdtype(x.dtype, np.number) or not np.isfinite(x).all():
        raise MetablockError(f"'{path}': x has values that are NaN or infinite", "remove or replace them")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise MetablockError(f"'{path}': the labels in y are not whole numbers from 0", "they count the classes: 0, 1, 2")
