"""From the IR to modules with initial weights."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from typing import Protocol

import torch
from torch import Tensor, nn

from ..lowering.ir import Child, ModuleNode, Subgraph, module_nodes
from ..lowering.pause import collector_paused
from ..operators.as_buffers import as_buffers
from .block import Block, link, make
from .codegen import Link, numbered, sources_of
from .draws import Doubles, DrawQueue, Draws, keep_constants, unsaved
from .patterns import Undrawn, cpu_default, draw_defaults, instantiate, is_own, pattern_of

# Makes the module of a node; takes the path and the node.
MakeLeaf = Callable[[str, ModuleNode], nn.Module]


class Initialise(Protocol):
    """What sets the initial weights of modules (:func:`metablock.backend.init.initialiser`)."""

    def keeps(self, path: str, node: ModuleNode, module: nn.Module, names: Collection[str]) -> bool:
        """Whether it leaves one of these parameters of a module as the class sets it, and the value matters."""

    def __call__(self, path: str, node: ModuleNode, module: nn.Module, queue: DrawQueue) -> None:
        """Sets the others; what is drawn may wait in the queue."""


def build(
    root: Subgraph,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    initialise: Initialise | None = None,
    make_leaf: MakeLeaf | None = None,
) -> Block:
    """Builds the module of a network.

    Each module node draws its weights from a generator of its own, seeded by ``seed`` and its path: replacing one part leaves the
    others unchanged, and so do other threads. Weights are drawn on the CPU and in torch's default dtype: they do not depend on
    the device.

    Args:
        root: the IR of the network.
        seed: of the initial weights.
        device: ``meta`` allocates nothing; for any other device the weights are on the CPU, for the caller to move.
        dtype: with float64, constants that no state dict holds have its precision. The caller converts to any other dtype.
        initialise: runs on every module node (see :func:`metablock.backend.init.initialiser`); not on ``meta``.
        make_leaf: makes the module of a node, given its path, instead of all of the above.

    >>> from metablock.front import front
    >>> from metablock.language.load import load_text
    >>> spec, ir = front(load_text("name: net\\ninput: image(3, 8)\\nmodel: conv(4, 3)"))
    >>> build(ir).conv.weight.shape
    torch.Size([4, 3, 3, 3])
    """
    maker = _Builder(root, seed, device, dtype, initialise, make_leaf)
    with cpu_default(), collector_paused():
        model = maker.subgraph(root, "", root=True)
    maker.queue.run()
    maker.connect(model)
    return model


def drawn(
    root: Subgraph,
    names: Collection[str],
    *,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    initialise: Initialise | None = None,
) -> dict[str, Tensor]:
    """The initial values of the parameters in ``names``, by name: those that :func:`build` draws with the same seed."""
    maker, values = _Builder(root, seed, None, dtype, initialise), dict[str, Tensor]()
    for segments, node in module_nodes(root):
        path = ".".join(segments)
        own = [name for name in names if name.startswith(f"{path}.")]
        if own:
            with cpu_default():
                state = maker.leaf(node, path).state_dict()
            maker.queue.run()
            values |= {name: state[name.removeprefix(f"{path}.")] for name in own}
    return values


class _Builder:
    def __init__(
        self,
        root: Subgraph,
        seed: int,
        device: torch.device | None,
        dtype: torch.dtype | None,
        initialise: Initialise | None,
        make_leaf: MakeLeaf | None = None,
    ):
        self.seed, self.double, self.initialise, self.make_leaf = seed, dtype == torch.float64, initialise, make_leaf
        self.meta = device is not None and device.type == "meta"
        self.sources, self.draws, self.queue = sources_of(root), Draws(), DrawQueue()
        self.linked: list[tuple[Block, tuple[Link, ...]]] = []

    def part(self, child: Child, path: str, unit: bool = False) -> nn.Module:
        if isinstance(child, ModuleNode):
            return self.leaf(child, path)
        if isinstance(child, Subgraph):
            return self.subgraph(child, path, unit=unit)
        parts = {name: self.part(below, _below(path, name), unit) for name, below in child.children.items()}
        return nn.ModuleList(parts.values()) if numbered(child) else nn.ModuleDict(parts)

    def subgraph(self, subgraph: Subgraph, path: str, root: bool = False, unit: bool = False) -> Block:
        source = self.sources.of(subgraph, root, unit)
        unit = unit or (subgraph.region is not None and self.sources.recurrent(subgraph))
        texts = {name: child.text for name, child in subgraph.children.items() if isinstance(child, ModuleNode)}
        block = make(source.text, source.key, root, text=subgraph.text, region=subgraph.region, texts=texts)
        if subgraph.share is not None:
            block.routed_share = subgraph.share
        for name, child in subgraph.children.items():
            block._modules[name] = self.part(child, _below(path, name), unit)
        if source.links:
            self.linked.append((block, source.links))
        return block

    def leaf(self, leaf: ModuleNode, path: str) -> nn.Module:
        if self.make_leaf is not None:
            return self.make_leaf(path, leaf)
        module = on_meta(leaf) if self.meta else self.with_values(leaf, path)
        if leaf.constant:
            as_buffers(module)
        if not leaf.trainable:
            module.requires_grad_(False)
        if leaf.role is not None:
            module.only_role = leaf.role  # type: ignore[assignment]
        if leaf.share is not None:
            module.routed_share = leaf.share  # type: ignore[assignment]
        return module

    def with_values(self, leaf: ModuleNode, path: str) -> nn.Module:
        """The module of a node with its initial weights."""
        seed = path_seed(self.seed, path)
        module = self.with_defaults(leaf, path, seed)
        if self.initialise is not None:
            self.initialise(path, leaf, module, self.queue)
        if self.double:
            self.queue.run()
            module = module.double()
            if unsaved(module):
                with self.draws.seeded(seed + 1), Doubles():
                    again = instantiate(leaf)
                keep_constants(module, again)
        return module

    def with_defaults(self, leaf: ModuleNode, path: str, seed: int) -> nn.Module:
        """The module of a node with its class's default weights. What ``initialise`` sets is not drawn before."""
        pattern = pattern_of(leaf)
        module = on_meta(leaf) if pattern is None else pattern.copy()
        names = [name for name, _ in module.named_parameters()] if pattern is None else pattern.drawn
        defaults = self.initialise is None or self.initialise.keeps(path, leaf, module, names)
        if pattern is not None and (pattern.repeats or not defaults):
            if defaults and pattern.drawn:
                draw_defaults(module, self.draws, self.queue, seed)
            return module
        if not defaults and is_own(leaf):
            with Undrawn() as noted:
                module = instantiate(leaf)
            if noted.only(module.parameters()):
                return module
        with self.draws.seeded(seed):
            return instantiate(leaf)

    def connect(self, model: Block) -> None:
        """Connects the blocks that call shared modules to what holds these."""
        for block, links in self.linked:
            link(block, model, links)


def on_meta(node: ModuleNode) -> nn.Module:
    """The module of a node on ``meta``: its class and its settings. Nothing is allocated."""
    pattern = pattern_of(node, meta=True)
    if pattern is not None:
        return pattern.copy()
    with torch.device("meta"):
        return instantiate(node).to("meta")


def path_seed(seed: int, path: str) -> int:
    """The seed of one part: depends only on the network's seed and the part's path."""
    return (seed * 0x9E3779B1 + zlib.crc32(path.encode())) & 0x7FFFFFFF


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
