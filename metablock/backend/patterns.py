"""Patterns: the modules of leaves without their weights. Modules that are alike are copies of one pattern.

A network has many modules of few kinds. For each kind the class is called once, and draws nothing. A copy costs a fraction of a
call, and each of its weights is drawn once, by the rule that holds for it. The same on ``meta``, where a call is dear.
"""

from __future__ import annotations

import importlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from ..lowering.ir import ModuleNode
from .draws import DrawQueue, Draws

# So many patterns are kept. A pattern holds at most so many elements of tensors (constants, tables), all of them together at most
# so many. A module with more parameters has no pattern: its class is called.
MAX_PATTERNS, MAX_ELEMENTS, MAX_ALL, MAX_PARAMETERS = 20_000, 2**18, 2**24, 2**24


class Pattern:
    """What modules of one kind are copied from.

    Attributes:
        parameters: the shapes of the parameters, by their names in the module.
        drawn: the names of those whose default values are drawn.
        repeats: whether ``reset_parameters`` of a copy draws what the class does, in the same order.
        elements: the number of elements of the tensors that it holds.

    >>> from metablock.front import front
    >>> norm = front("resnet18").ir.children["stem"].children["conv_bn"].children["norm"]
    >>> pattern = pattern_of(norm)
    >>> type(pattern.copy()).__name__, pattern.parameters, pattern.drawn
    ('BatchNorm2d', {'weight': torch.Size([64]), 'bias': torch.Size([64])}, frozenset())
    """

    def __init__(self, module: nn.Module, drawn: set[int]):
        self.cls = type(module)
        self.elements, self.repeats = 0, True
        self.drawn: frozenset[str] = frozenset()
        self.parameters: dict[str, torch.Size] = {}
        self._plain: dict[str, Any] = {}  # attributes that copies share
        self._copied: list[tuple[str, Callable[[], Any]]] = []
        self._tensors: dict[str, list[tuple[str, _Maker | None]]] = {"_parameters": [], "_buffers": []}
        self._children: list[tuple[str, Pattern | None]] = []
        names: set[str] = set()
        for key, value in module.__dict__.items():
            if key == "_parameters":
                for name, parameter in value.items():
                    if parameter is not None and _place(parameter) in drawn:
                        names.add(name)
                    self._tensors[key].append((name, self._maker(parameter, name in names)))
                    self.parameters |= {} if parameter is None else {name: parameter.shape}
            elif key == "_buffers":
                self._tensors[key] = [(name, self._maker(buffer, False)) for name, buffer in value.items()]
            elif key == "_modules":
                self._children = [(name, None if part is None else Pattern(part, drawn)) for name, part in value.items()]
            elif _shared(value):
                self._plain[key] = value
            elif type(value) in (dict, list, set, OrderedDict) and all(map(_shared, value)):
                if isinstance(value, dict) and not all(map(_shared, value.values())):
                    raise UnlikeError(key)
                kind: Any = type(value)
                self._copied.append((key, value.copy if value else kind))
            else:
                raise UnlikeError(key)
        for name, part in self._children:
            if part is not None:
                self.elements += part.elements
                self.parameters |= {f"{name}.{below}": shape for below, shape in part.parameters.items()}
                names |= {f"{name}.{below}" for below in part.drawn}
        self.drawn = frozenset(names)

    def copy(self) -> nn.Module:
        """A module of this kind. What would be drawn is not set."""
        module: nn.Module = object.__new__(self.cls)
        space = module.__dict__
        space.update(self._plain)
        for key, make in self._copied:
            space[key] = make()
        for key, tensors in self._tensors.items():
            space[key] = {name: None if make is None else make() for name, make in tensors}
        space["_modules"] = {name: None if part is None else part.copy() for name, part in self._children}
        return module

    def _maker(self, tensor: Tensor | None, drawn: bool) -> _Maker | None:
        """What makes a copy of a tensor."""
        if tensor is None:
            return None
        if not tensor.is_contiguous() or type(tensor) not in (Tensor, nn.Parameter) or tensor.layout is not torch.strided:
            raise UnlikeError("a tensor of another kind")
        value = tensor.detach()
        empty = drawn or tensor.is_meta
        self.elements += 0 if empty else value.numel()
        shape, dtype, device, trained = value.shape, value.dtype, value.device, tensor.requires_grad

        def make() -> Tensor:
            return torch.empty(shape, dtype=dtype, device=device) if empty else value.clone()

        return (lambda: nn.Parameter(make(), trained)) if isinstance(tensor, nn.Parameter) else make


_Maker = Callable[[], Tensor]


class UnlikeError(Exception):
    """A module holds what a copy of it cannot have, or share."""


def pattern_of(node: ModuleNode, meta: bool = False) -> Pattern | None:
    """The pattern of the module of a node, on the CPU or on ``meta``; None if it has none, and is made by its class.

    Custom operators have none: what their classes draw, and for what, only they know, and their code may change.
    """
    if not is_own(node):
        return None
    key = (node.module, node.attribute, repr(node.context), repr(node.args), torch.get_default_dtype(), meta)
    try:
        return _PATTERNS[key]
    except KeyError:
        pattern = _read(node, meta)
    global _elements
    _elements += 0 if pattern is None else pattern.elements
    if _elements > MAX_ALL or len(_PATTERNS) >= MAX_PATTERNS:
        _PATTERNS.clear()
        _elements = 0 if pattern is None else pattern.elements
    _PATTERNS[key] = pattern
    return pattern


_PATTERNS: dict[tuple[object, ...], Pattern | None] = {}
_elements = 0


def _read(node: ModuleNode, meta: bool) -> Pattern | None:
    try:
        if meta:
            with torch.device("meta"):
                return Pattern(instantiate(node).to("meta"), set())
        shapes = pattern_of(node, meta=True)
        if shapes is None or sum(map(math.prod, shapes.parameters.values())) > MAX_PARAMETERS:
            return None
        noted = Undrawn()
        with cpu_default(), noted:
            module = instantiate(node)
        pattern = Pattern(module, noted.places)
    except UnlikeError:
        return None
    parameters = list(module.parameters())
    if not noted.only(parameters) or len({*map(_place, parameters)}) < len(parameters) or pattern.elements > MAX_ELEMENTS:
        return None
    if pattern.drawn and not _is_plain(module):
        again = Undrawn()
        with cpu_default(), again:
            getattr(module, "reset_parameters", lambda: None)()
        pattern.repeats = again.steps == noted.steps
    return pattern


class Undrawn(Draws):
    """Within the block, this thread fills with zeros what it would fill with drawn numbers, and notes what.

    Attributes:
        steps: what would be filled, in order: the operator, the place of the memory, the number of elements.
        elsewhere: whether something else was drawn (from :class:`Draws`' own generator).

    >>> with Undrawn() as noted:
    ...     layer = nn.Linear(2, 1)
    >>> layer.weight.tolist(), [step[2] for step in noted.steps], noted.elsewhere
    ([[0.0, 0.0]], [2, 1], False)
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[str, int, int]] = []
        self.elsewhere = False

    @property
    def places(self) -> set[int]:
        """The places of the memory that would be filled."""
        return {place for _, place, _ in self.steps}

    def only(self, parameters: Iterable[Tensor]) -> bool:
        """Whether nothing but these parameters would be filled."""
        return not self.elsewhere and self.places <= {*map(_place, parameters)}

    def draw(self, func: Any, seeded: Any, args: Any, kwargs: Any) -> Any:
        if kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        if func._schema.name.endswith("_") and args and isinstance(args[0], Tensor):
            self.steps.append((func._schema.name, _place(args[0]), args[0].numel()))
            return args[0].zero_()
        self.elsewhere = True
        return super().draw(func, seeded, args, kwargs)


def is_own(node: ModuleNode) -> bool:
    """Whether the class of a node is metablock's, not a custom operator's."""
    return node.module.startswith("metablock.")


def instantiate(node: ModuleNode) -> nn.Module:
    """The module of a node, made by its class."""
    module: nn.Module = getattr(importlib.import_module(node.module), node.attribute)(**node.context, **node.args)
    return module


def cpu_default() -> AbstractContextManager[object]:
    """Within the block tensors are made on the CPU, whatever device the caller has made the default one."""
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


def draw_defaults(module: nn.Module, draws: Draws, queue: DrawQueue, seed: int) -> None:
    """Sets the parameters of a copy to its class's default values: those that the class draws after this seed."""
    if _is_plain(module):
        queue.add(module.get_parameter("weight"), seed, partial(_linear, module))
    else:
        with draws.seeded(seed):
            module.reset_parameters()  # type: ignore[operator]


def _is_plain(module: nn.Module) -> bool:
    """Whether its defaults are those of torch's linear layers and convolutions."""
    plain = (nn.Linear.reset_parameters, nn.Conv2d.reset_parameters)
    return getattr(type(module), "reset_parameters", None) in plain and module.get_parameter("weight").numel() > 0


def _linear(module: Any, generator: torch.Generator) -> None:
    """``reset_parameters`` of torch's linear layers and convolutions, without a mode that sees every step of it."""
    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
    if module.bias is not None:
        fan = math.prod(module.weight.shape[1:])
        if fan:
            bound = 1 / math.sqrt(fan)
            nn.init.uniform_(module.bias, -bound, bound, generator)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _shared(value: Any) -> bool:
    """Whether two modules may hold the same object: it does not change."""
    if isinstance(value, (tuple, frozenset)):
        return all(map(_shared, value))
    return value is None or isinstance(value, _CONSTANT)


_CONSTANT = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, type, FunctionType, BuiltinFunctionType)
