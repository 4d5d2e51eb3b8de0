"""What looks at other examples of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.ir import Value, ValueTree, mapped

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def batch_flip(t: Tracer, x: ValueTree) -> ValueTree:
    """The batch in reverse order: each example gets what its partner has, the first what the last has. In any layout.

    For training that mixes examples inside a network: ``id * (1 - box) + batch_flip * box`` pastes a box of the partner (the
    mix-token of token labelling, Jiang et al. 2021, arXiv 2104.10858). The answer to an example depends on the batch then.

    Returns:
        The shape that arrives; of a list, each member flipped. Windows stay with their image.

    Raises:
        SpecError: a bias, which has no batch.

    >>> shape_of("id + batch_flip", "64x14x14")
    'map 64 x 14x14'
    """

    def flip(value: Value) -> Value:
        f = value.feature
        if f.layout == "table":
            raise error(f"{f} has no batch", hint="`batch_flip` takes what is computed from the input")
        template = "{0}.flip(0)" if not f.around else f"{{0}}.unflatten(0, (-1, {f.windows})).flip(0).flatten(0, 1)"
        return t.ir.inline(template, [value], f)

    return mapped(x, flip)
