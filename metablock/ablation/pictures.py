"""Data sets of pictures: folders of files, and data sets of Hugging Face. Pictures are decoded when they are needed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import MetablockError
from ..shape import Feature
from .dataset import Data, extents, fifths
from .labels import check_classes
from .outside import expanded, first_line, require
from .progress import Progress

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TRAIN, VAL = ("train", "training"), ("val", "validation", "valid", "test")
MAX_CORRUPT = 0.01  # share of a data set's pictures
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_READERS = 8  # threads


@dataclass(frozen=True)
class PictureSplit:
    """Pictures by index, each scaled (bicubic) until it covers ``feature.grid``, its middle cut out, and normalised.

    Attributes:
        open: gives the PIL picture of an index.
        labels: the class of each index.
        feature: the size of an example: 3 channels (RGB, ImageNet's mean and deviation) or 1 (grey).
    """

    open: Callable[[int], Any]
    labels: Sequence[int]
    feature: Feature
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_READERS))

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
        for name, value in {**state, "pool": ThreadPoolExecutor(_READERS)}.items():
            object.__setattr__(self, name, value)


def _picture_input(input: Feature | None) -> Feature:
    feature = input or Feature("map", 3, (224, 224))
    if feature.rank != 2 or feature.c not in (1, 3):
        message = f"pictures have 1 or 3 channels and two extents, not {extents(feature)}"
        raise MetablockError(message, "for instance --input 3x224x224")
    return feature


# Folders


@dataclass(frozen=True)
class _Files:
    paths: Sequence[str]

    def __call__(self, index: int) -> Any:
        from PIL import Image

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            with Image.open(self.paths[index]) as picture:
                picture.load()
                return in_bytes(picture)


def in_bytes(picture: Any) -> Any:
    """A picture with 8 bits a channel; one of 16 bits is scaled, where Pillow would cut it off at 255.

    Raises ValueError for floating-point pixels and for 32 bits: which number is white is not known.
    """
    from PIL import Image

    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError("pixels of more than 16 bits")
        return Image.fromarray((values / 257).round().astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("floating-point pixels")
    return picture


def folder(name: str, rest: str, input: Feature | None, progress: Progress) -> Data:
    """``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``; of ``CLASS/*.jpg`` alone a fifth of each class is for validation."""
    root, feature = expanded(rest), _picture_input(input)
    parts = _parts(root, rest)
    classes = _class_names(parts[0])
    if len(classes) < 2:
        content = f"one class, '{classes[0]}'" if classes else "no class folders"
        raise MetablockError(f"'{parts[0]}' has {content}", f"a folder a class, at least two: {parts[0]}/cat/1.jpg")
    files = [_class_files(part, classes) for part in parts]
    paths = [path for part in files for path, _ in part]
    labels = np.array([label for part in files for _, label in part])
    digests = _digests(paths, progress)
    corrupt = [i for i, digest in enumerate(digests) if digest is None]
    if len(corrupt) > MAX_CORRUPT * len(paths):
        shown = ", ".join(str(paths[i].relative_to(root)) for i in corrupt[:3])
        message = f"{len(corrupt)} of {len(paths)} pictures in '{rest}' cannot be read: {shown} ..."
        raise MetablockError(message, "more than 1 % is too many")
    good = np.setdiff1d(np.arange(len(paths)), corrupt)
    count = len(files[0])
    at = (np.arange(count), np.arange(count, len(paths))) if len(files) == 2 else fifths(labels)
    train, val = (np.intersect1d(part, good) for part in at)
    check_classes(f"'{rest}'", labels, train, val, len(classes), classes)
    splits = [PictureSplit(_Files([str(paths[i]) for i in part]), labels[part].tolist(), feature) for part in (train, val)]
    digest = sha256(repr((feature, classes)).encode())
    for i in good:
        digest.update(f"{paths[i].relative_to(root)} {digests[i]} {labels[i]}\n".encode())
    skipped = tuple(str(paths[i]) for i in corrupt)
    return Data(name, digest.hexdigest(), feature, len(classes), splits[0], splits[1], skipped)


def _parts(root: Path, shown: str) -> tuple[Path, ...]:
    """The folders for training and validation, or the one folder that is to be split."""
    if not root.is_dir():
        raise MetablockError(f"there is no folder '{shown}'", "check the path, relative to where you are")
    names = {path.name for path in root.iterdir() if path.is_dir()}
    train, val = _first(TRAIN, names), _first(VAL, names)
    if (train is None) != (val is None):
        there, missing = ("train", "val") if train is not None else ("val", "train")
        raise MetablockError(
            f"'{shown}' has a folder '{there}' but none for '{missing}'", "make both, or put the class folders there"
        )
    return (root / train, root / val) if train is not None and val is not None else (root,)


def _first(names: Sequence[str], present: Container[str]) -> str | None:
    return next((name for name in names if name in present), None)


def _class_names(part: Path) -> list[str]:
    return sorted(path.name for path in part.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_files(part: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    unknown = [name for name in _class_names(part) if name not in classes]
    if unknown:
        message = f"'{part}' has a class '{unknown[0]}' that the training set lacks"
        raise MetablockError(message, "both parts have the same classes")
    pictures = []
    for label, name in enumerate(classes):
        folder = part / name
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
        if not files:
            message = f"the class folder '{folder}' has no pictures"
            raise MetablockError(message, f"remove it, or fill it: {', '.join(SUFFIXES[:4])}")
        pictures += [(path, label) for path in files]
    return pictures


def _digests(paths: Sequence[Path], progress: Progress) -> list[str | None]:
    """SHA-256 of each picture's bytes; None for one that cannot be decoded. Reads and decodes every file once."""
    require("PIL", "pictures need pillow")
    files = _Files([str(path) for path in paths])

    def digest(index: int) -> str | None:
        try:
            files(index)
            return sha256(paths[index].read_bytes()).hexdigest()
        except Exception:  # a decoder may raise anything on bytes of any kind
            return None

    digests = []
    with ThreadPoolExecutor(_READERS) as pool:
        for index, one in enumerate(pool.map(digest, range(len(paths)))):
            digests.append(one)
            if index % 100 == 0:
                progress("looking at pictures", index, len(paths))
    return digests


# Hugging Face


@dataclass(frozen=True)
class _Rows:
    rows: Any
    image: str

    def __call__(self, index: int) -> Any:
        return in_bytes(self.rows[index][self.image])


def hugging_face(name: str, rest: str, input: Feature | None, progress: Progress) -> Data:
    """``NAME`` or ``NAME:CONFIG``: the first columns of pictures and of class labels; without a validation split a fifth of each
    class is for validation."""
    require("datasets", "data sets of Hugging Face need datasets")
    import datasets

    path, _, config = rest.partition(":")
    feature = _picture_input(input)
    try:
        splits = datasets.load_dataset(path, config or None)
    except Exception as wrong:
        hint = "check the name, and that there is a network or a copy in the cache"
        raise MetablockError(f"'{rest}' cannot be loaded: {first_line(wrong)}", hint) from None
    train, val = _first(TRAIN, splits), _first(VAL, splits)
    if train is None:
        raise MetablockError(f"'{rest}' has the splits {', '.join(splits)}", "one must be called train")
    columns = splits[train].features
    image = next((key for key, kind in columns.items() if isinstance(kind, datasets.Image)), None)
    label = next((key for key, kind in columns.items() if isinstance(kind, datasets.ClassLabel)), None)
    if image is None or label is None:
        raise MetablockError(f"'{rest}' has the columns {', '.join(columns)}", "a picture and a class label are needed")
    classes = int(columns[label].num_classes)
    labels = _hub_labels(rest, train, splits[train], label, classes)
    if val is not None:
        _hub_labels(rest, val, splits[val], label, classes)
        rows = [splits[train].select(np.arange(len(labels))), splits[val]]
    else:
        rows = [splits[train].select(at) for at in fifths(labels)]
    parts = [PictureSplit(_Rows(part, image), list(part[label]), feature) for part in rows]
    if val is None:
        check_classes(f"'{rest}'", labels, *fifths(labels), classes, columns[label].names)
    else:
        check_classes(f"'{rest}'", labels, np.arange(len(labels)), np.arange(len(splits[val])), classes, columns[label].names)
    digest = sha256(repr((rest, feature, [getattr(part, "_fingerprint", len(part)) for part in rows])).encode())
    return Data(name, digest.hexdigest(), feature, classes, parts[0], parts[1])


def _hub_labels(rest: str, split: str, rows: Any, column: str, classes: int) -> np.ndarray:
    """The labels of a split. Raises MetablockError for one outside the classes, or absent."""
    values = [-1 if value is None else value for value in rows[column]]
    if any(value < 0 or value >= classes for value in values):
        message = f"'{rest}' has labels outside its classes, as test sets without answers do"
        raise MetablockError(message, "choose another data set")
    if not values:
        raise MetablockError(f"'{rest}' has no examples in '{split}'", "choose another data set")
    return np.array(values, dtype=np.int64)
