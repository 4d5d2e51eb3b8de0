"""What a data set is: two splits of examples, the shape of one example, and a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..language.spec import Spec
from ..lowering.network import input_features
from ..shape import Feature


class Split(Protocol):
    """Examples by index."""

    def __len__(self) -> int: ...

    def get(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Inputs ``(n, c, *grid)`` in float32 and labels ``(n,)`` in int64."""


@dataclass(frozen=True)
class Data:
    """A data set for classification.

    Attributes:
        name: as :func:`metablock.ablation.data.load_data` takes it.
        fingerprint: SHA-256 of its content and its preparation; part of a run's identity.
        input: the shape of one example, always a map.
        classes: number of classes; labels run from 0 to ``classes - 1``.
        train: the examples that networks learn from.
        val: the examples that they are evaluated on.
        skipped: paths of corrupt files that were left out.
    """

    name: str
    fingerprint: str
    input: Feature
    classes: int
    train: Split
    val: Split
    skipped: tuple[str, ...] = ()

    def about(self) -> dict[str, Any]:
        """Name, fingerprint, sizes and shape, as reports show them and the journal stores them."""
        return {
            "name": self.name, "fingerprint": self.fingerprint, "train": len(self.train), "val": len(self.val),
            "classes": self.classes, "input": extents(self.input), "skipped": len(self.skipped),
        }  # fmt: skip


@dataclass(frozen=True)
class TensorSplit:
    """Examples in memory: ``x`` is ``(n, c, *grid)`` in float32, ``y`` is ``(n,)`` in int64.

    >>> x, y = TensorSplit(torch.zeros(5, 1, 8, 8), torch.arange(5)).get([0, 3])
    >>> tuple(x.shape), y.tolist()
    ((2, 1, 8, 8), [0, 3])
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def get(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        at = torch.as_tensor(indices)
        return self.x[at], self.y[at]


def in_memory(
    name: str, x: Tensor, y: Tensor, train: np.ndarray, val: np.ndarray, feature: Feature, raw: np.ndarray | None = None
) -> Data:
    """A data set whose examples are in memory.

    Args:
        name: what reports call it.
        x: inputs ``(n, c, *grid)``, normalised, float32.
        y: labels ``(n,)``, int64, from 0.
        train: indices of the training examples.
        val: indices of the validation examples.
        feature: the shape of one example.
        raw: the inputs as they were before their preparation, for the fingerprint: preparing them rounds otherwise on another
            machine. By default ``x``.

    >>> x, y = torch.randn(6, 1, 8, 8), torch.arange(6) % 2
    >>> data = in_memory("noise", x, y, np.arange(4), np.arange(4, 6), Feature("map", 1, (8, 8)))
    >>> len(data.train), len(data.val), data.classes
    (4, 2, 2)
    """
    digest = sha256(extents(feature).encode())
    for array in (x.numpy() if raw is None else raw, y.numpy(), train, val):
        digest.update(str((array.shape, array.dtype)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    parts = [TensorSplit(x[torch.from_numpy(at)].contiguous(), y[torch.from_numpy(at)]) for at in (train, val)]
    return Data(name, digest.hexdigest(), feature, int(y.max()) + 1, parts[0], parts[1])


def fifths(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and for validation, where data bring no validation set: a fifth of each class, always the same ones.

    >>> train, val = fifths(np.array([0, 1] * 10))
    >>> len(train), len(val)
    (16, 4)
    """
    order = np.random.default_rng(0).permutation(len(labels))
    place = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = np.arange(len(members))
    return np.flatnonzero(place % 5 != 0), np.flatnonzero(place % 5 == 0)


def extents(feature: Feature) -> str:
    """Channels and extents as ``--input`` takes them.

    >>> extents(Feature("map", 3, (224, 192)))
    '3x224x192'
    """
    return "x".join(map(str, (feature.c, *feature.grid)))


def replaced(spec: Spec, data: Data) -> str | None:
    """What a network takes from the data instead of from its spec, in a line; None if they agree.

    >>> from metablock.front import resolved
    >>> x, y = torch.randn(6, 1, 8, 8), torch.arange(6) % 2
    >>> data = in_memory("noise", x, y, np.arange(4), np.arange(4, 6), Feature("map", 1, (8, 8)))
    >>> replaced(resolved("resnet18"), data)
    "of the data, not of 'resnet18': input 1x8x8 instead of 3x224x224, 2 classes instead of 1000"
    >>> replaced(resolved("resnet18", input="1x8x8", classes=2), data)
    """
    own = input_features(spec)
    parts = []
    if own != [data.input]:
        parts.append(f"input {extents(data.input)} instead of {' and '.join(map(extents, own))}")
    if spec.classes != data.classes:
        parts.append(f"{data.classes} classes instead of {spec.classes}")
    return f"of the data, not of '{spec.variant or spec.name}': {', '.join(parts)}" if parts else None
