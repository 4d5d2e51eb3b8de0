"""Re-parameterisation: merges operators that are linear in inference into as few convolutions as possible.

One pass over the IR of any network. Convolutions of any extents, dilations and groups, batch norms, identities and scales, in
parallel or in sequence, become one convolution with a bias (Ding et al. 2021, arXiv 2101.03697, section 3.3). A step stays as it
is where merging would not be exact (a bias, or another window, before zero padding), or would keep more weights than its parts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...backend.block import Block
from ...backend.builder import build, on_meta
from ...errors import MetablockError
from ...lowering.ir import Subgraph
from .affine import Affine
from .candidates import Candidate, Planner, evaluate
from .flow import Atom, flow
from .rewrite import Merge, Rewriter, merge

# Largest difference that rounding explains, relative to the largest output, by the dtype of the weights.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}


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
        The new network, in evaluation mode; its ``collapsed`` is a :class:`Report`. If nothing can be merged it is a copy.

    Raises:
        MetablockError: the model is in train mode, was not built by metablock, or had parts replaced; or the outputs of the two
            networks differ by more than rounding explains.

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
    candidates = list(Planner(flow(root), find).chosen())
    root = copy.deepcopy(root)
    merges = _merges(candidates, root, find)
    rewriter = Rewriter(root)
    for one in merges:
        rewriter.apply(one)
    rewriter.tidy()
    result = _build_merged(model, root, merges)
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, result))
    difference = _difference(model, result) if prove and merges else None
    result.collapsed = Report(tuple(map(_describe, merges)), (before, after), difference)
    return result


# The result looks up the module of an atom; it raises MetablockError for a module that was replaced.
def _finder(model: Block) -> Callable[[Atom], nn.Module]:
    same: dict[str, bool] = {}  # whether a part is still what was built, by its class and its settings

    def find(atom: Atom) -> nn.Module:
        path = ".".join(atom.path)
        try:
            module = model.get_submodule(path)
        except AttributeError:
            raise MetablockError(f"'{path}' is not in this model any more", "re-parameterise before parts are replaced") from None
        assert atom.leaf is not None
        if path not in same:
            same[path] = repr(module) == repr(on_meta(atom.leaf))
        if not same[path]:
            here = repr(module) if type(module) is type(on_meta(atom.leaf)) else type(module).__name__
            raise MetablockError(f"'{path}' was {atom.leaf.text} and is {here} now", "re-parameterise before parts are replaced")
        return module

    return find


def _merges(candidates: list[Candidate], root: Subgraph, find: Callable[[Atom], nn.Module]) -> list[Merge]:
    """The merges of these candidates, in terms of the steps of a copy of their IR."""
    atoms = {atom.output.id: atom for atom in flow(root).atoms}

    def copied(candidate: Candidate) -> Candidate:
        atom = atoms[candidate.atom.output.id] if candidate.atom is not None else None
        return Candidate(atom, candidate.source, candidate.shape, tuple(map(copied, candidate.parts)), candidate.rest)

    return [merge(candidate, _affine(candidate, find)) for candidate in map(copied, candidates)]


def _affine(candidate: Candidate, find: Callable[[Atom], nn.Module]) -> Affine:
    """The map of a candidate with its weights; on ``meta`` if the model is."""
    meta = any(p.is_meta for atom in candidate.atoms if atom.leaf is not None for p in find(atom).parameters())
    return candidate.shape if meta else evaluate(candidate, find)


def _build_merged(model: Block, root: Subgraph, merges: list[Merge]) -> Block:
    """The module of the new IR: merged operators get the merged weights, all others the weights of the old model."""
    first = next(iter(model.parameters()), torch.empty(0))
    result = build(root, device=first.device if first.is_meta else None)
    result.spec, result.inputs, result.ir, result.loaded = model.spec, model.inputs, root, model.loaded
    result.feature_info, result.narrow = model.feature_info, model.narrow
    if first.is_meta:
        return result.to(dtype=first.dtype).eval()
    merged: dict[str, Tensor] = {}
    for one in merges:
        path = ".".join(one.anchor.path)
        merged[f"{path}.weight"] = one.shape.kernel
        if one.shape.bias is not None:
            merged[f"{path}.bias"] = one.shape.bias
    old: dict[str, Any] = dict(model.named_parameters(remove_duplicate=False))
    old |= dict(model.named_buffers(remove_duplicate=False))
    result = result.to(device=first.device)
    with torch.no_grad():
        for path, tensor in [*result.named_parameters(), *result.named_buffers()]:
            source = merged.get(path, old.get(path))
            assert source is not None, path
            reference = old.get(path, first)
            tensor.data = source.detach().to(device=tensor.device, dtype=reference.dtype).clone().view(tensor.shape)
            if isinstance(tensor, nn.Parameter):
                tensor.requires_grad_(reference.requires_grad)
    return result.eval()


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
    inputs = [
        torch.randn(feature.size(2), generator=generator, dtype=torch.float32).to(first.device, kind) for feature in model.inputs
    ]
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
