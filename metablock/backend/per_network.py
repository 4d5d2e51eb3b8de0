"""What is worked out once for a network, and kept as long as its IR lives. The IR must not change any more."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from ..lowering.ir import Subgraph

T = TypeVar("T")


class PerNetwork(Generic[T]):
    """A function of the root of a network that computes its result once.

    >>> from metablock.front import front
    >>> sizes, ir = PerNetwork(lambda root: [len(root.children)]), front("resnet18").ir
    >>> sizes(ir) is sizes(ir)
    True
    """

    def __init__(self, function: Callable[[Subgraph], T]):
        self._function = function
        self._known: dict[int, tuple[weakref.ref[Subgraph], T]] = {}

    def __call__(self, root: Subgraph) -> T:
        place = id(root)
        known = self._known.get(place)
        if known is None or known[0]() is not root:
            known = weakref.ref(root, lambda _: self._known.pop(place, None)), self._function(root)
            self._known[place] = known
        return known[1]
