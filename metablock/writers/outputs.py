"""What a built network can be written to: one function a suffix. A file is there whole, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from ..backend.block import Block
from ..errors import MetablockError, suggest
from ..files import replacing
from ..language.weight_rules import OURS
from ..weights.export_names import LAYOUT, layout
from .standalone import standalone
from .torch_export import check_onnx, write_onnx, write_pt2


def check_output(path: str | Path, dynamic: Sequence[str] = ()) -> Path:
    """The path, if it can be written to: called before any work is done. Raises MetablockError."""
    path = Path(path)
    if path.is_dir():
        raise MetablockError(f"{path}: is a directory\n  name a file in it")
    if path.suffix not in WRITERS:
        hint = suggest(path.suffix, WRITERS, f"known: {', '.join(WRITERS)}")
        raise MetablockError(f"{path}: cannot write '{path.suffix or path.name}' files\n  {hint}")
    if not path.parent.is_dir():
        raise MetablockError(f"{path}: there is no folder '{path.parent}'\n  make it first")
    if dynamic and path.suffix not in SIZED:
        raise MetablockError(f"{path}: sizes are open in a {path.suffix} file\n  --dynamic is for {' and '.join(SIZED)}")
    if path.suffix == ".onnx":
        check_onnx()
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as problem:
        raise MetablockError(f"{path}: cannot write there: {problem.strerror}\n  name another folder") from None


def write(model: Block, path: str | Path, *, dynamic: Sequence[str] = ()) -> str:
    """Writes a network, by the suffix of the path.

    ========================  =====================================================================================
    ``.safetensors``          the weights, with the resolved spec and its hash beside them
    ``.py``                   the architecture as one readable file of plain PyTorch (:func:`metablock.standalone`)
    ``.pt2``                  a program of ``torch.export``, in evaluation, weights and all
    ``.onnx``                 the same for onnxruntime and others (from a checkout: ``pip install '.[onnx]'``)
    ========================  =====================================================================================

    The last two are loaded again and compared with the model before they are kept.

    Args:
        model: from :func:`metablock.build`; it stays as it is.
        path: a file; one that exists is replaced.
        dynamic: for ``.pt2`` and ``.onnx``: the sizes that stay open, of ``batch``, ``height``, ``width`` (``length`` of a
            signal, ``depth`` of a volume).

    Returns:
        What was found when the file was loaded again, in a line; empty where there is nothing to be found.

    Raises:
        MetablockError: the file cannot be written; then there is none, and one that was there before is as it was.
    """
    path = check_output(path, dynamic)
    with replacing(path) as file:
        return WRITERS[path.suffix](model, file, dynamic)


def write_source(model: Block, path: Path, dynamic: Sequence[str] = ()) -> str:
    """The architecture as a file of plain PyTorch, without the weights."""
    path.write_text(standalone(model), encoding="utf-8")
    return ""


def write_safetensors(model: Block, path: Path, dynamic: Sequence[str] = ()) -> str:
    """The weights, with the resolved spec and its hash beside them."""
    from safetensors.torch import save_file

    from ..language.format import show_spec, spec_hash

    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict().items():
        tensor = value.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if place in seen else tensor  # the format has no shared memory
        seen.add(place)
    about = {"format": "pt", "spec": show_spec(model.spec), "spec_hash": spec_hash(model.spec)}
    if model.collapsed is not None:
        about["form"] = "deployed"
    if model.loaded is not None and model.loaded.source != OURS:
        about[LAYOUT] = layout(model.loaded)
    save_file(tensors, path, about)
    return ""


WRITERS: dict[str, Callable[[Block, Path, Sequence[str]], str]] = {
    ".safetensors": write_safetensors,
    ".py": write_source,
    ".pt2": write_pt2,
    ".onnx": write_onnx,
}
SIZED = (".pt2", ".onnx")
