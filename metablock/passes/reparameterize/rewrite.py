"""The shaped tree with one convolution in place of each form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from math import prod

from ...language.registry import OPERATORS
from ...lowering.emitter import written
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
from ...operators.extents import sides
from ...shape import Layout
from .affine import Affine
from .flow import Atom, Path
from .forms import Form


@dataclass(frozen=True)
class Merge:
    """A form, the step in whose place the new one stands, and what that is."""

    form: Form
    anchor: Atom
    leaf: ModuleNode
    shape: Affine


def merge(form: Form, shape: Affine) -> Merge:
    """The one operator that a form becomes, at the place and under the name of its largest kernel."""
    fitting = [a for a in form.kernels if shape.rank == 0 or a.leaf is None or a.leaf.operator == "conv"]
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
    return Merge(form, anchor, replace(leaf, context=context, args=args, text=written(entry, args)), shape)


def _extent(atom: Atom) -> int:
    assert atom.leaf is not None
    kernel = atom.leaf.args.get("kernel", 1)
    return prod([kernel] * atom.leaf.context.get("rank", 1) if isinstance(kernel, int) else kernel)


def _number(extents: tuple[int, ...]) -> int | list[int]:
    return extents[0] if len(set(extents)) == 1 else list(extents)


class Rewriter:
    """Changes a tree in place."""

    def __init__(self, root: Subgraph):
        self.root = root
        self.ids = count(next_id(root))

    def apply(self, merge: Merge) -> None:
        """One convolution in place of the steps of a form."""
        gone = {id(atom.step) for atom in merge.form.atoms}
        own = [atom for atom in merge.form.atoms if atom.output.id == merge.form.source.id]
        for atom in own:  # GRN: all of it stays but the bias
            gone.discard(id(atom.step))
            assert atom.leaf is not None
            args = {**atom.leaf.args, "bias": False}
            self._replace(atom.path, replace(atom.leaf, args=args, text=written(OPERATORS[atom.leaf.operator], args)))
        last = list(merge.form.atoms)[-1].output
        inner = {atom.output.id for atom in merge.form.atoms} - {merge.form.source.id}
        level = self._level(merge.anchor.level)
        place = next(i for i, step in enumerate(level.steps) if step is merge.anchor.step)
        new = self._steps(merge, last)
        level.steps[place : place + 1] = new
        self._replace(merge.anchor.path, merge.leaf)
        for atom in merge.form.atoms:
            if id(atom.step) in gone and atom is not merge.anchor:
                holder = self._level(atom.level)
                holder.steps = [step for step in holder.steps if step is not atom.step]
                if atom.leaf is not None:
                    self._remove(atom.path)
        self._outputs(inner, merge.anchor.level, merge.form.source, last)

    def tidy(self) -> None:
        """Takes out the levels in which nothing is left."""
        for path, _ in sorted(subgraphs(self.root), key=lambda item: -len(item[0])):
            holder = self._level(path)
            for step in list(holder.steps):
                if isinstance(step, ModuleCall) and not step.shared:
                    child = holder.child(step.child)
                    if isinstance(child, Subgraph) and not child.steps:
                        holder.steps = [other for other in holder.steps if other is not step]
                        self._remove((*path, *step.child))

    def _steps(self, merge: Merge, last: Value) -> list[Step]:
        """The new operator, and what brings its input and output into the layouts that are wanted."""
        takes: tuple[Layout, ...] = ("map",) if merge.leaf.operator == "conv" else ("grid", "tokens", "vector")
        steps: list[Step] = []
        before = self._moved(merge.form.source, takes, steps)
        f = before.feature.with_(c=last.c)
        f = f.with_(grid=merge.shape.slide(f.grid)) if merge.leaf.operator == "conv" else f
        fits = f.layout == last.feature.layout
        after = last if fits else Value(next(self.ids), f)
        run = ModuleCall(merge.anchor.step.child, (before,), after) if isinstance(merge.anchor.step, ModuleCall) else None
        assert run is not None
        steps.append(run)
        if not fits:
            self._moved(after, (last.feature.layout,), steps, last)
        return steps

    def _moved(self, wire: Value, layouts: tuple[Layout, ...], steps: list[Step], last: Value | None = None) -> Value:
        """The value in the first of these layouts, unless it is in one already; ``last`` is the wire that it must be."""
        f = wire.feature
        if f.layout in layouts:
            return wire
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
        steps.append(InlineOp(text, (wire,), result))
        return self._moved(result, layouts, steps, last)

    def _outputs(self, inner: set[int], anchor: Path, source: Value, last: Value) -> None:
        """Levels that gave a value which is gone give the new one, or, where it is made elsewhere, what it was made of."""
        for path, level in subgraphs(self.root):
            instead = last if anchor[: len(path)] == path else source
            made = {wire.id for step in level.steps for wire in flat_values(step.output)}

            def swap(value: ValueTree, instead: Value = instead, made: set[int] = made) -> ValueTree:
                if isinstance(value, Value):
                    return instead if value.id in inner and (value.id != last.id or last.id not in made) else value
                if isinstance(value, dict):
                    return {key: swap(item) for key, item in value.items()}
                return [swap(item) for item in value] if isinstance(value, (list, tuple)) else value

            if path:
                level.output = swap(level.output)
        for _, level in subgraphs(self.root):
            for place, step in enumerate(level.steps):
                if isinstance(step, ModuleCall) and not step.shared:
                    child = level.child(step.child)
                    if isinstance(child, Subgraph) and step.output != child.output:
                        level.steps[place] = replace(step, output=child.output)

    def _level(self, path: Path) -> Subgraph:
        found = self.root.child(path) if path else self.root
        assert isinstance(found, Subgraph)
        return found

    def _holder(self, path: Path) -> Subgraph | ModuleList:
        found = self.root.child(path[:-1]) if len(path) > 1 else self.root
        assert not isinstance(found, ModuleNode)
        return found

    def _replace(self, path: Path, leaf: ModuleNode) -> None:
        self._holder(path).children[path[-1]] = leaf

    def _remove(self, path: Path) -> None:
        """Also the lists that are empty then."""
        holder = self._holder(path)
        del holder.children[path[-1]]
        if isinstance(holder, ModuleList) and not holder.children:
            self._remove(path[:-1])
