"""The token mixers of a network: operators that exchange information between positions. Reads the spec, builds nothing."""

from __future__ import annotations

from collections.abc import Iterator

from ..language import ast as e
from ..language.spec import Binding, Spec

# Operators and standard bindings that mix positions with any arguments ...
MIXING = {
    "agent_attention", "attention", "avg_pool", "deform_conv", "deformable", "dw", "dw_bn", "dynamic_conv",
    "hifi", "hilo", "lofi", "max_pool", "mixture_conv", "pool", "sample", "transposed",
}  # fmt: skip
# ... and those that do where their kernel, the second argument or `k`, is larger than one.
CONVOLUTIONS = {"conv", "conv_bn", "std_conv"}
# Operators that restrict where their argument mixes: shown together with it.
AROUND = {"window"}
_ABSENT = ("none", "id")


def mixers(spec: Spec) -> list[str]:
    """The token mixers of a resolved spec, each once, in order: those of its `token` slot, or, without one, of its blocks.

    >>> from metablock.front import resolved
    >>> mixers(resolved("swin_tiny")), mixers(resolved("caformer_s18"))
    (['window(attention)'], ['dw', 'attention'])
    """
    finder = _Finder(spec)
    if "token" in finder.bindings:
        names = [name for value in _values(finder.bindings["token"].body) for name in finder.of_slot(value)]
    else:
        body = spec.columns.get("body")
        roots = [body.body] if body else [spec.sections["model"]] if "model" in spec.sections else []
        names = [name for root in roots for name in finder.find(root)]
    distinct = list(dict.fromkeys(names))
    return [name for name in distinct if name not in _ABSENT] or distinct


def _values(node: e.Node) -> list[e.Node]:
    return list(node.items) if isinstance(node, e.List) else [node]


class _Finder:
    def __init__(self, spec: Spec):
        self.bindings: dict[str, Binding] = {**spec.let, **spec.columns, **spec.shared, **spec.stage_shared}
        self.open: list[str] = ["token"]

    def of_slot(self, value: e.Node) -> list[str]:
        """The mixers of one value of the slot; where it has none, the name it begins with, or ``other``."""
        return list(self.find(value)) or [head for head in [_head(value)] if head] or ["other"]

    def find(self, node: e.Node) -> Iterator[str]:
        """The mixers of an expression; the spec's own bindings are followed."""
        name = _head(node)
        if name is None:
            for child in e.children(node):
                yield from self.find(child)
            return
        if name in self.bindings and name not in self.open:
            self.open.append(name)
            yield from self.find(self.bindings[name].body)
            self.open.pop()
        elif name in AROUND:
            inner = list(self._arguments(node))
            yield f"{name}({', '.join(dict.fromkeys(inner))})"
            return
        elif name in MIXING or (name in CONVOLUTIONS and _kernel(node)):
            yield name.removesuffix("_bn")
            return
        yield from self._arguments(node)

    def _arguments(self, node: e.Node) -> Iterator[str]:
        for argument in node.args if isinstance(node, e.Call) else ():
            yield from self.find(argument.value)


def _head(node: e.Node) -> str | None:
    """The name itself, or the name that is called; None for other expressions."""
    if isinstance(node, e.Call) and isinstance(node.func, e.Name):
        return node.func.id
    return node.id if isinstance(node, e.Name) else None


def _kernel(node: e.Node) -> bool:
    if not isinstance(node, e.Call):
        return False
    named = [argument.value for argument in node.args if argument.name == "k"]
    positional = [argument.value for argument in node.args if argument.name is None]
    kernel = next(iter([*named, *positional[1:2]]), None)
    return kernel is not None and kernel != e.Number(1)
