"""The module of a subgraph: an ordinary ``nn.Module`` whose ``forward`` is generated code."""

from __future__ import annotations

import linecache
import operator
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MetablockError
from ..language.format import show_spec
from ..operators.blocks import blocks
from ..operators.scan import scan
from ..operators.tables import GRIDS, METHOD, grids_of
from ..operators.valid_part import valid_part
from .codegen import Link
from .draws import Draws
from .input_size import InputSizes, Narrow
from .without_dynamo import compiles, constant_result

_CLASSES: dict[tuple[str, str, type[Block]], type[Block]] = {}
# What generated code calls by name, beside torch and modules.
HELPERS = {"blocks": blocks, "scan": scan, "valid_part": valid_part}


class Block(nn.Module):
    """A part of a network. Its class is compiled from the text of its ``forward``; parts that compute the same share one class.

    Attributes:
        source: the text of ``forward``.
        key: a hash of what the part computes: one class, and one compiled graph, per key.
        text: the expression in the spec.
        routed_share: for how many of the samples its result counts: of an expert of ``route``.
        region: the kind of compile region: ``stem``, ``down``, ``block``, ``end``, ``head``, ``line`` (of `model:`); None for a
            part inside a region.
        texts: the expressions of the children.
        _loops: whether it calls a part at every position of a sequence.
        _plain: of a block whose cores are marked for the compiler (:mod:`metablock.backend.outline`): its class without that.
        spec, ir, inputs: of a whole network: its resolved spec, its IR, the features that enter it.
        loaded, collapsed: of a whole network: the reports of its weights and of its re-parameterisation; None without.
        tuned: of a compiled network: the :class:`~metablock.backend.tune.Tuning` that chose the way; None without.
        feature_info: of a network that returns feature maps: their :class:`~metablock.FeatureInfo`.
        _narrow: of a network that computes a part of its spec: gives that part of the spec's IR.
    """

    source: str
    key: str
    text: str
    region: str | None
    texts: Mapping[str, str]
    routed_share: Fraction = Fraction(1)
    _loops: bool = False
    _plain: type[Block] | None = None
    spec: Any = None
    inputs: tuple[Any, ...]
    ir: Any = None
    loaded: Any = None
    collapsed: Any = None
    tuned: Any = None
    feature_info: Any = None
    _narrow: Narrow | None = None
    # What holds the shared modules that are called here: each call looks up what is registered.
    _links: dict[str, nn.Module]
    _linked: tuple[Link, ...]

    @property
    def links(self) -> dict[str, nn.Module]:
        """The shared modules that are registered elsewhere in the network and called here, by their paths."""
        return {
            ".".join((*holder, *names)): self._links[key].get_submodule(".".join(names)) for key, holder, names in self._linked
        }

    def __setattr__(self, name: str, value: Any) -> None:
        before = self._modules.get("shared") if name == "shared" and "_modules" in self.__dict__ else None
        super().__setattr__(name, value)
        if before is not None:
            for part in self.modules():
                if isinstance(part, Block):
                    part._links = {path: value if owner is before else owner for path, owner in part._links.items()}

    def add_module(self, name: str, module: nn.Module | None) -> None:
        if name in self._modules:
            setattr(self, name, module)  # one way to replace a part, so that shared ones are looked up where they are
        else:
            super().add_module(name, module)

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.source, self.key), self.__getstate__()

    def __repr__(self) -> str:
        head = f"{self.text}" if self.text else type(self).__name__
        return "\n".join([head, *describe(self, 1)])


class Network(Block):
    """A whole network. It refuses inputs of sizes for which it would not be the network of its spec.

    The check compares integers as a call begins; in a compiled graph it is done while tracing, and costs nothing.

    Attributes:
        check_sizes: whether it does so. Set it to False where you have replaced the part that was bound to the size.
        _sizes: the sizes that it is good for; made by the first call.
    """

    check_sizes: bool = True
    _sizes: InputSizes | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive_network, (self.source, self.key), self.__getstate__()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """``to_empty`` of a network on ``meta`` computes the buffers that no state dict holds: indices, masks, rates."""
        parts = [module for module in self.modules() if _unsaved_on_meta(module)]
        super()._apply(fn, recurse)
        ready: list[Any] = [module for module in parts if not _unsaved_on_meta(module)]
        if ready:
            with Draws().seeded(0):
                for module in ready:
                    module.reset_parameters()
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """A state dict also says on which grids its tables lie, and which method trained it."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        about = getattr(destination, "_metadata", {}).get(prefix[:-1])
        if about is not None:
            about[GRIDS] = grids_of(self)
            if self.spec is not None and self.spec.method is not None:
                about[METHOD] = show_spec(self.spec.method)

    def _load_from_state_dict(self, state: Any, prefix: str, about: Any, strict: bool, *lists: list[str]) -> None:
        """torch's, and an error for each table that a state dict says to lie on another grid."""
        super()._load_from_state_dict(state, prefix, about, strict, *lists)
        stated = about.get(GRIDS)
        for name, grids in grids_of(self).items() if isinstance(stated, dict) else ():
            if stated.get(name, grids) != grids:
                there, here = (" and ".join("x".join(map(str, grid)) for grid in each) for each in (stated[name], grids))
                text = (
                    f"{prefix}{name} lies on {there} there, on {here} here: metablock.build(..., weights=state) interpolates it"
                )
                lists[-1].append(text)

    def __call__(self, *args: Any, **named: Any) -> Any:
        if self.check_sizes and self.spec is not None:
            values: Sequence[Any] = args
            if named or len(args) > len(self.inputs):
                names = _argument_names(type(self))
                known = dict(zip(names, args, strict=False)) | named
                inputs = [known[name] for name in names if name in known and name[:5] != "valid"]
                values = [*inputs, *args[len(names) :]]
                _check_masks({name: mask for name, mask in known.items() if name[:5] == "valid"}, values)
            if torch.compiler.is_compiling():
                self._check_traced(values)
            else:
                if (self._check_unseen if compiles() else self._check_inputs)(values):
                    return self._call_with_ids(values, args, named)
        return super().__call__(*args, **named)

    def _call_with_ids(self, values: Sequence[Any], args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """The call; after one that fails, ids that no table has are looked for, on the CPU alone."""
        try:
            return super().__call__(*args, **named)
        except (IndexError, RuntimeError):
            for feature, ids in zip(self.inputs, values, strict=False):
                if feature.layout == "ids" and isinstance(ids, Tensor) and ids.device.type == "cpu" and ids.numel():
                    low, high = int(ids.min()), int(ids.max())
                    if low < 0 or high >= feature.c:
                        wrong = low if low < 0 else high
                        message = f"{wrong} is no id of '{self.spec.variant or self.spec.name}': there are {feature.c}"
                        raise MetablockError(message, f"ids are whole numbers from 0 to {feature.c - 1}") from None
            raise

    def _input_sizes(self) -> InputSizes:
        """The sizes that it is good for."""
        if self._sizes is None:
            self._sizes = InputSizes(self.spec, self.inputs, self._narrow)
        return self._sizes

    def _check_inputs(self, values: Sequence[Any]) -> bool:
        """Whether the network takes ids. Raises MetablockError if it is not made for tensors of these shapes. It leaves other
        values alone."""
        if all(isinstance(value, Tensor) for value in values) and not torch.jit.is_tracing():
            problem = self._input_sizes().problem([value.shape for value in values])
            if problem is not None:
                raise problem
            for feature, value in zip(self.inputs, values, strict=False):
                if feature.layout == "ids" and value.dtype not in (torch.int64, torch.int32):
                    message = f"'{self.spec.variant or self.spec.name}' takes ids, and was called with {value.dtype}"
                    raise MetablockError(message, "ids are whole numbers: `x.long()`")
        return any(feature.layout == "ids" for feature in self.inputs)

    _check_unseen = torch._disable_dynamo(_check_inputs)  # where a graph broke before it, dynamo would make one of it

    def _check_traced(self, values: Sequence[Any]) -> None:
        """As :meth:`_check_inputs`, while a graph is traced. Extents stay symbols where the network is good for any."""
        if self._any_size():
            return
        text = self._misfit(*[operator.index(n) for value in values for n in (value.dim(), *value.shape[1:])])
        if text:
            raise ValueError(text)  # without `fullgraph`, the call is repeated eagerly, and says the same as a MetablockError

    @constant_result
    def _any_size(self) -> bool:
        return self._input_sizes().step() == 1

    @constant_result
    def _misfit(self, *numbers: int) -> str:
        """What is wrong with inputs of these numbers of axes and sizes, each input's one after the other; empty if nothing is."""
        shapes, rest = [], list(numbers)
        while rest:
            axes = rest.pop(0)
            shapes.append(("batch", *rest[: axes - 1]))
            rest = rest[axes - 1 :]
        problem = self._input_sizes().problem(shapes)
        return "" if problem is None else str(problem)


def _check_masks(masks: Mapping[str, Any], images: Sequence[Any]) -> None:
    """Raises MetablockError for a mask that has not the batch and the extents of its image. None stands for no mask."""
    for name, mask in masks.items():
        number = int(name[5:] or 1) - 1
        if mask is None or number >= len(images) or not (isinstance(mask, Tensor) and isinstance(images[number], Tensor)):
            continue
        wanted = (images[number].shape[0], 1, *images[number].shape[2:])
        if tuple(mask.shape) != wanted:
            hint = (
                f"`{name}[:, None]` has a channel"
                if mask.dim() == len(wanted) - 1
                else "a number for each pixel, and one channel"
            )
            raise MetablockError(f"`{name}` is {tuple(mask.shape)}, and {wanted} belongs to the input", hint)


def _argument_names(cls: type[Block]) -> tuple[str, ...]:
    return cls.forward.__code__.co_varnames[1 : cls.forward.__code__.co_argcount]


def _unsaved_on_meta(module: nn.Module) -> bool:
    return any(
        buffer is not None and buffer.is_meta
        for name, buffer in module._buffers.items()
        if name in module._non_persistent_buffers_set
    ) and hasattr(module, "reset_parameters")


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


def link(block: Block, root: nn.Module, links: Iterable[Link]) -> None:
    """Connects a part of the network ``root`` to the shared modules that it calls."""
    block._linked = tuple(links)
    block._links = {key: root.get_submodule(".".join(holder)) for key, holder, _ in block._linked}


def link_alike(block: Block, other: Block) -> None:
    """Connects a part to the shared modules that another one calls."""
    block._linked, block._links = other._linked, dict(other._links)


def make(
    source: str,
    key: str,
    root: bool = False,
    *,
    text: str = "",
    region: str | None = None,
    texts: Mapping[str, str] | None = None,
) -> Block:
    """A block with this ``forward`` and no children yet; with ``root`` a whole network. The others are its attributes."""
    cls = _class(source, key, Network if root else Block)
    block = cls.__new__(cls)
    nn.Module.__init__(block)
    # Not by `setattr`, which looks for parameters and modules in each.
    block.__dict__.update(
        source=source, key=key, text=text, region=region, texts={} if texts is None else texts, _links={}, _linked=()
    )
    return block


def _revive(source: str, key: str) -> Block:
    return make(source, key)


def _revive_network(source: str, key: str) -> Block:
    return make(source, key, root=True)


def _class(source: str, key: str, base: type[Block]) -> type[Block]:
    """One class per text and key, each with its own code objects: dynamo limits recompilations per code object."""
    cls = _CLASSES.get((source, key, base))
    if cls is None:
        code = source + "\n\ndef enter(self, *args):\n    return call(self, *args)\n"
        space = space_of(code, f"<metablock {key or len(_CLASSES)}>")
        loops = "scan(" in source
        names = {"forward": space["forward"], "enter": space["enter"], "_loops": loops, "__module__": __name__}
        cls = type(base.__name__, (base,), names)
        _CLASSES[source, key, base] = cls
    return cls


def space_of(code: str, name: str) -> dict[str, Any]:
    """The names that generated code defines. ``name`` is its place in tracebacks, which show its lines."""
    space: dict[str, Any] = {"torch": torch, "F": F, "Tensor": Tensor, "call": nn.Module._call_impl, **HELPERS}
    exec(compile(code, name, "exec"), space)
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    return space
