"""Checkpoints: files with weights, and the networks in what training scripts save."""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import MetablockError
from ..operators.tables import GRIDS, METHOD, Grid

# Entries under which training scripts save the weights, and prefixes that wrappers add to every name; the first come first.
_ENTRIES = ("state_dict", "model", "model_state_dict", "module", "net", "network", "params", "weights")
_PREFIXES = ("", "module", "_orig_mod", "model", "net", "network")
_AVERAGED = {"ema", "average", "averaged", "avg", "swa", "polyak"}
# Parts of a checkpoint that have a tensor for each weight, and are none: their names hold all words of one of these.
_STATISTICS = ({"grad"}, {"grads"}, {"sq"}, {"square"}, {"fisher"}, {"hessian"}, {"exp", "avg"}, {"momentum", "buffer"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # model, EMA in modelEMA
_DEPTH = 4  # levels of entries
_MOST_PARTS = 10_000
_TORCH = (".pth", ".pt", ".bin", ".ckpt", ".tar")
# Files in the archives of torch.jit and torch.export.
_PROGRAM = ("/constants.pkl", "/archive_format", "/models/model.json")
_HEADER = 100_000_000  # bytes of a .safetensors file's header, as its reader allows


class Tensors(dict[str, Any]):
    """The tensors of a .safetensors file by name, with the grids on which its tables lie and the text of the method that trained
    them, if it says so."""

    def __init__(self, content: Mapping[str, Any], grids: Mapping[str, tuple[Grid, ...]], method: str = ""):
        super().__init__(content)
        self.grids, self.method = grids, method


@dataclass(frozen=True)
class Part:
    """A mapping from names to tensors, at a path of a checkpoint's entries.

    Attributes:
        path: the entries that lead to it; empty for the checkpoint itself.
        tensors: the tensors by name.
        others: the names of what is no tensor.
        grids: the grids on which its tables lie, by name, if it says so.
    """

    path: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    others: tuple[str, ...] = ()
    grids: Mapping[str, tuple[Grid, ...]] = field(default_factory=dict)

    def below(self, prefix: str) -> Part:
        """The part whose names begin with a prefix, without it."""
        if not prefix and not self.grids:
            return self
        names = {name: name.removeprefix(prefix) for name in self.tensors if name.startswith(prefix)}
        grids = {short: grid for name, short in names.items() if (grid := self._grids(name, short))}
        others = tuple(name.removeprefix(prefix) for name in self.others)
        return Part(self.path, {short: self.tensors[name] for name, short in names.items()}, others, grids)

    def _grids(self, name: str, short: str) -> tuple[Grid, ...] | None:
        """What is said of a tensor, also where its name gained or lost a prefix after it was said."""
        if name in self.grids or short in self.grids:
            return self.grids.get(name) or self.grids.get(short)
        longer = {grids for key, grids in self.grids.items() if key.endswith(f".{short}")}
        return longer.pop() if len(longer) == 1 else None

    def rank(self, prefix: str) -> tuple[int, int, int]:
        """The order in which parts are taken where several fit: averaged weights, then by entries and prefixes."""
        where = [*self.path, *prefix.strip(".").split(".")]
        if any(_words(name) & _AVERAGED and not is_statistic(name) for name in where):
            return 0, 0, 0
        entries = [_ENTRIES.index(word) if word in _ENTRIES else len(_ENTRIES) for word in self.path]
        prefixes = [_PREFIXES.index(word) if word in _PREFIXES else len(_PREFIXES) for word in prefix.strip(".").split(".")]
        return 1, max(entries, default=-1), max(prefixes)

    def shown(self, prefix: str) -> str:
        """How a report names this part: the entry, and the prefix of the names."""
        path = ".".join(self.path)
        return " ".join(([f"'{path}'"] if path else []) + ([f"the names after '{prefix}'"] if prefix else []))


def parts(content: Mapping[Any, Any]) -> Iterator[Part]:
    """All mappings of a checkpoint that hold tensors by name, outer ones first. What holds itself is entered once.

    >>> [part.path for part in parts({"epoch": 3, "model": {"fc.bias": torch.zeros(2)}})]
    [('model',)]
    """
    waiting: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), content)]
    entered: set[int] = set()
    while waiting and len(entered) < _MOST_PARTS:
        path, mapping = waiting.pop(0)
        if id(mapping) in entered:
            continue
        entered.add(id(mapping))
        tensors = {name: value for name, value in mapping.items() if isinstance(name, str) and isinstance(value, Tensor)}
        if tensors:
            others = tuple(str(name) for name in mapping if name not in tensors)
            yield Part(path, tensors, others, stated_grids(mapping))
        if len(path) < _DEPTH:
            waiting += [
                ((*path, str(name)), value)
                for name, value in mapping.items()
                if isinstance(value, Mapping) and "optim" not in str(name).lower() and not is_statistic(str(name))
            ]


def is_statistic(name: str) -> bool:
    """Whether an entry, or a prefix of names, is called as what has a number for each weight and is none.

    >>> [is_statistic(name) for name in ("exp_avg_sq", "fisherAvg", "modelEMA", "momentum_encoder")]
    [True, True, False, False]
    """
    words = _words(name)
    return any(these <= words for these in _STATISTICS)


def _words(name: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(name)}


def stated_grids(mapping: Mapping[Any, Any]) -> dict[str, tuple[Grid, ...]]:
    """The grids on which a state dict says that its tables lie, by name; those that are none are left out."""
    if isinstance(mapping, Tensors):
        return dict(mapping.grids)
    about = getattr(mapping, "_metadata", None)
    result: dict[str, tuple[Grid, ...]] = {}
    for path, entry in about.items() if isinstance(about, Mapping) else ():
        if isinstance(entry, Mapping) and GRIDS in entry:
            result |= {f"{path}.{name}" if path else name: grids for name, grids in _read_grids(entry[GRIDS]).items()}
    return result


def stated_method(mapping: Mapping[Any, Any]) -> str:
    """The text of the method whose network a state dict belongs to; empty for another one."""
    if isinstance(mapping, Tensors):
        return mapping.method
    about = getattr(mapping, "_metadata", None)
    entry = about.get("", {}) if isinstance(about, Mapping) else {}
    text = entry.get(METHOD, "") if isinstance(entry, Mapping) else ""
    return text if isinstance(text, str) else ""


def read_state(path: str | Path) -> dict[str, Any]:
    """Reads a state dict from a ``.safetensors`` file or one that torch wrote (``.pth``). Only data is read; no code runs.

    Of the checkpoint of a training script, it is the averaged weights if there are some, otherwise the weights.

    Raises:
        MetablockError: no such file; a damaged one; one that holds code, or no mapping.
    """
    content = read_checkpoint(path)
    part = weights_in(content)
    if part is None:
        return {str(name): value for name, value in content.items()}
    others: Mapping[Any, Any] = content
    for entry in part.path:
        others = next(value for name, value in others.items() if str(name) == entry)
    return {**part.tensors, **{str(name): value for name, value in others.items() if not isinstance(value, Tensor)}}


def weights_in(content: Mapping[Any, Any]) -> Part | None:
    """The part of a checkpoint that holds its weights, without wrappers' prefixes: averaged ones before others, then the most.

    >>> weights_in({"epoch": 3, "model": {"module.fc.bias": torch.zeros(2)}}).tensors.keys()
    dict_keys(['fc.bias'])
    """
    most = max(parts(content), key=lambda part: (-part.rank("")[0], len(part.tensors)), default=None)
    if most is None:
        return None
    names = list(most.tensors)
    prefix = ""
    while (
        head := next((p for p in ("module.", "_orig_mod.") if any(n.startswith(prefix + p) for n in names)), None)
    ) is not None:
        prefix += head
    return most.below(prefix)


def read_checkpoint(path: str | Path) -> Mapping[Any, Any]:
    """The content of a file with weights, as its writer nested it. Only data is read; no code runs.

    Raises:
        MetablockError: no such file; a damaged one; one of another kind; one that holds code, or no mapping.
    """
    path = Path(path)
    kind = _kind(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: Any = (
                _safetensors(path) if kind == "safetensors" else torch.load(path, map_location="cpu", weights_only=True)
            )
    except Exception as problem:
        code = isinstance(problem, pickle.UnpicklingError) and re.search("GLOBAL|allowlisted", str(problem))
        remedy = "save it anew as `state_dict()` or .safetensors"
        if not code:
            raise _damaged(path, remedy) from None
        message = f"{path}: holds more than data (code in it was not run)"
        raise MetablockError(message, f"nothing was loaded; {remedy}") from None
    if not isinstance(content, Mapping):
        message = f"{path}: holds a {type(content).__name__}, not a state dict"
        raise MetablockError(message, "a mapping from names to tensors is expected")
    return content


def whole(path: Path) -> bool:
    """Whether a file with weights has its end, as far as its format tells without reading it."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith(b"PK"):
            return zipfile.is_zipfile(path)
        size = path.stat().st_size
        if _is_safetensors(path):
            (length,) = struct.unpack("<Q", head)
            with path.open("rb") as file:
                file.seek(8)
                header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return size >= 8 + length + max(ends, default=0)
        return size > 0 and not is_page(path)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False


def is_page(path: Path) -> bool:
    """Whether a file begins as HTML or XML does."""
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") and not _is_safetensors(path)


def _kind(path: Path) -> str:
    """The format of a file by its content. Raises MetablockError for one that holds no weights, or is called as another."""
    try:
        if not path.is_file():
            problem = "not a file" if path.exists() else "no such file"
            raise MetablockError(f"{path}: {problem}", "give a .safetensors or .pth file")
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as wrong:
        raise MetablockError(f"{path}: cannot be read: {wrong.strerror}", "give a .safetensors or .pth file") from None
    if not head:
        raise _damaged(path, "the file is empty")
    kind = "safetensors" if _is_safetensors(path) else "torch"
    names = _zipped(path) if head.startswith(b"PK") else []
    if any(name.endswith(_PROGRAM) for name in names):
        raise MetablockError(f"{path}: holds a program, not weights", "save its weights: `state_dict()` or .safetensors")
    if path.suffix == ".safetensors" and kind != "safetensors":
        pickled = bool(names) or head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04"))
        raise _damaged(path, "torch wrote it: rename it to .pth" if pickled else "fetch or save it again")
    if path.suffix in _TORCH and kind == "safetensors":
        raise _damaged(path, "if it is a .safetensors file, rename it")
    return kind


def _damaged(path: Path, remedy: str) -> MetablockError:
    return MetablockError(f"{path}: damaged, or not a checkpoint", f"nothing was loaded; {remedy}")


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] <= _HEADER


def _zipped(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def _safetensors(path: Path) -> Tensors:
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, "pt") as file:
        about = dict(file.metadata() or {})
    try:
        grids = _read_grids(json.loads(about.get(GRIDS, "{}")))
    except ValueError:
        grids = {}
    return Tensors(load_file(path), grids, about.get(METHOD, ""))


def _read_grids(entry: object) -> dict[str, tuple[Grid, ...]]:
    """The grids in what a checkpoint says of its tables. What has another form says nothing."""
    result: dict[str, tuple[Grid, ...]] = {}
    for name, grids in entry.items() if isinstance(entry, Mapping) else ():
        rows = [tuple(grid) if isinstance(grid, (list, tuple)) else () for grid in (grids if isinstance(grids, list) else ())]
        if rows and all(grid and all(type(n) is int and n > 0 for n in grid) for grid in rows):
            result[str(name)] = tuple(rows)
    return result


__all__ = [
    "Part",
    "Tensors",
    "is_page",
    "is_statistic",
    "parts",
    "read_checkpoint",
    "read_state",
    "stated_grids",
    "stated_method",
    "weights_in",
    "whole",
]
