"""What a built network can be written to: one function a suffix. A file is there whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from .errors import MetablockError, suggest
from .module import Block


def check_output(path: str | Path) -> Path:
    """The path, if it can be written to: called before any work is done. Raises MetablockError."""
    path = Path(path)
    if path.is_dir():
        raise MetablockError(f"{path}: is a directory\n  name a file in it")
    if path.suffix not in WRITERS:
        hint = suggest(path.suffix, WRITERS, f"known: {', '.join(WRITERS)}")
        raise MetablockError(f"{path}: cannot write '{path.suffix or path.name}' files\n  {hint}")
    if not path.parent.is_dir():
        raise MetablockError(f"{path}: there is no folder '{path.parent}'\n  make it first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as problem:
        raise MetablockError(f"{path}: cannot write there: {problem.strerror}\n  name another folder") from None


def write(model: Block, path: str | Path) -> None:
    """Writes a network, by the suffix of the path. Raises MetablockError."""
    path = check_output(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        WRITERS[path.suffix](model, Path(name))
        umask = os.umask(0)  # can only be read by setting it
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except OSError as problem:
        raise MetablockError(f"{path}: cannot write: {problem.strerror or problem}\n  nothing was written") from None
    finally:
        Path(name).unlink(missing_ok=True)


def write_safetensors(model: Block, path: Path) -> None:
    """The weights, with the resolved spec and its hash beside them."""
    from safetensors.torch import save_file

    from .format import show_spec, spec_hash

    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict().items():
        tensor = value.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if place in seen else tensor  # the format has no shared memory
        seen.add(place)
    about = {"format": "pt", "spec": show_spec(model.spec), "spec_hash": spec_hash(model.spec)}
    save_file(tensors, path, about)


WRITERS: dict[str, Callable[[Block, Path], None]] = {".safetensors": write_safetensors}
