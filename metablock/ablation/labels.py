"""Labels are checked before anything is counted by them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import MetablockError

_COUNT = "labels count the classes from 0: 0, 1, 2"


def labels_of(where: str, y: np.ndarray, count: int) -> np.ndarray:
    """Class numbers of examples, one each.

    Args:
        where: what the labels are called in messages: ``y in 'a.npz'``.
        y: as they were read, of any type and shape.
        count: the number of examples.

    Returns:
        ``(count,)``, int64; each is from 0 and less than the number of examples.

    Raises:
        MetablockError: no labels, another number of them, one-hot rows, no whole numbers, a negative or a huge one.

    >>> labels_of("y", np.array([0, 1, 1], dtype=np.uint8), 3)
    array([0, 1, 1])
    >>> labels_of("y", np.array([0, 1, 10**12]), 3)
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: y: the label 1000000000000 among 3 examples
      labels count the classes from 0: 0, 1, 2
    """
    if y.ndim > 1 and y.size != len(y):
        hint = "one number an example: y.argmax(1) of one-hot rows"
        raise MetablockError(f"{where}: the labels have the shape {y.shape}", hint)
    y = y.reshape(-1)
    if len(y) != count:
        raise MetablockError(f"{where}: {len(y)} labels for {count} examples", "each example has one")
    if not count:
        raise MetablockError(f"{where}: there are no examples", "each class needs at least two")
    if y.dtype.kind in "US":
        hint = "number the classes: numpy.unique(y, return_inverse=True)[1]"
        raise MetablockError(f"{where}: the labels are words: '{_plain(y[0])}'", hint)
    if y.dtype.kind == "b":
        raise MetablockError(f"{where}: the labels are truth values", "y.astype(int) gives 0 and 1")
    if y.dtype.kind == "f":
        odd = y[~(np.isfinite(y) & (np.floor(y) == y))]
        shown = f"the label {odd[0]:g} is no whole number" if len(odd) else f"the labels are {y.dtype}, not whole numbers"
        raise MetablockError(f"{where}: {shown}", _COUNT if len(odd) else "y.astype(int)")
    if y.dtype.kind not in "iu":
        raise MetablockError(f"{where}: the labels are not whole numbers", _COUNT)
    if int(y.min()) < 0:
        raise MetablockError(f"{where}: the label {int(y.min())}", _COUNT)
    if int(y.max()) >= count:  # each class has an example at least
        raise MetablockError(f"{where}: the label {int(y.max())} among {count} examples", _COUNT)
    return y.astype(np.int64)


def check_classes(
    where: str, labels: np.ndarray, train: np.ndarray, val: np.ndarray, classes: int, names: Sequence[str] | None = None
) -> None:
    """Checks that every class has training examples, and that something is validated.

    Args:
        where: what the data are called in messages.
        labels: class numbers of all examples.
        train, val: the indices of the examples for training and for validation.
        classes: their number.
        names: of the classes, if they have any.

    Raises:
        MetablockError: a single class, a class without training examples, no validation examples.

    >>> check_classes("'a.npz'", np.array([0, 1, 0, 1]), np.array([2, 3]), np.array([0, 1]), 2)
    """
    if classes < 2:
        raise MetablockError(f"{where} has one class", "at least two are needed to tell them apart")
    if not len(val):
        raise MetablockError(f"{where} has no validation examples", "give it some, or leave the split to us")
    counts = np.bincount(labels[train], minlength=classes)
    absent = np.flatnonzero(counts == 0)
    if len(absent):
        shown = f"class '{names[absent[0]]}'" if names is not None else f"class {absent[0]}"
        alone = int((labels == absent[0]).sum())
        if alone:
            message = f"{where}: {shown} has {alone} example{'s' * (alone > 1)}, and none for training"
            raise MetablockError(message, "a class needs two examples at least, one of them to train on")
        raise MetablockError(f"{where}: no training example has {shown}", "labels are 0 to classes - 1, each of them used")


def _plain(word: object) -> str:
    text = word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)
    return text[:40]
