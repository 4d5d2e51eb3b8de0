"""From the IR to modules with initial weights."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from ..lowering.ir import Child, ModuleNode, Subgraph, module_nodes
from .block import Block, make
from .codegen import Sources, numbered

# Runs on every module node after its class has set its default weights; takes the path, the node and the module.
Initialise = Callable[[str, ModuleNode, nn.Module], None]


def build(root: Subgraph, *, seed: int = 0, device: torch.device | None = None, initialise: Initialise | None = None) -> Block:
    """Builds the module of a network.

    Each module node draws its weights from a generator seeded by ``seed`` and its path, so replacing one part leaves the
    others unchanged. Weights are drawn on the CPU: they do not depend on the device.

    Args:
        root: the IR of the network.
        seed: of the initial weights.
        device: ``meta`` allocates nothing; for any other device the weights are on the CPU, for the caller to move.
        initialise: runs on every module node (see :func:`metablock.backend.init.initialiser`); not on ``meta``.

    >>> from metablock.front import front
    >>> from metablock.language.load import load_text
    >>> spec, ir = front(load_text("name: net\\ninput: image(3, 8)\\nmodel: conv(4, 3)"))
    >>> build(ir).conv.weight.shape
    torch.Size([4, 3, 3, 3])
    """
    maker = _Builder(seed, device, initialise)
    model = maker.subgraph(root, "", root=True)
    maker.connect(model)
    return model


def drawn(root: Subgraph, names: Collection[str], *, seed: int = 0, initialise: Initialise | None = None) -> dict[str, Tensor]:
    """The initial values of the parameters in ``names``, by name: those that :func:`build` draws with the same seed."""
    maker, values = _Builder(seed, None, initialise), dict[str, Tensor]()
    for segments, node in module_nodes(root):
        path = ".".join(segments)
        own = [name for name in names if name.startswith(f"{path}.")]
        if own:
            state = maker.leaf(node, path).state_dict()
            values |= {name: state[name.removeprefix(f"{path}.")] for name in own}
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
            return self.subgraph(child, path)
        parts = {name: self.part(below, _below(path, name)) for name, below in child.children.items()}
        return nn.ModuleList(parts.values()) if numbered(child) else nn.ModuleDict(parts)

    def subgraph(self, subgraph: Subgraph, path: str, root: bool = False) -> Block:
        source = self.sources.of(subgraph, root)
        block = make(source.text, source.key, root)
        block.text, block.region = subgraph.text, subgraph.region
        block.texts = {name: child.text for name, child in subgraph.children.items() if isinstance(child, ModuleNode)}
        for name, child in subgraph.children.items():
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
                module = _instantiate(leaf)
                if self.initialise is not None:
                    self.initialise(path, leaf, module)
        if not leaf.trainable:
            module.requires_grad_(False)
        if leaf.role is not None:
            module.only_role = leaf.role  # type: ignore[assignment]
        return module

    def connect(self, model: Block) -> None:
        """Sets the links of blocks that call shared modules."""
        for block, links in self.linked:
            block.links = {".".join(path): model.get_submodule(".".join(path)) for path in links}


def on_meta(node: ModuleNode) -> nn.Module:
    """The module of a node on ``meta``: its class and its settings. Nothing is allocated."""
    with torch.device("meta"):
        return _instantiate(node)


def _instantiate(node: ModuleNode) -> nn.Module:
    module: nn.Module = getattr(importlib.import_module(node.module), node.attribute)(**node.context, **node.args)
    return module


def path_seed(seed: int, path: str) -> int:
    """The seed of one part: depends only on the network's seed and the part's path."""
    return (seed * 0x9E3779B1 + zlib.crc32(path.encode())) & 0x7FFFFFFF


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
