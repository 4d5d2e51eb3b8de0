"""How the steps of a part connect, and whether two parts of equal modules do so alike."""

from __future__ import annotations

from .ir import Child, ModuleCall, ModuleNode, Subgraph, Value, ValueTree, flat_values, free_values, inputs_of, same_computation


def same_wiring(a: Child, b: Child, known: dict[int, list[Value]] | None = None) -> bool:
    """Whether two parts of the same modules and steps also connect them alike: which value goes where, and which is returned.

    ``known`` as for :func:`free_values`.

    >>> from metablock.shape import Feature
    >>> from metablock.lowering.ir import InlineOp
    >>> x, y, z, d = (Value(i, Feature("vector", 8)) for i in range(4))
    >>> a, b = (Subgraph(inputs=(x, y), steps=[InlineOp("{0} - {1}", pair, d)], output=d) for pair in ((x, y), (y, x)))
    >>> same_computation(a, b), same_wiring(a, b), same_wiring(a, a)
    (True, False, True)
    """
    if isinstance(a, ModuleNode) or isinstance(b, ModuleNode):
        return True
    known = {} if known is None else known
    if isinstance(a, Subgraph) and isinstance(b, Subgraph) and _wiring(a, known) != _wiring(b, known):
        return False
    return all(same_wiring(a.children[name], b.children[name], known) for name in a.children)


def same_use(a: Subgraph, b: Subgraph) -> bool:
    """Whether two uses of what is built once call the same modules in the same way. Uses that call none may differ."""
    calls = [[step.child for step in use.steps if isinstance(step, ModuleCall)] for use in (a, b)]
    return calls[0] == calls[1] and (not calls[0] or (same_computation(a, b) and same_wiring(a, b)))


def _wiring(subgraph: Subgraph, known: dict[int, list[Value]]) -> list[object]:
    """What each step reads and what is returned, by numbers in the order in which values come up."""
    numbers = {value.id: number for number, value in enumerate(free_values(subgraph, known))}

    def numbered(tree: ValueTree) -> object:
        if isinstance(tree, dict):
            return {name: numbered(item) for name, item in tree.items()}
        if isinstance(tree, (list, tuple)):
            return [numbered(item) for item in tree]
        return numbers[tree.id] if isinstance(tree, Value) else None

    lines: list[object] = []
    for step in subgraph.all_steps:
        read = [numbers[value.id] for value in inputs_of(subgraph, step, known)]
        for value in flat_values(step.output):
            numbers.setdefault(value.id, len(numbers))
        lines.append((read, numbered(step.output)))
    return [*lines, numbered(subgraph.output), numbered(subgraph.prediction)]
