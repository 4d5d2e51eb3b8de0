"""How a network is bound to the size of its input: which part depends on it, and what to say about inputs that do not fit."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import MetablockError
from ..front import front
from ..language.spec import Spec
from ..lowering.ir import Child, InlineOp, ModuleList, ModuleNode, Subgraph
from ..shape import Feature


def size_dependence(a: Child, b: Child, path: str = "") -> str | None:
    """Which part is bound to the input size, given the IR of one network at two sizes; None if no part is.

    Two IRs that differ only in the shapes of their values compute the same at any size.

    >>> from metablock.front import front
    >>> size_dependence(front("resnet18").ir, front("resnet18", input=(3, 256, 256)).ir)
    >>> size_dependence(front("mixer_b16_224").ir, front("mixer_b16_224", input=(3, 256, 256)).ir)
    'stages.0.blocks.0.token.mix.linear1: linear(384) is made for one size'
    """
    if isinstance(a, ModuleNode) and isinstance(b, ModuleNode):
        same = a.operator == b.operator and dict(a.context) == dict(b.context) and dict(a.args) == dict(b.args)
        return None if same else f"{path}: {a.text or a.operator} is made for one size"
    if isinstance(a, (Subgraph, ModuleList)) and isinstance(b, (Subgraph, ModuleList)):
        if list(a.children) != list(b.children):
            return f"{path}: the parts depend on the size"
        for name in a.children:
            reason = size_dependence(a.children[name], b.children[name], f"{path}.{name}" if path else name)
            if reason:
                return reason
    if isinstance(a, Subgraph) and isinstance(b, Subgraph):
        ours, theirs = ([s.template for s in subgraph.steps if isinstance(s, InlineOp)] for subgraph in (a, b))
        if ours != theirs:
            return f"{path}: {a.text or 'the network'} is made for one size"
    return None


def input_error(
    spec: Spec, root: Subgraph, inputs: Sequence[Feature], shapes: Sequence[tuple[int, ...]]
) -> MetablockError | None:
    """The error that explains why a network fails on inputs of these shapes; None if the shapes are not the cause.

    Args:
        spec: the resolved spec.
        root: the network's IR.
        inputs: the features it was built for, without the batch.
        shapes: those of the tensors it was called with, batch included.
    """
    expected = ", ".join(_shape(("batch", *feature.size()[1:])) for feature in inputs)
    message = f"'{spec.variant or spec.name}' was built for {expected}, and was called with {', '.join(map(_shape, shapes))}"
    if len(shapes) != len(inputs):
        return MetablockError(message, f"it takes {_count(len(inputs))}")
    features = []
    for feature, shape in zip(inputs, shapes, strict=True):
        wrong = _wrong_axes(feature, shape)
        if wrong:
            return MetablockError(message, wrong)
        features.append(feature.with_(grid=shape[2:]) if feature.layout == "map" else feature)
    if tuple(features) == tuple(inputs):
        return None
    if len(inputs) != 1:
        return MetablockError(message, "build it for that size")
    try:
        reason = size_dependence(root, front(spec, input=features[0], large=True).ir)
    except MetablockError as problem:
        return MetablockError(message, f"it cannot be built for that size either: {str(problem).strip()}")
    return MetablockError(message, f"{reason}: build it with input='{_size(shapes[0])}'") if reason else None


def _wrong_axes(feature: Feature, shape: tuple[int, ...]) -> str | None:
    """What is wrong with the number of axes or channels of one input; None if both are right."""
    axes = len(feature.size())
    if len(shape) == axes - 1:
        return "the batch comes first: x[None]"
    if len(shape) != axes:
        return "the batch comes first, then channels, then extents"
    if feature.layout == "map" and shape[1] != feature.c:
        return f"it takes {feature.c} channels; another number is built by input='{_size(shape)}'"
    return None


def _count(n: int) -> str:
    return "one input" if n == 1 else f"{n} inputs"


def _shape(shape: Sequence[object]) -> str:
    return f"({', '.join(map(str, shape))})"


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape[1:]))
