"""Weights from other codes and for other codes: what ``metablock weights`` does."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..api import assemble, state_of
from ..errors import MetablockError
from ..files import replacing
from ..front import front
from ..language.load import load_text
from ..weights.export_names import LAYOUT, export_state, read_layout
from ..weights.loading import read_state
from ..writers.outputs import check_output, write
from .build import BuildOptions, chosen

TO = (".safetensors", ".pth")


def import_weights(source: str, choice: BuildOptions, output: str) -> str:
    """Writes a checkpoint's weights under our names, with the resolved spec and the names they had.

    Args:
        source: a file, or a place that :func:`metablock.build` takes as ``weights``.
        choice: the network.
        output: a .safetensors file.

    Returns:
        What became of the checkpoint, in lines.

    Raises:
        MetablockError: it does not fit, or cannot be written; then there is no file.
    """
    if Path(output).suffix != ".safetensors":
        raise MetablockError(f"{output}: weights are kept in .safetensors files\n  -o {Path(output).stem}.safetensors")
    check_output(output)
    spec, level = chosen(choice)
    model = assemble(spec, level, weights=state_of(source, spec))
    write(model, output)
    return str(model.loaded)


def export_weights(choice: BuildOptions, to: str, output: str, *, weights: str | None = None, like: str | None = None) -> int:
    """Writes our weights under the names of another code.

    Args:
        choice: the network; its source may be a .safetensors file of ours, which says what it is.
        to: a table of the spec's `weights:`: ``official``, ``timm``.
        output: a .safetensors or a .pth file.
        weights: ours; by default those of the file that is the source.
        like: a checkpoint of theirs: its names and shapes are taken where ours do not say them.

    Returns:
        How many tensors were written.

    Raises:
        MetablockError: weights that do not fit, shapes that are not known, a file that cannot be written.
    """
    path = Path(output)
    if path.suffix not in TO:
        raise MetablockError(f"{path}: cannot write '{path.suffix or path.name}' files here\n  known: {', '.join(TO)}")
    check_output(path.with_suffix(".safetensors"))
    about: dict[str, str] = {}
    file = weights
    if isinstance(choice.source, str) and choice.source.endswith(".safetensors"):
        file = file or choice.source
        about = _metadata(choice.source)
        if "spec" not in about:
            raise MetablockError(f"{choice.source}: says of no network\n  name one: weights export SPEC --weights FILE")
        spec = load_text(about["spec"], choice.source)
        spec, level = front(spec, large=True)
    else:
        spec, level = chosen(choice)
        if file is None:
            raise MetablockError(f"whose weights of '{spec.name}'?\n  give a file of ours: --weights FILE")
        about = _metadata(file) if Path(file).suffix == ".safetensors" and Path(file).is_file() else {}
    model = assemble(spec, level, weights=state_of(file, spec))
    shapes = {**model.loaded.shapes} if model.loaded.source == to else {**read_layout(about.get(LAYOUT), to)}
    if like is not None:
        shapes |= {key: tuple(value.shape) for key, value in read_state(like).items() if isinstance(value, torch.Tensor)}
    state = export_state(model, spec, to, shapes)
    with replacing(path) as written:
        if path.suffix == ".safetensors":
            save_file({key: value.contiguous() for key, value in state.items()}, written, {"format": "pt"})
        else:
            torch.save(state, written)
    return len(state)


def _metadata(file: str) -> dict[str, str]:
    try:
        with safe_open(file, "pt") as opened:
            return dict(opened.metadata() or {})
    except Exception:  # the format's reader has exceptions of its own
        what = "damaged, or not a .safetensors file" if Path(file).is_file() else "no such file"
        raise MetablockError(f"{file}: {what}\n  nothing was written") from None
