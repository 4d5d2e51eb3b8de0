"""A draft: a subgraph that is being filled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ..language.param_names import TAKEN
from ..shape import Layout
from .ir import Child, ModuleList, ModuleNode, Subgraph, Value


@dataclass
class Draft:
    """A subgraph that is being filled.

    Attributes:
        subgraph: the subgraph.
        casts: the layout casts in it, by the value's id and the layout.
        taken: how often each automatic name has been used.
        borrowed: its steps go into another subgraph.
        open: the names of the children that are being filled.
        added: the children that were added so far, in the subgraphs below too: whose children, and under which name.
    """

    subgraph: Subgraph = field(default_factory=Subgraph)
    casts: dict[tuple[int, Layout], Value] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    borrowed: bool = False
    open: list[str] = field(default_factory=list)
    added: list[tuple[dict[str, Child], str]] = field(default_factory=list)

    def place(self, name: str) -> tuple[str, ...]:
        """The names that would lead to a child if it was registered under this name: see :meth:`add`."""
        names = [_name(part) for part in name.split(".")]
        holder: Child | None = self.subgraph
        for part in names[:-1]:
            holder = None if holder is None or isinstance(holder, ModuleNode) else holder.children.get(part)
        while holder is not None and not isinstance(holder, ModuleNode) and names[-1] in holder.children:
            names[-1] += "_"
        return tuple(names)

    def free(self, name: str) -> str:
        """A name that no child has, those included that are being filled."""
        name = _name(name)
        while name in self.subgraph.children or name in self.open:
            name += "_"
        return name

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
        names = self.place(name)
        holder: Subgraph | ModuleList = self.subgraph
        for part in names[:-1]:
            below = self.register(holder, part, ModuleList())
            assert isinstance(below, ModuleList)
            holder = below
        self.register(holder, names[-1], child)
        return names

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


def _name(part: str) -> str:
    return part + "_" if part in TAKEN else part
