"""Exports networks to other runtimes: torch.export's ``.pt2`` and ONNX. Each file is reloaded and compared with the model."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..backend.block import Block
from ..backend.input_size import asks_for_extents, size_dependence
from ..backend.random_input import random_input
from ..errors import MetablockError, install_hint, suggest
from ..files import Latch
from ..front import front, sized_inputs
from ..language.format import show_spec, spec_hash
from ..language.spec import Spec
from ..lowering.ir import module_nodes
from ..shape import Feature

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# The names of an input's axes after batch and channels, by rank.
AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}

# Largest difference that rounding explains, relative to the largest output; 0.1 for other dtypes.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
_ONNX = ("onnx", "onnxscript", "onnxruntime")
# Operators that turn the batch into groups of a convolution.
_BATCH_IS_GROUPS = ("mixture_conv",)
_ONNX_LIMIT = 2**31 - 2**26  # bytes of weights: one protobuf file holds 2 GiB


def check_onnx() -> None:
    """Raises MetablockError if the packages for ``.onnx`` are not installed."""
    missing = [name for name in _ONNX if importlib.util.find_spec(name) is None]
    if missing:
        raise MetablockError(f".onnx files need {' and '.join(missing)}", install_hint("onnx"))


def check_dynamic(spec: Spec, inputs: Sequence[Feature], dynamic: Sequence[str]) -> None:
    """Raises MetablockError if one of the ``dynamic`` sizes is unknown, or the architecture is bound to it. Builds nothing.

    >>> from metablock.front import front
    >>> spec, ir = front("resnet18")
    >>> check_dynamic(spec, [ir.inputs[0].feature], ["batch", "height"])
    """
    if not dynamic:
        return
    known = ("batch", *dict.fromkeys(name for feature in inputs for name in AXES.get(feature.rank, ())))
    for name in dynamic:
        if name not in known:
            hint = suggest(name, known, f"there are {', '.join(known)}")
            raise MetablockError(f"unknown size '{name}'", hint)
    if not set(dynamic) - {"batch"}:
        return
    shown = " and ".join(name for name in dynamic if name != "batch")
    larger = [feature.with_(grid=_doubled(feature, dynamic)) for feature in inputs]
    try:
        smaller, wider = (front(sized_inputs(spec, sizes), large=True).ir for sizes in (inputs, larger))
        reason = size_dependence(smaller, wider) or ("its expressions ask for `grid`" if asks_for_extents(spec) else None)
    except MetablockError as problem:
        reason = str(problem).strip().split("\n")[0]
    if reason:
        remedy = f"leave out --dynamic {shown.replace(' and ', ',')}, and write one file for each size (--input)"
        raise MetablockError(f"{shown} cannot be left open: the architecture is bound to its size", f"{reason}\n  {remedy}")


def _doubled(feature: Feature, names: Sequence[str]) -> tuple[int, ...]:
    """The extents of an input, twice as large along these axes."""
    return tuple(2 * n if name in names else n for n, name in zip(feature.grid, AXES[feature.rank], strict=True))


def export(model: Block, *, dynamic: Sequence[str] = ()) -> ExportedProgram:
    """Exports a network in evaluation mode as a program of ``torch.export``.

    The program takes the inputs, then a mask for each that may have padding.

    Args:
        model: from :func:`metablock.build`; it does not change.
        dynamic: the sizes to leave open, of ``batch``, ``height``, ``width`` (``length`` of a signal or sequence, ``depth`` of a
            volume), of every input. The others are fixed to the sizes the network was built for, and a batch of one.

    Raises:
        MetablockError: the architecture is bound to one of the open sizes; torch.export cannot trace the network.

    >>> import metablock
    >>> from metablock.language.load import load_text
    >>> model = metablock.build(load_text("name: net\\ninput: image(3, 8)\\nmodel: conv(4, 3)"))
    >>> metablock.export(model).module()(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 4, 8, 8])
    """
    check_dynamic(model.spec, model.inputs, dynamic)
    bare = deepcopy(model).eval()  # copies of compiled regions are eager
    inputs = _inputs(bare, 2 if "batch" in dynamic else 1)
    shapes = tuple(_open(feature, dynamic) for feature in [*model.inputs, *(mask.feature for mask in model.ir.masks.values())])
    import torch.export as exporting

    with _reported("torch.export", "leave open fewer sizes" if dynamic else "write .py or .safetensors"):
        program = exporting.export(bare, tuple(inputs), dynamic_shapes=shapes if dynamic else None, strict=False)
    return program


def _open(feature: Feature, dynamic: Sequence[str]) -> dict[int, Any]:
    from torch.export import Dim

    shape: dict[int, Any] = {0: Dim("batch", min=1)} if "batch" in dynamic else {}
    first = 2 if feature.layout == "map" else 1
    return shape | {first + axis: Dim.DYNAMIC for axis, name in enumerate(AXES.get(feature.rank, ())) if name in dynamic}


def write_pt2(model: Block, path: Path, dynamic: Sequence[str] = ()) -> str:
    """Writes a ``.pt2`` file and reloads it. Returns how close its outputs are to the model's, as a text."""
    import torch.export as exporting

    program = export(model, dynamic=dynamic)
    metadata = {"spec.yaml": show_spec(model.spec), "spec_hash": spec_hash(model.spec)}
    with closing(Latch(path)) as file, _reported("torch.export.save", "write .py or .safetensors"):
        exporting.save(program, file, extra_files=metadata)
    with _reported("torch.export.load", "write .py or .safetensors"):
        loaded = exporting.load(path).module()
    return _compare(model, lambda *inputs: loaded(*inputs), dynamic, "torch.export")


def write_onnx(model: Block, path: Path, dynamic: Sequence[str] = ()) -> str:
    """Writes an ``.onnx`` file and runs it in onnxruntime. Returns how close its outputs are to the model's, as a text."""
    check_onnx()
    _check_onnx_model(model, dynamic)
    # Without gradients: with them attention takes another path, whose strides the decompositions of ONNX do not keep.
    program = export(deepcopy(model).requires_grad_(False), dynamic=dynamic)
    hint = "leave open fewer sizes, or write .pt2" if dynamic else "float32 has the widest support; .pt2 is for torch itself"
    with _reported("torch.onnx", hint):
        import onnxruntime
        from torch import onnx

        converted = onnx.export(program, dynamo=True, external_data=False, verbose=False)
        assert converted is not None
        converted.model.metadata_props.update({"spec": show_spec(model.spec), "spec_hash": spec_hash(model.spec)})
        content = converted.model_proto.SerializeToString()
    with closing(Latch(path)) as file:
        file.write(content)
    with _reported("onnxruntime", hint):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    names = [entry.name for entry in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in zip(names, inputs, strict=True)}
        with _reported("onnxruntime", hint):
            return [torch.from_numpy(array) for array in session.run(None, arrays)]

    return _compare(model, run, dynamic, "onnxruntime")


def _check_onnx_model(model: Block, dynamic: Sequence[str]) -> None:
    """Raises MetablockError for what an ``.onnx`` file or onnxruntime cannot hold."""
    for path, node in module_nodes(model.ir) if "batch" in dynamic else ():
        if node.operator in _BATCH_IS_GROUPS:
            raise MetablockError(
                f"batch cannot be left open in .onnx: {'.'.join(path)}, {node.text}, gives each image a kernel of its own,",
                "and ONNX fixes the number of kernels; write .pt2, or leave the batch at one",
            )
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.dtype == torch.bfloat16 for tensor in tensors):
        raise MetablockError("onnxruntime has no bfloat16 on the CPU", "write the file in float32 or float16")
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > _ONNX_LIMIT:
        raise MetablockError(f"an .onnx file holds 2 GiB, the weights have {size / 2**30:.1f}", "write .pt2, or --dtype float16")


def _compare(model: Block, run: Callable[..., Any], dynamic: Sequence[str], where: str) -> str:
    """Runs a program and its model at every size that is open, and returns how close they are, as a text.

    Raises MetablockError if the outputs differ by more than rounding explains.
    """
    eager = deepcopy(model).eval()
    worst, count = 0.0, 0
    for batch, times in {(1, 1), (3 if "batch" in dynamic else 1, 2 if set(dynamic) - {"batch"} else 1)}:
        inputs = _inputs(eager, batch, dynamic if times > 1 else ())
        with torch.no_grad(), _reported(where, "leave open fewer sizes"):
            ours, theirs = tree_leaves(eager(*inputs)), tree_leaves(run(*inputs))
        for a, b in zip(ours, theirs, strict=True):
            a, b = a.cpu().to(torch.float64), b.cpu().to(torch.float64)
            worst = max(worst, float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)))
        count += 1
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    if not worst <= _TOLERANCE.get(dtype, 0.1):
        message = f"{where} gives other numbers than the model: {worst:.1e} of the largest"
        raise MetablockError(message, "nothing was written")
    near = "as eager to the bit" if worst == 0 else f"within {worst:.1e} of eager's largest output"
    return f"{where}: {near}" + (f" at {count} sizes" if count > 1 else "")


def _inputs(model: Block, batch: int, doubled: Sequence[str] = ()) -> list[Tensor]:
    """Random inputs, ``doubled`` along these axes, then the masks of those that may have padding."""
    first = next(model.parameters(), torch.empty(0))
    result, generator = [], torch.Generator().manual_seed(0)
    for feature in model.inputs:
        grid = _doubled(feature, doubled)
        result.append(random_input(feature.with_(grid=grid), batch, first.device, first.dtype, generator))
    for number in model.ir.masks:
        mask = torch.ones_like(result[number][:, :1])
        mask[..., -(mask.shape[-1] // 4) :] = 0
        result.append(mask)
    return result


@contextmanager
def _reported(tool: str, hint: str) -> Iterator[None]:
    """Turns any exception of another tool into a MetablockError with one line of its text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MetablockError:
        raise
    except Exception as problem:
        raise MetablockError(f"{tool} cannot do this network: {_root_cause(problem)}", hint) from problem


def _root_cause(problem: BaseException) -> str:
    """The first line of the exception that caused all others."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(problem)).splitlines() if line.strip()]
    return lines[0].removeprefix("RuntimeError: ")[:200] if lines else type(problem).__name__


__all__ = ["AXES", "check_dynamic", "check_onnx", "export", "write_onnx", "write_pt2"]
