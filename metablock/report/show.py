"""A network to read: its spec, its modules, its shapes. Nothing is allocated."""

from __future__ import annotations

from ..api import assemble
from ..language.format import show_spec
from ..language.uses import without_unused
from .options import BuildOptions, lowered
from .shape_steps import ShapeStep, steps


def spec_text(options: BuildOptions) -> str:
    """The resolved spec in canonical form, one variant, edits applied; without the bindings that only other variants use.

    Raises:
        MetablockError: see :func:`metablock.report.options.lowered`.

    >>> print(spec_text(BuildOptions("resnet18", classes=10)).splitlines()[1])
    name: resnet
    """
    return show_spec(without_unused(lowered(options).spec))


def tree_text(options: BuildOptions) -> str:
    """The modules in the spec's words, equal blocks once, a line each.

    Raises:
        MetablockError: see :func:`metablock.report.options.lowered`; a network larger than the caps.

    >>> print(tree_text(BuildOptions("resnet18")).splitlines()[0])
    resnet
    """
    return repr(assemble(*lowered(options), device="meta"))


def shapes(options: BuildOptions) -> list[ShapeStep]:
    """Every step of the network with the shapes that enter and leave it.

    Raises:
        MetablockError: see :func:`metablock.report.options.lowered`.

    >>> first = shapes(BuildOptions("resnet18"))[0]
    >>> first.name, str(first.inputs[0]), str(first.outputs[0])
    ('stem', 'map 3 x 224x224', 'map 64 x 56x56')
    """
    return steps(lowered(options).ir)
