"""The module of a subgraph: an ordinary ``nn.Module`` whose ``forward`` is generated code."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MetablockError
from .input_size import input_error

_CLASSES: dict[tuple[str, str, type[Block]], type[Block]] = {}


class Block(nn.Module):
    """A part of a network. Its class is compiled from the text of its ``forward``; parts that compute the same share one class.

    Attributes:
        source: the text of ``forward``.
        key: a hash of what the part computes: one class, and one compiled graph, per key.
        text: the expression in the spec.
        region: the kind of compile region: ``stem``, ``down``, ``block``, ``end``, ``head``, ``line`` (of `model:`); None for a
            part inside a region.
        texts: the expressions of the children.
        spec, ir, inputs: of a whole network: its resolved spec, its IR, the features that enter it.
        loaded, collapsed: of a whole network: the reports of its weights and of its re-parameterisation; None without.
        feature_info, whole: of a network that returns feature maps: their :class:`~metablock.FeatureInfo`, and the IR of the
            network they were taken from.
    """

    source: str
    key: str
    text: str
    region: str | None
    texts: Mapping[str, str]
    spec: Any
    inputs: tuple[Any, ...]
    ir: Any = None
    loaded: Any = None
    collapsed: Any = None
    feature_info: Any = None
    whole: Any = None
    # What holds the shared modules that are called here, by its path from the network: each call looks up what is registered.
    _links: dict[str, nn.Module]
    _linked: tuple[tuple[str, ...], ...]

    @property
    def links(self) -> dict[str, nn.Module]:
        """The shared modules that are registered elsewhere in the network and called here, by their paths."""
        return {".".join(path): self._links[".".join(path[:-1])].get_submodule(path[-1]) for path in self._linked}

    def __setattr__(self, name: str, value: Any) -> None:
        before = self._modules.get("shared") if name == "shared" and "_modules" in self.__dict__ else None
        super().__setattr__(name, value)
        if before is not None:
            for part in self.modules():
                if isinstance(part, Block):
                    part._links = {path: value if owner is before else owner for path, owner in part._links.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.source, self.key), self.__getstate__()

    def __repr__(self) -> str:
        head = f"{self.text}" if self.text else type(self).__name__
        return "\n".join([head, *describe(self, 1)])


class Network(Block):
    """A whole network. Where inputs of a wrong shape make it fail, the error says what is wrong with them."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive_network, (self.source, self.key), self.__getstate__()

    def __call__(self, *args: Any, **named: Any) -> Any:
        try:
            return super().__call__(*args, **named)
        except Exception as wrong:
            if torch.compiler.is_compiling() or isinstance(wrong, MetablockError):
                raise
            tensors = [*args, *named.values()]
            if self.ir is None or not all(isinstance(x, Tensor) for x in tensors):
                raise
            reason = input_error(self.spec, self.whole or self.ir, self.inputs, [tuple(x.shape) for x in tensors])
            if reason is None:
                raise
            raise reason from wrong


def describe(module: nn.Module, depth: int) -> list[str]:
    """One line per child, in the words of the spec; consecutive equal blocks share a line. ``depth`` is the indentation."""
    lines: list[str] = []
    texts = getattr(module, "texts", {})
    children = list(module.named_children())
    position = 0
    while position < len(children):
        name, child = children[position]
        last = position
        while name.isdigit() and last + 1 < len(children) and _alike(child, children[last + 1][1]):
            last += 1
        label = name if last == position else f"{name}-{children[last][0]}"
        text = getattr(child, "text", None) or texts.get(name, "")
        count = f"{last - position + 1} * " if last > position else ""
        lines.append(
            f"{'  ' * depth}{label}: {count}{text or ''}".rstrip(": ")
            if not isinstance(child, (nn.ModuleList, nn.ModuleDict))
            else f"{'  ' * depth}{label}:"
        )
        if isinstance(child, (Block, nn.ModuleList, nn.ModuleDict)):
            lines += describe(child, depth + 1)
        position = last + 1
    return lines


def _alike(a: nn.Module, b: nn.Module) -> bool:
    return isinstance(a, Block) and isinstance(b, Block) and type(a) is type(b) and bool(a.region)


def link(block: Block, root: nn.Module, paths: Iterable[tuple[str, ...]]) -> None:
    """Connects a part to the shared modules at these paths from ``root``."""
    block._linked = tuple(paths)
    block._links = {".".join(path[:-1]): root.get_submodule(".".join(path[:-1])) for path in block._linked}


def link_alike(block: Block, other: Block) -> None:
    """Connects a part to the shared modules that another one calls."""
    block._linked, block._links = other._linked, dict(other._links)


def make(source: str, key: str, root: bool = False) -> Block:
    """A block with this ``forward`` and no children yet; with ``root`` a whole network."""
    cls = _class(source, key, Network if root else Block)
    block = cls.__new__(cls)
    nn.Module.__init__(block)
    block.source, block.key = source, key
    block.text, block.region, block.texts = "", None, {}
    block._links, block._linked = {}, ()
    return block


def _revive(source: str, key: str) -> Block:
    return make(source, key)


def _revive_network(source: str, key: str) -> Block:
    return make(source, key, root=True)


def _class(source: str, key: str, base: type[Block]) -> type[Block]:
    """One class per text and key, each with its own code objects: dynamo limits recompilations per code object."""
    cls = _CLASSES.get((source, key, base))
    if cls is None:
        name = f"<metablock {key or len(_CLASSES)}>"
        code = source + "\n\ndef enter(self, *args):\n    return call(self, *args)\n"
        space: dict[str, Any] = {"torch": torch, "F": F, "Tensor": Tensor, "call": nn.Module._call_impl}
        exec(compile(code, name, "exec"), space)
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        cls = type(base.__name__, (base,), {"forward": space["forward"], "enter": space["enter"], "__module__": __name__})
        _CLASSES[source, key, base] = cls
    return cls
