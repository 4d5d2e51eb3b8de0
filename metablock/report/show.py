"""A network to look at, in lines: its spec, its modules, its shapes. Nothing is allocated."""

from __future__ import annotations

from ..language.format import show_spec
from .build import BuildOptions, chosen, on_meta
from .layout import ShapeStep, steps


def spec_text(choice: BuildOptions) -> str:
    """The resolved spec in its canonical form."""
    return show_spec(chosen(choice)[0])


def tree_text(choice: BuildOptions) -> str:
    """The modules, in the spec's words; equal blocks once."""
    return repr(on_meta(*chosen(choice)))


def shapes(choice: BuildOptions) -> list[ShapeStep]:
    """Every step with the shapes that enter and leave it."""
    return steps(chosen(choice)[1])
