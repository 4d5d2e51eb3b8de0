"""Which tensors of two state dicts belong together: by shapes, by the order in which they were registered, by their names.

Containers (``stages.1.blocks.0``, ``layer2.0``) whose layers have the same shapes are matched first, the largest first, and then
what they hold. Inside a pair of containers the layers of one shape follow each other in the same order on both sides, unless
their names say otherwise.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import prod
from typing import Literal, TypeVar

from .units import LayerUnit, Leaf, Shape, bare, pack, square_steps, units

Path = tuple[str, ...]
T = TypeVar("T", LayerUnit, list[LayerUnit])
# What a tensor may be that need not have our shape.
Free = Literal["table", "classes", "channels"]
_MOST = 6  # layers of one shape in one container whose order is compared with their names
_GAIN = 0.3  # by how much names must agree better than the order does
# Words for the same thing.
_SAME = (
    ("linear", "fc", "dense", "lin"),
    ("token", "attn", "attention", "mixer", "self"),
    ("channel", "mlp", "ffn", "ff", "feed"),
    ("norm", "ln", "layernorm", "layer_norm", "bn", "gn"),
    ("proj", "out", "output", "projection"),
    ("q", "query"), ("k", "key"), ("v", "value"),
    ("skip", "downsample", "shortcut", "residual"),
    ("cls", "class", "class_token", "cls_token"),
    ("pos", "position", "pos_embed", "positional"),
    ("dist", "distillation"),
    ("scale", "gamma", "ls", "layer_scale"),
    ("first", "1"), ("second", "2"), ("third", "3"), ("fourth", "4"),
    ("head", "classifier", "fc"),
)  # fmt: skip
_CANON = {word: group[0] for group in _SAME for word in group}


@dataclass(frozen=True)
class NamePair:
    """One of our tensors, those of theirs that make it, joined along the first axis, and the step for each and for the whole."""

    ours: str
    theirs: tuple[str, ...]
    each: str = ""
    whole: str = ""


@dataclass
class Pairing:
    """The pairs, and what is not certain of them.

    Attributes:
        pairs: in our order.
        by_order: ours that share container and shape with others, and whose names do not tell them apart.
        by_names: ours that names assign otherwise than their order does.
        by_count: ours that were assigned although the two sides have different numbers of such tensors.
        ours, theirs: those without partner.
    """

    pairs: list[NamePair] = field(default_factory=list)
    by_order: list[str] = field(default_factory=list)
    by_names: list[str] = field(default_factory=list)
    by_count: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)
    theirs: list[str] = field(default_factory=list)


def pair(
    ours: Mapping[str, Sequence[int]],
    theirs: Mapping[str, Sequence[int]],
    free: Mapping[str, Free] | None = None,
    ordered: bool = True,
) -> Pairing:
    """Pairs the tensors of two state dicts, given as shapes by name.

    Args:
        ours: in the order of registration.
        theirs: in the order of registration, if ``ordered``; a file may sort by name.
        free: ours that may differ in one extent: a table in rows, a classifier in classes, a first kernel in channels.
        ordered: whether their order says anything. If not, numbers in names do.

    >>> ours = {"a.norm.weight": (4,), "a.linear.weight": (8, 4), "b.linear.weight": (8, 4)}
    >>> theirs = {"x.ln.weight": (4,), "x.fc.weight": (8, 4), "y.fc.weight": (8, 4)}
    >>> [(pair.ours, *pair.theirs) for pair in pair(ours, theirs).pairs][2]
    ('b.linear.weight', 'y.fc.weight')
    """
    if not ordered:
        theirs = {name: theirs[name] for name in sorted(theirs, key=_natural)}
    here, there = units(ours), square_steps(units(theirs))
    here, there = pack(here, there), pack(there, here)
    matcher = _Matcher(_GAIN if ordered else _GAIN / 2)
    rest_here, rest_there = matcher.containers(here, there, 0)
    result = matcher.result
    matcher.tensors(rest_here, rest_there, free or {})
    order = {name: index for index, name in enumerate(ours)}
    result.pairs.sort(key=lambda one: order[one.ours])
    paired = {one.ours for one in result.pairs}
    used = {name for one in result.pairs for name in one.theirs}
    result.ours = [name for unit in here for leaf in unit.leaves for name in leaf.names if name not in paired]
    result.theirs = [name for unit in there for leaf in unit.leaves for name in leaf.names if name not in used]
    return result


class _Matcher:
    def __init__(self, gain: float) -> None:
        self.gain, self.result = gain, Pairing()

    def containers(self, ours: list[LayerUnit], theirs: list[LayerUnit], depth: int) -> tuple[list[LayerUnit], list[LayerUnit]]:
        """Matches containers, then what stands in none that was matched. Returns the units without partner."""
        rest_here, rest_there = list(ours), list(theirs)
        if depth < 8:
            here, there = _containers(ours), _containers(theirs)
            for signature in sorted(here.keys() & there.keys(), key=len, reverse=True):
                one = [box for box in here[signature] if all(unit in rest_here for unit in box)]
                other = [box for box in there[signature] if all(unit in rest_there for unit in box)]
                if len(one) != len(other) or (len(one) == 1 and len(one[0]) == len(ours) and len(other[0]) == len(theirs)):
                    continue
                for a, b in self.ordered(one, other, _shared):
                    taken = set(map(id, [*a, *b]))
                    rest_here = [unit for unit in rest_here if id(unit) not in taken]
                    rest_there = [unit for unit in rest_there if id(unit) not in taken]
                    self.containers(a, b, depth + 1)
        return self.layers(rest_here, rest_there)

    def layers(self, ours: list[LayerUnit], theirs: list[LayerUnit]) -> tuple[list[LayerUnit], list[LayerUnit]]:
        """Matches layers by their signatures. Returns those without partner."""
        left_here, left_there = list[LayerUnit](), list[LayerUnit]()
        kinds = dict.fromkeys(unit.signature for unit in [*ours, *theirs])
        for kind in kinds:
            here = [unit for unit in ours if unit.signature == kind]
            there = [unit for unit in theirs if unit.signature == kind]
            if len(here) == len(there):
                for a, b in self.ordered(here, there, lambda unit: unit.path):
                    self.join(a, b)
            else:
                pairs = _nearest(here, there)
                for a, b in pairs:
                    self.join(a, b)
                    self.result.by_count += [name for leaf in a.leaves for name in leaf.names]
                left_here += [unit for unit in here if not any(unit is a for a, _ in pairs)]
                left_there += [unit for unit in there if not any(unit is b for _, b in pairs)]
        return left_here, left_there

    def ordered(self, ours: list[T], theirs: list[T], path_of: Callable[[T], Path]) -> list[tuple[T, T]]:
        """Things of one shape, as many on both sides, in the order of both or, if names say so clearly, by names."""
        plain = list(zip(ours, theirs, strict=True))
        if not 1 < len(ours) <= _MOST:
            return plain
        here, there = _tails([path_of(one) for one in ours]), _tails([path_of(one) for one in theirs])
        table = [[_likeness(a, b, numbers=False) for b in there] for a in here]
        scores = {order: sum(table[i][j] for i, j in enumerate(order)) for order in permutations(range(len(theirs)))}
        first = tuple(range(len(theirs)))
        best = max(scores, key=lambda order: (scores[order], order == first))
        names = [name for one in ours for name in _names(one)]
        if scores[best] > scores[first] + self.gain:
            self.result.by_names += names
            return [(ours[i], theirs[j]) for i, j in enumerate(best)]
        alike = sum(score >= scores[first] for score in scores.values()) > 1
        if alike and not (_counted(here) and _counted(there)):
            self.result.by_order += names
        return plain

    def join(self, ours: LayerUnit, theirs: LayerUnit) -> None:
        """Pairs the tensors of two layers of one signature."""
        for leaf in ours.leaves:
            other = next(b for b in theirs.leaves if b.role == leaf.role and bare(b.shape) == bare(leaf.shape))
            self.leaf(leaf, other)

    def leaf(self, ours: Leaf, theirs: Leaf) -> None:
        if len(ours.names) == 1:
            each = theirs.step if len(theirs.names) > 1 else ""
            self.result.pairs.append(NamePair(ours.names[0], theirs.names, each, "" if each else theirs.step))
        elif len(ours.names) == len(theirs.names):
            for a, b in zip(ours.names, theirs.names, strict=True):
                self.result.pairs.append(NamePair(a, (b,), whole=theirs.step))
        elif len(theirs.names) == 1:
            n = len(ours.names)
            for k, name in enumerate(ours.names):
                step = f"{theirs.step} | chunk({k}, {n})" if theirs.step else f"chunk({k}, {n})"
                self.result.pairs.append(NamePair(name, theirs.names, whole=step))

    def tensors(self, ours: list[LayerUnit], theirs: list[LayerUnit], free: Mapping[str, Free]) -> None:
        """Matches single tensors of layers without partner: by shape, as tables, as classifiers of other classes, transposed."""
        here, there = [leaf for unit in ours for leaf in unit.leaves], [leaf for unit in theirs for leaf in unit.leaves]

        def fits(a: Leaf, b: Leaf) -> str | None:
            if len(a.names) > 1 or len(b.names) > 1:
                return None
            if bare(a.shape) == bare(b.shape):
                return b.step
            if len(a.shape) == 2 and a.shape == b.shape[::-1]:
                return "transpose"
            if len(b.shape) > 2 and len(a.shape) == 2 and a.shape == (prod(b.shape[1:]), b.shape[0]):
                return f"permute({', '.join(map(str, (*range(1, len(b.shape)), 0)))}) | reshape"
            if len(b.shape) > 3 and len(a.shape) == 3 and a.shape == (b.shape[0], prod(b.shape[2:]), b.shape[1]):
                return f"permute({', '.join(map(str, (0, *range(2, len(b.shape)), 1)))}) | reshape"
            kind = free.get(a.names[0])
            if kind is None or len(a.shape) != len(b.shape):
                return None
            differ = [axis for axis, (n, m) in enumerate(zip(a.shape, b.shape, strict=True)) if n != m]
            if differ == [{"classes": 0, "channels": 1, "table": len(a.shape) - 2}[kind]]:
                return ""
            return None

        for exact in (True, False):
            options = [
                (_likeness(a.names[0].split("."), b.names[0].split(".")) + (a.role == b.role), -i, -j, step)
                for i, a in enumerate(here)
                for j, b in enumerate(there)
                if (step := fits(a, b)) is not None and (not exact or bare(a.shape) == bare(b.shape))
            ]
            used_here, used_there = set[int](), set[int]()
            for _, i, j, step in sorted(options, key=lambda option: option[:3], reverse=True):
                if -i not in used_here and -j not in used_there:
                    used_here.add(-i)
                    used_there.add(-j)
                    self.result.pairs.append(NamePair(here[-i].names[0], there[-j].names, whole=step))
                    self.result.by_count.append(here[-i].names[0])
            here = [leaf for i, leaf in enumerate(here) if i not in used_here]
            there = [leaf for j, leaf in enumerate(there) if j not in used_there]


def _natural(name: str) -> list[tuple[int, str]]:
    """Orders names as people do: ``blocks.2`` before ``blocks.10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", name)]


def _containers(group: Sequence[LayerUnit]) -> dict[tuple[object, ...], list[list[LayerUnit]]]:
    """Groups of layers below one path, by their signatures, in order; of paths that hold the same layers the shortest."""
    below: dict[tuple[str, ...], list[LayerUnit]] = {}
    for unit in group:
        for end in range(1, len(unit.path)):
            below.setdefault(unit.path[:end], []).append(unit)
    boxes: dict[tuple[object, ...], list[list[LayerUnit]]] = {}
    seen: set[tuple[int, ...]] = set()
    for box in below.values():
        key = tuple(map(id, box))
        if len(box) > 1 and key not in seen:
            seen.add(key)
            boxes.setdefault(tuple(sorted(unit.signature for unit in box)), []).append(box)
    return boxes


def _nearest(ours: list[LayerUnit], theirs: list[LayerUnit]) -> list[tuple[LayerUnit, LayerUnit]]:
    """Layers of one shape, more on one side than on the other: those whose names are most alike, then by order."""
    options = sorted(
        (
            (-_likeness(a.path, b.path), abs(i / len(ours) - j / len(theirs)), i, j)
            for i, a in enumerate(ours)
            for j, b in enumerate(theirs)
        )
    )
    pairs: dict[int, int] = {}
    for _, _, i, j in options:
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return [(ours[i], theirs[j]) for i, j in sorted(pairs.items())]


def _shared(box: Sequence[LayerUnit]) -> tuple[str, ...]:
    """The path that the layers of a container have in common."""
    first, last = min(unit.path for unit in box), max(unit.path for unit in box)
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]


def _names(one: LayerUnit | Sequence[LayerUnit]) -> list[str]:
    return [name for unit in ([one] if isinstance(one, LayerUnit) else one) for leaf in unit.leaves for name in leaf.names]


def _tails(paths: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """Paths without the parts that all have in common."""
    same = 0
    while all(len(path) > same for path in paths) and len({path[same] for path in paths}) == 1:
        same += 1
    return [list(path[same:]) for path in paths]


def _counted(tails: Sequence[Sequence[str]]) -> bool:
    """Whether names differ by numbers alone, which ascend."""
    texts = [".".join(tail) for tail in tails]
    numbers = [[int(number) for number in re.findall(r"\d+", text)] for text in texts]
    return len({re.sub(r"\d+", "#", text) for text in texts}) == 1 and numbers == sorted(numbers)


def _likeness(a: Sequence[str], b: Sequence[str], numbers: bool = True) -> float:
    """From 0 to 1: how many words of two names are the same, or stand for the same thing; ``numbers``: these too."""
    one, other = _words(a, numbers), _words(b, numbers)
    if not one or not other:
        return 0.0
    both = len(one & other)
    letters = difflib.SequenceMatcher(None, ".".join(sorted(one))[-40:], ".".join(sorted(other))[-40:]).ratio()
    return both / max(len(one), len(other)) * 0.8 + letters * 0.2


def _words(path: Sequence[str], numbers: bool) -> frozenset[str]:
    text = re.sub(r"([a-z])([A-Z])", r"\1.\2", ".".join(path)).lower()
    words = {*text.split("."), *re.findall(r"[a-z]+|\d+", text)} - {"weight", "bias", ""}
    return frozenset(_CANON.get(word, word) for word in words if numbers or not word[-1].isdigit())


__all__ = ["NamePair", "Pairing", "Shape", "pair"]
