"""Reads the tree of a built network. A leaf becomes a call of its class: torch's own where there is one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ...backend.block import HELPERS, Block
from ...backend.builder import on_meta
from ...errors import MetablockError
from ...lowering.ir import ModuleNode, module_nodes
from ...operators.as_buffers import as_buffers

REQUIRED: Any = object()

# What an argument of a leaf is called as an argument of a generated class.
_HINTS = {"c": "dim", "in_channels": "dim", "in_features": "dim", "num_features": "dim", "normalized_shape": "dim"}
_HINTS |= {"num_channels": "dim", "out_channels": "out", "out_features": "out", "kernel_size": "kernel", "num_groups": "groups"}
_HINTS |= {"input_size": "dim", "hidden_size": "out"}
_HINTS |= {"grid": "size", "n": "count", "init": "start"}


@dataclass(frozen=True)
class Slot:
    """An argument of a call; positional unless ``keyword``."""

    name: str
    value: Any
    default: Any = REQUIRED
    keyword: bool = True

    @property
    def hint(self) -> str:
        return _HINTS.get(self.name, self.name)


@dataclass
class CodeNode:
    """A part of the tree.

    Attributes:
        kind: ``leaf``, ``list``, ``dict`` or ``block``.
        path: its path in the network.
        call, slots: of a leaf: the class it calls and the arguments.
        operator: of a leaf that torch has no class for: module and class of the operator.
        frozen: whether its parameters do not train.
        constant: whether its parameters have become buffers.
        params: of a leaf: the names of the arguments of its ``forward``.
        block: of a block: its module.
        children: the parts below it, by name.
    """

    kind: str
    path: str
    call: str = ""
    slots: tuple[Slot, ...] = ()
    operator: tuple[str, str] | None = None
    frozen: bool = False
    params: tuple[str, ...] = ()
    constant: bool = False
    block: Block | None = None
    children: dict[str, CodeNode] = field(default_factory=dict)

    def operators(self) -> Iterator[tuple[str, str]]:
        """The operators (module and class) that torch has no class for, and the functions that are called by name."""
        if self.operator is not None:
            yield self.operator
        if self.constant:
            yield as_buffers.__module__, as_buffers.__name__
        if self.block is not None:
            yield from ((function.__module__, name) for name, function in HELPERS.items() if f"{name}(" in self.block.source)
        for child in self.children.values():
            yield from child.operators()

    def settled(self, call: str) -> str:
        """The call that makes the part, whose parameters may be constants, or not train."""
        call = f"as_buffers({call})" if self.constant else call
        return f"{call}.requires_grad_(False)" if self.frozen else call

    def nodes(self) -> Iterator[CodeNode]:
        """All nodes, children before parents."""
        for child in self.children.values():
            yield from child.nodes()
        yield self


def read(model: Block) -> CodeNode:
    """The tree of a network. Raises MetablockError for a part that cannot be written as text."""
    return _Reader({".".join(path): leaf for path, leaf in module_nodes(model.ir)}).node(model, "")


class _Reader:
    def __init__(self, built: Mapping[str, ModuleNode]):
        self.built = built

    def node(self, module: nn.Module, path: str) -> CodeNode:
        below = {name: self.node(part, _join(path, name)) for name, part in _parts(module)}
        if isinstance(module, Block):
            return CodeNode("block", path, block=module, children=below)
        if isinstance(module, nn.ModuleList):
            return CodeNode("list", path, children=below)
        if isinstance(module, nn.ModuleDict):
            return CodeNode("dict", path, children=below)
        leaf = self.leaf(module, path)
        built = self.built.get(path)
        tensors = on_meta(built).named_parameters() if built is not None and built.constant else ()
        leaf.constant = any(name in dict(module.named_buffers()) for name, _ in tensors)
        return leaf

    def leaf(self, module: nn.Module, path: str) -> CodeNode:
        parameters = list(module.parameters())
        frozen = bool(parameters) and not any(p.requires_grad for p in parameters)
        cls = type(module)
        params = tuple(inspect.signature(cls.forward).parameters)[1:]
        torchs = _torchs(cls)
        slots = TORCH[torchs](module) if torchs is not None else None
        if torchs is not None and slots is not None:
            if cls.forward is torchs.forward:
                return CodeNode("leaf", path, f"nn.{torchs.__name__}", tuple(slots), frozen=frozen, params=params)
            return CodeNode("leaf", path, cls.__name__, tuple(slots), (cls.__module__, cls.__name__), frozen, params)
        built = self.built.get(path)
        if built is None or type(on_meta(built)) is not cls:
            raise MetablockError(
                f"{path or 'the network'}: a {cls.__name__} put in by hand cannot be written as text",
                "build the network without it, or write .safetensors",
            )
        operator = (built.module, built.attribute)
        own = tuple(_own(getattr(importlib.import_module(built.module), built.attribute), built.context, built.args))
        return CodeNode("leaf", path, built.attribute, own, operator, frozen, params)


def _torchs(cls: type[nn.Module]) -> type[nn.Module] | None:
    """The class of torch that this class is, or that an operator extends, overriding ``forward`` or ``__init__`` alone."""
    base: Any = next((base for base in cls.__mro__ if base in TORCH), None)
    if base is None or (cls is not base and not cls.__module__.startswith("metablock.operators.")):
        return None
    own: Any = cls
    return base if own.forward is base.forward or own.__init__ is base.__init__ else None


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(module.named_children()) if isinstance(module, (Block, nn.ModuleList, nn.ModuleDict)) else []


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _own(cls: type, context: Mapping[str, Any], args: Mapping[str, Any]) -> Iterator[Slot]:
    """The arguments of one of our operators: its context (input width, rank) by position, the others by keyword."""
    for name, parameter in list(inspect.signature(cls).parameters.items()):
        default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
        if name in context:
            yield Slot(name, context[name], keyword=False)
        elif name in args:
            yield Slot(name, args[name], default)


def _even(values: Any) -> Any:
    """One number if all axes agree."""
    return values[0] if isinstance(values, (tuple, list)) and len(set(values)) == 1 else values


def _at(m: Any, *names: str) -> Iterator[Slot]:
    """Positional arguments, read from the attributes of the same names."""
    for name in names:
        yield Slot(name, _even(getattr(m, name)), keyword=False)


def _by(m: Any, **defaults: Any) -> Iterator[Slot]:
    """Keyword arguments with their defaults, read from the attributes of the same names."""
    for name, default in defaults.items():
        yield Slot(name, _even(getattr(m, name)), default)


Slots = list[Slot] | None  # None: the arguments of torch's class cannot express the module


def _conv(m: Any) -> Slots:
    if m.padding_mode != "zeros":
        return None
    slots = [*_at(m, "in_channels", "out_channels", "kernel_size"), *_by(m, stride=1, padding=0, dilation=1, groups=1)]
    return [*slots, Slot("bias", m.bias is not None, True)]


def _conv_transpose(m: Any) -> Slots:
    slots = [*_at(m, "in_channels", "out_channels", "kernel_size"), *_by(m, stride=1, padding=0, output_padding=0, groups=1)]
    return [*slots, Slot("bias", m.bias is not None, True), *_by(m, dilation=1)]


def _linear(m: Any) -> Slots:
    return [*_at(m, "in_features", "out_features"), Slot("bias", m.bias is not None, True)]


def _layer_norm(m: Any) -> Slots:
    slots = [*_at(m, "normalized_shape"), *_by(m, eps=1e-5, elementwise_affine=True)]
    return [*slots, Slot("bias", m.bias is not None or m.weight is None, True)]


def _group_norm(m: Any) -> Slots:
    if m.bias is None and m.weight is not None:
        return None  # its argument for that is newer than the oldest torch that may read the file
    return [*_at(m, "num_groups", "num_channels"), *_by(m, eps=1e-5, affine=True)]


def _batch_norm(m: Any) -> Slots:
    if m.affine and m.bias is None:
        return None
    return [*_at(m, "num_features"), *_by(m, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True)]


def _avg_pool(m: Any) -> Slots:
    slots = [*_at(m, "kernel_size"), Slot("stride", _even(m.stride)), *_by(m, padding=0, ceil_mode=False, count_include_pad=True)]
    return slots if getattr(m, "divisor_override", None) is None else None


def _max_pool(m: Any) -> Slots:
    return [*_at(m, "kernel_size"), Slot("stride", _even(m.stride)), *_by(m, padding=0, dilation=1, ceil_mode=False)]


def _pad(m: Any) -> Slots:
    return [*_at(m, "padding"), *(_at(m, "value") if hasattr(m, "value") else ())]


def _upsample(m: Any) -> Slots:
    return list(_by(m, size=None, scale_factor=None, mode="nearest", align_corners=None))


def _recurrent(m: Any) -> Slots:
    if m.proj_size or m.num_layers != 1 or m.dropout or not m.batch_first:
        return None
    return [*_at(m, "input_size", "hidden_size"), *_by(m, bias=True, batch_first=False, bidirectional=False)]


def _embedding(m: Any) -> Slots:
    if m.max_norm is not None or m.scale_grad_by_freq or m.sparse:
        return None
    return [*_at(m, "num_embeddings", "embedding_dim"), *_by(m, padding_idx=None)]


def _settings(**defaults: Any) -> Callable[[Any], Slots]:
    return lambda m: list(_by(m, **defaults))


def _size(m: Any) -> Slots:
    return list(_at(m, "output_size"))


# By class of torch: reads the arguments from a module.
TORCH: Mapping[type[nn.Module], Callable[[Any], Slots]] = {
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _size),
    **dict.fromkeys((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d), _size),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), _avg_pool),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _batch_norm),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _conv),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _conv_transpose),
    **dict.fromkeys((nn.Hardsigmoid, nn.Hardswish, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Sigmoid, nn.Tanh), _settings()),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), _max_pool),
    **dict.fromkeys((nn.GRU, nn.LSTM), _recurrent),
    **dict.fromkeys((nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d), _pad),
    **dict.fromkeys((nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d), _pad),
    **dict.fromkeys((nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d), _pad),
    **dict.fromkeys((nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d), _pad),
    nn.ChannelShuffle: lambda m: list(_at(m, "groups")),
    nn.ELU: _settings(alpha=1.0),
    nn.Embedding: _embedding,
    nn.GELU: _settings(approximate="none"),
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.Linear: _linear,
    nn.PixelShuffle: lambda m: list(_at(m, "upscale_factor")),
    nn.RMSNorm: lambda m: [*_at(m, "normalized_shape"), *_by(m, eps=None, elementwise_affine=True)],
    nn.Softmax: lambda m: [Slot("dim", m.dim)],
    nn.Softplus: _settings(beta=1.0, threshold=20.0),
    nn.Upsample: _upsample,
}
