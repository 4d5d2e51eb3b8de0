"""The rules of a spec's `weights:` section: whose parameter stands where in whose checkpoint. Text only, no torch.

A rule maps our parameter names to foreign ones: ``stages.{i}.blocks.{j}.norm1.*: network.{2 * i}.{j}.norm1.*``.

========================= ============================================================================================
left: our names           ``{i}`` stands for a number, ``*`` (once) for any rest
right: their names        ``*`` is the same rest; ``{ }`` holds a whole number: ``+ - * // %`` on what the left side names,
                          ``layer(i, j)`` for block ``j`` of stage ``i`` counted through the network, ``layers`` for their number
``a ++ b``                several tensors, concatenated along the first axis
``| chunk(k, n)``         part ``k`` of ``n`` equal parts along the first axis
``| rows(from, to)``      a range along the first axis, ``columns(from, to)`` along the second
``| transpose``           the last two axes exchanged
``| reshape(...)``        another shape of as many numbers, -1 at most once
``| permute(...)``        the axes in this order
========================= ============================================================================================

Of a table's rules the first that fits a name counts. ``of: other`` adds the rules of another table behind the own ones; ``ignore:``
lists foreign keys (``*`` as often as wanted) that have no use here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from . import expr as e
from .errors import Problem, Span, SpecError, error, suggest
from .parser import expression, parse_value
from .spec import Rule, Spec, WeightTable

# The steps after a `|`: how many arguments they take (None: one or more).
STEPS: Mapping[str, int | None] = {"chunk": 2, "rows": 2, "columns": 2, "transpose": 0, "reshape": None, "permute": None}
_STEP_HINT = "there are chunk(k, n), rows(from, to), columns(from, to), transpose, reshape(...), permute(...)"
_NUMBER_HINT = "write `{i}`, `{2 * i + 1}`, `{layer(i, j)}`, `{layers}`"
_ARITHMETIC: Mapping[str, Callable[[int, int], int]] = {
    "+": int.__add__, "-": int.__sub__, "*": int.__mul__, "//": int.__floordiv__, "%": int.__mod__,
}  # fmt: skip
_CAPTURE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Numbers:
    """What a rule computes with: the numbers its left side stood for, and how many blocks each stage has."""

    captured: Mapping[str, int]
    blocks: Sequence[int]

    def layer(self, stage: int, block: int) -> int:
        """Blocks before block ``block`` of stage ``stage``."""
        return sum(self.blocks[:stage]) + block


@dataclass(frozen=True)
class Step:
    """What is done to the tensor: ``chunk(k, n)`` ..."""

    name: str
    args: tuple[e.Node, ...]


class ReadyRule:
    """A rule that was read without a problem. Raises SpecError, with the rule's place, where it was not."""

    def __init__(self, rule: Rule):
        self.rule = rule
        self.pattern, self.names = pattern(rule.ours)
        names, *steps = _parts(rule.theirs, "|")
        self.sources = [_Template(self, offset, text) for offset, text in _parts(*names[::-1], "++")] if False else []
        raise NotImplementedError(steps)
