"""Data sets by name: ``digits``, ``folder:PATH``, ``hf:NAME[:config]``, ``npz:FILE``.

All give float32 tensors, normalised channel by channel, of the size that a study asks for. The seed of a run alone decides in
which order and with which augmentation it sees them (:mod:`metablock.ablation.training`).
"""

from __future__ import annotations

from ..errors import MetablockError, suggest
from ..shape import Feature
from .arrays import digits, npz
from .dataset import Data, Split, TensorSplit
from .pictures import folder, hugging_face
from .progress import Progress, silent

KINDS = ("digits", "folder:PATH", "hf:NAME[:config]", "npz:FILE")
_LOADERS = {"digits": digits, "folder": folder, "hf": hugging_face, "npz": npz}

__all__ = ["Data", "Split", "TensorSplit", "load_data"]


def load_data(name: str, input: Feature | None = None, progress: Progress = silent) -> Data:
    """Loads a data set by name.

    Args:
        name: ``digits``; ``folder:PATH`` with ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` (without these, a fifth of each class
            is for validation); ``hf:NAME`` from Hugging Face; ``npz:FILE`` with arrays ``x`` (n, c, *grid) and ``y`` (n), or
            ``x_train``, ``y_train``, ``x_val``, ``y_val``. ``~`` is the home folder.
        input: the size of an example; by default the data's own, 1x32x32 for digits and 3x224x224 for pictures.
        progress: called while files are looked at.

    Returns:
        The training and validation examples, float32 inputs ``(n, c, *grid)`` and int64 labels ``(n,)``.

    Raises:
        MetablockError: there is no such data set, its package is not installed, or it cannot be trained on.

    >>> data = load_data("digits", Feature("map", 1, (16, 16)))
    >>> len(data.train), len(data.val), data.classes
    (1433, 364, 10)
    >>> x, y = data.train.get([0, 7])
    >>> tuple(x.shape), x.dtype, y.dtype
    ((2, 1, 16, 16), torch.float32, torch.int64)
    """
    kind, _, rest = name.partition(":")
    if kind not in _LOADERS or (kind == "digits") == bool(rest):
        hints = [suggest(kind, _LOADERS, None), f"known: {', '.join(KINDS)}"]
        raise MetablockError(f"unknown data set '{name}'", " ".join(filter(None, hints)))
    return _LOADERS[kind](name, rest, input, progress)
