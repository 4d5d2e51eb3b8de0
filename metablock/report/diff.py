"""Two networks beside each other: an aligned tree of their parts, what differs at each place, and which weights carry over."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..api import assemble, example
from ..backend import costs
from ..backend.block import Block
from ..errors import MetablockError
from ..front import Front, Source, front
from ..lowering.ir import Child, ModuleList, ModuleNode, Subgraph, flat_values, module_nodes, same_computation
from ..lowering.wiring import same_wiring
from ..shape import Feature
from ..weights.loading import fitting
from .check import named_source
from .layout import Path, one_line, outputs_of, words
from .models import CarriedWeights, DiffPlace, DiffRow, NetworkDiff
from .options import BuildOptions, lowered

# What follows from the width and the extents that arrive.
_WIDTHS = {"out", "n", "c", "grid"}
_DROP = "drop_path"  # whose rate follows from the depth
Kind = Literal["same", "resized", "changed", "only a", "only b"]


def diff(a: Source | Front, b: Source | Front) -> NetworkDiff:
    """Compares two networks: part by part, by names and operators, not by their texts. Nothing is allocated.

    Args:
        a, b: a catalogue name, a path or a spec each; or what :func:`metablock.front.front` returns, for a network with a
            variant, edits or another input.

    Returns:
        The places that differ, the totals and which weights carry over from ``a`` to ``b``. Its ``str`` is the text that
        ``metablock diff`` prints.

    Raises:
        MetablockError: an unknown name, a bad spec (SpecError, with places).

    >>> result = diff("poolformer_s12", "poolformer_s24")
    >>> [(row.name, row.kind) for row in result.rows if row.depth == 0][:2]
    [('stem', 'same'), ('stage 0', 'changed')]
    >>> result.b.parameters - result.a.parameters
    9473792
    """
    one, other = (source if isinstance(source, Front) else front(source) for source in (a, b))
    sides = [_Side(network) for network in (one, other)]
    rows = tuple(_Comparison(*sides).rows())
    return NetworkDiff(a=sides[0].total(), b=sides[1].total(), rows=rows, weights=_carried(*sides))


def compared(
    a: str,
    b: str | None,
    *,
    edits: Sequence[str] = (),
    classes: int | None = None,
    input: str | None = None,
    large: bool = False,
) -> NetworkDiff:
    """Compares two networks as the command line names them: ``NAME`` or ``FILE:VARIANT``.

    Args:
        a: the first network.
        b: the second; None: the first, changed.
        edits, classes, input: changes of the second (see :class:`~metablock.report.options.BuildOptions`).
        large: lifts the caps on sizes, repeats and costs.

    Raises:
        MetablockError: an unknown name, a bad option; neither a second network nor a change.

    >>> compared("resnet18", None, edits=["depth = [1, 1, 1, 1]"]).weights.only_b
    ()
    """
    if b is None and not edits and classes is None and input is None:
        raise MetablockError(
            "there is nothing to compare with", "name a second network, or change this one: --edit 'token = pool'"
        )
    one, variant = _named(a)
    other, second = _named(b) if b is not None else (one, variant)
    changed = BuildOptions(other, second, tuple(edits), classes, input, large)
    if "-" in (one, other) and b is not None and one == other:
        raise MetablockError("standard input holds one spec", "name a file for the other")
    first = lowered(BuildOptions(one, variant, large=large)) if one != "-" or b is not None else None
    if first is None:  # standard input is read once
        spec = named_source(one)
        first = front(spec, large=large)
        return diff(first, front(spec, large=large, **changed.arguments()))
    return diff(first, lowered(changed))


def _named(name: str) -> tuple[str, str | None]:
    """A network's source and its variant, from ``FILE:VARIANT``."""
    source, mark, variant = name.rpartition(":")
    return (source, variant) if mark and variant and source and not os.path.exists(name) else (name, None)


@dataclass
class _Side:
    """One of the networks, on ``meta``, with its costs by module path."""

    network: Front

    def __post_init__(self) -> None:
        self.model: Block = assemble(*self.network, device="meta")
        self.macs = costs.macs(self.model, *example(self.model))
        self.outputs = outputs_of(self.network.ir)

    def place(self, path: Path, text: str) -> DiffPlace:
        """What stands at a path of the network."""
        name = ".".join(path)
        features = [value.feature for value in flat_values(self.outputs.get(path))]
        count = sum(costs.parameters(self.model.get_submodule(name)))
        return DiffPlace(
            path=name, text=text, output=tuple(map(str, features)), parameters=count, macs=self.macs.get(name, self._below(name))
        )

    def _below(self, name: str) -> int:
        """The multiply-accumulates of a list of modules, which does not run itself."""
        depth = name.count(".") + 1
        return sum(n for key, n in self.macs.items() if key.startswith(f"{name}.") and key.count(".") == depth)

    def total(self) -> DiffPlace:
        """The whole network."""
        features: list[Feature] = [value.feature for value in flat_values(self.network.ir.output)]
        spec = self.network.spec
        return DiffPlace(
            path="",
            text=spec.variant or spec.name,
            output=tuple(map(str, features)),
            parameters=sum(costs.parameters(self.model)),
            macs=self.macs.get("", 0),
        )


@dataclass(frozen=True)
class _Pair:
    """A part of a, of b, or one of each, by path and content."""

    a: tuple[Path, Child] | None
    b: tuple[Path, Child] | None


class _Comparison:
    def __init__(self, a: _Side, b: _Side):
        self.a, self.b = a, b

    def rows(self) -> Iterator[DiffRow]:
        """A row for each outermost part, and below it one for each place that differs."""
        for pair in self._pairs(((), self.a.network.ir), ((), self.b.network.ir)):
            yield from self._rows(pair, 0)

    def _rows(self, pair: _Pair, depth: int) -> list[DiffRow]:
        """The rows of a pair that differs, or of an outermost one."""
        if pair.a is None or pair.b is None:
            return [self._row(pair, depth, "only b" if pair.a is None else "only a")]
        kind = self._kind(pair.a, pair.b)
        if kind == "same":
            return [self._row(pair, depth, kind)] if not depth else []
        one, other = pair.a[1], pair.b[1]
        if isinstance(one, ModuleNode) or isinstance(other, ModuleNode):
            changes = _arguments(one, other) if isinstance(one, ModuleNode) and isinstance(other, ModuleNode) else {}
            return [self._row(pair, depth, kind, changes)]
        if kind == "resized" or not set(one.children) & set(other.children):
            return [self._row(pair, depth, kind)]
        below = [self._rows(inner, depth + 1) for inner in self._pairs(pair.a, pair.b)]
        return [self._row(pair, depth, kind), *_folded([rows for rows in below if depth == 0 or not _follows(rows)])]

    def _kind(self, a: tuple[Path, Child], b: tuple[Path, Child]) -> Kind:
        """How two parts differ; ``resized`` where only widths and extents do that follow from what arrives."""
        (path, one), (other_path, other) = a, b
        if same_computation(one, other) and same_wiring(one, other) and self._shapes(path, other_path):
            return "same"
        return "resized" if _alike(one, other) else "changed"

    def _shapes(self, path: Path, other: Path) -> bool:
        """Whether two parts give equal shapes."""
        one, two = (
            [value.feature for value in flat_values(side.outputs.get(at))] for side, at in ((self.a, path), (self.b, other))
        )
        return one == two

    def _row(self, pair: _Pair, depth: int, kind: Kind, changes: Mapping[str, tuple[Any, Any]] | None = None) -> DiffRow:
        a = self.a.place(pair.a[0], _text(pair.a)) if pair.a else None
        b = self.b.place(pair.b[0], _text(pair.b)) if pair.b else None
        path = next(part[0] for part in (pair.b, pair.a) if part is not None)
        name = (
            f"stage {path[1]}"
            if len(path) == 2 and path[0] == "stages"
            else ".".join(path[-2:] if path[-1].isdigit() else path[-1:])
        )
        if kind == "resized" and pair.a and pair.b:
            changes = _drop_rates(pair.a[1], pair.b[1])
        arguments = {name: (_shown(old), _shown(new)) for name, (old, new) in (changes or {}).items()}
        return DiffRow(depth=depth, name=name, kind=kind, a=a, b=b, arguments=arguments)

    def _pairs(self, a: tuple[Path, Child], b: tuple[Path, Child]) -> Iterator[_Pair]:
        """The parts of two parts, aligned by name; between names in common, one by one where the operators are the same."""
        one, other = dict(_parts(*a)), dict(_parts(*b))
        left, right = list(one), list(other)
        for action, low, high, start, end in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
            if action == "equal":
                for name, twin in zip(left[low:high], right[start:end], strict=True):
                    yield _Pair(one[name], other[twin])
                continue
            rest = [key for key in right[start:end] if key not in one]
            for name in left[low:high]:  # a name of both networks that stands here has moved
                twins = [name] if name in other else [key for key in rest if _one_operator(one[name][1], other[key][1])]
                if twins and twins[0] in rest:
                    rest.remove(twins[0])
                yield _Pair(one[name], other[twins[0]] if twins else None)
            for key in rest:
                yield _Pair(None, other[key])


def _parts(path: Path, child: Child) -> Iterator[tuple[Path, tuple[Path, Child]]]:
    """The parts of a part by their names from it; the items of a list instead of the list."""
    assert not isinstance(child, ModuleNode)
    for name, below in child.children.items():
        if isinstance(below, ModuleList):
            for key, item in below.children.items():
                yield (name, key), ((*path, name, key), item)
        else:
            yield (name,), ((*path, name), below)


def _one_operator(a: Child, b: Child) -> bool:
    """Whether two parts are modules of one operator."""
    return isinstance(a, ModuleNode) and isinstance(b, ModuleNode) and a.operator == b.operator


def _text(part: tuple[Path, Child]) -> str:
    path, child = part
    if isinstance(child, Subgraph) and path[:1] == ("stages",) and len(path) == 2:
        return ""
    return one_line(words(child, path))


def _alike(a: Child, b: Child) -> bool:
    """Whether two parts have the same modules, wired alike, but for the widths and extents that arrive."""
    if isinstance(a, ModuleNode) or isinstance(b, ModuleNode):
        return isinstance(a, ModuleNode) and isinstance(b, ModuleNode) and a.operator == b.operator and not _arguments(a, b)
    if type(a) is not type(b) or list(a.children) != list(b.children) or not same_wiring(a, b):
        return False
    if isinstance(a, Subgraph) and isinstance(b, Subgraph) and [type(s) for s in a.steps] != [type(s) for s in b.steps]:
        return False
    return all(_alike(a.children[name], b.children[name]) for name in a.children)


def _arguments(a: ModuleNode, b: ModuleNode) -> dict[str, tuple[Any, Any]]:
    """The arguments of one operator that differ, but for those that follow from the width that arrives or from the depth."""
    if a.operator != b.operator:
        return {}
    changes = {
        name: (a.args.get(name), b.args.get(name)) for name in {**a.args, **b.args} if a.args.get(name) != b.args.get(name)
    }
    changes |= {"trained": (a.trainable, b.trainable)} if a.trainable != b.trainable else {}
    widths = _WIDTHS if a.text == b.text or a.context != b.context else set()
    depthwise = all(node.args.get("groups") == node.context.get("c") for node in (a, b))
    widths = widths | ({"rate"} if a.operator == _DROP else set())
    return {name: pair for name, pair in changes.items() if name not in widths and not (name == "groups" and depthwise)}


def _drop_rates(a: Child, b: Child) -> dict[str, tuple[Any, Any]]:
    """From which drop rates to which, where two parts differ in them."""
    rates = [[float(node.args["rate"]) for _, node in module_nodes(part) if node.operator == _DROP] for part in (a, b)]
    if rates[0] == rates[1] or not all(rates):
        return {}
    old, new = (_range(_shown(min(each)), _shown(max(each))) for each in rates)
    return {"drop rate": (old, new)}


def _follows(rows: list[DiffRow]) -> bool:
    """Whether the rows of a part only say that other sizes arrive, which its surroundings say."""
    return (
        len(rows) == 1
        and rows[0].kind == "resized"
        and (rows[0].a and rows[0].a.parameters) == (rows[0].b and rows[0].b.parameters)
    )


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)


def _folded(groups: list[list[DiffRow]]) -> list[DiffRow]:
    """The rows of parts in a row; equal copies, but for numbers such as a drop rate, become one."""
    result: list[list[DiffRow]] = []
    for rows in groups:
        last = result[-1] if result else []
        if rows and last and len(rows) == len(last) and all(_repeats(a, b) for a, b in zip(last, rows, strict=True)):
            result[-1] = [_joined(a, b, outer=not at) for at, (a, b) in enumerate(zip(last, rows, strict=True))]
        else:
            result.append(rows)
    return [row for rows in result for row in rows]


def _repeats(a: DiffRow, b: DiffRow) -> bool:
    """Whether a row says of the next copy what the last one says of its own."""

    def said(place: DiffPlace | None) -> object:
        return place and (place.text, place.output, place.parameters, place.macs)

    names = [name.rstrip("0123456789-") for name in (a.name, b.name)]
    numbers = [name != row.name for name, row in zip(names, (a, b), strict=True)]
    same = a.kind == b.kind and a.depth == b.depth and list(a.arguments) == list(b.arguments) and names[0] == names[1]
    return (
        same and numbers[0] == numbers[1] and not a.name.startswith("stage ") and (said(a.a), said(a.b)) == (said(b.a), said(b.b))
    )


def _joined(a: DiffRow, b: DiffRow, *, outer: bool) -> DiffRow:
    """The row of several copies: ``blocks.0-3``, and the range of each argument."""
    arguments = {
        name: (_range(old, b.arguments[name][0]), _range(new, b.arguments[name][1])) for name, (old, new) in a.arguments.items()
    }
    name = a.name
    if outer and a.name != b.name:
        name = f"{a.name.partition('-')[0]}-{b.name.rpartition('.')[2]}"
    return a.model_copy(update={"name": name, "copies": a.copies + outer, "arguments": arguments})


def _range(a: str, b: str) -> str:
    return a if a == b or a.endswith(f"..{b}") else f"{a.partition('..')[0]}..{b.rpartition('..')[2]}"


def _carried(a: _Side, b: _Side) -> CarriedWeights:
    """Which weights of a the network b takes: :func:`metablock.weights.carry.carry_weights` loads them."""
    theirs, ours = a.model.state_dict(), b.model.state_dict()
    if not theirs or not ours:
        return CarriedWeights(same=0, parameters=0, adapted=(), other_shape=(), only_a=tuple(theirs), only_b=tuple(ours))
    _, report = fitting(b.model, theirs, b.network.spec)
    adapted = {*report.resized, *(text.partition(" ")[0] for text in report.adapted), *report.reshaped}
    sizes = {name: parameter.numel() for name, parameter in b.model.named_parameters()}
    return CarriedWeights(
        same=len(report.used.keys() - adapted),
        parameters=sum(sizes.get(name, 0) for name in report.used.keys() - adapted),
        adapted=(
            *report.adapted,
            *(f"{name} ({report.grids.get(name, 'interpolated')})" for name in report.resized),
            *report.reshaped,
        ),
        other_shape=tuple(
            f"{name} {tuple(theirs[name].shape)} -> {tuple(ours[name].shape)}" for name in ours if _misfits(name, report.wrong)
        ),
        only_a=tuple(name for name in theirs if name not in ours),
        only_b=tuple(name for name in ours if name not in theirs),
    )


def _misfits(name: str, wrong: list[str]) -> bool:
    return any(entry.partition(" ")[0] == name for entry in wrong)
