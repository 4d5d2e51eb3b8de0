"""A network to read: its spec, its modules, its shapes. Nothing is allocated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..language.format import show_spec, spec_hash
from ..language.uses import without_unused
from ..lowering.ir import Child, ModuleNode, Subgraph
from .options import BuildOptions, lowered
from .shape_steps import ShapeStep, steps

if TYPE_CHECKING:
    from .models import ModuleText, ShownShapes, ShownSpec, ShownTree


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
    from ..api import assemble

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


def shown_spec(options: BuildOptions) -> ShownSpec:
    """What :func:`spec_text` gives, as data.

    >>> shown_spec(BuildOptions("resnet18", classes=10)).edits
    ('classes = 10',)
    """
    from .models import ShownSpec

    spec = lowered(options).spec
    text = show_spec(without_unused(spec))
    return ShownSpec(name=spec.name, variant=spec.variant, edits=options.changes, spec_hash=spec_hash(spec), text=text)


def shown_tree(options: BuildOptions) -> ShownTree:
    """The modules of a network as data, each by itself.

    >>> [module.path for module in shown_tree(BuildOptions("resnet18")).modules]
    ['stem', 'stages', 'head']
    """
    from .models import ShownTree

    spec, ir = lowered(options)
    return ShownTree(name=spec.name, variant=spec.variant, modules=_modules(ir, ""))


def shown_shapes(options: BuildOptions) -> ShownShapes:
    """What :func:`shapes` gives, as data.

    >>> shown_shapes(BuildOptions("resnet18")).steps[0].outputs
    ('map 64 x 56x56',)
    """
    from .models import ShapeRow, ShownShapes

    spec, ir = lowered(options)
    rows = tuple(
        ShapeRow(
            depth=step.depth,
            name=step.name,
            text=step.text,
            inputs=tuple(map(str, step.inputs)),
            outputs=tuple(map(str, step.outputs)),
            blocks=step.only or None,
        )
        for step in steps(ir)
    )
    return ShownShapes(name=spec.name, variant=spec.variant, steps=rows)


def _modules(part: Child, above: str) -> tuple[ModuleText, ...]:
    from .models import ModuleText

    if isinstance(part, ModuleNode):
        return ()
    return tuple(
        ModuleText(
            path=f"{above}{name}",
            text=child.text if isinstance(child, (ModuleNode, Subgraph)) else None,
            modules=_modules(child, f"{above}{name}."),
        )
        for name, child in part.children.items()
    )
