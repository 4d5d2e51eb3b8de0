"""Results of the front that are known: in memory for this process, on disk for the next (:mod:`metablock.cache`).

A result is known by all that goes in: metablock itself; the name in the catalogue, or a file's path and text; variant, edits,
classes, input, caps; the method's name, or its path and text; the names of custom operators. What uses a custom operator, whose
code may change, is not kept, and neither is an error.
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from .. import cache
from ..language.arithmetic import is_whole
from ..language.plugins import installed
from ..language.registry import custom_operators
from ..language.spec import Spec
from ..language.yaml import Limits
from ..shape import Feature
from .ir import Subgraph, module_nodes
from .pause import collector_paused
from .record import UnwritableError, dumps, loads

KIND = "front"
# Results in memory, the latest last.
_KEPT: OrderedDict[AnswerKey, tuple[Spec, Subgraph, Any]] = OrderedDict()
MAX_KEPT = 32
_LOCK = Lock()


class AnswerKey(NamedTuple):
    """What a result is known by: the question; and of a spec that was read from a text, its id, which only this process knows."""

    question: str
    spec: int | None


def key_of(
    source: object, variant: object, edits: object, classes: object, input: object, large: bool, method: object
) -> AnswerKey | None:
    """The key of a call of :func:`metablock.front.front`; None for one whose result is not kept."""
    installed()
    own = source if isinstance(source, Spec) else None
    if own is not None and own.resolved:
        return None  # most are made for one question: another size, another cell of a study
    changes = [edits] if isinstance(edits, str) else list(edits) if isinstance(edits, (list, tuple)) else None
    size = input if input is None or isinstance(input, str) else _numbers(input)
    if (
        changes is None
        or not all(type(edit) is str for edit in changes)
        or not (variant is None or type(variant) is str)
        or not (classes is None or (type(classes) is int and is_whole(classes)))
        or (size is None and input is not None)
    ):
        return None
    texts = [[""] if own is not None else _text(source), [] if method is None else _text(method)]
    if None in texts:
        return None
    custom = custom_operators()
    if custom:
        words = set(re.findall(r"\w+", json.dumps([texts, changes])))
        if any(operator.name in words for operator in custom):
            return None
    known = [[operator.name, operator.module, operator.attribute] for operator in custom]
    question = json.dumps([texts, variant, changes, classes, size, large, known])
    return AnswerKey(question, None if own is None else id(own))


def recall(key: AnswerKey | None) -> tuple[Spec, Subgraph] | None:
    """The result that is known by a key, or None."""
    if key is None:
        return None
    with _LOCK:
        if key in _KEPT:
            _KEPT.move_to_end(key)
            return _KEPT[key][:2]
    place = _place(key)
    data = None if place is None else cache.load(KIND, place)
    if data is None:
        return None
    try:
        with collector_paused():
            result = loads(data)
    except ValueError:
        return None
    if not _is_own(result[1]):
        return None
    _keep(key, result, None)
    return result


def remember(key: AnswerKey | None, source: object, spec: Spec, ir: Subgraph) -> None:
    """Keeps a result under the key of its call, in memory and on disk."""
    if key is None or not _is_own(ir):
        return
    _keep(key, (spec, ir), source if key.spec is not None else None)
    place = _place(key)
    if place is not None and cache.folder() is not None:
        with suppress(UnwritableError):
            cache.store(KIND, place, dumps(spec, ir))


def forget() -> None:
    """Forgets all results in memory.

    >>> forget()
    """
    with _LOCK:
        _KEPT.clear()


def _keep(key: AnswerKey, result: tuple[Spec, Subgraph], source: object) -> None:
    with _LOCK:
        _KEPT[key] = (*result, source)  # the source stays, so that its id stays its own
        while len(_KEPT) > MAX_KEPT:
            _KEPT.popitem(last=False)


def _is_own(ir: Subgraph) -> bool:
    """Whether all modules of a network are metablock's."""
    return all(node.module.startswith("metablock.") for _, node in module_nodes(ir))


def _place(key: AnswerKey) -> str | None:
    """The key on disk."""
    code = cache.fingerprint() if key.spec is None else None
    return None if code is None else cache.digest(code, key.question)


def _text(source: object) -> list[str] | None:
    """What a source says: the name of a shipped one, the path and the text of a file; None for another, or one without a text."""
    if isinstance(source, str) and not ("/" in source or source.endswith((".yaml", ".yml"))):
        return [source]
    if not isinstance(source, (str, Path)):
        return None
    path, most = os.fspath(source), Limits().size
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > most:
            return None
        with open(path, "rb") as file:
            return [path, file.read(most + 1).decode()]
    except (OSError, ValueError):
        return None


def _numbers(size: object) -> list[int] | None:
    """The numbers of an input size; None for what is none."""
    if isinstance(size, Feature):
        return None
    if isinstance(size, Sequence) and not isinstance(size, (bytes, bytearray, memoryview)) and all(type(n) is int for n in size):
        return list(size)
    return None
