"""Writes built networks to files, one function per suffix. A file is written completely or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ..backend.block import Block
from ..errors import MetablockError, suggest
from ..files import replacing, target_of
from ..language.weight_rules import OURS
from ..operators.tables import GRIDS, METHOD, grids_of
from ..weights.export_names import LAYOUT, layout
from .standalone import standalone
from .torch_export import check_onnx, write_onnx, write_pt2


def check_output(path: str | Path, dynamic: Sequence[str] = ()) -> Path:
    """Returns the path if a network can be written to it. Call it before any work is done.

    Raises:
        MetablockError: a directory, an unknown suffix, no such folder, no permission, a missing package, open sizes in a file
            that has none.
    """
    path = Path(path)
    if path.is_dir():
        raise MetablockError(f"{path}: is a directory", "name a file in it")
    if path.suffix not in WRITERS:
        hint = suggest(path.suffix, WRITERS, f"known: {', '.join(WRITERS)}")
        raise MetablockError(f"{path}: cannot write '{path.suffix or path.name}' files", hint)
    if not path.parent.is_dir():
        raise MetablockError(f"{path}: there is no folder '{path.parent}'", "make it first")
    if dynamic and path.suffix not in SIZED:
        raise MetablockError(f"{path}: sizes are open in a {path.suffix} file", f"--dynamic is for {' and '.join(SIZED)}")
    if path.suffix == ".onnx":
        check_onnx()
    try:
        target_of(path)
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as problem:
        raise MetablockError(f"{path}: cannot write there: {problem.strerror}", "name another folder") from None


def write(model: Block, path: str | Path, *, dynamic: Sequence[str] = ()) -> str:
    """Writes a network in the format of the path's suffix.

    ========================  =====================================================================================
    ``.safetensors``          the weights; the resolved spec and its hash in the metadata
    ``.py``                   the architecture as one readable file of plain PyTorch (:func:`metablock.standalone`)
    ``.pt2``                  a program of ``torch.export`` in evaluation mode, weights included
    ``.onnx``                 the same for onnxruntime and others (from a checkout: ``pip install '.[onnx]'``)
    ========================  =====================================================================================

    The last two are reloaded and compared with the model before they take the path's place.

    Args:
        model: from :func:`metablock.build`; it does not change.
        path: the file; an existing one is replaced.
        dynamic: the sizes to leave open in ``.pt2`` and ``.onnx``, of ``batch``, ``height``, ``width`` (``length`` of a signal,
            ``depth`` of a volume).

    Returns:
        How close the reloaded file is to the model, in one line; empty for the first two formats.

    Raises:
        MetablockError: the file cannot be written. No new file is left, and an existing one is unchanged.

    >>> import metablock, tempfile
    >>> from metablock.language.load import load_text
    >>> model = metablock.build(load_text("name: net\\ninput: image(3, 8)\\nmodel: conv(4, 3)"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     metablock.write(model, f"{folder}/net.safetensors")
    ''
    """
    path = check_output(path, dynamic)
    with replacing(path) as file:
        return WRITERS[path.suffix](model, file, dynamic)


def write_source(model: Block, path: Path, dynamic: Sequence[str] = ()) -> str:
    """The architecture as a file of plain PyTorch, without the weights."""
    path.write_text(standalone(model), encoding="utf-8")
    return ""


def write_safetensors(model: Block, path: Path, dynamic: Sequence[str] = ()) -> str:
    """The weights; in the metadata the resolved spec, its hash, and the layout of the checkpoint they were loaded from."""
    from ..language.format import show_spec, spec_hash

    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict().items():
        tensor = value.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if memory in seen else tensor  # the format has no shared memory
        seen.add(memory)
    metadata = {"format": "pt", "spec": show_spec(model.spec), "spec_hash": spec_hash(model.spec)}
    if model.collapsed is not None:
        metadata["form"] = "deployed"
    if model.spec.method is not None:
        metadata[METHOD] = show_spec(model.spec.method)
    if grids := grids_of(model):
        metadata[GRIDS] = json.dumps(grids)
    if model.loaded is not None and model.loaded.source != OURS:
        metadata[LAYOUT] = layout(model.loaded)
    save_tensors(tensors, path, metadata)
    return ""


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a .safetensors file. Raises OSError where the disk does not take it, as Python's own writes do."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, dict(metadata))
    except SafetensorError as problem:
        code = re.search(r"os error (\d+)", str(problem))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from None


WRITERS: dict[str, Callable[[Block, Path, Sequence[str]], str]] = {
    ".safetensors": write_safetensors,
    ".py": write_source,
    ".pt2": write_pt2,
    ".onnx": write_onnx,
}
SIZED = (".pt2", ".onnx")
