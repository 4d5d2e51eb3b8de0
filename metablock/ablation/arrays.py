"""Data sets that fit into memory: scikit-learn's digits, and arrays in an ``.npz`` file."""

from __future__ import annotations

import math
import os
import zipfile

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import MetablockError
from ..shape import Feature
from .dataset import Data, extents, fifths, in_memory
from .labels import check_classes, labels_of
from .outside import expanded, require
from .progress import Progress

_Pair = tuple[str, np.ndarray, str, np.ndarray]  # the name of the inputs, the inputs, the name of the labels, the labels
_NAMES = (("x_train", "y_train", "x_val", "y_val"), ("x", "y"))


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
    inputs = [_inputs(rest, key, x) for key, x, _, _ in pairs]
    if len({x.shape[1:] for x in inputs}) > 1:
        shapes = f"x_train is {pairs[0][1].shape}, x_val {pairs[1][1].shape}"
        raise MetablockError(f"'{rest}': {shapes}", "their examples must have one shape")
    parts = [labels_of(f"'{rest}', {key}", y, len(x)) for x, (_, _, key, y) in zip(inputs, pairs, strict=True)]
    labels, count = np.concatenate(parts), len(parts[0])
    train, val = (np.arange(count), np.arange(count, len(labels))) if len(pairs) == 2 else fifths(labels)
    check_classes(f"'{rest}'", labels, train, val, int(labels.max()) + 1)
    x = torch.from_numpy(np.concatenate(inputs))
    if input is not None and tuple(x.shape[1:]) != (input.c, *input.grid):
        raise MetablockError(f"'{rest}' has examples of {'x'.join(map(str, x.shape[1:]))}", "leave out the input's size")
    axes = [0, *range(2, x.dim())]
    mean, std = x[train].mean(axes, keepdim=True), x[train].std(axes, keepdim=True).clamp_min(1e-6)
    feature = Feature("map", x.shape[1], tuple(x.shape[2:]))
    return in_memory(name, (x - mean) / std, torch.from_numpy(labels), train, val, feature, x.numpy())


def _pairs(path: str) -> list[_Pair]:
    """One pair (all examples) or two (training, validation), each array behind its name."""
    file = expanded(path)
    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for, a device read without end
            raise MetablockError(f"'{path}' is no file", "name a .npz file")
        with zipfile.ZipFile(file) as archive:
            present = {
                entry.filename.removesuffix(".npy"): entry for entry in archive.infolist() if entry.filename.endswith(".npy")
            }
            names = next((names for names in _NAMES if set(names) <= set(present)), None)
            if names is None:
                shown = ", ".join(sorted(present)) or "nothing"
                hint = "x and y are needed, or x_train, y_train, x_val, y_val"
                raise MetablockError(f"'{path}' has the arrays {shown}", hint)
            for name in names:
                _check_header(path, name, archive, present[name])
            arrays = [np.lib.format.read_array(archive.open(present[name]), allow_pickle=False) for name in names]
    except FileNotFoundError:
        raise MetablockError(f"there is no file '{path}'", "check the path, relative to where you are") from None
    except MetablockError:
        raise
    except OSError as wrong:
        raise MetablockError(
            f"'{path}' cannot be read: {wrong.strerror or 'it is damaged'}", "numpy.savez(file, x=x, y=y)"
        ) from None
    except MemoryError:
        raise MetablockError(f"'{path}' needs more memory than there is", "train on a part of it") from None
    except Exception:  # numpy and zipfile raise many kinds for other files and damaged ones
        hint = "numpy.savez(file, x=x, y=y) writes one"
        raise MetablockError(f"'{path}' is not an archive of arrays, or is damaged", hint) from None
    return [(names[i], arrays[i], names[i + 1], arrays[i + 1]) for i in range(0, len(names), 2)]


def _check_header(path: str, name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Checks what an array's header claims before anything is allocated. Raises MetablockError."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        start = file.tell()
    if dtype.hasobject:
        raise MetablockError(f"'{path}': {name} holds Python objects, which are not read", "save numbers: x.astype('float32')")
    size = math.prod(shape) * dtype.itemsize
    if size != entry.file_size - start:
        message = f"'{path}': {name} is said to have {size} bytes and has {entry.file_size - start}"
        raise MetablockError(message, "the file is damaged: save it again")
    if size > _memory():
        raise MetablockError(
            f"'{path}': {name} has {size / 1e9:.0f} GB, more than this machine's memory", "train on a part of it"
        )


def _memory() -> float:
    """The machine's memory in bytes; infinite where it cannot be asked."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return math.inf


def _inputs(path: str, name: str, x: np.ndarray) -> np.ndarray:
    """The examples in float32. Raises MetablockError if they are no numbers, none, or of a wrong shape."""
    if x.dtype.kind == "c":
        raise MetablockError(f"'{path}': {name} has complex numbers", "real and imaginary parts can be two channels")
    if x.dtype.kind not in "biuf":
        raise MetablockError(f"'{path}': {name} has no numbers but {x.dtype}", "save numbers: x.astype('float32')")
    if x.ndim not in (3, 4, 5) or 0 in x.shape:
        message = f"'{path}': {name} is {x.shape}"
        raise MetablockError(message, "x is (n, channels, extents), with one to three extents and at least one example")
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        message = f"'{path}': {name} has values that are NaN, infinite or beyond float32, for instance in example {wrong[0][0]}"
        raise MetablockError(message, "remove or replace them")
    return values
