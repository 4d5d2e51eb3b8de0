"""What binds a network to the size of its input."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import MetablockError
from ..language.spec import Spec
from ..lowering.ir import Child, InlineOp, ModuleList, ModuleNode, Subgraph
from ..lowering.network import lower
from ..shape import Feature


def difference(a: Child, b: Child, path: str = "") -> str | None:
    """Where the networks for two sizes of input differ: then the size is written into the network."""
    if isinstance(a, ModuleNode) and isinstance(b, ModuleNode):
        same = a.operator == b.operator and dict(a.context) == dict(b.context) and dict(a.args) == dict(b.args)
        return None if same else f"{path}: {a.text or a.operator} is made for one size"
    if isinstance(a, (Subgraph, ModuleList)) and isinstance(b, (Subgraph, ModuleList)):
        if list(a.children) != list(b.children):
            return f"{path}: the parts depend on the size"
        for name in a.children:
            found = difference(a.children[name], b.children[name], f"{path}.{name}" if path else name)
            if found:
                return found
    if isinstance(a, Subgraph) and isinstance(b, Subgraph):
        ours, theirs = ([s.template for s in level.steps if isinstance(s, InlineOp)] for level in (a, b))
        if ours != theirs:
            return f"{path}: {a.text or 'the network'} is made for one size"
    return None


def misfit(spec: Spec, level: Subgraph, inputs: Sequence[Feature], shapes: Sequence[tuple[int, ...]]) -> str | None:
    """Why a network fails on inputs of these shapes; None where it is not their doing.

    Args:
        spec: the resolved spec.
        level: its shaped tree.
        inputs: the shapes that it was built for, without the batch.
        shapes: those of the tensors that came, with the batch.
    """
    wanted = ", ".join(_shape(("batch", *feature.size()[1:])) for feature in inputs)
    came = ", ".join(map(_shape, shapes))
    about = f"'{spec.variant or spec.name}' was built for {wanted}, and was called with {came}"
    if len(shapes) != len(inputs):
        return f"{about}\n  it takes {_count(len(inputs))}"
    grids = []
    for feature, shape in zip(inputs, shapes, strict=True):
        if len(shape) != len(feature.size()):
            missing = len(shape) == len(feature.size()) - 1
            return f"{about}\n  " + (
                "the batch comes first: x[None]" if missing else "the batch comes first, then channels, then extents"
            )
        if feature.layout == "map" and shape[1] != feature.c:
            return f"{about}\n  it takes {feature.c} channels; another number is built by input='{_size(shape)}'"
        grids.append(feature.with_(grid=shape[2:]) if feature.layout == "map" else feature)
    if tuple(grids) == tuple(inputs) or len(inputs) != 1:
        return None if tuple(grids) == tuple(inputs) else f"{about}\n  build it for that size"
    try:
        reason = difference(level, lower(spec, input=grids[0], large=True))
    except MetablockError as wrong:
        return f"{about}\n  it cannot be built for that size either: {str(wrong).strip()}"
    return f"{about}\n  {reason}: build it with input='{_size(shapes[0])}'" if reason else None


def _count(n: int) -> str:
    return "one input" if n == 1 else f"{n} inputs"


def _shape(shape: Sequence[object]) -> str:
    return f"({', '.join(map(str, shape))})"


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape[1:]))
