"""Scales the widths of a network until it costs what another costs. Networks are built on ``meta``: nothing is allocated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd, log

from ..api import assemble, example
from ..backend import costs
from ..errors import MetablockError, suggest
from ..front import front
from ..language import ast as e
from ..language.edits import apply
from ..language.printer import show
from ..language.spec import Edit, Spec

# The names that papers give to widths. A study that names none scales the first of these.
USUAL = ("dim", "width", "D", "d", "W", "C")
COUNTED = {"params": "trainable", "macs": "macs"}  # the field of Cost that each kind of match compares
_ROUNDS = 12  # networks that are built for one kind of rounding, before single stages move
_RANGE = (1 / 16, 16.0)  # of scales
_NEAR = 0.02  # residual at which no further kind of rounding is tried


@dataclass(frozen=True)
class Cost:
    """What one network costs.

    Attributes:
        params: number of parameters.
        trainable: number of parameters that are trained.
        macs: multiply-accumulates for one image.

    >>> Cost(params=1000, trainable=900, macs=5_000_000).by("params")
    900
    """

    params: int
    trainable: int
    macs: int

    def by(self, what: str) -> int:
        """The cost that a match by ``macs`` or ``params`` compares."""
        return int(getattr(self, COUNTED[what]))


@dataclass(frozen=True)
class Width:
    """A slot that holds widths: one number, or a list with one per stage."""

    name: str
    values: tuple[float, ...]
    listed: bool

    def edit(self, values: Sequence[float]) -> Edit:
        """The edit that writes these numbers into the slot."""
        numbers = tuple(e.Number(value) for value in values)
        return Edit(e.Header(self.name), e.List(numbers) if self.listed else numbers[0])


@dataclass(frozen=True)
class Matched:
    """A network whose cost was matched.

    Attributes:
        spec: resolved, with its new widths.
        widths: the new widths in words, ``dim = [64, 96]``; empty if they did not change.
        cost: of the network.
        residual: relative distance of its cost to the target.
    """

    spec: Spec
    widths: str
    cost: Cost
    residual: float


def cost_of(spec: Spec) -> Cost:
    """Counts parameters and MACs of a resolved network without allocating it. Raises MetablockError if it cannot be built.

    >>> from metablock.front import resolved
    >>> cost_of(resolved("resnet18", classes=10, input="3x64x64"))
    Cost(params=11181642, trainable=11181642, macs=148050944)
    """
    model = assemble(*front(spec, large=True), device="meta")
    parameters = list(model.parameters())
    return Cost(
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
        costs.macs(model, *example(model))[""],
    )


def widths_of(spec: Spec, names: Sequence[str] = ()) -> tuple[Width, ...]:
    """The slots whose numbers are scaled.

    Args:
        spec: of the network.
        names: of columns or bindings; without any, the first of ``USUAL`` that the spec has.

    Raises:
        MetablockError: there is no such slot, or it does not hold numbers.

    >>> from metablock.front import resolved
    >>> widths_of(resolved("poolformer_s12"))
    (Width(name='dim', values=(64, 128, 320, 512), listed=True),)
    """
    tables = {**spec.let, **spec.columns}
    for name in names:
        if name not in tables:
            hint = suggest(name, tables, "name its widths")
            raise MetablockError(f"'{name}' is not a column or binding of '{spec.name}'", hint)
    widths = [width for name in names or USUAL if (width := _width(spec, name))]
    if names and len(widths) < len(names):
        other = next(name for name in names if name not in [width.name for width in widths])
        hint = "name the slot that holds them: scale: [width]"
        raise MetablockError(f"'{other}' of '{spec.name}' is not written as numbers", hint)
    if not widths:
        hint = "name them: match: {by: macs, scale: [width]}"
        raise MetablockError(f"it is not clear which widths of '{spec.name}' scale", hint)
    return tuple(widths) if names else (widths[0],)


def _width(spec: Spec, name: str) -> Width | None:
    binding = spec.columns.get(name) or spec.let.get(name)
    if binding is None or binding.params:
        return None
    body = binding.body
    items = body.items if isinstance(body, e.List) else (body,)
    values = tuple(item.value for item in items if isinstance(item, e.Number))
    return Width(name, values, isinstance(body, e.List)) if values and len(values) == len(items) else None


def match(spec: Spec, target: int, by: str, *, scale: Sequence[str] = (), multiple: int = 8) -> Matched:
    """Scales the widths of a network so that its cost comes as near to ``target`` as possible.

    Widths are rounded in several ways: to multiples of ``multiple``, to larger multiples (heads and groups divide the width),
    and in steps that keep the proportions of the stages. The search ends with the first rounding that comes within 2 % of the
    target; otherwise the nearest of all networks is taken.

    Args:
        spec: resolved, with its input and classes.
        target: the wanted cost.
        by: ``params`` (the trainable ones) or ``macs``.
        scale: names of the slots to scale, as for :func:`widths_of`.
        multiple: channels are rounded to multiples of this.

    Raises:
        MetablockError: the network cannot be built at all, or not with other widths; or nothing in it scales.

    >>> from metablock.front import resolved
    >>> spec = resolved("poolformer_s12", edits=["depth = [1, 1, 1, 1]"], classes=10, input="3x32x32")
    >>> matched = match(spec, cost_of(spec).macs // 2, "macs")
    >>> matched.widths, abs(matched.residual) < 0.05
    ('dim = [48, 88, 216, 360]', True)
    """
    search = _WidthSearch(spec, widths_of(spec, scale), target, by)
    own = search.base()
    if own.residual == 0:
        return own
    reason: MetablockError | None = None
    worked = False
    for step in _steps(search.widths, multiple):
        try:
            search.look(step)
        except MetablockError as wrong:
            reason = wrong
            continue
        worked = True
        if abs(search.best().residual) <= _NEAR:
            break
    if not worked and len(search.seen) == 1:
        message, _, hint = str(reason).partition("\n")
        raise MetablockError(f"with other widths it cannot be built: {message}", hint.strip() or "leave them: match: none")
    return search.best()


@dataclass(frozen=True)
class _Step:
    """A kind of rounding: to multiples, or to multiples of ``unit``, the smallest widths in the same proportion."""

    multiple: int
    unit: tuple[float, ...] | None = None

    def rounded(self, values: Sequence[float], scale: float) -> tuple[float, ...]:
        if self.unit is not None:
            factor = max(1, round(scale * values[0] / self.unit[0]))
            return tuple(unit * factor for unit in self.unit)
        if any(value != int(value) or value < 4 for value in values):  # a multiplier, not a number of channels
            return tuple(round(value * scale, 3) for value in values)
        return tuple(max(self.multiple, round(value * scale / self.multiple) * self.multiple) for value in values)


def _steps(widths: Sequence[Width], multiple: int) -> Iterator[_Step]:
    for factor in (1, 2, 4, 8):
        yield _Step(multiple * factor)
    values = [value for width in widths for value in width.values]
    if all(value == int(value) for value in values):
        common = reduce(gcd, [int(value) for value in values])
        for part in (8, 4, 2, 1):
            if common % part == 0:
                yield _Step(multiple, tuple(value / common * (common // part) for value in values) if part > 1 else tuple(values))


class _WidthSearch:
    """The networks that were built so far, by their widths."""

    def __init__(self, spec: Spec, widths: tuple[Width, ...], target: int, by: str) -> None:
        self.spec, self.widths, self.target, self.by = spec, widths, target, by
        self.values = tuple(value for width in widths for value in width.values)
        self.seen: dict[tuple[float, ...], Matched] = {}

    def base(self) -> Matched:
        return self.at(self.values)

    def best(self) -> Matched:
        return min(self.seen.values(), key=lambda matched: abs(matched.residual))

    def at(self, values: tuple[float, ...]) -> Matched:
        """The network with these widths. Raises MetablockError if it cannot be built."""
        if values in self.seen:
            return self.seen[values]
        edits, start = [], 0
        for width in self.widths:
            part = [int(value) if value == int(value) else value for value in values[start : start + len(width.values)]]
            edits.append(width.edit(part))
            start += len(width.values)
        spec = self.spec if values == self.values else apply(self.spec, edits)
        cost = cost_of(spec)
        shown = ", ".join(f"{edit.name} = {_text(edit)}" for edit in edits) if values != self.values else ""
        self.seen[values] = Matched(spec, shown, cost, cost.by(self.by) / self.target - 1 if self.target else 0.0)
        return self.seen[values]

    def look(self, step: _Step) -> None:
        """Scales all widths until the cost stops coming nearer, then single ones.

        Raises MetablockError if a network cannot be built at this rounding.
        """
        scale, tried = 1.0, set()
        low, high = _RANGE
        for _ in range(_ROUNDS):
            values = step.rounded(self.values, scale)
            matched = self.at(values)
            if values in tried or matched.residual == 0:
                break
            tried.add(values)
            low, high = (scale, high) if matched.residual < 0 else (low, scale)
            guess = scale * (self.target / max(1, matched.cost.by(self.by))) ** 0.5  # cost goes with the square of the width
            scale = guess if low < guess < high else (low * high) ** 0.5
            if log(high / low) < 1e-3:
                break
        if step.unit is None:
            self._neighbours(step)

    def _neighbours(self, step: _Step) -> None:
        """Moves each width of the best network by one step towards the target, twice at most."""
        for _ in range(2):
            best = self.best()
            values = next(values for values, matched in self.seen.items() if matched is best)
            if best.residual == 0 or values == self.values:
                return
            sign = -1 if best.residual > 0 else 1
            for i, value in enumerate(values):
                moved = value + sign * (step.multiple if value == int(value) and value >= 4 else round(value * 0.01, 3))
                if moved > 0 and (other := (*values[:i], moved, *values[i + 1 :])) not in self.seen:
                    try:
                        self.at(other)
                    except MetablockError:
                        continue
            if self.best() is best:
                return


def _text(edit: Edit) -> str:
    return show(edit.value) if isinstance(edit.value, e.Node) else ""
