"""Decides the names of parameters; nothing else does.

Levels of a name come from slots, argument names and wire targets. An operator in a chain adds its own name; an expression that is
only a name or one call adds none, nor do the composite operators marked `inline`. A name that occurs more than once in a text is
numbered in the order of the text, including occurrences that are not built: so the two sides of a choice have the same names in
every block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from keyword import kwlist

from . import ast as e
from .budget import spend
from .standard import BUILTIN, NUMERIC

# Attributes that torch modules have already (a test compares), and Python's keywords: a part of this name gets an underscore.
_TAKEN = """
    _any_size _apply _backward_hooks _backward_pre_hooks _buffers _call_impl _call_with_ids _check_inputs _check_traced
    _check_unseen _compiled_call_impl _forward_hooks _input_sizes _loops _narrow _plain _sizes
    _forward_hooks_always_called _forward_hooks_with_kwargs _forward_pre_hooks _forward_pre_hooks_with_kwargs
    _get_backward_hooks _get_backward_pre_hooks _get_name _is_full_backward_hook _linked _links _load_from_state_dict
    _load_state_dict_post_hooks _load_state_dict_pre_hooks _maybe_warn_non_full_backward_hook _misfit _modules _named_members
    _non_persistent_buffers_set _parameters _register_load_state_dict_pre_hook _register_state_dict_hook
    _replicate_for_data_parallel _save_to_state_dict _slow_forward _state_dict_hooks _state_dict_pre_hooks _version
    _wrapped_call_impl
    T_destination add_module apply bfloat16 buffers call_super_init check_sizes children
    clear collapsed compile cpu cuda double dump_patches
    enter eval extra_repr feature_info float forward get_buffer get_extra_state get_parameter get_submodule half
    inputs ipu ir
    items key keys level links load_state_dict loaded modules mtia named_buffers named_children named_modules named_parameters
    parameters pop region routed_share register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
    register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory smart_apply source spec
    state_dict text texts to to_empty train training tuned type update values whole xpu zero_grad
"""
_PYTHONS = "__annotations__ __call__ __dict__ __getattr__ __getstate__ __module__ __setstate__ __weakref__"  # of a module's class
TAKEN = frozenset([*_TAKEN.split(), *kwlist, *dir(object), *_PYTHONS.split()])


@dataclass(frozen=True)
class Label:
    """A name and its number, if the name occurs more than once."""

    name: str
    number: int | None = None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name}{self.number}"

    def plural(self) -> str:
        """The name of a module list: ``blocks``, ``blocks2``."""
        return self.name + "s" if self.number is None else f"{self.name}s{self.number}"


def labels(root: e.Node, inline: Callable[[str], bool]) -> dict[int, Label]:
    """The labels of one slot's expression, by the ``id`` of the node that each belongs to.

    Args:
        root: the expression.
        inline: whether the composite operator of this name adds no level.

    >>> from metablock.language.parser import expression
    >>> [str(label) for label in labels(expression("conv(8) >> norm >> conv(8)"), lambda name: False).values()]
    ['conv1', 'norm', 'conv2']
    """
    occurrences = list(_occurrences(root, inline))
    spend(len(occurrences), root.span)
    total = Counter(name for _, name in occurrences)
    seen: Counter[str] = Counter()
    result: dict[int, Label] = {}
    for node, name in occurrences:
        seen[name] += 1
        result[id(node)] = Label(name, seen[name] if total[name] > 1 else None)
    return result


def target(names: tuple[str, ...]) -> str:
    """The label of a stream's line, from the names that it assigns; ``_`` discards a value and is left out.

    >>> target(("x",)), target(("q", "k", "v")), target(("query", "key")), target(("y", "_"))
    ('x', 'qkv', 'query_key', 'y')
    """
    names = tuple(name for name in names if name != "_") or names
    return ("" if all(len(name) == 1 for name in names) else "_").join(names)


def _occurrences(node: e.Node, inline: Callable[[str], bool]) -> Iterator[tuple[e.Node, str]]:
    match node:
        case e.Name(id=name):
            if name not in BUILTIN and name not in NUMERIC:
                yield node, name
        case e.Call(func=e.Name(id=name), args=args):
            if not inline(name):
                yield node, name
                return
            for argument in args:
                if argument.name is None:
                    yield from _occurrences(argument.value, inline)
                else:
                    yield argument.value, argument.name
        case e.Index(base=e.Name(id=name)):
            yield node, name
        case e.Index(base=e.Call(func=e.Name(id=name))) if not inline(name):
            yield node, name
        case e.Index(base=base):
            yield from _occurrences(base, inline)
        case e.Conditional(then=then, other=other):
            yield from _occurrences(then, inline)
            yield from _occurrences(other, inline)
        case e.Comprehension(item=item):
            yield from _occurrences(item, inline)
        case e.StreamBody(lines=lines, outputs=outputs):
            for line in lines:
                if line.word != "let":  # a recipe is named where it is used
                    yield line.value, target(line.targets)
            wires = {name for line in lines if line.word != "let" for name in line.targets}
            for output in outputs:
                yield from (pair for pair in _occurrences(output, inline) if not _is_wire(pair[0], wires))
        case e.Attribute():
            return
        case _:
            for child in e.children(node):
                yield from _occurrences(child, inline)


def _is_wire(node: e.Node, wires: set[str]) -> bool:
    """Whether the node reads a wire: a value, which builds no module and needs no name."""
    name = node.base if isinstance(node, e.Index) else node
    return isinstance(name, e.Name) and name.id in wires


class ParamNames:
    """The labels of all texts that were read so far. ``inline`` says of an operator's name whether it adds no level."""

    def __init__(self, inline: Callable[[str], bool]):
        self._inline = inline
        self._labels: dict[int, Label] = {}
        self._read: set[int] = set()
        self._held: list[e.Node] = []  # nodes are known by identity: those that were read stay alive

    def read(self, node: e.Node) -> None:
        """Decides the labels of everything in the text of one slot, once."""
        if id(node) not in self._read:
            self._read.add(id(node))
            self._held.append(node)
            self._labels |= labels(node, self._inline)

    def known(self, node: e.Node) -> Label | None:
        """The label of an occurrence in a text that was read."""
        return self._labels.get(id(node))

    def of(self, node: e.Node, otherwise: str = "part") -> Label:
        """The label of an occurrence, or this name."""
        return self.known(node) or Label(otherwise)
