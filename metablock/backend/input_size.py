"""How a network is bound to the size of its input: for which sizes it is good, and what to say about inputs that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import MetablockError
from ..front import front, sized_inputs
from ..language.spec import Spec
from ..language.uses import Uses
from ..lowering.ir import Child, ModuleList, ModuleNode, Subgraph, action
from ..lowering.wiring import same_wiring
from ..shape import Feature

# The part of an IR that a network computes, such as all up to its feature maps.
Narrow = Callable[[Subgraph], Subgraph]
Shapes = tuple[tuple[int, ...], ...]

ENOUGH = 16  # sizes that are looked at one by one, even where a network is good for any
_STEPS = (1, 2, 4, 8, 16, 32, 64, 112, 224)  # the differences of extents that are tried


def size_dependence(a: Child, b: Child, path: str = "") -> str | None:
    """Which part is bound to the input size, given the IR of one network at two sizes; None if no part is.

    Two IRs that differ only in the shapes of their values compute the same at any size.

    >>> size_dependence(front("resnet18").ir, front("resnet18", input=(3, 256, 256)).ir)
    >>> size_dependence(front("mixer_b16_224").ir, front("mixer_b16_224", input=(3, 256, 256)).ir)
    'stages.0.blocks.0.token.mix.linear1: linear(384) is made for one size'
    """
    if isinstance(a, ModuleNode) and isinstance(b, ModuleNode):
        same = a.operator == b.operator and dict(a.context) == dict(b.context) and dict(a.args) == dict(b.args)
        return None if same else f"{path}: {a.text or a.operator} is made for one size"
    varied = f"{path}: the parts depend on the size" if path else "the parts depend on the size"
    if type(a) is not type(b):
        return varied
    if isinstance(a, (Subgraph, ModuleList)) and isinstance(b, (Subgraph, ModuleList)):
        if list(a.children) != list(b.children):
            return varied
        for name in a.children:
            reason = size_dependence(a.children[name], b.children[name], f"{path}.{name}" if path else name)
            if reason:
                return reason
    if isinstance(a, Subgraph) and isinstance(b, Subgraph):
        if [action(step) for step in a.all_steps] != [action(step) for step in b.all_steps]:
            return f"{path}: {a.text or 'the network'} is made for one size" if path else "the network is made for one size"
        if not path and not same_wiring(a, b):
            return varied
    return None


def asks_for_extents(spec: Spec) -> bool:
    """Whether an expression of the network asks for the extents of what arrives: it may mean something else at any one size.

    >>> from metablock.language.load import load_text
    >>> text = "name: n\\ninput: image(3, 64)\\nmodel: conv(8, 7 if grid[0] > 32 else 3)\\n"
    >>> asks_for_extents(load_text(text)), asks_for_extents(front("resnet18").spec)
    (True, False)
    """
    return "grid" in Uses(spec).reached()


class InputSizes:
    """The input sizes that a network is good for: those for which its spec gives the same computation.

    Each new size is tried once, by lowering the spec for it (some hundredths of a second), and remembered.

    >>> spec, ir = front("vit_tiny_patch16_224")
    >>> sizes = InputSizes(spec, [ir.inputs[0].feature])
    >>> sizes.problem([(2, 3, 224, 224)])
    >>> print(sizes.problem([(2, 3, 112, 448)]))
    'vit_tiny_patch16_224' was built for (batch, 3, 224, 224), and was called with (2, 3, 112, 448)
      stem.position: position is made for one size: build it with input='3x112x448'
    """

    def __init__(self, spec: Spec, inputs: Sequence[Feature], narrow: Narrow | None = None) -> None:
        """
        Args:
            spec: the resolved spec.
            inputs: the features the network was built for.
            narrow: gives the part of the spec's IR that the network computes; by default all of it.
        """
        self.spec, self.inputs, self.narrow = spec, tuple(inputs), narrow
        self.own: Shapes = tuple(feature.size()[1:] for feature in self.inputs)
        self.good: set[Shapes] = {self.own}
        self._step: int | None = None
        self._ir: Subgraph | None = None  # at its own size, once another one is compared with it

    def __reduce__(self) -> tuple[Any, ...]:
        return InputSizes, (self.spec, self.inputs, self.narrow)  # what was tried can be tried again

    def problem(self, shapes: Sequence[Sequence[Any]]) -> MetablockError | None:
        """What is wrong with inputs of these shapes, batch (a number or a word) included; None if they fit."""
        if self.spec.method is not None:  # what is drawn may be left out
            shapes = [*shapes, *(("batch", *size) for size in self.own[len(shapes) :])]
        sizes = tuple(tuple(shape[1:]) for shape in shapes)
        if sizes in self.good and all(map(len, shapes)):
            return None
        expected = ", ".join(_shape(("batch", *feature.size()[1:])) for feature in self.inputs)
        name = self.spec.variant or self.spec.name
        message = f"'{name}' was built for {expected}, and was called with {', '.join(map(_shape, shapes))}"
        if len(shapes) != len(self.inputs):
            return MetablockError(message, f"it takes {_count(len(self.inputs))}")
        for feature, shape in zip(self.inputs, shapes, strict=True):
            if wrong := _wrong_axes(feature, shape):
                return MetablockError(message, wrong)
        if self.spec.method is not None:
            return MetablockError(message, "a network of a method takes the size that it was built for")
        if self._between(sizes):
            return None
        try:
            reason = self._difference(sizes)
        except MetablockError as problem:
            return MetablockError(message, f"it cannot be built for that size either: {str(problem).strip()}")
        if reason is None:
            self.good.add(sizes)
            return None
        remedy = f"build it with input='{_size(self.inputs[0], shapes[0])}'" if len(shapes) == 1 else "build it for that size"
        return MetablockError(message, f"{reason}: {remedy}")

    def step(self) -> int:
        """What extents may differ by from those it was built for: 1: any number; n: multiples of n; 0: each size is another case.

        >>> nets = map(front, ("resnet18", "biformer_tiny", "swin_tiny"))
        >>> [InputSizes(spec, [ir.inputs[0].feature]).step() for spec, ir in nets]
        [1, 112, 0]
        """
        if self._step is None:
            steps = () if self.spec.method is not None or asks_for_extents(self.spec) else _STEPS
            self._step = next((step for step in steps if all(map(self._fits, self._others(step)))), 0)
        return self._step

    def _others(self, step: int) -> list[tuple[tuple[int, ...], ...]]:
        """Sizes that differ from the network's by multiples of ``step``, a little and by more than its own extents."""
        return [
            tuple(
                feature.with_(
                    grid=tuple(n + step * (1 + axis + far * -(-n // step)) for axis, n in enumerate(feature.grid))
                ).size()[1:]
                for feature in self.inputs
            )
            for far in (0, 1, 2)
        ]

    def _fits(self, sizes: Shapes) -> bool:
        try:
            return self._difference(sizes) is None
        except MetablockError:
            return False

    def _difference(self, sizes: Shapes) -> str | None:
        """Which part is another one for inputs of these sizes. Raises MetablockError if there is no network for them."""
        if self._ir is None:
            self._ir = self._lowered(self.own)
        return size_dependence(self._ir, self._lowered(sizes))

    def _lowered(self, sizes: Shapes) -> Subgraph:
        inputs = [feature.resized(size) for feature, size in zip(self.inputs, sizes, strict=True)]
        ir = front(sized_inputs(self.spec, inputs), large=True).ir
        return self.narrow(ir) if self.narrow is not None else ir

    def _between(self, sizes: Shapes) -> bool:
        """Whether a network that is good for any size fitted so many that one between them need not be lowered for."""
        if len(self.good) < ENOUGH or self.step() != 1:
            return False
        numbers = zip(*([n for size in good for n in size] for good in self.good), strict=True)
        return all(min(each) <= n <= max(each) for each, n in zip(numbers, [n for size in sizes for n in size], strict=True))


def _wrong_axes(feature: Feature, shape: Sequence[Any]) -> str | None:
    """What is wrong with the number of axes or channels of one input; None if both are right."""
    axes = len(feature.size())
    if len(shape) == axes - 1:
        return "the batch comes first: x[None]"
    if len(shape) != axes:
        rest = {"map": ", then channels, then extents", "grid": ", then the length, then channels"}.get(
            feature.layout, ", then the length"
        )
        return f"the batch comes first{rest}"
    channels = {"map": shape[1], "grid": shape[-1]}.get(feature.layout, feature.c)
    if channels != feature.c:
        return f"it takes {feature.c} channels; another number is built by input='{_size(feature, shape)}'"
    if min(shape[1:]) < 1:
        return "an extent is 0"
    return None


def _count(n: int) -> str:
    return "one input" if n == 1 else f"{n} inputs"


def _shape(shape: Sequence[object]) -> str:
    return f"({', '.join(map(str, shape))})"


def _size(feature: Feature, shape: Sequence[int]) -> str:
    """The size of an input of this shape, as `input=` takes it."""
    c = {"map": shape[1], "grid": shape[-1]}.get(feature.layout, feature.c)
    return "x".join(map(str, (c, *feature.resized(shape[1:]).grid)))
