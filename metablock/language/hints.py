"""Hints for unknown names: the nearest name of this language, or what it has in place of another library's."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import MAX_OPTIONS, suggest
from .budget import spend

_LAYOUTS = "operators convert layouts themselves: docs/language.md, section 6"
ABSENT = "the language has no such operator; one of your own is a plug-in: docs/plugins.md"

# Names of other libraries that resemble none of ours, or the wrong one.
_ELSEWHERE = {
    "_": "`_` discards a value: give the value a name to read it",
    **dict.fromkeys(("cat", "concatenate"), "channels are concatenated with `concat(a, b)`, tokens with `join(a, b)`"),
    **dict.fromkeys(("dense", "fc"), "did you mean 'linear'?"),
    "clamp": "did you mean 'clip'?",
    **dict.fromkeys(("coord", "coords", "coordconv", "meshgrid"), "`coordinates` gives a channel an axis"),
    "identity": "did you mean 'id'?",
    **dict.fromkeys(("pow", "square"), "write `a ** 2`"),
    **dict.fromkeys(("rope", "rotary"), "rotary positions are an argument: `attention(heads, rotary=axial)`"),
    **dict.fromkeys(("sincos", "sinusoidal"), "did you mean 'sine'?"),
    "swish": "did you mean 'silu'?",
    **dict.fromkeys(("permute", "rearrange", "reshape", "transpose", "view"), _LAYOUTS),
    **dict.fromkeys(
        (
            "celu", "einsum", "embedding", "geglu", "glu", "gru", "leaky_relu", "lstm", "mish", "pad", "prelu", "rms_norm",
            "roll", "selu", "swiglu",
        ),
        ABSENT,
    ),
}  # fmt: skip


def hint_for(name: str, options: Iterable[str], otherwise: str) -> str:
    """The hint for an unknown name: ``otherwise`` if no name among ``options`` is near, and no other library's is known.

    >>> hint_for("atention", ["attention", "pool"], "")
    "did you mean 'attention'?"
    >>> hint_for("identity", ["id", "pool"], "")
    "did you mean 'id'?"
    """
    options = list(options)
    spend(10 + 3 * min(len(options), MAX_OPTIONS))
    return _ELSEWHERE.get(name) or suggest(name, options, otherwise) or otherwise
