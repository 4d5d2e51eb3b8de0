"""Rewrites the IR: one convolution or linear layer in place of each candidate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from math import prod

from ...language.registry import OPERATORS
from ...lowering.ir import (
    InlineOp,
    ModuleCall,
    ModuleList,
    ModuleNode,
    Step,
    Subgraph,
    Value,
    ValueTree,
    flat_values,
    next_id,
    subgraphs,
)
from ...lowering.written import written
from ...operators.extents import sides
from ...shape import Layout
from .affine import Affine
from .candidates import Candidate
from .flow import Atom, Path


@dataclass(frozen=True)
class Merge:
    """One operator in place of a candidate.

    Attributes:
        candidate: the steps that are replaced.
        anchor: the one of them whose place and name the new operator takes.
        leaf: the new operator.
        shape: its map, with the merged weights.
    """

    candidate: Candidate
    anchor: Atom
    leaf: ModuleNode
    shape: Affine


def merge(candidate: Candidate, shape: Affine) -> Merge:
    """The operator that replaces a candidate, at the place and under the name of its largest kernel."""
    fitting = [a for a in candidate.kernels if shape.rank == 0 or a.leaf is None or a.leaf.operator == "conv"]
    anchor = max(fitting, key=lambda atom: _extent(atom))
    assert anchor.leaf is not None
    leaf = anchor.leaf
    args: dict[str, object]
    if leaf.operator == "linear":
        args = {"out": shape.out, "bias": shape.bias is not None}
    else:
        usual = sides(None, shape.extents, shape.stride, (1,) * shape.rank)
        args = {
            "out": shape.out,
            "kernel": _number(shape.extents),
            "stride": _number(shape.stride),
            "padding": None if shape.padding == usual else _number(shape.padding),
            "dilation": 1,
            "groups": shape.groups,
            "bias": shape.bias is not None,
        }
    entry = OPERATORS[leaf.operator]
    context = {**leaf.context, "c": shape.width}
    constant = all(atom.leaf.constant for atom in candidate.atoms if atom.leaf is not None)
    node = replace(leaf, context=context, args=args, constant=constant, text=written(entry, args))
    return Merge(candidate, anchor, node, shape)


def _extent(atom: Atom) -> int:
    assert atom.leaf is not None
    kernel = atom.leaf.args.get("kernel", 1)
    return prod([kernel] * atom.leaf.context.get("rank", 1) if isinstance(kernel, int) else kernel)


def _number(extents: tuple[int, ...]) -> int | list[int]:
    return extents[0] if len(set(extents)) == 1 else list(extents)


class Rewriter:
    """Changes the IR of a network in place."""

    def __init__(self, root: Subgraph):
        self.root = root
        self.ids = count(next_id(root))

    def apply(self, merge: Merge) -> None:
        """Replaces the steps of a candidate by one operator."""
        atoms, source = list(merge.candidate.atoms), merge.candidate.source
        removed = {id(atom.step) for atom in atoms}
        for atom in atoms:
            if atom.output.id == source.id:  # GRN: everything stays except its bias
                removed.discard(id(atom.step))
                self._drop_bias(atom)
        last = atoms[-1].output
        inner = {atom.output.id for atom in atoms} - {source.id}
        parent = self._subgraph(merge.anchor.parent)
        place = next(i for i, step in enumerate(parent.steps) if step is merge.anchor.step)
        parent.steps[place : place + 1] = self._steps(merge, last)
        self._replace(merge.anchor.path, merge.leaf)
        for atom in atoms:
            if id(atom.step) in removed and atom is not merge.anchor:
                around = self._subgraph(atom.parent)
                around.steps = [step for step in around.steps if step is not atom.step]
                if atom.leaf is not None:
                    self._remove(atom.path)
        self._update_outputs(inner, merge.anchor.parent, source, last)

    def tidy(self) -> None:
        """Removes the subgraphs that have no steps left."""
        for path, _ in sorted(subgraphs(self.root), key=lambda item: -len(item[0])):
            parent = self._subgraph(path)
            for step in list(parent.steps):
                if isinstance(step, ModuleCall) and step.once:
                    child = parent.child(step.child)
                    if isinstance(child, Subgraph) and not child.steps:
                        parent.steps = [other for other in parent.steps if other is not step]
                        self._remove((*path, *step.child))

    def _drop_bias(self, atom: Atom) -> None:
        assert atom.leaf is not None
        args = {**atom.leaf.args, "bias": False}
        self._replace(atom.path, replace(atom.leaf, args=args, text=written(OPERATORS[atom.leaf.operator], args)))

    def _steps(self, merge: Merge, last: Value) -> list[Step]:
        """The call of the new operator, with layout casts around it; the result is the value ``last``."""
        takes: tuple[Layout, ...] = ("map",) if merge.leaf.operator == "conv" else ("grid", "tokens", "vector")
        steps: list[Step] = []
        before = self._cast(merge.candidate.source, takes, steps)
        f = before.feature.with_(c=last.c)
        f = f.with_(grid=merge.shape.slide(f.grid)) if merge.leaf.operator == "conv" else f
        fits = f.layout == last.feature.layout
        after = last if fits else Value(next(self.ids), f)
        assert isinstance(merge.anchor.step, ModuleCall)
        steps.append(ModuleCall(merge.anchor.step.child, (before,), after))
        if not fits:
            self._cast(after, (last.feature.layout,), steps, last)
        return steps

    def _cast(self, value: Value, layouts: tuple[Layout, ...], steps: list[Step], last: Value | None = None) -> Value:
        """Adds the steps that cast a value to the first of these layouts, unless it has one of them already.

        ``last`` is the value that the final cast computes, if it exists already.
        """
        f = value.feature
        if f.layout in layouts:
            return value
        wanted = layouts[0]
        if f.layout == "map":
            text, to = "{0}.movedim(1, -1)", "grid"
        elif f.layout == "grid" and wanted == "map":
            text, to = "{0}.movedim(-1, 1)", "map"
        elif f.layout == "grid":
            text, to = f"{{0}}.flatten(1, {f.rank})", "tokens"
        else:
            text, to = (f"{{0}}.unflatten(1, {f.grid})" if f.rank > 1 else "{0}"), "grid"
        result = last if last is not None and last.feature.layout == to else Value(next(self.ids), f.with_(layout=to))
        steps.append(InlineOp(text, (value,), result))
        return self._cast(result, layouts, steps, last)

    def _update_outputs(self, inner: set[int], anchor: Path, source: Value, last: Value) -> None:
        """Replaces the removed values ``inner`` in the outputs of subgraphs.

        A subgraph around the new operator returns ``last``, any other the candidate's ``source``.
        """
        for path, subgraph in subgraphs(self.root):
            instead = last if anchor[: len(path)] == path else source
            computed = {value.id for step in subgraph.steps for value in flat_values(step.output)}

            def swap(value: ValueTree, instead: Value = instead, computed: set[int] = computed) -> ValueTree:
                if isinstance(value, Value):
                    return instead if value.id in inner and (value.id != last.id or last.id not in computed) else value
                if isinstance(value, dict):
                    return {key: swap(item) for key, item in value.items()}
                return [swap(item) for item in value] if isinstance(value, (list, tuple)) else value

            if path:
                subgraph.output = swap(subgraph.output)
        for _, subgraph in subgraphs(self.root):
            for place, step in enumerate(subgraph.steps):
                if isinstance(step, ModuleCall) and step.once:
                    child = subgraph.child(step.child)
                    if isinstance(child, Subgraph) and step.output != child.output:
                        subgraph.steps[place] = replace(step, output=child.output)

    def _subgraph(self, path: Path) -> Subgraph:
        subgraph = self.root.child(path) if path else self.root
        assert isinstance(subgraph, Subgraph)
        return subgraph

    def _parent(self, path: Path) -> Subgraph | ModuleList:
        parent = self.root.child(path[:-1]) if len(path) > 1 else self.root
        assert not isinstance(parent, ModuleNode)
        return parent

    def _replace(self, path: Path, leaf: ModuleNode) -> None:
        self._parent(path).children[path[-1]] = leaf

    def _remove(self, path: Path) -> None:
        """Removes a child, and the module lists that this empties."""
        parent = self._parent(path)
        del parent.children[path[-1]]
        if isinstance(parent, ModuleList) and not parent.children:
            self._remove(path[:-1])
