"""What an unknown name may have meant where it stands: a name of its kind that is near, and leads in no circle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .ast import Parameter
from .budget import spend
from .call_checks import missing
from .hints import hint_for
from .registry import OPERATORS, Operator
from .standard import standard
from .uses import Uses


class Suggestions:
    """Suggestions among the names of one spec.

    Args:
        uses: which names its bindings use.
    """

    def __init__(self, uses: Uses):
        self.uses = uses

    def hint(self, name: str, own: Iterable[str], words: Iterable[str], otherwise: str, *, called: bool) -> str:
        """The hint for an unknown name.

        Args:
            name: the unknown name.
            own: the person's names that may stand in its place.
            words: those of the language.
            otherwise: the hint where nothing is near.
            called: whether it has arguments, as what it is taken for then has.

        >>> from metablock.language.load import load_text
        >>> uses = Uses(load_text("name: net\\ninput: image(3, 32)\\nmodel: pw(8)\\n"))
        >>> Suggestions(uses).hint("gelo", [], ["id"], "", called=False)
        "did you mean 'gelu'?"
        """
        others = [*(other for other, binding in standard().items() if _fits(binding.params, called)), *words]
        others += [other for other, operator in OPERATORS.items() if _takes(operator, called)]
        return hint_for(name, own, others, otherwise)

    def own(self, inside: str | None, *, called: bool) -> Iterator[str]:
        """The person's bindings that may stand in the body of one of them, bare or called, without leading in a circle.

        >>> from metablock.language.load import load_text
        >>> text = "name: net\\ninput: image(3, 32)\\nlet: {a: relu, b: a, d: b}\\nmodel: d\\n"
        >>> [name for name in Suggestions(Uses(load_text(text))).own("b", called=False) if name in "abd"]
        ['a']
        """
        circle = self._leading_to(inside) - standard().keys() if inside else set()
        for name, bindings in self.uses.bindings.items():
            if name not in circle and any(_fits(binding.params, called) for binding in bindings):
                yield name

    def _leading_to(self, name: str) -> set[str]:
        """The bindings that use this one, over others or themselves, and itself."""
        used_by: dict[str, set[str]] = {}
        for user, bindings in self.uses.bindings.items():
            for binding in bindings:
                spend(len(self.uses.of(binding)) // 8)
                for used in self.uses.of(binding):
                    used_by.setdefault(used, set()).add(user)
        leading, todo = set[str](), [name]
        while todo:
            user = todo.pop()
            if user not in leading:
                leading.add(user)
                todo += used_by.get(user, ())
        return leading


def _fits(params: tuple[Parameter, ...], called: bool) -> bool:
    """Whether a binding with these parameters may be called, or may stand without arguments."""
    return bool(params) if called else all(param.default is not None for param in params)


def _takes(operator: Operator, called: bool) -> bool:
    """Whether an operator may be called, or may stand without arguments."""
    return bool(operator.schema.params or operator.schema.variadic) if called else missing(operator, []) is None
