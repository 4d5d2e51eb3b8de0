"""Which steps collapse: for every wire the cheapest of the ways in which it can be computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...lowering.ir import Value
from .affine import Affine, channelwise, convolution, identity, linear, plus, then
from .flow import Atom, Flow

KERNELS = ("conv", "linear")
Find = Callable[[Atom], nn.Module]


@dataclass(frozen=True)
class Form:
    """A wire as an affine map of another, its ``source``; ``parts`` are the forms that it is made of.

    ``shape`` is that map on ``meta``. ``rest`` counts the weights that stand before the source. Where a step is its own source
    (GRN), all of it stays but its bias, which the next linear layer takes over.
    """

    atom: Atom | None
    source: Value
    shape: Affine
    parts: tuple[Form, ...] = ()
    rest: int = 0

    @property
    def atoms(self) -> Iterator[Atom]:
        """The steps that this form takes in."""
        for part in self.parts:
            yield from part.atoms
        if self.atom is not None:
            yield self.atom

    @property
    def kernels(self) -> list[Atom]:
        """Its convolutions and linear layers."""
        return [atom for atom in self.atoms if atom.leaf is not None and atom.leaf.operator in KERNELS]

    @property
    def parametrised(self) -> bool:
        return any(atom.leaf is not None for atom in self.atoms)

    @property
    def cost(self) -> int:
        """Weights that are kept, should it be built as one convolution."""
        return self.rest + (self.shape.weights if self.kernels else 0)


class Planner:
    """Forms of all wires, and those that are worth building."""

    def __init__(self, flow: Flow, find: Find):
        self.flow, self.find = flow, find
        self.forms: dict[int, list[Form]] = {}
        self.region: dict[int, tuple[str, ...]] = {}
        for atom in flow.atoms:
            made = [form for form in self._of(atom) if _meets(form, atom)]
            if made:
                self.forms[atom.output.id] = made
                self.region[atom.output.id] = atom.region

    def chosen(self) -> Iterator[Form]:
        """The forms to be built: of every wire that is not taken in by another."""
        taken: set[int] = set()
        for atom in reversed(self.flow.atoms):
            if atom.output.id not in self.forms or atom.output.id in taken:
                continue
            best = self.best(atom.output)
            if worth(best):
                taken |= {a.output.id for a in best.atoms}
                yield best

    def best(self, wire: Value) -> Form:
        """The cheapest form of a wire; of equals, the one that takes in the most."""
        return min(self.forms[wire.id], key=lambda form: (_price(form, self.find), -len(list(form.atoms))))

    def _inputs(self, wire: Value, atom: Atom) -> list[Form]:
        """What an atom may build on: the wire as it is, or any of its forms, if nobody else reads it."""
        here = Form(None, wire, _nothing(wire.c))
        if wire.id not in self.forms or self.region[wire.id] != atom.region:
            return [here]
        best = self.best(wire)
        cut = replace(here, rest=_price(best, self.find))
        if self.flow.uses[wire.id] > 1:
            return [cut]
        return [cut, *self.forms[wire.id]]

    def _of(self, atom: Atom) -> Iterator[Form]:
        if atom.sign is not None:
            rest = sum(_price(self.best(wire), self.find) for wire in atom.inputs if wire.id in self.forms)
            yield Form(None, atom.output, _nothing(atom.output.c), rest=rest)  # both sides apart
            left, right = (self._inputs(wire, atom) for wire in atom.inputs)
            for a in left:
                for b in right:
                    if a.source.id == b.source.id and (a.atom or b.atom):
                        total = plus(a.shape, b.shape, atom.sign)
                        if total is not None:
                            yield Form(atom, a.source, total, (a, b), max(a.rest, b.rest))
        elif atom.leaf is not None and atom.leaf.operator == "grn" and atom.leaf.args["bias"]:
            own = self.find(atom)
            assert isinstance(own.weight, Tensor)
            c = own.weight.shape[0]
            empty = torch.empty(c, dtype=torch.float64, device="meta")
            shape = channelwise(empty, empty)
            yield Form(atom, atom.output, shape, rest=c)
        elif atom.moves or atom.divisor is not None or (atom.leaf is not None and known(atom)):
            for form in self._inputs(atom.inputs[0], atom):
                if self._may_follow(form, atom):
                    step = meaning(atom, self.find, meta=True)
                    after = then(form.shape, step) if step is not None else form.shape
                    if after is not None:
                        yield Form(atom, form.source, after, (form,), form.rest)

    def _may_follow(self, form: Form, atom: Atom) -> bool:
        """A norm before a convolution goes into it only within one slot: what stands in another may be swapped."""
        if atom.leaf is None or atom.leaf.operator not in KERNELS or form.kernels:
            return True
        return all(before.level == atom.level for before in form.atoms if before.leaf is not None)


def _nothing(c: int) -> Affine:
    return identity(c, torch.empty(0, dtype=torch.float64, device="meta"))


def _meets(form: Form, atom: Atom) -> bool:
    """Whether the map gives the extents that are expected."""
    before, after = form.source.feature, atom.output.feature
    if form.shape.rank == 0:
        return before.c == form.shape.width and after.c == form.shape.out
    if before.layout == "vector" or before.prefix or form.shape.rank != before.rank:
        return False
    return form.shape.slide(before.grid) == after.grid


def _price(form: Form, find: Find) -> int:
    """Weights that a form keeps: of the one convolution it becomes, or of its parts where they stay."""
    if worth(form):
        return form.cost
    return form.rest + sum(p.numel() for a in form.atoms if a.leaf is not None for p in find(a).parameters())


def worth(form: Form) -> bool:
    """Whether anything collapses: a convolution or linear layer, and something beside it that changes numbers."""
    atoms = list(form.atoms)
    others = [a for a in atoms if (a.leaf is not None and a.leaf.operator != "drop_path") or a.sign or a.divisor]
    return bool(form.kernels) and len(others) > 1


# What the operators mean


def known(atom: Atom) -> bool:
    """Whether an operator is affine in evaluation, or is but for its last step (GRN)."""
    leaf = atom.leaf
    assert leaf is not None
    if leaf.operator == "conv":
        return leaf.args["padding"] != "same"
    return leaf.operator in ("linear", "batch_norm", "scale", "times", "drop_path", "dropout")


def meaning(atom: Atom, find: Find, meta: bool = False) -> Affine | None:
    """The map that a step is; None for the identity. In float64, or on ``meta``."""
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


def evaluate(form: Form, find: Find) -> Affine:
    """The map of a form in numbers."""
    if form.atom is None:
        return identity(form.source.c, torch.empty(0, dtype=torch.float64))
    if len(form.parts) == 2:
        total = plus(evaluate(form.parts[0], find), evaluate(form.parts[1], find), form.atom.sign or 1)
        assert total is not None
        return total
    if not form.parts:  # GRN, whose bias is taken away
        bias = find(form.atom).bias
        assert isinstance(bias, Tensor)
        bias = bias.detach().to("cpu", torch.float64)
        return channelwise(torch.ones_like(bias), bias)
    before = evaluate(form.parts[0], find)
    own = meaning(form.atom, find)
    result = then(before, own) if own is not None else before
    assert result is not None
    return result
