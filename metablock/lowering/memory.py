"""Remembers the values of bindings, so that ``b: a + a``, ``c: b + b`` ... costs a step a line and not twice the line before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..language.scope import Scope
from ..language.spec import Binding


class Memory:
    """The values of bindings without arguments, by the words of the language that they were computed from.

    A binding's value depends only on the words that its evaluation reads (`c`, `stage`, `layer` ...): it sees neither
    parameters nor wires of its caller. Modules are not remembered, for they are read again where they are used.

    Args:
        word: the present value of a word, in a scope.

    >>> from metablock.language.ast import Header, Number
    >>> memory, binding = Memory(lambda word, scope: scope.c), Binding(Header("n"), Number(0))
    >>> memory.find(binding, Scope(c=8))
    (False, None)
    >>> with memory.computing(binding, Scope(c=8)) as result:
    ...     memory.reads("c")
    ...     result.append(16)
    >>> memory.find(binding, Scope(c=8)), memory.find(binding, Scope(c=4))
    ((True, 16), (False, None))
    """

    def __init__(self, word: Callable[[str, Scope], Any]):
        self._word = word
        self._reads: set[str] = set()
        # By the binding's id: the binding, which keeps its id its own; by words, by their values: the binding's value.
        self._known: dict[int, tuple[Binding, dict[tuple[str, ...], dict[tuple[Any, ...], Any]]]] = {}

    def reads(self, word: str) -> None:
        """Notes that the value which is being computed depends on a word."""
        self._reads.add(word)

    def find(self, binding: Binding, scope: Scope) -> tuple[bool, Any]:
        """Whether the value of a binding is known where it is used in this scope, and the value."""
        for words, values in self._known[id(binding)][1].items() if id(binding) in self._known else ():
            now = self._values(words, scope)
            if now in values:
                self._reads.update(words)
                return True, values[now]
        return False, None

    @contextmanager
    def computing(self, binding: Binding, scope: Scope) -> Iterator[list[Any]]:
        """Notes which words are read in the `with` block, which computes the value of a binding and puts it into the list."""
        outer, self._reads = self._reads, set()
        result: list[Any] = []
        try:
            yield result
        finally:
            words = tuple(sorted(self._reads))
            outer.update(words)
            self._reads = outer
        if _plain(result[0]):
            _, by_words = self._known.setdefault(id(binding), (binding, {}))
            by_words.setdefault(words, {})[self._values(words, scope)] = result[0]

    def _values(self, words: tuple[str, ...], scope: Scope) -> tuple[Any, ...]:
        return tuple(self._word(word, scope) for word in words)


def _plain(value: Any) -> bool:
    """Whether a value is made of numbers and words alone."""
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, (int, float, str))
