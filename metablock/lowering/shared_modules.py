"""Lowers modules that are built once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from ..errors import error
from ..language import ast as e
from .ir import Child, ModuleList, ModuleNode, Subgraph, ValueTree, width
from .once import Once, captured
from .tracer import Tracer

_Path = tuple[str, ...]


class SharedModules:
    """The modules of one network that are built once, with their first uses.

    Args:
        tracer: lowers their expressions.
        root: the root of the network.
    """

    def __init__(self, tracer: Tracer, root: Subgraph):
        self.tracer, self.root = tracer, root
        self._names: dict[_Path, str] = {}  # of those that streams declare, by what holds them and their first name
        self._by_members: dict[_Path, bool] = {}  # whether an entry of `shared:` is a list that is applied by its members
        self._first_inputs: dict[_Path, ValueTree] = {}
        self._uses: dict[_Path, list[Subgraph]] = {}

    def apply(self, once: Once, x: ValueTree, node: e.Node) -> ValueTree:
        """Applies a module.

        Args:
            once: the module.
            x: what enters it.
            node: the expression that names it.

        Raises:
            SpecError: a module of a stage is used outside; shapes that need other modules; a list is used as a whole and by its
                members.
        """
        t = self.tracer
        first, *numbers = once.name.split(".")
        owner, above = self._owner(once, node)
        if once.home is not None:
            first = self._names.setdefault((*above, first), once.home.draft.free(first))
        else:
            self._whole_or_members(once, (*above, first), node)
        for name in (first, *numbers)[:-1]:
            holder = t.now.draft.register(owner, name, ModuleList())
            assert isinstance(holder, ModuleList)
            owner, above = holder, (*above, name)
        name = (first, *numbers)[-1]
        key = (*above, name)
        x = t.ir.apart(x, captured(once.node, once.scope, x))
        before = self._first_inputs.setdefault(key, x)
        near = None if once.home is None else len(once.home.path)
        region = None if once.home is None else once.home.region

        def make(x: ValueTree) -> ValueTree:
            return t.resolve(once.node, once.scope.with_c(width(x)), x, name, region)

        uses = self._uses.setdefault(key, [])
        output = t.ir.reuse(owner, above, make, x, before, node.span, root=True, uses=uses, near=near)
        if numbers:
            _sort(owner.children)
        return output

    def place(self, once: Once, node: e.Node) -> _Path:
        """The path from the root of a module, applied before or not. Raises SpecError outside of the stage that it belongs to."""
        first, *numbers = once.name.split(".")
        _, path = self._owner(once, node)
        if once.home is not None:
            first = self._names.setdefault((*path, first), once.home.draft.free(first))
        return (*path, first, *numbers)

    def built(self, once: Once, node: e.Node) -> tuple[Child, _Path, int | None]:
        """A module that has been applied before, its path from the root, and ``near`` as :class:`ModuleCall` has it.

        Raises SpecError if it has not been applied. ``node`` is the expression that names it.
        """
        first, *numbers = once.name.split(".")
        child: Child
        child, path = self._owner(once, node)
        if once.home is not None:
            first = self._names.get((*path, first), first)
        if (*path, first, *numbers) not in self._first_inputs:
            hint = f"apply it before: `ids >> {once.name}`"
            raise error(f"'{once.name}' has no weights before it is applied", node.span, hint)
        for name in (first, *numbers):
            assert not isinstance(child, ModuleNode)
            child = child.children[name]
        return child, (*path, first, *numbers), None if once.home is None else len(once.home.path)

    def _owner(self, once: Once, node: e.Node) -> tuple[Subgraph | ModuleList, _Path]:
        """What a module is registered in, and the path to it from the root."""
        if once.home is not None:
            return once.home.draft.subgraph, once.home.path
        assert once.bound is not None
        now = self.tracer.now
        owner: Subgraph = self.root
        path: _Path = ("shared",)
        if once.bound.table == "stage_shared":
            if now.stage_subgraph is None:
                raise error(f"'{once.bound.binding.name}' is shared inside a stage", node.span, "use it in a column or a block")
            owner, path = now.stage_subgraph, ("stages", str(now.stage), "shared")
        holder = now.draft.register(owner, "shared", ModuleList())
        assert isinstance(holder, ModuleList)
        return holder, path

    def _whole_or_members(self, once: Once, path: _Path, node: e.Node) -> None:
        """Raises SpecError if a list of `shared:` is applied as a whole and by its members: that would be two sets of weights."""
        by_members = "." in once.name
        if self._by_members.setdefault(path, by_members) != by_members:
            name = path[-1]
            hint = f"apply its members each time: `[x >> f for f in {name}]`"
            raise error(f"the shared list '{name}' is applied as a whole and by its members", node.span, hint)

    def mark(self) -> Callable[[], None]:
        """Returns a function that forgets what is first used after this call."""
        tables: tuple[dict[_Path, Any], ...] = (self._names, self._by_members, self._first_inputs, self._uses)
        sizes = [len(table) for table in tables]

        def undo() -> None:
            for table, size in zip(tables, sizes, strict=True):
                for key in list(islice(reversed(table), len(table) - size)):
                    del table[key]

        return undo


def _sort(children: dict[str, Any]) -> None:
    """Orders the members of a list by their numbers."""
    last = list(islice(reversed(children), 2))
    if len(last) < 2 or int(last[0]) > int(last[1]):  # the new one is the last already
        return
    ordered = sorted(children.items(), key=lambda item: int(item[0]))
    children.clear()
    children.update(ordered)
