"""The two ends of a network: the kernels that read its input, and the layers that give its classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ..lowering.ir import InlineOp, ModuleNode, Subgraph, Value, flat_values


@dataclass(frozen=True)
class _Atom:
    """A step that computes values from others; with a path the call of a module, without one an expression."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    path: str | None = None


def first_kernels(model: nn.Module) -> dict[str, int]:
    """The kernels that read the input, by name, with its number of channels.

    Nothing between the input and such a kernel mixes channels. Kernels of grouped and transposed convolutions are none.

    >>> import metablock
    >>> first_kernels(metablock.build("vit_tiny_patch16_224", device="meta"))
    {'stem.embed.weight': 3}
    """
    root = getattr(model, "ir", None)
    if not isinstance(root, Subgraph):
        return {}
    raw = {value.id: value.c for value in flat_values(root.inputs)}
    kernels: dict[str, int] = {}
    for atom in _atoms(root):
        channels = {raw.get(value.id) for value in atom.inputs}
        if len(channels) != 1 or None in channels:
            continue
        (c,) = channels
        assert c is not None
        module = model.get_submodule(atom.path) if atom.path is not None else None
        if module is not None and _mixes(module):
            weight = getattr(module, "weight", None)
            plain = getattr(module, "groups", 1) == 1 and not getattr(module, "transposed", False)
            if plain and isinstance(weight, nn.Parameter) and weight.dim() > 2 and weight.shape[1] == c:
                kernels[f"{atom.path}.weight"] = c
        else:
            raw |= {value.id: c for value in atom.outputs if value.c == c}
    return kernels


def class_layers(model: nn.Module, classes: int | None) -> set[str]:
    """The parameters with a row for each class: of the last linear maps, and of what stands between them and the outputs.

    >>> import metablock
    >>> sorted(class_layers(metablock.build("resnet18", device="meta"), 1000))
    ['head.linear.bias', 'head.linear.weight']
    """
    root = getattr(model, "ir", None)
    if not isinstance(root, Subgraph) or classes is None:
        return set()
    wanted = {value.id for value in flat_values([root.output, root.prediction]) if value.c == classes}
    names: set[str] = set()
    for atom in reversed(list(_atoms(root))):
        if not any(value.id in wanted for value in atom.outputs):
            continue
        module = model.get_submodule(atom.path) if atom.path is not None else None
        if module is not None:
            state = module.state_dict()
            names |= {f"{atom.path}.{name}" for name, value in state.items() if value.dim() and value.shape[0] == classes}
        if module is None or not _mixes(module):
            wanted |= {value.id for value in atom.inputs if value.c == classes}
    return names


def _mixes(module: nn.Module) -> bool:
    """Whether a module has weights for pairs of channels, as linear maps and convolutions have."""
    return any(parameter.dim() > 1 for parameter in module.parameters())


def _atoms(root: Subgraph) -> Iterator[_Atom]:
    """All steps of a network in order, those of its subgraphs included."""
    yield from _steps(root, root, "")


def _steps(root: Subgraph, subgraph: Subgraph, path: str) -> Iterator[_Atom]:
    for step in subgraph.all_steps:
        outputs = tuple(flat_values(step.output))
        if isinstance(step, InlineOp):
            yield _Atom(step.inputs, outputs)
            continue
        child = (root if step.root else subgraph).child(step.child)
        where = ".".join(([] if step.root or not path else [path]) + list(step.child))
        if isinstance(child, ModuleNode):
            yield _Atom(step.inputs, outputs, where)
        elif isinstance(child, Subgraph):
            yield from (_Atom((a,), (b,)) for a, b in zip(step.inputs, child.inputs, strict=False) if a.id != b.id)
            yield from _steps(root, child, where)
            inner = flat_values(child.output)
            yield from (_Atom((a,), (b,)) for a, b in zip(inner, outputs, strict=False) if a.id != b.id)
