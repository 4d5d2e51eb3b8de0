"""From the shaped tree to modules with weights."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from ..lowering.ir import Child, ModuleNode, Subgraph, module_nodes
from .block import Block, make
from .codegen import Sources, numbered

# Called for each leaf with its path, itself and its module, once its default weights are drawn.
Initialise = Callable[[str, ModuleNode, nn.Module], None]


def build(root: Subgraph, *, seed: int = 0, device: torch.device | None = None, initialise: Initialise | None = None) -> Block:
    """The module of a shaped tree.

    Every leaf's weights are drawn from a generator that its path seeds: replacing one part leaves all others as they were.
    They are drawn on the
    CPU, so that they do not depend on the device; on ``meta`` nothing is allocated.
    """
    maker = _Builder(seed, device, initialise)
    model = maker.level(root, "", root=True)
    maker.connect(model)
    return model


def drawn(root: Subgraph, names: Collection[str], *, seed: int = 0, initialise: Initialise | None = None) -> dict[str, Tensor]:
    """The initial values of these parameters alone, as :func:`build` draws them."""
    maker, values = _Builder(seed, None, initialise), dict[str, Tensor]()
    for steps, leaf in module_nodes(root):
        path = ".".join(steps)
        mine = [name for name in names if name.startswith(f"{path}.")]
        if mine:
            state = maker.leaf(leaf, path).state_dict()
            values |= {name: state[name.removeprefix(f"{path}.")] for name in mine}
    return values


class _Builder:
    def __init__(self, seed: int, device: torch.device | None, initialise: Initialise | None):
        self.seed, self.initialise = seed, initialise
        self.meta = device is not None and device.type == "meta"
        self.sources = Sources()
        self.linked: list[tuple[Block, tuple[tuple[str, ...], ...]]] = []

    def part(self, child: Child, path: str) -> nn.Module:
        if isinstance(child, ModuleNode):
            return self.leaf(child, path)
        if isinstance(child, Subgraph):
            return self.level(child, path)
        parts = {name: self.part(below, _below(path, name)) for name, below in child.children.items()}
        return nn.ModuleList(parts.values()) if numbered(child) else nn.ModuleDict(parts)

    def level(self, level: Subgraph, path: str, root: bool = False) -> Block:
        source = self.sources.of(level, root)
        block = make(source.text, source.key, root)
        block.text, block.region = level.text, level.region
        block.texts = {name: child.text for name, child in level.children.items() if isinstance(child, ModuleNode)}
        for name, child in level.children.items():
            block.add_module(name, self.part(child, _below(path, name)))
        if source.links:
            self.linked.append((block, source.links))
        return block

    def leaf(self, leaf: ModuleNode, path: str) -> nn.Module:
        if self.meta:
            module = on_meta(leaf)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.random.default_generator.manual_seed(path_seed(self.seed, path))
                module = _made(leaf)
                if self.initialise is not None:
                    self.initialise(path, leaf, module)
        if not leaf.trainable:
            module.requires_grad_(False)
        return module

    def connect(self, model: Block) -> None:
        """Gives blocks that use shared modules a reference to them."""
        for block, links in self.linked:
            block.links = {".".join(path): model.get_submodule(".".join(path)) for path in links}


def on_meta(leaf: ModuleNode) -> nn.Module:
    """The module of a leaf on ``meta``: its class and settings, and nothing allocated."""
    with torch.device("meta"):
        return _made(leaf)


def _made(leaf: ModuleNode) -> nn.Module:
    module: nn.Module = getattr(importlib.import_module(leaf.module), leaf.attribute)(**leaf.context, **leaf.args)
    return module


def path_seed(seed: int, path: str) -> int:
    """A seed that depends on the network's seed and on where a part stands, on nothing else."""
    return (seed * 0x9E3779B1 + zlib.crc32(path.encode())) & 0x7FFFFFFF


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
