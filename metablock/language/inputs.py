"""What `input:` may state: an image, a signal, a series, tokens. Sizes as integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..shape import Layout
from . import ast as e


@dataclass(frozen=True)
class InputKind:
    """A kind of input.

    Attributes:
        layout: the layout of its feature.
        rank: its number of spatial extents.
        first: what its first number counts.
        options: the arguments that have names.
    """

    layout: Layout
    rank: int
    first: str = "channels"
    options: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """Arguments that it may have."""
        return "512, 24, padding=1" if self.layout == "ids" else "3, 64"


# What `input:` may call: `image(channels, height, width)`.
INPUT_KINDS = {
    "signal": InputKind("map", 1),
    "image": InputKind("map", 2, options=("padded",)),
    "volume": InputKind("map", 3),
    "series": InputKind("grid", 1),
    "tokens": InputKind("ids", 1, "ids", ("padding",)),
}
# The kinds that no plug-in may be named after.
FIRST_KINDS = ("signal", "image", "volume")
INPUT_HINT = "write `image(3, 224)`, `signal(12, 5000)`, `volume(1, 32, 64, 64)`, `series(80, 400)` or `tokens(512, 1024)`"


def stated(node: e.Node) -> tuple[e.Node, ...]:
    """The expressions of an entry of `input:`, without the name of its kind.

    >>> from .parser import expression
    >>> len(stated(expression("tokens(512, 24)", "<text>")))
    2
    """
    return tuple(argument.value for argument in node.args) if isinstance(node, e.Call) else (node,)


def resized(node: e.Node, numbers: Sequence[int]) -> e.Call:
    """An entry of `input:` with other numbers: channels (or ids) and extents. It keeps its kind if they are as many.

    >>> from .printer import show
    >>> from .parser import expression
    >>> show(resized(expression("tokens(512, 24, padding=1)", "<text>"), (512, 48)))
    'tokens(512, 48, padding=1)'
    >>> [show(resized(expression("image(3, 224)", "<text>"), size)) for size in ((3, 64, 96), (12, 50))]
    ['image(3, 64, 96)', 'signal(12, 50)']
    """
    rank, options = len(numbers) - 1, tuple[e.Argument, ...]()
    name = next(name for name, kind in INPUT_KINDS.items() if (kind.layout, kind.rank) == ("map", rank))
    own = INPUT_KINDS.get(node.func.id) if isinstance(node, e.Call) and isinstance(node.func, e.Name) else None
    if isinstance(node, e.Call) and isinstance(node.func, e.Name) and own is not None and own.rank == rank:
        name, options = node.func.id, tuple(argument for argument in node.args if argument.name is not None)
    sizes = tuple(e.Argument(None, e.Number(number)) for number in numbers)
    return e.Call(e.Name(name), (*sizes, *options))
