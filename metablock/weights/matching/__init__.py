"""Proposes rules for a foreign checkpoint: from the shapes of its tensors, their order and their names.

``units.py`` groups tensors into layers, ``pairing.py`` pairs them, ``rules.py`` says the pairs in few rules (``numbers.py``: how
their numbers follow from ours).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ...errors import MetablockError
from ...language.spec import Rule, Spec, WeightTable
from ...language.weight_rules import NetworkFacts, read_rules
from ..checkpoint import Part, Tensors, weights_in
from ..ends import class_layers, first_kernels
from ..grids import Tables
from ..loading import network_of
from .pairing import Free, NamePair, Pairing, pair
from .rules import exact, rules_of
from .units import COUNTER


@dataclass(frozen=True)
class Proposal:
    """Rules for a checkpoint.

    Attributes:
        table: to stand under `weights:`.
        pairing: what it rests on.
        ignored: theirs that the table ignores, since all of ours have a partner, or since they are no weights (whole numbers).
        shared: theirs that make several of ours whole, with how many.
        sorted: whether the file keeps names sorted, so that order says nothing.
    """

    table: WeightTable
    pairing: Pairing
    ignored: tuple[str, ...] = ()
    shared: Mapping[str, int] = field(default_factory=dict)
    sorted: bool = False


def propose(model: nn.Module, content: Mapping[Any, Any], spec: Spec, name: str = "theirs") -> Proposal:
    """Rules by which a network may take a foreign checkpoint.

    Args:
        model: built from ``spec``, on any device.
        content: the checkpoint, as :func:`metablock.load_weights` takes it.
        spec: of the network; its `weights:` are not read.
        name: what the table is called.

    Raises:
        MetablockError: a checkpoint without tensors.

    >>> import metablock
    >>> model = metablock.build("resnet18", edits=["depth = [1, 1, 1, 1]"], device="meta")
    >>> state = {name.replace("stem.conv_bn.", "root."): value for name, value in model.state_dict().items()}
    >>> [(rule.ours, rule.theirs) for rule in propose(model, state, model.spec).table.rules][:2]
    [('stem.conv_bn.*', 'root.*'), ('stages.*', 'stages.*')]
    """
    part = weights_in(content)
    if part is None:
        raise MetablockError("the checkpoint holds no tensors", "a mapping from names to tensors is expected")
    own = model.state_dict()
    numbers, others = _weights(part)
    sorted_names = isinstance(content, Tensors) or (len(numbers) > 8 and list(numbers) == sorted(numbers))
    free: dict[str, Free] = {}
    kinds: tuple[tuple[Free, Iterable[str]], ...] = (
        ("channels", first_kernels(model)),
        ("classes", class_layers(model, spec.classes)),
        ("table", Tables(model, spec).tables),
    )
    for kind, ours in kinds:
        free |= dict.fromkeys(ours, kind)
    pairing = pair({key: tuple(value.shape) for key, value in own.items()}, numbers, free, ordered=not sorted_names)
    rules = _checked(pairing.pairs, network_of(model, spec), spec, name)
    ignored = [*others, *(pairing.theirs if not pairing.ours else [])]
    used = [key for one in pairing.pairs for key in one.theirs]
    counts = Counter(key for one in pairing.pairs if "chunk" not in one.whole for key in one.theirs)
    table = WeightTable(name, None, tuple(rules), tuple(_globs(ignored, [*used, *(pairing.theirs if pairing.ours else [])])))
    shared = {key: count for key, count in counts.items() if count > 1}
    return Proposal(table, pairing, tuple(ignored), shared, sorted_names)


def _weights(part: Part) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The shapes of a checkpoint's weights; and what is none, index tables and masks of whole numbers. Counters are neither."""
    numbers, others = dict[str, tuple[int, ...]](), list[str]()
    for name, tensor in part.tensors.items():
        if name.endswith(COUNTER):
            continue
        if tensor.is_floating_point():
            numbers[name] = tuple(tensor.shape)
        else:
            others.append(name)
    return numbers, others


def _checked(pairs: Sequence[NamePair], network: NetworkFacts, spec: Spec, name: str) -> list[Rule]:
    """Rules that are known to give the pairs: merged ones, else plain ones, else one a pair before them."""
    best: list[Rule] = []
    wanted = {one.ours: one for one in pairs}
    for merge in (True, False):
        best = rules_of(pairs, network.blocks, merge)
        rules = read_rules(spec.with_(weights={name: WeightTable(name, None, tuple(best))}), name)
        wrong = []
        for ours, one in wanted.items():
            match = rules.find(ours, network)
            if match is None or tuple(key.fill(match[1]) for key in match[0].keys) != one.theirs:
                wrong.append(one)
        if not wrong:
            return best
    return [*exact(wrong), *best]


def _globs(names: Sequence[str], used: Sequence[str]) -> list[str]:
    """Names as patterns for `ignore:`, as few as stand for none that is used."""
    result: dict[str, None] = {}
    for name in names:
        last = name.rpartition(".")[2]
        end = f".{last}"
        if "." in name and not any(other.endswith(end) for other in used):
            result.setdefault(f"*{end}")
        else:
            result.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) if not _numbered(name, used) else name)
    return list(result)


def _numbered(name: str, used: Sequence[str]) -> bool:
    """Whether a name is like a used one but for its numbers."""
    form = re.sub(r"\d+", "#", name)
    return any(re.sub(r"\d+", "#", other) == form for other in used)


__all__ = ["Proposal", "propose"]
