"""A draft: a subgraph that is being filled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

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
        added: the children that were added so far, in the subgraphs below too: whose children, and under which name.
    """

    subgraph: Subgraph = field(default_factory=Subgraph)
    casts: dict[tuple[int, Layout], Value] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    added: list[tuple[dict[str, Child], str]] = field(default_factory=list)

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
            below = self.register(holder, part, ModuleList())
            assert isinstance(below, ModuleList)
            holder = below
        last = names[-1]
        while last in holder.children:
            last += "_"
        self.register(holder, last, child)
        return (*names[:-1], last)

    def register(self, holder: Subgraph | ModuleList, name: str, child: Child) -> Child:
        """The child of this name in a part; ``child``, registered there, where it has none."""
        if name not in holder.children:
            holder.children[name] = child
            self.added.append((holder.children, name))
        return holder.children[name]

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
        steps, casts, added = len(self.subgraph.steps), len(self.casts), len(self.added)

        def undo() -> None:
            del self.subgraph.steps[steps:]
            for children, name in self.added[added:]:
                children.pop(name, None)
            del self.added[added:]
            while len(self.casts) > casts:
                self.casts.popitem()

        return undo
