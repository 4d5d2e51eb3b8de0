"""The tree of a built network, with every leaf as the call that makes it: torch's own class where there is one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ...backend.block import Block
from ...errors import MetablockError
from ...lowering.ir import ModuleNode, module_nodes

REQUIRED: Any = object()

# What a number is called as an argument of a class.
_HINTS = {"c": "dim", "in_channels": "dim", "in_features": "dim", "num_features": "dim", "normalized_shape": "dim"}
_HINTS |= {"num_channels": "dim", "out_channels": "out", "out_features": "out", "kernel_size": "kernel", "num_groups": "groups"}
_HINTS |= {"grid": "size", "n": "count", "init": "start"}


@dataclass(frozen=True)
class Slot:
    """An argument of a call. Without a keyword it stands by its position."""

    name: str
    value: Any
    default: Any = REQUIRED
    keyword: bool = True

    @property
    def hint(self) -> str:
        return _HINTS.get(self.name, self.name)


@dataclass
class CodeNode:
    """A part of the tree: a leaf (``call``), a list, a dictionary, or a block of its own (``block``)."""

    kind: str
    path: str
    call: str = ""
    slots: tuple[Slot, ...] = ()
    operator: tuple[str, str] | None = None
    frozen: bool = False
    params: tuple[str, ...] = ()
    block: Block | None = None
    children: dict[str, CodeNode] = field(default_factory=dict)

    def operators(self) -> Iterator[tuple[str, str]]:
        """The operators (module and class) that torch has no class for."""
        if self.operator is not None:
            yield self.operator
        for child in self.children.values():
            yield from child.operators()

    def nodes(self) -> Iterator[CodeNode]:
        """All nodes, children before what holds them."""
        for child in self.children.values():
            yield from child.nodes()
        yield self


def read(model: Block) -> CodeNode:
    """The tree of a network. Raises MetablockError for a part that cannot be written as text."""
    built = {".".join(path): leaf for path, leaf in module_nodes(model.ir)}
    return _Reader(built, _norm_ranks(model)).node(model, "")


class _Reader:
    def __init__(self, built: Mapping[str, ModuleNode], ranks: Mapping[str, int]):
        self.built, self.ranks = built, ranks

    def node(self, module: nn.Module, path: str) -> CodeNode:
        below = {name: self.node(part, _join(path, name)) for name, part in _parts(module)}
        if isinstance(module, Block):
            return CodeNode("block", path, block=module, children=below)
        if isinstance(module, nn.ModuleList):
            return CodeNode("list", path, children=below)
        if isinstance(module, nn.ModuleDict):
            return CodeNode("dict", path, children=below)
        return self.leaf(module, path)

    def leaf(self, module: nn.Module, path: str) -> CodeNode:
        parameters = list(module.parameters())
        frozen = bool(parameters) and not any(p.requires_grad for p in parameters)
        params = tuple(inspect.signature(type(module).forward).parameters)[1:]
        name, ours = type(module).__name__, type(module).__module__.startswith("metablock.operators.")
        torchs = TORCH.get(name) if ours else None
        found = torchs(module) if torchs is not None else None
        if found is None and name == "BatchNorm" and ours and path in self.ranks:
            found = f"nn.BatchNorm{self.ranks[path]}d", _batch_norm(module)
        if found is not None:
            return CodeNode("leaf", path, found[0], tuple(found[1]), frozen=frozen, params=params)
        built = self.built.get(path)
        if built is None or (built.module, built.attribute) != (type(module).__module__, name):
            raise MetablockError(
                f"{path or 'the network'}: a {name} put in by hand cannot be written as text\n"
                "  build the network without it, or write .safetensors"
            )
        slots = tuple(_own(type(module), built.context, built.args))
        operator = (type(module).__module__, name)
        return CodeNode("leaf", path, name, slots, operator, frozen, params)


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(module.named_children()) if isinstance(module, (Block, nn.ModuleList, nn.ModuleDict)) else []


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _own(cls: type, context: Mapping[str, Any], args: Mapping[str, Any]) -> Iterator[Slot]:
    """The arguments of an operator of ours: what it stands in by position, the rest by keyword."""
    for name, parameter in list(inspect.signature(cls).parameters.items()):
        default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
        if name in context:
            yield Slot(name, context[name], keyword=False)
        elif name in args:
            yield Slot(name, args[name], default)


def _even(values: Sequence[int]) -> Any:
    """One number for all axes if they agree."""
    return values[0] if len(set(values)) == 1 else tuple(values)


Call = tuple[str, Sequence[Slot]] | None


def _conv(m: Any) -> Call:
    if m.same:
        return None  # padding that depends on the size
    rank = m.weight.dim() - 2
    return f"nn.Conv{rank}d", [
        Slot("in_channels", m.weight.shape[1] * m.groups, keyword=False),
        Slot("out_channels", m.weight.shape[0], keyword=False),
        Slot("kernel_size", _even(m.kernel), keyword=False),
        Slot("stride", _even(m.stride), 1),
        Slot("padding", _even(m.padding), 0),
        Slot("dilation", _even(m.dilation), 1),
        Slot("groups", m.groups, 1),
        Slot("bias", m.bias is not None, True),
    ]


def _conv_transpose(m: Any) -> Call:
    return f"nn.ConvTranspose{m.weight.dim() - 2}d", [
        Slot("in_channels", m.weight.shape[0], keyword=False),
        Slot("out_channels", m.weight.shape[1] * m.groups, keyword=False),
        Slot("kernel_size", _even(m.weight.shape[2:]), keyword=False),
        Slot("stride", _even(m.stride), 1),
        Slot("padding", _even(m.padding), 0),
        Slot("output_padding", _even(m.extra), 0),
        Slot("groups", m.groups, 1),
        Slot("bias", m.bias is not None, True),
    ]


def _linear(m: Any) -> Call:
    out, c = m.weight.shape
    return "nn.Linear", [
        Slot("in_features", c, keyword=False),
        Slot("out_features", out, keyword=False),
        Slot("bias", m.bias is not None, True),
    ]


def _layer_norm(m: Any) -> Call:
    if m.weight is None:
        return None  # torch's wants to be told the width, which is not known here
    return "nn.LayerNorm", [
        Slot("normalized_shape", m.weight.shape[0], keyword=False),
        Slot("eps", m.eps, 1e-5),
        Slot("bias", m.bias is not None, True),
    ]


def _group_norm(m: Any) -> Call:
    if m.bias is None:
        return None
    return "nn.GroupNorm", [
        Slot("num_groups", m.groups, keyword=False),
        Slot("num_channels", m.weight.shape[0], keyword=False),
        Slot("eps", m.eps, 1e-5),
    ]


def _batch_norm(m: Any) -> list[Slot]:
    return [
        Slot("num_features", m.num_features, keyword=False),
        Slot("eps", m.eps, 1e-5),
        Slot("momentum", m.momentum, 0.1),
    ]


def _avg_pool(m: Any) -> Call:
    slots = [Slot("kernel_size", _even(m.kernel), keyword=False), Slot("stride", _even(m.stride))]
    slots += [Slot("padding", _even(m.padding), 0), Slot("ceil_mode", m.ceil, False)]
    return f"nn.AvgPool{len(m.kernel)}d", [*slots, Slot("count_include_pad", m.count_padding, True)]


def _max_pool(m: Any) -> Call:
    if m.same:
        return None
    slots = [Slot("kernel_size", _even(m.kernel), keyword=False), Slot("stride", _even(m.stride))]
    return f"nn.MaxPool{len(m.kernel)}d", [*slots, Slot("padding", _even(m.padding), 0)]


def _adaptive(kind: str) -> Callable[[Any], Call]:
    return lambda m: (f"nn.Adaptive{kind}Pool{len(m.size)}d", [Slot("output_size", _even(m.size), keyword=False)])


def _plain(name: str) -> Callable[[Any], Call]:
    return lambda m: (f"nn.{name}", [])


# Operators of ours that a class of torch's equals, to the bit and by its parameters' names.
TORCH: dict[str, Callable[[Any], Call]] = {
    "AdaptiveAvgPool": _adaptive("Avg"),
    "AdaptiveMaxPool": _adaptive("Max"),
    "AvgPool": _avg_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Elu": _plain("ELU"),
    "Gelu": lambda m: ("nn.GELU", [Slot("approximate", m.approximate, "none")]),
    "GroupNorm": _group_norm,
    "HardSigmoid": _plain("Hardsigmoid"),
    "HardSwish": _plain("Hardswish"),
    "LayerNorm": _layer_norm,
    "Linear": _linear,
    "MaxPool": _max_pool,
    "Relu": _plain("ReLU"),
    "Relu6": _plain("ReLU6"),
    "Sigmoid": _plain("Sigmoid"),
    "Silu": _plain("SiLU"),
    "Softplus": _plain("Softplus"),
    "Tanh": _plain("Tanh"),
}


def _norm_ranks(model: Block) -> dict[str, int]:
    """For each batch norm, which of torch's three: ours takes any number of dimensions. Found by running without numbers."""
    memo: dict[int, Any] = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in model.parameters()}
    memo |= {id(b): torch.empty_like(b, device="meta") for b in model.buffers()}
    bare = deepcopy(model, memo).eval()
    found: dict[str, set[int]] = {}
    for path, module in bare.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(lambda m, args, path=path: found.setdefault(path, set()).add(args[0].dim()))
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in bare.modules()):
        return {}
    dtype = next((p.dtype for p in bare.parameters()), None)
    try:
        with torch.no_grad():
            bare(*(torch.empty(feature.size(2), device="meta", dtype=dtype) for feature in model.inputs))
    except (RuntimeError, NotImplementedError):
        return {}  # something does not run without numbers: ours stands in the file
    return {path: max(1, dims.pop() - 2) for path, dims in found.items() if len(dims) == 1}
