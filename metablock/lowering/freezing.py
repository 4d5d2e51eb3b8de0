"""Frozen parts: what the section `freeze` of a spec, or of a method, says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..errors import Span, error
from ..language.init_rules import InitRule
from .ir import Child, ModuleNode


def freeze(root: Child, selectors: Sequence[str], place: Span | None) -> None:
    """Marks the modules that the selectors of `freeze` select, by the rules of `init`, as not trained.

    Raises:
        SpecError: a selector that selects nothing, or single parameters of a module.
    """
    for selector in selectors:
        rule = InitRule(tuple(selector.split(".")), "")
        hits = 0
        for children, name, path in _holders(root, ()):
            node = children[name]
            if isinstance(node, ModuleNode) and _within(rule, path, node.operator):
                children[name] = replace(node, trainable=False)
                hits += 1
        if not hits:
            message = f"'{selector}' in `freeze` is no part of this network"
            raise error(message, place, "`metablock show --as names` lists the parts")


def _within(rule: InitRule, path: tuple[str, ...], operator: str) -> bool:
    """Whether a rule selects a module, or one around it."""
    ends = range(1, len(path) + 1)
    return any(rule.fits(".".join(path[:end]), operator if end == len(path) else "", "") is False for end in ends)


def _holders(child: Child, path: tuple[str, ...]) -> Iterator[tuple[dict[str, Child], str, tuple[str, ...]]]:
    """Every child with what holds it and its path."""
    if isinstance(child, ModuleNode):
        return
    for name, below in list(child.children.items()):
        yield child.children, name, (*path, name)
        yield from _holders(below, (*path, name))
