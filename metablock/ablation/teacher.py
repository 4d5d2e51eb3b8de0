"""The digest of a teacher: its weights, and what it computes with them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import torch
from torch import nn

from ..backend.block import Block
from ..front import Front
from ..language.format import spec_hash
from .digest import add
from .identity import code_of

_PLAIN = (bool, int, float, str, type(None), torch.dtype)


def teacher_digest(teacher: nn.Module | None) -> str:
    """A digest of a teacher: its weights and buffers by name, and its architecture; empty for None.

    The architecture of a metablock network is its resolved spec and the source of its operators. Of any other module it is what
    ``repr`` shows, and of each of its parts the source of its class and the plain values and functions among its attributes.

    >>> relu, gelu = nn.Sequential(nn.ReLU()), nn.Sequential(nn.GELU())
    >>> teacher_digest(relu) == teacher_digest(gelu), teacher_digest(None)
    (False, '')
    """
    if teacher is None:
        return ""
    total = sha256()
    add(total, dict(sorted(teacher.state_dict().items())))
    spec, ir = getattr(teacher, "spec", None), getattr(teacher, "ir", None)
    if isinstance(teacher, Block) and spec is not None and ir is not None:
        code = {name: digest for name, digest in code_of(Front(spec, ir)).items() if name != "training"}
        add(total, [spec_hash(spec), json.dumps(code, sort_keys=True)])
    # Parts of a metablock network may have been replaced, too.
    add(total, list(_described(teacher)))
    return total.hexdigest()


def _described(model: nn.Module) -> Iterator[Any]:
    ours = isinstance(model, Block)
    if not ours and type(model).__repr__ is not object.__repr__:
        yield repr(model)
    for name, part in model.named_modules():
        kind = type(part)
        yield [name, kind.__qualname__, part.source if isinstance(part, Block) else _source(kind)]
        if isinstance(part, Block):
            continue
        values = {key: _plain(value) for key, value in sorted(vars(part).items()) if not key.startswith("_")}
        yield {key: value for key, value in values.items() if value is not None and key != "training"}
    if not ours:
        stored = set(model.state_dict())
        yield {name: value for name, value in sorted(model.named_buffers()) if name not in stored}


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # defined in a shell
        return ""


def _plain(value: object) -> str | None:
    """A value as text that is the same in every process; None for one without."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, tuple | list):
        texts = [_plain(item) for item in value]
        return None if None in texts else repr(texts)
    name = getattr(value, "__qualname__", None)
    return f"{getattr(value, '__module__', '')}.{name}" if callable(value) and isinstance(name, str) else None
