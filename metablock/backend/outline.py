"""Outlining: the parts of repeated blocks that one graph of a whole network compiles once.

A *core* is a run of steps of a ``forward`` that starts with a product (a matrix product, a convolution, attention) and ends with
one. What stands before the first product and behind the last one (norms, residual sums, layer scale, drop path) stays outside:
there, Inductor fuses it with what the neighbouring blocks have. Inputs and outputs of products lie in memory in any case, so the
border of a core costs no further pass over memory.

For inference alone. In a training step cores are compiled in place, block by block: torch 2.13 computes wrong gradients of nested
regions (the first weight of every block but the last), and writes to no buffer in them, such as the statistics of batch norm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..lowering.ir import Child, InlineOp, ModuleCall, ModuleNode, Step, Subgraph, flat_values, free_values, inputs_of
from .block import Block, space_of
from .codegen import Core, Sources, write_outlined
from .roles import roles

# Entries of torch's cache of one core: batches of other sizes, other dtypes, a network that runs in two passes.
_REUSE = 64
_VARIANTS: dict[tuple[type[Block], str, str], type[Block]] = {}


def outline(model: nn.Module) -> int:
    """Marks the cores of the repeated blocks of a network, in place; gives the number of distinct ones.

    The blocks get a ``forward`` that computes the same and calls their cores as nested compile regions. Outside of a compiled
    graph such a call is an ordinary call. Copies and pickles of the network have the ordinary ``forward``.

    >>> import metablock
    >>> outline(metablock.build("vit_tiny_patch16_224", device="meta"))
    1
    """
    root = getattr(model, "ir", None)
    return _Outliner(model).mark(root) if isinstance(root, Subgraph) else 0


def plain(model: nn.Module) -> None:
    """Gives every block its ordinary ``forward`` back."""
    for module in model.modules():
        if isinstance(module, Block) and module._plain is not None:
            module.__class__ = module._plain


class _Outliner:
    """Marks the cores of one network.

    Attributes:
        model: the network.
        sources: the code of its subgraphs.
        free: the cache of :func:`free_values`.
        products: the number of products below each part, by ``id``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.sources, self.free = model, Sources(), dict[int, list[Any]]()
        self.products: dict[int, int] = {}

    def mark(self, root: Subgraph) -> int:
        parts = [(path, part, block) for path, part, block in self.blocks(root, (), self.model) if path]
        keys = {id(part): self.sources.key(part) for _, part, _ in parts}
        count = Counter(keys.values())
        cores, seen, inside = 0, set[str](), list[tuple[str, ...]]()
        for path, part, block in parts:  # outer ones come before inner ones
            if count[keys[id(part)]] > 1 and not any(path[: len(outer)] == outer for outer in inside):
                inside.append(path)
                marked = self.mark_block(part, block)
                cores += 0 if keys[id(part)] in seen else marked
                seen.add(keys[id(part)])
        return cores

    def blocks(self, part: Child, path: tuple[str, ...], module: nn.Module) -> Iterator[tuple[tuple[str, ...], Subgraph, Block]]:
        """The subgraphs whose module is still the one that was built of them."""
        if isinstance(part, ModuleNode):
            return
        if isinstance(part, Subgraph):
            if not isinstance(module, Block) or (path and module.source != self.sources.text(part, False)[0]):
                return
            yield path, part, module
        for name, child in part.children.items():
            below = module._modules.get(name)
            if below is not None:
                yield from self.blocks(child, (*path, name), below)

    def mark_block(self, part: Subgraph, block: Block) -> int:
        """Marks the cores of one block; what holds products outside of them is searched itself."""
        steps, cores, rest = self.plan(part, block)
        if cores:
            block.__class__ = _variant(block, self.sources.key(part), write_outlined(part, steps, cores))
        return len(cores) + sum(self.mark_block(child, module) for child, module in rest)

    def plan(self, part: Subgraph, block: Block) -> tuple[list[Step], list[Core], list[tuple[Subgraph, Block]]]:
        """The steps in an order in which cores are runs of them, the cores, and the parts to search for further ones."""
        ordered, cores, rest, segment = list[Step](), list[Core](), list[tuple[Subgraph, Block]](), list[Step]()

        def close() -> None:
            before, core, after = self.split(part, block, segment)
            single = self.block(part, block, core[0]) if len(core) == 1 else None
            if single is not None:
                rest.append(single)  # its own core is shared by all that call such a part
            elif self.worth(part, block, core):
                separate = self.separate(part, block, before, core, after)
                if separate is None:
                    rest.extend(below for below in (self.block(part, block, step) for step in core) if below is not None)
                else:
                    before, core = separate
                    start = len(ordered) + len(before)
                    cores.append(Core(start, start + len(core), self.rows(part, block, core)))
            ordered.extend([*before, *core, *after])
            segment.clear()

        for step in part.steps:
            below = self.block(part, block, step)
            if below is not None and self.count(*below) and not self.closed(*below):
                close()
                ordered.append(step)
                rest.append(below)
            else:
                segment.append(step)
        close()
        return ordered, cores, rest

    def separate(
        self, part: Subgraph, block: Block, before: list[Step], core: list[Step], after: list[Step]
    ) -> tuple[list[Step], list[Step]] | None:
        """The steps before a core and those in it such that no two tensors at its border share memory; None: there is no way.

        Of two views of a tensor that enter, both are computed in the core.
        """
        source = self.views(part, block)

        while True:
            own = {value.id for step in core for value in flat_values(step.output)}
            reads = list(dict.fromkeys(v.id for step in core for v in inputs_of(part, step, self.free) if v.id not in own))
            shared = [i for i in reads if sum(_root(other, source) == _root(i, source) for other in reads) > 1 and i in source]
            moving, pulled = set(shared), list[Step]()
            for step in before:  # and what needs it
                outputs = {value.id for value in flat_values(step.output)}
                if outputs & moving or any(value.id in moving for value in inputs_of(part, step, self.free)):
                    pulled.append(step)
                    moving |= outputs
            if not shared:
                break
            if not pulled:
                return None
            before, core = [step for step in before if not any(step is one for one in pulled)], [*pulled, *core]
        others = [step for step in part.steps if not any(step is inner for inner in core)]
        read = {v.id for step in others for v in inputs_of(part, step, self.free)} | {v.id for v in flat_values(part.output)}
        gives = [i for i in own if i in read]
        roots = [_root(i, source) for i in [*gives, *reads]]
        return (
            (before, core)
            if len(set(roots[: len(gives)])) == len(gives) and not set(roots[: len(gives)]) & set(roots[len(gives) :])
            else None
        )

    def views(self, part: Subgraph, block: Block) -> dict[int, int]:
        """By its id, the value that each value of a part may be a view of."""
        bases = ((step, self.view_of(part, block, step)) for step in part.steps)
        return {value.id: base for step, base in bases if base is not None for value in flat_values(step.output)}

    def view_of(self, part: Subgraph, block: Block, step: Step) -> int | None:
        """The id of the value that a result of a step may be a view of."""
        inputs = [value.id for value in inputs_of(part, step, self.free)]
        below = self.block(part, block, step)
        if below is not None:
            source, entering = self.views(*below), {value.id for value in free_values(below[0], self.free)}
            bases = [_root(value.id, source) for value in flat_values(below[0].output)]
            return inputs[0] if inputs and any(base in entering for base in bases) else None
        if len(set(inputs)) != 1 or self.product(part, block, step):
            return None
        _, module = self.called(part, block, step)
        return None if module is not None and any(True for _ in module.parameters()) else inputs[0]

    def split(self, part: Subgraph, block: Block, steps: Sequence[Step]) -> tuple[list[Step], list[Step], list[Step]]:
        """Steps that no product precedes, those between products, those that no product needs."""
        behind, between = set[int](), list[Step]()
        before = list[Step]()
        for step in steps:
            if self.product(part, block, step) or any(value.id in behind for value in inputs_of(part, step, self.free)):
                behind.update(value.id for value in flat_values(step.output))
                between.append(step)
            else:
                before.append(step)
        needed, core, after = set[int](), list[Step](), list[Step]()
        for step in reversed(between):
            if self.product(part, block, step) or any(value.id in needed for value in flat_values(step.output)):
                needed.update(value.id for value in inputs_of(part, step, self.free))
                core.insert(0, step)
            else:
                after.insert(0, step)
        return before, core, after

    def called(self, part: Subgraph, block: Block, step: Step) -> tuple[Child | None, nn.Module | None]:
        """The part that a step calls and its module; None for an expression and for a module that stands elsewhere."""
        if not isinstance(step, ModuleCall) or step.root or step.weight:
            return None, None
        module: nn.Module | None = block
        for name in step.child:
            module = None if module is None else module._modules.get(name)
        return part.child(step.child), module

    def block(self, part: Subgraph, block: Block, step: Step) -> tuple[Subgraph, Block] | None:
        """The part that a step calls and its block, if it is one."""
        child, module = self.called(part, block, step)
        return (child, module) if isinstance(child, Subgraph) and isinstance(module, Block) else None

    def product(self, part: Subgraph, block: Block, step: Step) -> bool:
        """Whether a step is a product, or a part that starts and ends with products."""
        if isinstance(step, InlineOp):
            return " @ " in step.template or "matmul(" in step.template or "einsum(" in step.template
        child, module = self.called(part, block, step)
        return child is not None and module is not None and self.count(child, module) > 0

    def count(self, child: Child, module: nn.Module) -> int:
        """The number of products below a part."""
        if id(child) not in self.products:
            if isinstance(child, ModuleNode):
                number = int(child.module.startswith("attend") or "matrix" in roles(module).values())
            else:
                below = [(part, module._modules.get(name)) for name, part in child.children.items()]
                number = sum(self.count(part, inner) for part, inner in below if inner is not None)
            self.products[id(child)] = number
        return self.products[id(child)]

    def closed(self, part: Subgraph, block: Block) -> bool:
        """Whether whatever enters a part goes into products first, and all that leaves it comes from products."""
        known = {value.id for value in free_values(part, self.free)}
        computed, whole = set[int](), True
        for step in part.steps:
            below = self.block(part, block, step)
            reads = {value.id for value in inputs_of(part, step, self.free)}
            if self.product(part, block, step):
                computed.update(value.id for value in flat_values(step.output))
                whole = whole and (below is None or self.closed(*below))
            elif reads & known and not reads & computed:
                return False
        return whole and all(value.id in computed for value in flat_values(part.output))

    def worth(self, part: Subgraph, block: Block, core: Sequence[Step]) -> bool:
        """Whether a core has two products or more."""
        called = (self.called(part, block, step) for step in core)
        return sum(self.count(child, module) for child, module in called if child is not None and module is not None) > 1

    def rows(self, part: Subgraph, block: Block, core: Sequence[Step]) -> frozenset[int]:
        """The values that products of a core read channels-last."""
        products = (step for step in core if self.product(part, block, step))
        return frozenset(v.id for step in products for v in inputs_of(part, step, self.free) if v.feature.layout != "map")


def _root(number: int, source: Mapping[int, int]) -> int:
    """What a value is a view of in the end."""
    while number in source:
        number = source[number]
    return number


def _variant(block: Block, key: str, text: str) -> type[Block]:
    """The class of a block with this ``forward``: one for all blocks that compute the same."""
    cls = type(block)
    known = _VARIANTS.get((cls, key, text))
    if known is None:
        space = space_of(text, f"<metablock {key} outlined>")
        for name in [name for name in space if name.startswith("core")]:
            space[f"nested_{name}"] = torch.compiler.nested_compile_region(space[name], max_reuse_entries=_REUSE)
        known = type(cls.__name__, (cls,), {"forward": space["forward"], "_plain": cls, "__module__": cls.__module__})
        _VARIANTS[cls, key, text] = known
    return known
