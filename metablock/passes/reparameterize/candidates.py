"""Chooses which steps to merge: for every value the cheapest of the ways in which it can be computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ...lowering.ir import Value
from ...operators.as_buffers import weights_of
from .affine import Affine, channelwise, convolution, identity, linear, plus, then
from .flow import Atom, Flow

KERNELS = ("conv", "linear")
Find = Callable[[Atom], nn.Module]


@dataclass(frozen=True)
class Candidate:
    """One way to compute a value: as an affine map of another value.

    Attributes:
        atom: the last step it replaces; None for the value as it is.
        source: the value that the map starts from. A step that is its own source (GRN) stays, without its bias, which the next
            linear layer takes over.
        shape: the map, on ``meta``.
        parts: the candidates for the inputs of ``atom``.
        rest: the number of weights that compute ``source``.
    """

    atom: Atom | None
    source: Value
    shape: Affine
    parts: tuple[Candidate, ...] = ()
    rest: int = 0

    @property
    def atoms(self) -> Iterator[Atom]:
        """The steps that this candidate replaces, in order."""
        for part in self.parts:
            yield from part.atoms
        if self.atom is not None:
            yield self.atom

    @property
    def kernels(self) -> list[Atom]:
        """Its convolutions and linear layers."""
        return [atom for atom in self.atoms if atom.leaf is not None and atom.leaf.operator in KERNELS]

    @property
    def cost(self) -> int:
        """The number of weights if it is built as one convolution."""
        return self.rest + (self.shape.weights if self.kernels else 0)


class Planner:
    """The candidates of all values, and the choice between them."""

    def __init__(self, flow: Flow, find: Find):
        self.flow, self.find = flow, find
        self.candidates: dict[int, list[Candidate]] = {}
        self.region: dict[int, tuple[str, ...]] = {}
        for atom in flow.atoms:
            candidates = [candidate for candidate in self._of(atom) if _fits(candidate, atom)]
            if candidates:
                self.candidates[atom.output.id] = candidates
                self.region[atom.output.id] = atom.region

    def chosen(self) -> Iterator[Candidate]:
        """The candidates to build: those that merge something, of all values that no other of them takes in."""
        taken: set[int] = set()
        for atom in reversed(self.flow.atoms):
            if atom.output.id not in self.candidates or atom.output.id in taken:
                continue
            best = self.best(atom.output)
            if merges(best):
                taken |= {a.output.id for a in best.atoms}
                yield best

    def best(self, value: Value) -> Candidate:
        """The cheapest candidate of a value; of equals, the one with the most steps."""
        candidates = self.candidates[value.id]
        return min(candidates, key=lambda candidate: (_price(candidate, self.find), -len(list(candidate.atoms))))

    def _inputs(self, value: Value, atom: Atom) -> list[Candidate]:
        """What an atom may build on: its input as it is, or any candidate of the input that nobody else reads."""
        here = Candidate(None, value, _identity(value.c))
        if value.id not in self.candidates or self.region[value.id] != atom.region:
            return [here]
        here = replace(here, rest=_price(self.best(value), self.find))
        if self.flow.uses[value.id] > 1:
            return [here]
        return [here, *self.candidates[value.id]]

    def _of(self, atom: Atom) -> Iterator[Candidate]:
        if atom.sign is not None:
            yield from self._of_sum(atom, atom.sign)
        elif atom.leaf is not None and atom.leaf.operator == "grn" and atom.leaf.args["bias"]:
            own = self.find(atom)
            assert isinstance(own.weight, Tensor)
            c = own.weight.shape[0]
            empty = torch.empty(c, dtype=torch.float64, device="meta")
            yield Candidate(atom, atom.output, channelwise(empty, empty), rest=c)
        elif atom.moves or atom.divisor is not None or (atom.leaf is not None and is_affine(atom)):
            for before in self._inputs(atom.inputs[0], atom):
                if self._may_follow(before, atom):
                    step = affine_map(atom, self.find, meta=True)
                    after = then(before.shape, step) if step is not None else before.shape
                    if after is not None:
                        yield Candidate(atom, before.source, after, (before,), before.rest)

    def _of_sum(self, atom: Atom, sign: int) -> Iterator[Candidate]:
        rest = sum(_price(self.best(value), self.find) for value in atom.inputs if value.id in self.candidates)
        yield Candidate(None, atom.output, _identity(atom.output.c), rest=rest)  # both sides stay separate
        left, right = (self._inputs(value, atom) for value in atom.inputs)
        for a, b in product(left, right):
            if a.source.id == b.source.id and (a.atom or b.atom):
                total = plus(a.shape, b.shape, sign)
                if total is not None:
                    yield Candidate(atom, a.source, total, (a, b), max(a.rest, b.rest))

    def _may_follow(self, before: Candidate, atom: Atom) -> bool:
        """A norm before a convolution merges into it only within one slot: the content of another slot may be swapped."""
        if atom.leaf is None or atom.leaf.operator not in KERNELS or before.kernels:
            return True
        return all(other.parent == atom.parent for other in before.atoms if other.leaf is not None)


def _identity(c: int) -> Affine:
    return identity(c, torch.empty(0, dtype=torch.float64, device="meta"))


def _fits(candidate: Candidate, atom: Atom) -> bool:
    """Whether the map's output has the shape of the atom's."""
    before, after, shape = candidate.source.feature, atom.output.feature, candidate.shape
    if shape.rank == 0:
        return before.c == shape.width and after.c == shape.out
    if before.layout == "vector" or before.prefix or shape.rank != before.rank:
        return False
    return shape.slide(before.grid) == after.grid


def _price(candidate: Candidate, find: Find) -> int:
    """The number of weights if a candidate is chosen: of the convolution it becomes, or of its parts if it merges nothing."""
    if merges(candidate):
        return candidate.cost
    return candidate.rest + sum(p.numel() for a in candidate.atoms if a.leaf is not None for p in weights_of(find(a)).values())


def merges(candidate: Candidate) -> bool:
    """Whether a candidate merges anything: a convolution or linear layer with another step that changes numbers."""
    atoms = list(candidate.atoms)
    others = [a for a in atoms if (a.leaf is not None and a.leaf.operator != "drop_path") or a.sign or a.divisor]
    return bool(candidate.kernels) and len(others) > 1


# The maps of operators


def is_affine(atom: Atom) -> bool:
    """Whether an operator is an affine map in evaluation."""
    leaf = atom.leaf
    assert leaf is not None
    if leaf.operator == "conv":
        return leaf.args["padding"] != "same"
    return leaf.operator in ("linear", "batch_norm", "scale", "times", "drop_path", "dropout")


def affine_map(atom: Atom, find: Find, meta: bool = False) -> Affine | None:
    """The map that a step computes; None for the identity. In float64, or on ``meta``."""
    if atom.moves or (atom.leaf is not None and atom.leaf.operator in ("drop_path", "dropout")):
        return None
    if atom.divisor is not None:
        like = torch.empty(atom.output.c, dtype=torch.float64, device="meta" if meta else None)
        return channelwise(like if meta else like.fill_(1 / atom.divisor))
    assert atom.leaf is not None
    module: Any = find(atom)

    def number(value: Tensor | None) -> Tensor | None:
        if value is None:
            return None
        return torch.empty(value.shape, dtype=torch.float64, device="meta") if meta else value.detach().to("cpu", torch.float64)

    weight, bias = number(getattr(module, "weight", None)), number(getattr(module, "bias", None))
    match atom.leaf.operator:
        case "conv":
            assert weight is not None
            return convolution(weight, bias, module.stride, module.padding, module.dilation, module.groups)
        case "linear":
            assert weight is not None
            return linear(weight, bias)
        case "batch_norm":
            mean, var = number(module.running_mean), number(module.running_var)
            assert weight is not None
            assert bias is not None
            assert mean is not None
            assert var is not None
            if meta:
                return channelwise(weight, bias)
            factor = weight / (var + module.eps).sqrt()
            return channelwise(factor, bias - mean * factor)
        case "scale":
            assert weight is not None
            return channelwise(weight)
        case "times":
            factor = number(module.factor)
            assert factor is not None
            return channelwise(factor.expand(atom.output.c))
    raise AssertionError(atom.leaf.operator)


def evaluate(candidate: Candidate, find: Find) -> Affine:
    """The map of a candidate with the weights of the model, in float64 on the CPU."""
    if candidate.atom is None:
        return identity(candidate.source.c, torch.empty(0, dtype=torch.float64))
    if len(candidate.parts) == 2:
        total = plus(evaluate(candidate.parts[0], find), evaluate(candidate.parts[1], find), candidate.atom.sign or 1)
        assert total is not None
        return total
    if not candidate.parts:  # GRN: the map adds the bias that GRN loses
        bias = find(candidate.atom).bias
        assert isinstance(bias, Tensor)
        bias = bias.detach().to("cpu", torch.float64)
        return channelwise(torch.ones_like(bias), bias)
    before = evaluate(candidate.parts[0], find)
    own = affine_map(candidate.atom, find)
    result = then(before, own) if own is not None else before
    assert result is not None
    return result
