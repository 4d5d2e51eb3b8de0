"""How far each module of a network lies from its input, in layers: for learning rates that fall towards the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..lowering.ir import (
    Child,
    ModuleCall,
    ModuleList,
    Step,
    Subgraph,
    ValueTree,
    flat_values,
    inputs_of,
    is_stage,
    subgraphs,
)
from .block import Block

_Path = tuple[str, ...]


def layers(model: Block, *, coarse: bool = False) -> dict[str, int]:
    """The layer of every parameter, from 0 (stem) up to the head's, without a gap.

    A block is a layer more than the deepest block that it reads from: blocks side by side share a layer. What stands in a stage
    before its first block (``down``) is in that block's layer, what stands behind its last block (``end``) in the last block's.
    Outside of the stages, and in a stage that is a stream, a line is a block, or each copy in a repeat of that line. A module
    that is used several times is in the layer of its first use. Parts without parameters do not count.

    Args:
        model: a network from :func:`metablock.build`, or one that a pass made of it.
        coarse: whether a stage, not a block, is a layer.

    >>> import metablock
    >>> model = metablock.build("poolformer_s12", device="meta")
    >>> numbers = layers(model)
    >>> [numbers[f"{name}.weight"] for name in ("stem", "stages.0.blocks.1.norm1", "stages.1.down", "stages.1.blocks.0.norm1")]
    [0, 2, 3, 3]
    >>> numbers["head.norm.weight"], layers(model, coarse=True)["head.norm.weight"]
    (13, 5)
    """
    names = [tuple(name.split(".")) for name, _ in model.named_parameters()]
    places = _Places(model.ir, names).run()
    by_name = {name: _at(places, name) for name in names}
    if coarse:
        stages: dict[_Path, int] = {}
        for name, layer in by_name.items():
            if name[0] == "stages":
                stages[name[:2]] = min(layer, stages.get(name[:2], layer))
        by_name = {name: stages.get(name[:2], layer) for name, layer in by_name.items()}
    ordinals = {layer: number for number, layer in enumerate(sorted(set(by_name.values())))}
    return {".".join(name): ordinals[layer] for name, layer in by_name.items()}


def _at(places: dict[_Path, int], name: _Path) -> int:
    """The layer of the innermost part around a parameter that has one."""
    return next((places[name[:end]] for end in range(len(name), 0, -1) if name[:end] in places), 0)


class _Places:
    """One walk over the steps of a network, in the order in which they run.

    Attributes:
        places: the layer of parts, by their path.
        depths: the layer of values, by their id.
        spans: of parts that were walked: by how many layers they are deeper at their end.
    """

    def __init__(self, root: Subgraph, names: Sequence[_Path]):
        self.root = root
        self.filled = {name[:end] for name in names for end in range(len(name))}
        self.places: dict[_Path, int] = {}
        self.depths = {value.id: 0 for value in flat_values(root.inputs)}
        self.spans: dict[_Path, int] = {}

    def run(self) -> dict[_Path, int]:
        head: list[_Path] = []
        for step in self.root.all_steps:
            if isinstance(step, ModuleCall) and step.child[0] == "head":
                head.append(step.child)
                self.passes(self.root, step)
            else:
                self.step(self.root, (), step, stream=True)
        last = 1 + max([0, *self.places.values(), *self.depths.values()])
        for path in head:
            self.put(path, self.root.child(path), last)
        return self.places

    def step(self, subgraph: Subgraph, path: _Path, step: Step, stream: bool, behind: bool = False) -> bool:
        """Walks a step.

        Args:
            subgraph: whose step it is.
            path: leads to it.
            step: the step.
            stream: whether a module that is no block is a layer of its own.
            behind: whether a block of the subgraph came before.

        Returns:
            Whether the step is a block, or holds blocks.
        """
        if not isinstance(step, ModuleCall):
            self.passes(subgraph, step)
            return False
        whole = step.child if step.root else (*path, *step.child)
        part, reach = self.root.child(whole), self.reach(subgraph, step)
        if whole in self.spans:  # a part that runs again
            self.note(step.output, reach + self.spans[whole])
            return True
        if whole not in self.filled:
            self.note(step.output, reach)
            return False
        if isinstance(part, Subgraph) and (is_stage(whole) or (part.region in (None, "line") and any(_blocks(part)))):
            self.container(part, whole, reach)
            if step.shared:
                self.note(step.output, reach + self.spans[whole])
            return True
        section = part.region if isinstance(part, Subgraph) and part.region in ("stem", "down", "end") else whole[-1]
        if _is_block(subgraph, step, part) or (stream and section not in ("stem", "down", "end")):
            self.put(whole, part, reach + 1)
            self.spans.setdefault(whole, 1)
            self.note(step.output, reach + 1)
            return True
        follows = section != "stem" and (section == "down" if stream else not behind)
        self.put(whole, part, reach + follows)
        self.note(step.output, reach)
        return False

    def container(self, part: Subgraph, path: _Path, reach: int) -> None:
        """Walks a part that holds blocks."""
        self.places.setdefault(path, reach)
        stream, behind = is_stage(path) and "blocks" not in part.children, False
        for value in flat_values(part.inputs):
            self.depths.setdefault(value.id, reach)
        for step in part.all_steps:
            behind |= self.step(part, path, step, stream, behind)
        end = max((self.depths.get(value.id, reach) for value in flat_values(part.output)), default=reach)
        self.spans[path] = max(0, end - reach)

    def put(self, path: _Path, part: Child, layer: int) -> None:
        """Puts a part, and the shared modules that it calls, into a layer; those that are in an earlier one stay there."""
        called = [path]
        for _, below in subgraphs(part):
            called += [step.child for step in below.all_steps if isinstance(step, ModuleCall) and step.root]
        for each in called:
            self.places[each] = min(layer, self.places.get(each, layer))

    def reach(self, subgraph: Subgraph, step: Step) -> int:
        return max((self.depths.get(value.id, 0) for value in inputs_of(subgraph, step)), default=0)

    def passes(self, subgraph: Subgraph, step: Step) -> None:
        """A step that is no layer."""
        self.note(step.output, self.reach(subgraph, step))

    def note(self, output: ValueTree, depth: int) -> None:
        for value in flat_values(output):
            self.depths[value.id] = depth


def _is_block(subgraph: Subgraph, step: ModuleCall, part: Child) -> bool:
    """Whether a call is that of a block: a compile region of this kind, or a copy in a repeat."""
    if isinstance(part, Subgraph) and part.region == "block":
        return True
    holder = None if step.root or len(step.child) < 2 else subgraph.child(step.child[:-1])
    return isinstance(holder, ModuleList) and step.child[-1].isdigit() and step.child[0] != "shared"


def _blocks(part: Subgraph) -> Iterator[Child]:
    """The blocks directly in a part, or in parts of it that are no regions."""
    for step in part.all_steps:
        if isinstance(step, ModuleCall) and not step.root:
            child = part.child(step.child)
            if _is_block(part, step, child):
                yield child
            elif isinstance(child, Subgraph) and child.region is None:
                yield from _blocks(child)


__all__ = ["layers"]
