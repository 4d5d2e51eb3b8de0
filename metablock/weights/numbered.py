"""Foreign names with ``{*}``: the tensors with every number that a checkpoint has in its place."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor

from ..language.weight_rules.rule import EVERY


def numbered(key: str, names: Collection[str]) -> list[str]:
    """The names that a key of a rule stands for, in the order of their numbers; itself if there are none.

    >>> numbered("heads.{*}.weight", ["heads.10.weight", "heads.2.weight", "heads.x.weight"])
    ['heads.2.weight', 'heads.10.weight']
    >>> numbered("heads.{*}.weight", []), numbered("conv.weight", [])
    (['heads.{*}.weight'], ['conv.weight'])
    """
    if EVERY not in key:
        return [key]
    before, _, behind = key.partition(EVERY)
    pattern = re.compile(rf"{re.escape(before)}(\d{{1,9}}){re.escape(behind)}")
    numbers = sorted((int(match[1]), name) for name in names if (match := pattern.fullmatch(name)) is not None)
    return [name for _, name in numbers] or [key]


def gathered(groups: Sequence[Sequence[str]], tensors: Iterable[Tensor]) -> list[Tensor]:
    """A tensor for each group of names, from a tensor for each name in order: those of a group are concatenated.

    Raises RuntimeError for tensors that cannot be concatenated.
    """
    rest = iter(tensors)
    parts = [list(islice(rest, len(group))) for group in groups]
    return [torch.cat(part) if len(part) > 1 else part[0] for part in parts]
