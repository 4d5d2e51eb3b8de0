"""A draft: a subgraph that is being filled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..language.param_names import TAKEN
from ..shape import Layout
from .ir import Child, ModuleList, Subgraph, Value


@dataclass
class Draft:
    """A subgraph that is being filled.

    Attributes:
        subgraph: the subgraph.
        casts: the layout casts in it, by the value's id and the layout.
        taken: how often each automatic name has been used.
    """

    subgraph: Subgraph = field(default_factory=Subgraph)
    casts: dict[tuple[int, Layout], Value] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, child: Child) -> tuple[str, ...]:
        """Registers a child.

        Args:
            name: its name; ``blocks.3`` is number 3 of the module list ``blocks``. A name that torch's modules have already, or
                that another child has, gets an underscore.
            child: the child.

        Returns:
            The names that lead to it.

        >>> draft = Draft()
        >>> draft.add("blocks.0", Subgraph()), draft.add("half", Subgraph()), draft.add("half", Subgraph())
        (('blocks', '0'), ('half_',), ('half__',))
        """
        names = [part + "_" if part in TAKEN else part for part in name.split(".")]
        holder: Subgraph | ModuleList = self.subgraph
        for part in names[:-1]:
            below = holder.children.setdefault(part, ModuleList())
            assert isinstance(below, ModuleList)
            holder = below
        last = names[-1]
        while last in holder.children:
            last += "_"
        holder.children[last] = child
        return (*names[:-1], last)

    def number(self, name: str) -> str:
        """A name for a module that the spec does not name.

        >>> draft = Draft()
        >>> [draft.number("drop") for _ in range(3)]
        ['drop', 'drop2', 'drop3']
        """
        self.taken[name] += 1
        return name if self.taken[name] == 1 else f"{name}{self.taken[name]}"

    def mark(self) -> Callable[[], None]:
        """Returns a function that removes the steps, casts and children added after this call.

        >>> draft = Draft()
        >>> undo = draft.mark()
        >>> _ = draft.add("conv", Subgraph())
        >>> undo()
        >>> draft.subgraph.children
        {}
        """
        steps, casts, children = len(self.subgraph.steps), len(self.casts), _child_names(self.subgraph)

        def undo() -> None:
            del self.subgraph.steps[steps:]
            _remove_others(self.subgraph, children)
            for key in list(self.casts)[casts:]:
                del self.casts[key]

        return undo


_ChildNames = dict[str, Any]


def _child_names(holder: Subgraph | ModuleList) -> _ChildNames:
    """The names of the children; those of module lists with the names inside."""
    return {name: _child_names(child) if isinstance(child, ModuleList) else {} for name, child in holder.children.items()}


def _remove_others(holder: Subgraph | ModuleList, names: _ChildNames) -> None:
    """Removes the children that are not among these names."""
    for name, child in list(holder.children.items()):
        if name not in names:
            del holder.children[name]
        elif isinstance(child, ModuleList):
            _remove_others(child, names[name])
