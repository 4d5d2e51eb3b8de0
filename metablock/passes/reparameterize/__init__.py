"""Re-parameterisation: merges operators that are linear in inference into as few convolutions as possible.

One pass over the IR of any network. Convolutions of any extents, dilations and groups, batch norms, identities and scales, in
parallel or in sequence, become one convolution with a bias (Ding et al. 2021, arXiv 2101.03697, section 3.3). A step stays as it
is where merging would not be exact (a bias, or another window, before zero padding), or would keep more weights than its parts.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...backend.block import Block
from ...backend.builder import build, on_meta
from ...backend.codegen import Sources
from ...backend.random_input import random_input
from ...errors import MetablockError
from ...lowering.ir import ModuleNode, Subgraph, module_nodes, subgraphs
from ...operators.as_buffers import as_buffers, weights_of
from .affine import Affine
from .candidates import Candidate, Find, Planner, evaluate
from .flow import Atom, flow
from .rewrite import Merge, Rewriter, merge

# Largest difference that rounding explains, relative to the largest output, by the dtype of the weights.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}

# What torch calls hooks of a module that calling it runs.
HOOKS = [name for name in nn.Module().__dict__ if re.fullmatch(r"_(forward|backward)(_pre)?_hooks(_\w+)?", name)]
_REPLACED = "re-parameterise before parts are replaced"


@dataclass(frozen=True)
class MergedOperator:
    """One convolution or linear layer and the operators it replaces.

    Attributes:
        path: its path in the new network.
        into: its text, as a spec would have it.
        parts: paths and texts of the operators it replaces, in the old network.
    """

    path: str
    into: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """What a re-parameterisation did.

    Attributes:
        collapsed: the operators that were merged.
        params: the numbers of parameters before and after.
        difference: the largest measured difference of the outputs, relative to the largest output; None where nothing was
            measured (on ``meta``, without ``prove``, without a merge).
    """

    collapsed: tuple[MergedOperator, ...] = ()
    params: tuple[int, int] = (0, 0)
    difference: float | None = field(default=None, compare=False)


def reparameterize(model: nn.Module, *, prove: bool = True) -> Block:
    """Returns an equivalent network for inference in which linear operators are merged. The model itself does not change.

    Args:
        model: from :func:`metablock.build`, in evaluation mode, on any device; on ``meta`` only the structure is computed.
        prove: whether to run both networks on random input and compare their outputs.

    Returns:
        The new network, in evaluation mode; its ``collapsed`` is a :class:`Report`. If nothing can be merged it is a copy. Each
        part keeps its device, its dtype and its hooks. A merged weight trains if a parameter that it is made of does.

    Raises:
        MetablockError: the model is in train mode, was not built by metablock, had parts replaced, or has hooks on what would be
            merged; or the outputs of the two networks differ by more than rounding explains.

    >>> import metablock
    >>> model = metablock.build("repvgg_a0", device="meta").eval()
    >>> report = metablock.reparameterize(model).collapsed
    >>> report.params, len(report.collapsed), report.collapsed[-1].into
    ((9108968, 8309384), 22, 'conv(48, 3, stride=2)')
    """
    root = getattr(model, "ir", None)
    if not isinstance(model, Block) or root is None:
        raise MetablockError("only what metablock built can be re-parameterised", "build it from a spec: metablock.build(...)")
    if any(module.training for module in model.modules()):
        raise MetablockError(
            "a model in train mode cannot be re-parameterised: batch norm still follows each batch", "call .eval() first"
        )
    find = _finder(model)
    _check_parts(model)
    candidates = list(Planner(flow(root), find).chosen())
    root = copy.deepcopy(root)
    merges = _merges(candidates, root, find)
    for path in (".".join(atom.path) for one in merges for atom in one.candidate.atoms if atom.leaf is not None):
        if any(model.get_submodule(path).__dict__[name] for name in HOOKS):
            raise MetablockError(f"'{path}' has hooks, which merging would lose", "re-parameterise before hooks are added")
    rewriter = Rewriter(root)
    for one in merges:
        rewriter.apply(one)
    rewriter.tidy()
    result = _build_merged(model, root, merges, find)
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, result))
    difference = _difference(model, result) if prove and merges else None
    result.collapsed = Report(tuple(map(_describe, merges)), (before, after), difference)
    return result


def _check_parts(model: Block) -> None:
    """Raises MetablockError if a part of the network was replaced by one that computes something else."""
    sources = Sources()
    for path, subgraph in subgraphs(model.ir):
        name = ".".join(path)
        part = _part(model, name)
        if not isinstance(part, Block) or part.source != sources.of(subgraph, root=not path).text:
            raise MetablockError(f"'{name}' was '{subgraph.text}' and is {type(part).__name__} now", _REPLACED)


def _part(model: Block, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:
        raise MetablockError(f"'{path}' is not in this model any more", _REPLACED) from None


# The result looks up the module of an atom; it raises MetablockError for a module that was replaced.
def _finder(model: Block) -> Find:
    same: dict[str, bool] = {}  # whether a part is still what was built, by its class and its settings

    def find(atom: Atom) -> nn.Module:
        path = ".".join(atom.path)
        module = _part(model, path)
        assert atom.leaf is not None
        if path not in same:
            same[path] = repr(module) == repr(on_meta(atom.leaf))
        if not same[path]:
            here = repr(module) if type(module) is type(on_meta(atom.leaf)) else type(module).__name__
            raise MetablockError(f"'{path}' was {atom.leaf.text} and is {here} now", _REPLACED)
        return module

    return find


def _merges(candidates: list[Candidate], root: Subgraph, find: Find) -> list[Merge]:
    """The merges of these candidates, in terms of the steps of a copy of their IR."""
    atoms = {atom.output.id: atom for atom in flow(root).atoms}

    def copied(candidate: Candidate) -> Candidate:
        atom = atoms[candidate.atom.output.id] if candidate.atom is not None else None
        return Candidate(atom, candidate.source, candidate.shape, tuple(map(copied, candidate.parts)), candidate.rest)

    return [merge(candidate, _affine(candidate, find)) for candidate in map(copied, candidates)]


def _affine(candidate: Candidate, find: Find) -> Affine:
    """The map of a candidate with its weights; on ``meta`` if the model is."""
    meta = any(p.is_meta for atom in candidate.atoms if atom.leaf is not None for p in weights_of(find(atom)).values())
    return candidate.shape if meta else evaluate(candidate, find)


def _build_merged(model: Block, root: Subgraph, merges: list[Merge], find: Find) -> Block:
    """The module of the new IR: new operators with the merged weights, copies of all other modules."""
    merged = {".".join(one.anchor.path): one for one in merges}
    before = {".".join(path): node for path, node in module_nodes(model.ir)}
    memo: dict[int, Any] = {}  # one for all copies: what was tied stays tied

    def make_leaf(path: str, node: ModuleNode) -> nn.Module:
        if path in merged:
            return _merged_module(merged[path], node, find)
        module: nn.Module = copy.deepcopy(model.get_submodule(path), memo)
        return module if node == before[path] else _with_weights(node, _as_parameters(module))

    result = build(root, make_leaf=make_leaf)
    for path, _ in subgraphs(root):
        _keep_hooks(model.get_submodule(".".join(path)), result.get_submodule(".".join(path)))
    result.spec, result.inputs, result.ir, result.loaded = model.spec, model.inputs, root, model.loaded
    result.feature_info, result._narrow = model.feature_info, model._narrow
    return result.eval()


def _merged_module(one: Merge, node: ModuleNode, find: Find) -> nn.Module:
    """A merged operator: its weights have the device and the dtype of the kernel that it replaces.

    They train if what they are made of does: a kernel is made of kernels and factors, a bias of biases, norms and scales (of the
    kernel, where there are none).
    """
    old = weights_of(find(one.anchor))["weight"]
    parts = [p for atom in one.candidate.atoms if atom.leaf is not None for p in weights_of(find(atom)).items()]
    trained = {part for part, parameter in parts if parameter.requires_grad}
    vectors = [parameter.requires_grad for _, parameter in parts if parameter.dim() <= 1]
    shifts = any(vectors) if vectors else bool(trained)
    values = {"weight": (one.shape.kernel, bool(trained - {"bias"})), "bias": (one.shape.bias, shifts)}
    return _with_weights(
        node,
        {
            name: nn.Parameter(value.detach().to(old.device, old.dtype).clone(), requires_grad)
            for name, (value, requires_grad) in values.items()
            if value is not None
        },
    )


def _with_weights(node: ModuleNode, weights: Mapping[str, nn.Parameter]) -> nn.Module:
    """The module of a node with these parameters."""
    module = on_meta(node)
    for name, parameter in list(module.named_parameters()):
        weight = weights[name]
        weight.data = weight.data.view(parameter.shape)
        above, _, last = name.rpartition(".")
        module.get_submodule(above).register_parameter(last, weight)
    return as_buffers(module) if node.constant else module


def _as_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of a module; constants as parameters."""
    weights = weights_of(module).items()
    return {name: w if isinstance(w, nn.Parameter) else nn.Parameter(w, requires_grad=False) for name, w in weights}


def _keep_hooks(before: nn.Module, after: nn.Module) -> None:
    for name in HOOKS:
        after.__dict__[name] = copy.copy(before.__dict__[name])


def _difference(model: Block, result: Block) -> float | None:
    """The largest difference of the outputs on random input, relative to the largest output; None on ``meta``.

    Half precision is compared in float32. Raises MetablockError if rounding does not explain the difference.
    """
    first = next(iter(model.parameters()))
    if first.is_meta:
        return None
    tolerance, kind = TOLERANCE.get(first.dtype, 1e-3), first.dtype
    if kind in (torch.bfloat16, torch.float16):
        model, result, kind = copy.deepcopy(model).float(), copy.deepcopy(result).float(), torch.float32
    generator = torch.Generator().manual_seed(0)
    inputs = [random_input(feature, 2, first.device, torch.float32, generator) for feature in model.inputs]
    inputs = [x.to(kind) if x.is_floating_point() else x for x in inputs]
    with torch.no_grad():
        pairs = list(zip(_tensors(model(*inputs)), _tensors(result(*inputs)), strict=True))
    worst = max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in pairs)
    if not worst <= tolerance:
        raise MetablockError(
            f"the outputs before and after differ by {worst:.1e} of the largest",
            "nothing was changed; weights that are not finite, or of very different sizes, do not merge well",
        )
    return worst


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [tensor for part in (output.values() if isinstance(output, dict) else output) for tensor in _tensors(part)]


def _describe(one: Merge) -> MergedOperator:
    parts = [(".".join(atom.path), atom.leaf.text) for atom in one.candidate.atoms if atom.leaf is not None]
    return MergedOperator(".".join(one.anchor.path), one.leaf.text, tuple(parts))
