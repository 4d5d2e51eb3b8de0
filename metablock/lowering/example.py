"""The output shape of one expression: what the examples in docstrings print."""

from __future__ import annotations

import re

from ..errors import MetablockError
from ..language.edits import resolve
from ..language.load import load_text
from ..shape import Feature
from .ir import ValueTree
from .network import lower

_EXTENTS = r"\d+(?:x\d+)*"
_MAP = re.compile(rf"(?:map )?(\d+) ?x ?({_EXTENTS})")
_TOKENS = re.compile(rf"tokens (?:(\d+) \+ )?({_EXTENTS}) x (\d+)")
_IDS = re.compile(r"(\d+) ids of (\d+)")
_VECTOR = re.compile(r"vector of (\d+)")


def shape_of(expression: str, input: str = "64x14x14") -> str:
    """The shape of what an expression returns, for one image of a batch. Nothing is allocated.

    Args:
        expression: an expression or a stream, as a spec has it.
        input: the size of a map, ``64x14x14``; or any shape in the words of the result: ``tokens 1 + 14x14 x 64``,
            ``vector of 64``, ``24 ids of 512``.

    Returns:
        ``map c x extents``, ``tokens extents x c``, ``tokens prefix + extents x c``, ``vector of c`` or ``order of n tokens``;
        the shapes of a list stand in brackets, those of named outputs behind their names. Where an image has become several
        windows, their number follows.

    Raises:
        MetablockError: an input that is not a shape. Its subclass SpecError: a problem of the expression.

    >>> shape_of("conv(128, 3, stride=2) >> attention(4)", "64x14x14")
    'tokens 7x7 x 128'
    >>> shape_of("class_token >> attention(4)")
    'tokens 1 + 14x14 x 64'
    >>> shape_of("take(0)", "tokens 1 + 14x14 x 64")
    'vector of 64'
    >>> shape_of("[id, avg_pool(2, stride=2)] >> each(conv(8))")
    '[map 8 x 14x14, map 8 x 7x7]'
    >>> shape_of("windows(7)")
    'tokens 7x7 x 64 in 4 windows'
    """
    return _text(result_of(expression, feature_of(input)))


def result_of(expression: str, input: Feature) -> ValueTree:
    """What an expression returns: a value with its shape, or a list, a dict or None, as :data:`ir.ValueTree` has it.

    Args:
        expression: an expression or a stream, as a spec has it.
        input: what arrives.

    Raises:
        SpecError: a problem of the expression.

    >>> result_of("take(0)", feature_of("64x14x14")).feature.layout
    'vector'
    """
    body = "\n".join(f"  {line}" for line in expression.splitlines())
    spec = load_text(f"name: example\ninput: image(1, 1)\nmodel: |\n{body}\n", "<example>")
    return lower(resolve(spec), input=input).output


def feature_of(text: str) -> Feature:
    """The shape that a text states, as the ``input`` of :func:`shape_of`.

    Raises:
        MetablockError: it states none.

    >>> feature_of("vector of 64").c
    64
    """
    if match := _MAP.fullmatch(text):
        return Feature("map", int(match[1]), _numbers(match[2]))
    if match := _TOKENS.fullmatch(text):
        prefix = int(match[1] or 0)
        return Feature("tokens" if prefix else "grid", int(match[3]), _numbers(match[2]), prefix)
    if match := _VECTOR.fullmatch(text):
        return Feature("vector", int(match[1]))
    if match := _IDS.fullmatch(text):
        return Feature("ids", int(match[2]), (int(match[1]),))
    raise MetablockError(f"'{text}' is not a shape", "write `64x14x14`, `tokens 1 + 14x14 x 64` or `vector of 64`")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def _text(tree: ValueTree) -> str:
    """The shapes of a tree, as text."""
    if isinstance(tree, dict):
        return ", ".join(f"{name}: {_text(member)}" for name, member in tree.items())
    if isinstance(tree, (list, tuple)):
        return f"[{', '.join(map(_text, tree))}]"
    feature: Feature = tree.feature
    return f"{feature} in {feature.windows} windows" if feature.around else str(feature)
