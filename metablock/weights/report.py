"""What is said of a checkpoint: how it was loaded, or why it does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import MetablockError
from .folding import fold

# Names listed per kind in a report's text; rules that are said to be the cause.
_SHOWN, _RULES = 20, 6
# What a missing tensor's entry says if no rule names it.
NO_RULE = " (no rule)"


@dataclass
class WeightReport:
    """How a checkpoint was loaded. "Ours" are tensors of the model, "theirs" entries of the checkpoint.

    Attributes:
        source: the table of `weights:` whose names the checkpoint has; ``ours`` for our own names.
        taken: which part of the checkpoint was read: the entry of a training script (``average``), the prefix of the names
            (``module.``); empty for all of it.
        used: for each of our tensors, the keys of theirs it was made of.
        reshaped: ours whose shape differs from theirs only by extents of 1.
        resized: ours that were interpolated from tables of another grid (positions, biases).
        grids: for each resized one, from which grid to which, and whether the old one was taken for a square.
        assumed: for each table whose grid nothing tells, ours, which is no square and has as many rows (6x8 has those of 8x6).
        adapted: ours in the first and last layers that fit other channels or classes, with what was done.
        initial: the adapted ones that keep their initial values: a classifier of other classes.
        nonfinite: ours that hold NaN or infinite numbers.
        missing: ours that the checkpoint lacks.
        left: theirs that no rule uses.
        beside: theirs outside the part that was taken: a counter of averaged weights, a loss with weights.
        wrong: ours whose shape, or kind of numbers, does not fit theirs.
        skipped: theirs that are no tensors (an epoch, a version).
        rules: for each of ours that does not fit, the rule that names it, with its file and line.
        shapes: the shapes of theirs that were used; :func:`~metablock.weights.export_names.export_state` takes them.
        unused: the shapes of theirs that were not used.
        notes: what else is worth knowing, a sentence each.
    """

    source: str
    taken: str = ""
    used: dict[str, str] = field(default_factory=dict)
    reshaped: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    grids: dict[str, str] = field(default_factory=dict)
    assumed: dict[str, str] = field(default_factory=dict)
    adapted: list[str] = field(default_factory=list)
    initial: list[str] = field(default_factory=list)
    nonfinite: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    rules: dict[str, str] = field(default_factory=dict, repr=False)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    unused: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)

    @property
    def misfits(self) -> int:
        """The number of tensors that are missing, left over or of another shape."""
        return len(self.missing) + len(self.left) + len(self.wrong)

    @property
    def complete(self) -> bool:
        return not self.misfits

    @property
    def total(self) -> int:
        """The number of our tensors that it speaks of; a counter that the checkpoint lacks is none of them."""
        return len(self.used) + len(self.missing) + len(self.wrong)

    def lacks(self) -> str:
        """What does not fit, in a clause: how many of each kind, and the first name."""
        kinds = ((self.missing, "missing"), (self.wrong, "of another shape"), (self.left, "left over"))
        return ", ".join(f"{len(names)} {what} ({names[0]}{', ...' if names[1:] else ''})" for names, what in kinds if names)

    def __str__(self) -> str:
        taken = f", from {self.taken}" if self.taken else ""
        of = "" if self.complete else f" of {self.total}"
        lines = [f"{len(self.used)}{of} tensors by the names of '{self.source}'{taken}"]
        without = [name for name in self.missing if name.endswith(NO_RULE)]
        alone = len(without) < 2
        listed = {
            "with NaN or infinite numbers": self.nonfinite,
            "reshaped": self.reshaped,
            "resized": [f"{name} ({self.grids[name]})" if name in self.grids else name for name in self.resized],
            "taken to lie on our grid": [f"{name} ({grid})" for name, grid in self.assumed.items()],
            "adapted": self.adapted,
            "missing": self.missing if alone else [name for name in self.missing if name not in set(without)],
            "missing, without a rule": [] if alone else [name.removesuffix(NO_RULE) for name in without],
            "left over": self.left,
            "of another shape": self.wrong,
            "beside them": self.beside,
            "no tensors": self.skipped,
        }
        for label, names in listed.items():
            if names:
                lines.append(f"{len(names)} {label}: {_listed(names)}")
                lines += self._causes(names) if names is self.wrong or label == "missing" else []
        return "\n  ".join([*lines, *self.notes])

    def _causes(self, entries: Sequence[str]) -> list[str]:
        """The rules that name the tensors of these entries, those with the most first, each in an indented line."""
        causes: dict[str, int] = {}
        for entry in entries:
            rule = self.rules.get(entry.split(" ")[0])
            if rule is not None:
                causes[rule] = causes.get(rule, 0) + 1
        ranked = sorted(causes, key=lambda rule: -causes[rule])
        more = [f"  and {len(ranked) - _RULES} more rules"] if len(ranked) > _RULES else []
        return [f"  {f'{causes[rule]} by ' if causes[rule] > 1 else ''}{rule}" for rule in ranked[:_RULES]] + more


def _listed(names: Sequence[str]) -> str:
    """The first of some names; if they are many, those that differ by numbers alone are folded."""
    shown = fold(names) if len(names) > _SHOWN else names
    more = f", and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


class WeightsError(MetablockError):
    """A checkpoint that does not fit. ``report`` is complete; the text lists the first names of each kind."""

    def __init__(self, name: str, report: WeightReport):
        super().__init__(f"the weights do not fit '{name}': {report}", "nothing was loaded")
        self.name, self.report = name, report

    def __reduce__(self) -> tuple[type[WeightsError], tuple[str, WeightReport]]:
        return WeightsError, (self.name, self.report)
