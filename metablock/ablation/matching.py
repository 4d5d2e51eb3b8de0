"""Widths that make a network cost what another costs: found on ``meta``, before anything trains."""

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

# Slots that are widths where a study does not say which: the columns and bindings that papers call so.
USUAL = ("dim", "width", "D", "d", "W", "C")
_ROUNDS = 12  # networks looked at on the way to a scale, and again among its neighbours
_RANGE = (1 / 16, 16.0)
_NEAR = 0.02  # a kind of rounding that comes so near is good enough


@dataclass(frozen=True)
class Cost:
    """Of one network: parameters, those that are trained, multiply-accumulates of one image."""

    params: int
    trainable: int
    macs: int

    def by(self, what: str) -> int:
        return self.trainable if what == "params" else self.macs


@dataclass(frozen=True)
class Width:
    """A slot that holds a width: a number, or one a stage."""

    name: str
    values: tuple[float, ...]
    listed: bool

    def edit(self, values: Sequence[float]) -> Edit:
        numbers = tuple(e.Number(value) for value in values)
        return Edit(e.Header(self.name), e.List(numbers) if self.listed else numbers[0])


@dataclass(frozen=True)
class Matched:
    """A network whose cost was matched: its spec, what its widths became, its cost, and how far that is from the target."""

    spec: Spec
    widths: str
    cost: Cost
    residual: float


def cost_of(spec: Spec) -> Cost:
    """Counts a resolved network without allocating it. Raises MetablockError where it cannot be built."""
    model = assemble(*front(spec, large=True), device="meta")
    parameters = list(model.parameters())
    return Cost(
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
        costs.macs(model, *example(model))[""],
    )


def widths_of(spec: Spec, names: Sequence[str] = ()) -> tuple[Width, ...]:
    """The slots whose numbers scale: those named, or the first usual one. Raises MetablockError where there is none."""
    tables = {**spec.let, **spec.columns}
    for name in names:
        if name not in tables:
            raise MetablockError(
                f"'{name}' is no column or binding of '{spec.name}'\n  {suggest(name, tables, 'name its widths')}"
            )
    found = [width for name in names or USUAL if (width := _width(spec, name))]
    if names and len(found) < len(names):
        wrong = next(name for name in names if name not in [width.name for width in found])
        raise MetablockError(
            f"'{wrong}' of '{spec.name}' is not written as numbers\n  name the slot that holds them: scale: [width]"
        )
    if not found:
        raise MetablockError(
            f"it is not clear which widths of '{spec.name}' scale\n  name them: match: {{by: macs, scale: [width]}}"
        )
    return tuple(found) if names else (found[0],)


def _width(spec: Spec, name: str) -> Width | None:
    binding = spec.columns.get(name) or spec.let.get(name)
    if binding is None or binding.params:
        return None
    body = binding.body
    items = body.items if isinstance(body, e.List) else (body,)
    values = tuple(item.value for item in items if isinstance(item, e.Number))
    return Width(name, values, isinstance(body, e.List)) if values and len(values) == len(items) else None


def match(spec: Spec, target: int, by: str, *, scale: Sequence[str] = (), multiple: int = 8) -> Matched:
    """The network with its widths scaled so that it costs as near to ``target`` as they allow.

    Widths are rounded to multiples: first of ``multiple``, then of more (heads and groups divide the width), then in steps
    that keep the proportions of the stages. The first kind of rounding that comes near is taken, else the nearest of all.

    Args:
        spec: resolved, with its input and classes.
        target: what it should cost.
        by: ``params`` (the trainable ones) or ``macs``.
        scale: the slots that scale, by default the first usual one.
        multiple: what widths are rounded to.

    Raises:
        MetablockError: the network cannot be built, or not with other widths, or nothing in it scales.
    """
    search = _Search(spec, widths_of(spec, scale), target, by)
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
        raise MetablockError(f"with other widths it cannot be built: {reason}")
    return search.best()


@dataclass(frozen=True)
class _Step:
    """A kind of rounding: to multiples, or in proportion (``unit``: the widths at the smallest scale)."""

    multiple: int
    unit: tuple[float, ...] | None = None

    def rounded(self, values: Sequence[float], scale: float) -> tuple[float, ...]:
        if self.unit is not None:
            times = max(1, round(scale * values[0] / self.unit[0]))
            return tuple(unit * times for unit in self.unit)
        if any(value != int(value) or value < 4 for value in values):  # a multiplier, not a number of channels
            return tuple(round(value * scale, 3) for value in values)
        return tuple(max(self.multiple, round(value * scale / self.multiple) * self.multiple) for value in values)


def _steps(widths: Sequence[Width], multiple: int) -> Iterator[_Step]:
    for times in (1, 2, 4, 8):
        yield _Step(multiple * times)
    values = [value for width in widths for value in width.values]
    if all(value == int(value) for value in values):
        common = reduce(gcd, [int(value) for value in values])
        for part in (8, 4, 2, 1):
            if common % part == 0:
                yield _Step(multiple, tuple(value / common * (common // part) for value in values) if part > 1 else tuple(values))


class _Search:
    def __init__(self, spec: Spec, widths: tuple[Width, ...], target: int, by: str) -> None:
        self.spec, self.widths, self.target, self.by = spec, widths, target, by
        self.values = tuple(value for width in widths for value in width.values)
        self.seen: dict[tuple[float, ...], Matched] = {}

    def base(self) -> Matched:
        return self.at(self.values)

    def best(self) -> Matched:
        return min(self.seen.values(), key=lambda found: abs(found.residual))

    def at(self, values: tuple[float, ...]) -> Matched:
        """The network with these widths. Raises MetablockError where there is none."""
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
        found = Matched(spec, shown, cost, cost.by(self.by) / self.target - 1 if self.target else 0.0)
        self.seen[values] = found
        return found

    def look(self, step: _Step) -> None:
        """Scales until nothing comes nearer, then moves single stages. Raises MetablockError for a rounding without networks."""
        scale, tried = 1.0, set()
        low, high = _RANGE
        for _ in range(_ROUNDS):
            values = step.rounded(self.values, scale)
            found = self.at(values)
            if values in tried or found.residual == 0:
                break
            tried.add(values)
            low, high = (scale, high) if found.residual < 0 else (low, scale)
            guess = scale * (self.target / max(1, found.cost.by(self.by))) ** 0.5  # cost goes with the square of the width
            scale = guess if low < guess < high else (low * high) ** 0.5
            if log(high / low) < 1e-3:
                break
        if step.unit is None:
            self._neighbours(step)

    def _neighbours(self, step: _Step) -> None:
        for _ in range(2):
            best = self.best()
            values = next(values for values, found in self.seen.items() if found is best)
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
