"""Feature maps: what a network computes on the way, as the maps that detection and segmentation start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ..backend.block import Block, make
from ..backend.codegen import numbered, write
from ..errors import MetablockError
from ..lowering.emitter import Emitter
from ..lowering.ir import (
    ModuleCall,
    ModuleList,
    ModuleNode,
    Step,
    Subgraph,
    Value,
    ValueTree,
    flat_values,
    inputs_of,
    next_id,
    steps_for,
    subgraphs,
)

# Of a plain backbone (one stage), how many maps are taken where nobody says which: after each quarter of its blocks.
QUARTERS = 4


@dataclass(frozen=True)
class Tap:
    """A value that is taken out: the part that gives it, by its path, and the stage or block it is counted as."""

    name: str
    index: int
    wire: Value


class FeatureInfo(Sequence[dict[str, Any]]):
    """What is known of the maps of :func:`features`, in their order. The same questions as timm's ``feature_info`` are answered.

    An item is ``{"num_chs": channels, "reduction": input extent / map extent, "module": path of the part, "index": its number}``.
    """

    def __init__(self, maps: Sequence[dict[str, Any]]):
        self._maps = [dict(item) for item in maps]

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, place: Any) -> Any:
        return self._maps[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureInfo) and self._maps == other._maps

    def __hash__(self) -> int:
        return hash(str(self._maps))

    def __repr__(self) -> str:
        return f"FeatureInfo({self._maps})"

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """One entry of all maps, of one (``idx`` an integer), or of several."""
        if isinstance(idx, int):
            return self._maps[idx][key]
        return [self._maps[i][key] for i in (range(len(self)) if idx is None else idx)]

    def get_dicts(self, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The items, or these entries of them."""
        return [{key: item[key] for key in keys or item} for item in self._maps]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Channels of the maps."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """How many pixels of the input a position of the map stands for, along each axis."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Paths of the parts whose results the maps are."""
        return self.get("module", idx)


def features(model: Block, stages: bool | Sequence[int] = True) -> Block:
    """The network up to its feature maps: what comes after the last one is left out.

    Args:
        model: from :func:`metablock.build`. The result is made of its modules; they are not copied.
        stages: which. ``True``: of a hierarchical network a map of each size, the last that a stage gives; of a plain one (a
            single stage, as ViT has) four maps, after each quarter of its blocks; of one whose stages carry several sizes side by
            side (HRNet), those of its last stage; of one without a head that gives maps (ViT-Adapter), these. Numbers, from 0, or
            from the end if negative: the maps after these stages, or, of a plain network, after these blocks.

    Returns:
        A module from the input to a list of maps ``(b, channels, *extents)``, in the order of the network; prefix tokens (class
        token, registers) are left out, tokens are put back on their grid. Its ``feature_info`` has channels, reductions, names.

    Raises:
        MetablockError: several inputs; no stages, or stages that run more than once; a number that no stage has.
    """
    name, root = model.spec.variant or model.spec.name, model.ir
    if len(model.inputs) != 1:
        raise MetablockError(f"'{name}' has {len(model.inputs)} inputs\n  feature maps are taken from networks that have one")
    taps, inner = _taps(name, root, stages)
    emitter = Emitter(first=next_id(root))
    outputs = [_map(emitter, tap.wire) for tap in taps]
    steps = [_rerouted(step, taps) if inner else step for step in root.steps]
    result = _shortened(model, [*steps, *emitter.steps], outputs, [tap.wire for tap in taps] if inner else None)
    extent = model.inputs[0].grid
    result.feature_info = FeatureInfo(
        [
            {
                "num_chs": tap.wire.c,
                "reduction": round(extent[0] / tap.wire.feature.grid[0]),
                "module": tap.name,
                "index": tap.index,
            }
            for tap in taps
        ]
    )
    return result


def trunk(model: Block) -> tuple[Block, str] | None:
    """The network up to what enters its head, made of its modules, and the head's name; None where it has no head."""
    root = model.ir
    runs = [step for step in root.steps if isinstance(step, ModuleCall) and step.child[0] == "head" and not step.shared]
    if len(runs) != 1 or root.steps[-1] is not runs[0] or root.prediction is not None:
        return None
    entering = list(inputs_of(root, runs[0]))
    if len(entering) != 1:
        return None
    return _shortened(model, root.steps, entering[0]), ".".join(runs[0].child)


def _shortened(model: Block, steps: Sequence[Step], output: ValueTree, inside: list[Value] | None = None) -> Block:
    """The network up to these values; ``inside``: they lie inside its only stage."""
    root = model.ir
    steps = steps_for(root, steps, list(flat_values(output)))
    level = replace(root, steps=steps, output=output, children={}, prediction=None, prediction_steps=[])
    used = _used(root, steps)
    for child, part in root.children.items():
        if child == "stages" and inside is not None:
            level.children[child] = ModuleList({"0": _cut(part.children["0"], inside)})
        elif child == "stages" and isinstance(part, ModuleList):
            last = max((int(path[1]) for path in used if path[0] == child), default=-1)
            level.children[child] = ModuleList({key: below for key, below in part.children.items() if int(key) <= last})
        elif any(path[0] == child for path in used):
            level.children[child] = part
    result = _assembled(level, root, model)
    result.spec, result.ir, result.inputs = model.spec, level, model.inputs
    result.whole, result.loaded, result.collapsed = model.whole or root, model.loaded, model.collapsed
    return result.train(model.training)


# What is taken


def _taps(name: str, root: Subgraph, stages: bool | Sequence[int]) -> tuple[list[Tap], bool]:
    """What is taken out, and whether it lies inside the only stage."""
    rank = max(wire.feature.rank for wire in flat_values(root.inputs))
    runs = [step for step in root.steps if isinstance(step, ModuleCall) and step.child[0] == "stages" and len(step.child) == 2]
    if any(step.shared for step in root.steps if isinstance(step, ModuleCall) and step.child[0] == "stages"):
        raise MetablockError(f"the stages of '{name}' run more than once\n  which of their maps are meant cannot be said")
    if not runs:
        raise MetablockError(f"'{name}' has no stages\n  feature maps are what stages give: `stages:` in the spec")
    given = [wire for wire in flat_values(root.output) if _spatial(wire)]
    if len(given) > 1 and not isinstance(root.output, Value) and len(given) == len(list(flat_values(root.output))):
        return _chosen(name, [Tap(f"output.{i}", i, wire) for i, wire in enumerate(given)], stages, "maps"), False
    if len(runs) == 1 and isinstance(runs[0].output, Value):
        stage = root.child(runs[0].child)
        blocks = [
            step for step in _level(stage).steps if isinstance(step, ModuleCall) and step.child[0] == "blocks" and not step.shared
        ]
        taps = [
            Tap(".".join((*runs[0].child, *step.child)), i, step.output) for i, step in enumerate(blocks) if _one(step.output)
        ]
        if len(taps) > 1 and len(taps) == len(blocks):
            if stages is True:
                quarters = min(QUARTERS, len(taps))
                stages = [len(taps) * (i + 1) // quarters - 1 for i in range(quarters)]
            return _chosen(name, taps, stages, "blocks"), True
    found = [[wire for wire in flat_values(step.output) if _spatial(wire) and wire.feature.rank == rank] for step in runs]
    taps = [Tap(".".join(step.child), i, maps[0]) for i, (step, maps) in enumerate(zip(runs, found, strict=True)) if maps]
    if not taps:
        raise MetablockError(f"the stages of '{name}' give no maps\n  their results have no place on a grid")
    if stages is True and len({tap.wire.feature.grid for tap in taps}) == 1 and len(found[-1]) > 1:
        path = ".".join(runs[-1].child)  # the pyramid stands inside the stages
        return [Tap(f"{path}.{i}", i, wire) for i, wire in enumerate(found[-1])], False
    if stages is True:
        stages = list({tap.wire.feature.grid: i for i, tap in enumerate(taps)}.values())
    return _chosen(name, taps, stages, "stages"), False


def _chosen(name: str, taps: list[Tap], numbers: bool | Sequence[int], what: str) -> list[Tap]:
    if isinstance(numbers, bool):
        return taps
    wanted = [number + len(taps) if number < 0 else number for number in numbers]
    wrong = [number for number, at in zip(numbers, wanted, strict=True) if not 0 <= at < len(taps)]
    if wrong or not wanted or len(set(wanted)) < len(wanted):
        said = f"no {wrong[0]} among its {what}" if wrong else f"{list(numbers)} names " + ("one twice" if wanted else "none")
        raise MetablockError(f"features of '{name}': {said}\n  its {what} are 0 to {len(taps) - 1}")
    return [taps[at] for at in sorted(wanted)]


def _spatial(wire: Value) -> bool:
    return wire.feature.layout in ("map", "grid", "tokens") and wire.feature.rank > 0 and wire.feature.windows == 1


def _one(value: ValueTree) -> bool:
    return isinstance(value, Value) and _spatial(value)


def _map(emitter: Emitter, wire: Value) -> Value:
    f = wire.feature
    if f.prefix:
        wire = emitter.take_tokens(wire, f.prefix, f.n, grid=f.grid)
    return emitter.cast(wire, "map")


# The network without the rest


def _level(child: Any) -> Subgraph:
    assert isinstance(child, Subgraph)
    return child


def _rerouted(step: Step, taps: list[Tap]) -> Step:
    """The only stage gives what is taken out of it."""
    if isinstance(step, ModuleCall) and step.child == ("stages", "0"):
        return replace(step, output=[tap.wire for tap in taps])
    return step


def _cut(stage: Any, outputs: list[Value]) -> Subgraph:
    """A stage up to the last of these values."""
    level = _level(stage)
    steps = steps_for(level, level.steps, outputs)
    used = _used(level, steps)
    children = {
        name: ModuleList({key: part for key, part in child.children.items() if any(path[:2] == (name, key) for path in used)})
        if isinstance(child, ModuleList) and name == "blocks"
        else child
        for name, child in level.children.items()
        if any(path[0] == name for path in used) or name == "shared"
    }
    return replace(level, steps=steps, output=list(outputs), children=children)


def _used(level: Subgraph, steps: Sequence[Step]) -> set[tuple[str, ...]]:
    """The paths of the parts that steps run, and of those that they use from the root."""
    used = {step.child for step in steps if isinstance(step, ModuleCall)}
    for path in list(used):
        for _, below in subgraphs(level.child(path)):
            used |= {step.child for step in below.steps if isinstance(step, ModuleCall) and step.root}
    return used


def _assembled(level: Subgraph, before: Subgraph, model: nn.Module, root: bool = True) -> Block:
    """The module of a level that has lost some of its parts, from the modules it had."""
    source = write(level, root)
    block = make(source.text, source.key, root)
    old: Any = model
    block.text, block.region, block.links = level.text, level.region, dict(getattr(old, "links", {}))
    block.texts = {name: child.text for name, child in level.children.items() if isinstance(child, ModuleNode)}
    for name, child in level.children.items():
        block.add_module(name, _part(child, before.children[name], model.get_submodule(name)))
    return block


def _part(child: Any, before: Any, module: nn.Module) -> nn.Module:
    if child is before:
        return module
    if isinstance(child, Subgraph):
        return _assembled(child, before, module, root=False)
    parts = {key: _part(part, before.children[key], module.get_submodule(key)) for key, part in child.children.items()}
    return nn.ModuleList(parts.values()) if numbered(child) else nn.ModuleDict(parts)
