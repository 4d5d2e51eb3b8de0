"""Data sets by name: ``digits``, ``folder:PATH``, ``hf:NAME[:config]``, ``npz:FILE``.

All give float tensors, normalised channel by channel, of the size that a study asks for; what a run sees of them is decided by
its seed alone (:mod:`metablock.ablation.training`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import MetablockError, install_hint, suggest
from ..shape import Feature

KINDS = ("digits", "folder:PATH", "hf:NAME[:config]", "npz:FILE")
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TRAIN, VAL = ("train", "training"), ("val", "validation", "valid", "test")
BAD = 0.01  # the share of pictures that may be corrupt
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet

Progress = Callable[[str, int, int], None]


class Split(Protocol):
    """Examples by index."""

    def __len__(self) -> int: ...

    def get(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Inputs ``(n, c, *grid)`` in float32 and labels ``(n,)`` in int64."""


@dataclass(frozen=True)
class Data:
    """A data set: what a network for it takes, its two parts, and what identifies it."""

    name: str
    fingerprint: str
    input: Feature
    classes: int
    train: Split
    val: Split
    skipped: tuple[str, ...] = ()  # corrupt files, left out

    def about(self) -> dict[str, Any]:
        """In words, for reports."""
        return {
            "name": self.name, "fingerprint": self.fingerprint, "train": len(self.train), "val": len(self.val),
            "classes": self.classes, "input": "x".join(map(str, (self.input.c, *self.input.grid))), "skipped": len(self.skipped),
        }  # fmt: skip


def load_data(name: str, input: Feature | None = None, progress: Progress = lambda name, done, total: None) -> Data:
    """A data set by name.

    Args:
        name: ``digits``; ``folder:PATH`` with ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` (without these, a fifth of each class
            is for validation); ``hf:NAME`` from Hugging Face; ``npz:FILE`` with arrays ``x`` (n, c, *grid) and ``y`` (n), or
            ``x_train``, ``y_train``, ``x_val``, ``y_val``.
        input: the size wanted; by default the data's own, 1x32x32 for digits and 3x224x224 for pictures.
        progress: told what is done, how much, of how much.

    Raises:
        MetablockError: there is no such data set, or it is not one to train on.
    """
    kind, _, rest = name.partition(":")
    makers = {"digits": _digits, "folder": _folder, "hf": _hugging_face, "npz": _npz}
    if kind not in makers or (kind != "digits" and not rest) or (kind == "digits" and rest):
        hint = suggest(kind, makers) or ""
        hint = f"{hint} known: {', '.join(KINDS)}".strip() if hint else f"known: {', '.join(KINDS)}"
        raise MetablockError(f"unknown data set '{name}'\n  {hint}")
    return makers[kind](name, rest, input, progress)


@dataclass(frozen=True)
class TensorSplit:
    """Examples in memory."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def get(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        at = torch.as_tensor(indices)
        return self.x[at], self.y[at]


# digits


def _digits(name: str, rest: str, input: Feature | None, progress: Progress) -> Data:
    """scikit-learn's 1797 handwritten digits of 8 x 8 pixels, a fifth of each class for validation, scaled up."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MetablockError("the data set 'digits' needs scikit-learn", install_hint("ablate")) from None
    found = load_digits()
    x, y = np.asarray(found.images, dtype=np.float32)[:, None] / 16, np.asarray(found.target)
    feature = input or Feature("map", 1, (32, 32))
    if feature.rank != 2:
        raise MetablockError(
            f"digits are images, not {'x'.join(map(str, (feature.c, *feature.grid)))}\n  for instance --input 1x32x32"
        )
    train, val = _fifths(y)
    scaled = F.interpolate(torch.from_numpy(x), feature.grid, mode="bilinear", align_corners=False)
    scaled = (scaled - scaled[train].mean()) / scaled[train].std()
    return _in_memory(name, scaled.repeat(1, feature.c, 1, 1), torch.from_numpy(y).long(), train, val, feature)


def _fifths(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A fifth of each class, the same ones every time."""
    order = np.random.default_rng(0).permutation(len(y))
    place = np.empty(len(y), dtype=np.int64)
    for label in np.unique(y):
        members = order[y[order] == label]
        place[members] = np.arange(len(members))
    return np.flatnonzero(place % 5 != 0), np.flatnonzero(place % 5 == 0)


def _in_memory(name: str, x: Tensor, y: Tensor, train: np.ndarray, val: np.ndarray, feature: Feature) -> Data:
    digest = sha256()
    for array in (x, y, torch.from_numpy(train), torch.from_numpy(val)):
        digest.update(str((tuple(array.shape), array.dtype)).encode())
        digest.update(array.contiguous().numpy().tobytes())
    parts = [TensorSplit(x[torch.from_numpy(at)].contiguous(), y[torch.from_numpy(at)]) for at in (train, val)]
    return Data(name, digest.hexdigest(), feature, int(y.max()) + 1, parts[0], parts[1])


# Arrays


def _npz(name: str, rest: str, input: Feature | None, progress: Progress) -> Data:
    path = Path(rest)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise MetablockError(f"there is no file '{rest}'\n  check the path, relative to where you are") from None
    except Exception as wrong:  # numpy raises many kinds for what is no archive
        raise MetablockError(
            f"'{rest}' is no archive of arrays: {str(wrong).splitlines()[0]}\n  numpy.savez(file, x=x, y=y)"
        ) from None
    split = {"x_train", "y_train", "x_val", "y_val"} <= set(arrays)
    if not split and not {"x", "y"} <= set(arrays):
        have = ", ".join(sorted(arrays)) or "nothing"
        raise MetablockError(f"'{rest}' has the arrays {have}\n  x and y are needed, or x_train, y_train, x_val, y_val")
    pairs = (
        [(arrays["x_train"], arrays["y_train"]), (arrays["x_val"], arrays["y_val"])] if split else [(arrays["x"], arrays["y"])]
    )
    for x, y in pairs:
        if x.ndim not in (3, 4, 5) or len(x) != y.size or len(x) == 0:
            raise MetablockError(f"'{rest}': x is {x.shape}, y {y.shape}\n  x is (n, channels, extents), y has n labels")
        if not np.issubdtype(x.dtype, np.number) or not np.isfinite(x).all():
            raise MetablockError(f"'{rest}': x has values that are no finite numbers\n  remove or replace them")
        if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
            raise MetablockError(f"'{rest}': the labels in y are not whole numbers from 0\n  they count the classes: 0, 1, 2")
    if split and pairs[0][0].shape[1:] != pairs[1][0].shape[1:]:
        raise MetablockError(
            f"'{rest}': x_train is {pairs[0][0].shape}, x_val {pairs[1][0].shape}\n  their examples must have one shape"
        )
    y = np.concatenate([y.reshape(-1) for _, y in pairs]).astype(np.int64)
    first = len(pairs[0][1].reshape(-1))
    train, val = (np.arange(first), np.arange(first, len(y))) if split else _fifths(y)
    absent = sorted(set(range(int(y.max()) + 1)) - set(y[train].tolist()))
    if absent:
        raise MetablockError(
            f"'{rest}': no training example has the label {absent[0]}\n  labels are 0 to classes - 1, each of them used"
        )
    x = torch.from_numpy(np.concatenate([x for x, _ in pairs]).astype(np.float32))
    if input is not None and tuple(x.shape[1:]) != (input.c, *input.grid):
        raise MetablockError(f"'{rest}' has examples of {'x'.join(map(str, x.shape[1:]))}\n  leave out the input's size")
    axes = [0, *range(2, x.dim())]
    mean, std = x[train].mean(axes, keepdim=True), x[train].std(axes, keepdim=True).clamp_min(1e-6)
    return _in_memory(name, (x - mean) / std, torch.from_numpy(y), train, val, Feature("map", x.shape[1], tuple(x.shape[2:])))


# Pictures


@dataclass(frozen=True)
class PictureSplit:
    """Pictures in files: decoded when they are asked for, the shorter side scaled, the middle cut out."""

    open: Callable[[int], Any]  # a PIL picture
    labels: Sequence[int]
    feature: Feature
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    def __len__(self) -> int:
        return len(self.labels)

    def get(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        pictures = list(self.pool.map(self._picture, map(int, indices)))
        return torch.stack(pictures), torch.tensor([self.labels[int(i)] for i in indices])

    def _picture(self, index: int) -> Tensor:
        height, width = self.feature.grid
        picture = self.open(index)
        scale = max(height / picture.height, width / picture.width)
        size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
        picture = picture.convert("RGB" if self.feature.c == 3 else "L").resize(size, 3)  # bicubic
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        pixels = np.asarray(picture.crop((left, top, left + width, top + height)), dtype=np.float32) / 255
        x = torch.from_numpy(pixels.reshape(height, width, -1)).permute(2, 0, 1)
        if self.feature.c == 3:
            return (x - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
        return (x - 0.5) / 0.25

    def __getstate__(self) -> dict[str, Any]:
        return {"open": self.open, "labels": self.labels, "feature": self.feature}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in {**state, "pool": ThreadPoolExecutor(8)}.items():
            object.__setattr__(self, name, value)


def _picture_input(input: Feature | None) -> Feature:
    feature = input or Feature("map", 3, (224, 224))
    if feature.rank != 2 or feature.c not in (1, 3):
        shown = "x".join(map(str, (feature.c, *feature.grid)))
        raise MetablockError(f"pictures have 1 or 3 channels and two extents, not {shown}\n  for instance --input 3x224x224")
    return feature


@dataclass(frozen=True)
class _Files:
    paths: Sequence[str]

    def __call__(self, index: int) -> Any:
        from PIL import Image

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            picture = Image.open(self.paths[index])
            picture.load()
        return picture


def _folder(name: str, rest: str, input: Feature | None, progress: Progress) -> Data:
    root, feature = Path(rest), _picture_input(input)
    if not root.is_dir():
        raise MetablockError(f"there is no folder '{rest}'\n  check the path, relative to where you are")
    train = next((root / part for part in TRAIN if (root / part).is_dir()), None)
    val = next((root / part for part in VAL if (root / part).is_dir()), None)
    if (train is None) != (val is None):
        there, missing = ("train", "val") if train is not None else ("val", "train")
        raise MetablockError(f"'{rest}' has a folder '{there}' but none for '{missing}'\n  both, or classes alone")
    classes = sorted(path.name for path in (train or root).iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        found = f"one class, '{classes[0]}'" if classes else "no class folders"
        raise MetablockError(f"'{train or root}' has {found}\n  a folder a class, at least two: {train or root}/cat/1.jpg")
    parts = [_class_files(part, classes) for part in ((train, val) if train and val else (root,))]
    paths = [path for part in parts for path, _ in part]
    labels = np.array([label for part in parts for _, label in part])
    bad = _corrupt(paths, progress)
    if len(bad) > BAD * len(paths):
        shown = ", ".join(str(paths[i].relative_to(root)) for i in bad[:3])
        raise MetablockError(
            f"{len(bad)} of {len(paths)} pictures in '{rest}' cannot be read: {shown} ...\n  more than 1 % is too many"
        )
    good = np.setdiff1d(np.arange(len(paths)), bad)
    first = len(parts[0])
    at = (np.arange(first), np.arange(first, len(paths))) if len(parts) == 2 else _fifths(labels)
    splits = [PictureSplit(_Files([str(paths[i]) for i in part]), labels[part].tolist(), feature)
              for part in (np.intersect1d(part, good) for part in at)]  # fmt: skip
    digest = sha256(repr((feature, classes)).encode())
    for i in good:
        digest.update(f"{paths[i].relative_to(root)} {paths[i].stat().st_size} {labels[i]}\n".encode())
    return Data(name, digest.hexdigest(), feature, len(classes), splits[0], splits[1], skipped=tuple(str(paths[i]) for i in bad))


def _class_files(part: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    other = sorted(
        path.name for path in part.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name not in classes
    )
    if other:
        raise MetablockError(f"'{part}' has a class '{other[0]}' that the training set lacks\n  both parts have the same classes")
    found = []
    for label, name in enumerate(classes):
        folder = part / name
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES) if folder.is_dir() else []
        if not files:
            raise MetablockError(f"the class folder '{folder}' has no pictures\n  remove it, or fill it: {', '.join(IMAGES[:4])}")
        found += [(path, label) for path in files]
    return found


def _corrupt(paths: Sequence[Path], progress: Progress) -> list[int]:
    """The pictures that cannot be decoded. Looks into every file once."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise MetablockError("pictures need pillow", install_hint("ablate")) from None
    files = _Files([str(path) for path in paths])

    def bad(index: int) -> bool:
        try:
            files(index)
        except Exception:  # a decoder may raise anything on bytes of any kind
            return True
        return False

    found = []
    with ThreadPoolExecutor(8) as pool:
        for index, wrong in enumerate(pool.map(bad, range(len(paths)))):
            if wrong:
                found.append(index)
            if index % 100 == 0:
                progress("looking at pictures", index, len(paths))
    return found


# Hugging Face


@dataclass(frozen=True)
class _Rows:
    rows: Any
    image: str

    def __call__(self, index: int) -> Any:
        return self.rows[index][self.image]


def _hugging_face(name: str, rest: str, input: Feature | None, progress: Progress) -> Data:
    try:
        import datasets
    except ImportError:
        raise MetablockError("data sets of Hugging Face need datasets", install_hint("ablate")) from None
    path, _, config = rest.partition(":")
    feature = _picture_input(input)
    try:
        found = datasets.load_dataset(path, config or None)
    except Exception as wrong:
        first = (str(wrong).strip() or type(wrong).__name__).splitlines()[0]
        raise MetablockError(
            f"'{rest}' cannot be loaded: {first}\n  check the name, and that there is a network or a copy in the cache"
        ) from None
    train = next((part for part in TRAIN if part in found), None)
    val = next((part for part in VAL if part in found), None)
    if train is None:
        raise MetablockError(f"'{rest}' has the splits {', '.join(found)}\n  one must be called train")
    columns = found[train].features
    image = next((key for key, kind in columns.items() if isinstance(kind, datasets.Image)), None)
    label = next((key for key, kind in columns.items() if isinstance(kind, datasets.ClassLabel)), None)
    if image is None or label is None:
        raise MetablockError(f"'{rest}' has the columns {', '.join(columns)}\n  a picture and a class label are needed")
    classes = int(columns[label].num_classes)
    labels = np.array(found[train][label])
    at = (np.arange(len(labels)), None) if val is not None else _fifths(labels)
    rows = [found[train].select(at[0]), found[val] if val is not None else found[train].select(at[1])]
    parts = [PictureSplit(_Rows(part, image), list(part[label]), feature) for part in rows]
    for part in parts:
        if min(part.labels) < 0 or max(part.labels) >= classes:
            raise MetablockError(
                f"'{rest}' has labels that are no classes, as tests without answers have\n  choose another data set"
            )
    digest = sha256(repr((rest, feature, [getattr(part, "_fingerprint", len(part)) for part in rows])).encode())
    return Data(name, digest.hexdigest(), feature, classes, parts[0], parts[1])
