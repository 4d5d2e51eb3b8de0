"""The tensors of a state dict in units: what one layer holds, with its shapes in one order of axes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Shape = tuple[int, ...]
COUNTER = "num_batches_tracked"

# The part that a tensor has in its layer, by the last part of its name.
_ROLES = {
    "weight": "weight", "kernel": "weight", "w": "weight", "g": "weight", "bias": "bias", "b": "bias",
    "running_mean": "mean", "moving_mean": "mean", "running_var": "var", "moving_variance": "var",
}  # fmt: skip
_PAIRED = {"gamma": ("weight", "beta"), "beta": ("bias", "gamma")}  # roles only beside each other
_Q, _K, _V = ("q", "query", "queries", "wq"), ("k", "key", "keys", "wk"), ("v", "value", "values", "wv")
# Projections that implementations pack into one tensor: the words for each part.
_PACKS = (
    (_Q, _K, _V),
    (_K, _V),
    (("qk",), _V),
    (_Q, ("kv",)),
)


@dataclass(frozen=True)
class Leaf:
    """The tensors that stand for one role of a unit: several where the unit packs layers. ``step`` gives them our axes."""

    role: str
    shape: Shape
    names: tuple[str, ...]
    step: str = ""


@dataclass(frozen=True)
class LayerUnit:
    """The tensors of one layer.

    Attributes:
        path: the parts of its name.
        leaves: its tensors by role.
        place: of its first tensor in the state dict.
    """

    path: tuple[str, ...]
    leaves: tuple[Leaf, ...]
    place: int = field(compare=False)

    @property
    def signature(self) -> tuple[tuple[str, Shape], ...]:
        """Roles and shapes, without extents of one."""
        return tuple(sorted((leaf.role, bare(leaf.shape)) for leaf in self.leaves))


def bare(shape: Sequence[int]) -> Shape:
    """A shape without its extents of one."""
    return tuple(n for n in shape if n != 1)


def units(shapes: Mapping[str, Sequence[int]]) -> list[LayerUnit]:
    """The units of a state dict, in its order; counters are left out.

    >>> [(unit.path, unit.signature) for unit in units({"fc.weight": (8, 4), "fc.bias": (8,), "cls": (1, 1, 4)})]
    [(('fc',), (('bias', (8,)), ('weight', (8, 4)))), (('cls',), (('weight', (4,)),))]
    """
    groups: dict[tuple[str, ...], list[tuple[str, str, Shape]]] = {}
    places: dict[tuple[str, ...], int] = {}
    for place, (name, shape) in enumerate(shapes.items()):
        if name.endswith(COUNTER):
            continue
        *module, last = name.split(".")
        role = _ROLES.get(last, "")
        if last in _PAIRED and ".".join([*module, _PAIRED[last][1]]) in shapes:
            role = _PAIRED[last][0]
        path = tuple(module) if role and module else (*module, last)
        groups.setdefault(path, []).append((role or "weight", name, tuple(shape)))
        places.setdefault(path, place)
    return [LayerUnit(path, _leaves(parts), places[path]) for path, parts in groups.items()]


def _leaves(parts: Sequence[tuple[str, str, Shape]]) -> tuple[Leaf, ...]:
    """The tensors of a unit; a weight whose outputs, by its bias, are its last axis gets ours."""
    outputs = next((shape[0] for role, _, shape in parts if role == "bias" and len(shape) == 1), None)
    leaves = []
    for role, name, shape in parts:
        step = ""
        if role == "weight" and outputs is not None and len(shape) > 1 and shape[-1] == outputs != shape[0]:
            if len(shape) == 2:
                shape, step = (shape[1], shape[0]), "transpose"
            else:  # extents, inputs, outputs
                axes = (len(shape) - 1, len(shape) - 2, *range(len(shape) - 2))
                shape, step = tuple(shape[axis] for axis in axes), f"permute({', '.join(map(str, axes))})"
        leaves.append(Leaf(role, shape, (name,), step))
    return tuple(leaves)


def square_steps(group: Iterable[LayerUnit]) -> list[LayerUnit]:
    """Units in which square weights are transposed as all others are: their shapes do not tell."""
    group = list(group)
    steps = {leaf.step for unit in group for leaf in unit.leaves if len(leaf.shape) == 2 and len(set(leaf.shape)) == 2}
    if steps != {"transpose"}:
        return group
    return [
        LayerUnit(
            unit.path,
            tuple(
                Leaf(leaf.role, leaf.shape, leaf.names, "transpose")
                if leaf.role == "weight" and len(leaf.shape) == 2 and len(set(leaf.shape)) == 1
                else leaf
                for leaf in unit.leaves
            ),
            unit.place,
        )
        for unit in group
    ]


def pack(group: Sequence[LayerUnit], others: Sequence[LayerUnit]) -> list[LayerUnit]:
    """Units in which layers that the other side packs into one (q, k and v) are one unit.

    Layers are packed where they stand beside each other, are called so, and the other side has more of the packed ones.
    """
    there, here = (Counter(unit.signature for unit in side) for side in (others, group))
    result = list(group)
    for words in _PACKS:
        siblings: dict[tuple[str, ...], list[LayerUnit]] = {}
        for unit in result:
            siblings.setdefault(unit.path[:-1], []).append(unit)
        for row in siblings.values():
            named = [next((unit for unit in row if _is_called(unit.path[-1], word)), None) for word in words]
            parts = [unit for unit in named if unit is not None]
            if len(parts) < len(words) or len({id(unit) for unit in parts}) < len(words):
                continue
            packed = _joined(parts)
            if packed is None or there[packed.signature] <= here[packed.signature]:
                continue
            here[packed.signature] += 1
            result[result.index(parts[0])] = packed
            result = [unit for unit in result if not any(unit is part for part in parts)]
    return result


def _is_called(name: str, words: Sequence[str]) -> bool:
    return any(part in words for part in re.findall(r"[a-z]+", name.lower()))


def _joined(parts: Sequence[LayerUnit]) -> LayerUnit | None:
    """Several layers of the same inputs as one; None if they differ in more than their outputs."""
    roles = [tuple(leaf.role for leaf in unit.leaves) for unit in parts]
    if len(set(roles)) > 1:
        return None
    leaves = []
    for same in zip(*(unit.leaves for unit in parts), strict=True):
        rest = {leaf.shape[1:] for leaf in same}
        if len(rest) > 1 or any(not leaf.shape for leaf in same) or len({leaf.step for leaf in same}) > 1:
            return None
        shape = (sum(leaf.shape[0] for leaf in same), *rest.pop())
        leaves.append(Leaf(same[0].role, shape, tuple(name for leaf in same for name in leaf.names), same[0].step))
    path = (*parts[0].path[:-1], "".join(unit.path[-1] for unit in parts))
    return LayerUnit(path, tuple(leaves), min(unit.place for unit in parts))
