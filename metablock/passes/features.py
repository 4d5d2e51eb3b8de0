"""Feature extraction: intermediate results of a network as the maps that detection and segmentation start from."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from ..backend.block import Block, link_alike, make
from ..backend.codegen import numbered, write
from ..backend.input_size import Narrow
from ..errors import MetablockError
from ..language.arithmetic import is_whole
from ..lowering.emitter import Emitter
from ..lowering.ir import (
    Child,
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

# Default number of feature maps of a single-stage backbone: one after each quarter of its blocks.
QUARTERS = 4


@dataclass(frozen=True)
class FeaturePoint:
    """A feature extraction point: a value, the path of the part that computes it, and the number of its stage or block."""

    name: str
    index: int
    value: Value


class FeatureInfo(Sequence[dict[str, Any]]):
    """Describes the maps of :func:`features`, in their order, with the methods of timm's ``feature_info``.

    An item is ``{"num_chs": channels, "reduction": input extent / map extent, "module": path of the part, "index": its number}``.

    >>> import metablock
    >>> info = metablock.features(metablock.build("resnet18", device="meta")).feature_info
    >>> info.channels(), info.reduction(-1), info[0]["module"]
    ([64, 128, 256, 512], 32, 'stages.0')
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
        """One entry of all maps, of one map (``idx`` an integer), or of several (``idx`` a sequence)."""
        if isinstance(idx, int):
            return self._maps[idx][key]
        return [self._maps[i][key] for i in (range(len(self)) if idx is None else idx)]

    def get_dicts(self, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The items; with ``keys``, only these entries of each."""
        return [{key: item[key] for key in keys or item} for item in self._maps]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """The channels of the maps."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Input extent / map extent, along each axis."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """The paths of the parts that compute the maps."""
        return self.get("module", idx)


def features(model: Block, stages: bool | Sequence[int] = True) -> Block:
    """The network up to its feature maps; whatever comes after the last map is dropped.

    Args:
        model: from :func:`metablock.build`. The result is made of its modules, without copying them.
        stages: the points to extract. ``True``: of a hierarchical network one map of each size, from the last stage of that
            size; of a network with a single stage (ViT) four maps, one after each quarter of its blocks; of a network whose
            stages carry several sizes side by side (HRNet) the maps of its last stage; of a network that returns several maps
            itself (ViT-Adapter) those. Numbers: the maps after these stages, or after these blocks of a single stage, counted
            from 0, or from the end if negative.

    Returns:
        A module from the input to a list of maps ``(b, channels, *extents)``, in the order of the network. Tokens are put back
        on their grid; prefix tokens (class token, registers) are dropped. Its ``feature_info`` is a :class:`FeatureInfo`. Each
        part stays in train or evaluation mode.

    Raises:
        MetablockError: a model that metablock did not build, or whose stage was replaced; several inputs; no stages, or stages
            that run more than once; a number that no stage has.

    >>> import metablock, torch
    >>> maps = metablock.features(metablock.build("vit_tiny_patch16_224", device="meta"), [5, -1])
    >>> [tuple(x.shape) for x in maps(torch.empty(1, 3, 224, 224, device="meta"))]
    [(1, 192, 14, 14), (1, 192, 14, 14)]
    """
    check_stages(stages)
    if not isinstance(getattr(model, "ir", None), Subgraph):
        raise MetablockError(
            f"this {type(model).__name__} was not built by metablock", "build it from a spec: metablock.build(...)"
        )
    name, root = model.spec.variant or model.spec.name, model.ir
    if len(model.inputs) != 1:
        raise MetablockError(f"'{name}' has {len(model.inputs)} inputs", "feature extraction needs a network with one input")
    points, inside = _feature_points(name, root, stages)
    result = _of_modules(
        model, _up_to_points(root, points, inside), partial(_up_to_features, name=name, stages=_again(points, stages))
    )
    extent = model.inputs[0].grid
    result.feature_info = FeatureInfo(
        [
            {
                "num_chs": point.value.c,
                "reduction": round(extent[0] / point.value.feature.grid[0]),
                "module": point.name,
                "index": point.index,
            }
            for point in points
        ]
    )
    return result


def check_stages(stages: object) -> None:
    """Raises MetablockError for what is neither a truth value nor a sequence of whole numbers.

    >>> check_stages([0, -1])
    >>> check_stages("0")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: '0' names no features
      write True, or numbers of stages: features=[1, 2, 3]
    """
    if isinstance(stages, bool):
        return
    if isinstance(stages, Sequence) and not isinstance(stages, (str, bytes)) and all(map(is_whole, stages)):
        return
    raise MetablockError(f"{reprlib.repr(stages)} names no features", "write True, or numbers of stages: features=[1, 2, 3]")


def trunk(model: Block) -> tuple[Block, str] | None:
    """The network up to the input of its head, made of its modules, and the head's path; None if it has no single head.

    >>> import metablock
    >>> body, head = trunk(metablock.build("resnet18", device="meta"))
    >>> head, body.ir.output.c
    ('head', 512)
    """
    root = model.ir
    calls = [step for step in root.steps if isinstance(step, ModuleCall) and step.child[0] == "head" and not step.shared]
    if len(calls) != 1 or root.steps[-1] is not calls[0] or root.prediction is not None:
        return None
    inputs = list(inputs_of(root, calls[0]))
    if len(inputs) != 1:
        return None
    return _of_modules(model, _up_to_head(root), _up_to_head), ".".join(calls[0].child)


def _up_to_head(root: Subgraph) -> Subgraph:
    """A network that ends with its head, up to the input of the head."""
    [value] = inputs_of(root, root.steps[-1])
    return _shortened(root, root.steps, value)


def _up_to_features(root: Subgraph, name: str, stages: bool | Sequence[int]) -> Subgraph:
    """A network up to its feature maps, as :func:`features` takes them."""
    return _up_to_points(root, *_feature_points(name, root, stages))


def _again(points: list[FeaturePoint], stages: bool | Sequence[int]) -> bool | Sequence[int]:
    """What chooses the same points at any size: their numbers, where they have some."""
    numbers = [point.index for point in points]
    return stages if any(point.name.startswith("stages.") and point.name.count(".") == 2 for point in points) else numbers


def _up_to_points(root: Subgraph, points: list[FeaturePoint], inside: bool) -> Subgraph:
    emitter = Emitter(first=next_id(root))
    outputs = [_map(emitter, point.value) for point in points]
    steps = [_with_outputs(step, points) if inside else step for step in root.steps]
    return _shortened(root, [*steps, *emitter.steps], outputs, [point.value for point in points] if inside else None)


def _shortened(root: Subgraph, steps: Sequence[Step], output: ValueTree, inside: list[Value] | None = None) -> Subgraph:
    """The network up to the values of ``output``. ``inside``: the values to return from its only stage, if they lie in it."""
    steps = steps_for(root, steps, list(flat_values(output)))
    short = replace(root, steps=steps, output=output, children={}, prediction=None, prediction_steps=[])
    called = _called(root, steps)
    for name, child in root.children.items():
        if name == "stages" and inside is not None:
            short.children[name] = ModuleList({"0": _cut(_subgraph(root.child((name, "0"))), inside)})
        elif name == "stages" and isinstance(child, ModuleList):
            last = max((int(path[1]) for path in called if path[0] == name), default=-1)
            short.children[name] = ModuleList({key: below for key, below in child.children.items() if int(key) <= last})
        elif any(path[0] == name for path in called):
            short.children[name] = child
    return short


def _of_modules(model: Block, short: Subgraph, narrow: Narrow) -> Block:
    """The shortened network, made of the modules of the whole one. ``narrow`` shortens the IR of the whole one likewise."""
    result = _assembled(short, model.ir, model)
    result.spec, result.ir, result.inputs = model.spec, short, model.inputs
    result._narrow = _Both(model._narrow, narrow) if model._narrow is not None else narrow
    result.loaded, result.collapsed = model.loaded, model.collapsed
    return result


@dataclass(frozen=True)
class _Both:
    """Shortens twice."""

    first: Narrow
    second: Narrow

    def __call__(self, root: Subgraph) -> Subgraph:
        return self.second(self.first(root))


# The feature extraction points


def _feature_points(name: str, root: Subgraph, stages: bool | Sequence[int]) -> tuple[list[FeaturePoint], bool]:
    """The points to extract, and whether they lie inside the only stage."""
    calls = [step for step in root.steps if isinstance(step, ModuleCall) and step.child[0] == "stages"]
    if any(call.shared for call in calls):
        raise MetablockError(f"the stages of '{name}' run more than once", "which of their maps are meant cannot be said")
    calls = [call for call in calls if len(call.child) == 2]
    if not calls:
        raise MetablockError(f"'{name}' has no stages", "feature maps are the results of stages: add `stages:` to the spec")
    outputs, rank = list(flat_values(root.output)), max(value.feature.rank for value in flat_values(root.inputs))
    if len(outputs) > 1 and all(_spatial(value) and value.feature.rank == rank for value in outputs):
        points = [FeaturePoint(f"output.{i}", i, value) for i, value in enumerate(outputs)]
        return _select(name, points, stages, "maps"), False
    points = _block_points(root, calls[0]) if len(calls) == 1 else []
    if points:
        if stages is True:
            count = min(QUARTERS, len(points))
            stages = [len(points) * (i + 1) // count - 1 for i in range(count)]
        return _select(name, points, stages, "blocks"), True
    return _stage_points(name, root, calls, stages), False


def _block_points(root: Subgraph, call: ModuleCall) -> list[FeaturePoint]:
    """A point after every block of the only stage; none if it has fewer than two blocks, or they do not give one map each."""
    if not isinstance(call.output, Value):
        return []
    steps = _subgraph(root.child(call.child)).steps
    blocks = [step for step in steps if isinstance(step, ModuleCall) and step.child[0] == "blocks" and not step.shared]
    if len(blocks) < 2 or not all(isinstance(block.output, Value) and _spatial(block.output) for block in blocks):
        return []
    return [FeaturePoint(".".join((*call.child, *block.child)), i, block.output) for i, block in enumerate(blocks)]


def _stage_points(name: str, root: Subgraph, calls: Sequence[ModuleCall], stages: bool | Sequence[int]) -> list[FeaturePoint]:
    """The points after the stages: the chosen ones, or by default the last of each size, or all maps of the last stage."""
    rank = max(value.feature.rank for value in flat_values(root.inputs))
    maps = [[value for value in flat_values(call.output) if _spatial(value) and value.feature.rank == rank] for call in calls]
    points = [
        FeaturePoint(".".join(call.child), i, values[0])
        for i, (call, values) in enumerate(zip(calls, maps, strict=True))
        if values
    ]
    if not points:
        raise MetablockError(f"the stages of '{name}' give no maps", "their results have no place on a grid")
    if stages is True and len({point.value.feature.grid for point in points}) == 1 and len(maps[-1]) > 1:
        path = ".".join(calls[-1].child)  # every stage carries a whole pyramid
        return [FeaturePoint(f"{path}.{i}", i, value) for i, value in enumerate(maps[-1])]
    if stages is True:
        stages = list({point.value.feature.grid: i for i, point in enumerate(points)}.values())
    return _select(name, points, stages, "stages")


def _select(name: str, points: list[FeaturePoint], numbers: bool | Sequence[int], what: str) -> list[FeaturePoint]:
    """The points with these numbers, in the order of the network; negative ones count from the end."""
    if isinstance(numbers, bool):
        return points
    places = [number + len(points) if number < 0 else number for number in numbers]
    wrong = [number for number, place in zip(numbers, places, strict=True) if not 0 <= place < len(points)]
    if wrong or not places or len(set(places)) < len(places):
        reason = f"no {wrong[0]} among its {what}" if wrong else f"{list(numbers)} names " + ("one twice" if places else "none")
        raise MetablockError(f"features of '{name}': {reason}", f"its {what} are 0 to {len(points) - 1}")
    return [points[place] for place in sorted(places)]


def _spatial(value: Value) -> bool:
    """Whether a value has a place on a grid: a map, a grid, tokens; not inside windows."""
    return value.feature.layout in ("map", "grid", "tokens") and value.feature.rank > 0 and value.feature.windows == 1


def _map(emitter: Emitter, value: Value) -> Value:
    """The value as a map, without its prefix tokens."""
    f = value.feature
    if f.prefix:
        value = emitter.take_tokens(value, f.prefix, f.n, grid=f.grid)
    return emitter.cast(value, "map")


# The network without the rest


def _subgraph(child: Child) -> Subgraph:
    assert isinstance(child, Subgraph)
    return child


def _with_outputs(step: Step, points: list[FeaturePoint]) -> Step:
    """The step; of the only stage, the one that returns the values of the points."""
    if isinstance(step, ModuleCall) and step.child == ("stages", "0"):
        return replace(step, output=[point.value for point in points])
    return step


def _cut(stage: Subgraph, outputs: list[Value]) -> Subgraph:
    """A stage up to the last of these values."""
    steps = steps_for(stage, stage.steps, outputs)
    called = _called(stage, steps)
    children = {
        name: ModuleList({key: part for key, part in child.children.items() if any(path[:2] == (name, key) for path in called)})
        if isinstance(child, ModuleList) and name == "blocks"
        else child
        for name, child in stage.children.items()
        if any(path[0] == name for path in called) or name == "shared"
    }
    return replace(stage, steps=steps, output=list(outputs), children=children)


def _called(subgraph: Subgraph, steps: Sequence[Step]) -> set[tuple[str, ...]]:
    """The paths of the parts that steps call, and of the shared parts that these call from the root."""
    called = {step.child for step in steps if isinstance(step, ModuleCall)}
    for path in list(called):
        for _, below in subgraphs(subgraph.child(path)):
            called |= {step.child for step in below.steps if isinstance(step, ModuleCall) and step.root}
    return called


def _assembled(short: Subgraph, before: Subgraph, model: Block, root: bool = True) -> Block:
    """The module of a shortened subgraph, from the modules of the one before it. Modes of modules stay as they are."""
    source = write(short, root)
    block = make(source.text, source.key, root)
    block.text, block.region, block.training = short.text, short.region, model.training
    link_alike(block, model)
    block.texts = {name: child.text for name, child in short.children.items() if isinstance(child, ModuleNode)}
    for name, child in short.children.items():
        block.add_module(name, _part(child, before.children[name], model.get_submodule(name)))
    return block


def _part(child: Child, before: Child, module: nn.Module) -> nn.Module:
    """The module of one child: the old one where the child is unchanged."""
    if child is before:
        return module
    assert not isinstance(child, ModuleNode)
    assert not isinstance(before, ModuleNode)
    if isinstance(child, Subgraph):
        if not isinstance(module, Block):
            message = f"a {type(module).__name__} stands for '{child.text}'"
            raise MetablockError(message, "take features before parts are replaced")
        return _assembled(child, _subgraph(before), module, root=False)
    parts = {key: _part(part, before.children[key], module.get_submodule(key)) for key, part in child.children.items()}
    holder = nn.ModuleList(parts.values()) if numbered(child) else nn.ModuleDict(parts)
    holder.training = module.training
    return holder
