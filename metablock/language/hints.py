"""Hints for unknown names: the nearest name that exists, or what the language has in place of another library's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import MAX_OPTIONS, MAX_WORD, nearest, suggest
from .budget import spend
from .elsewhere import argument_here, called_here, plain


def hint_for(name: str, own: Iterable[str], others: Iterable[str], otherwise: str) -> str:
    """The hint for an unknown name.

    Args:
        name: the unknown name.
        own: the names that the person bound, which come first.
        others: operators, standard bindings, words of the language.
        otherwise: the hint where no name is near, and no other library's is known.

    >>> hint_for("atention", [], ["attention", "pool"], ""), hint_for("identity", [], ["id", "pool"], "")
    ("did you mean 'attention'?", "did you mean 'id'?")
    >>> hint_for("swsh", ["swish"], ["silu"], "")
    "did you mean 'swish'?"
    """
    if name == "_":
        return "`_` discards a value: give the value a name to read it"
    own, others = list(own), list(others)
    spend(10 + (2 + len(name[:MAX_WORD]) // 4) * min(len(own) + len(others), MAX_OPTIONS))
    same = next((other for other in (*own, *others) if plain(other) == plain(name)), None)
    near = same if same is not None else nearest(name, own)
    if near is not None:
        return f"did you mean '{near}'?"
    return called_here(name) or suggest(name, others, otherwise) or otherwise


def hint_for_argument(name: str, takes: Sequence[str], otherwise: str) -> str:
    """The hint for an argument that an operator or binding does not have; ``takes`` are those that it has.

    >>> hint_for_argument("kernl", ["out", "kernel"], ""), hint_for_argument("kernel_size", ["out", "kernel"], "")
    ("did you mean 'kernel'?", "did you mean 'kernel'?")
    """
    spend(3 * min(len(takes), MAX_OPTIONS))
    return argument_here(name, takes) or suggest(name, takes, otherwise) or otherwise
