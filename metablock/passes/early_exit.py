"""Early exit: a network answers several times, each time better; an image takes the first answer that is confident enough."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from ..backend.block import Block, Network, make
from ..backend.codegen import write
from ..errors import MetablockError, MetablockWarning
from ..lowering.ir import Step, Subgraph, Value, flat_values, inputs_of, steps_for


@dataclass(frozen=True)
class Piece:
    """The part of a forward that computes one answer.

    Attributes:
        run: the code; takes the model and the values of ``inputs``, returns those of ``outputs``.
        inputs: the values it reads.
        outputs: the answer, then the values that later pieces read.
    """

    run: Callable[..., Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


_PIECES: WeakKeyDictionary[Block, list[Piece]] = WeakKeyDictionary()


def early_exit(model: Block, x: Tensor | Sequence[Tensor], threshold: float) -> Tensor:
    """The logits of each image: its first answer whose largest softmax probability reaches the threshold, otherwise the last.

    The pieces after an answer run only on the images that still need them, and not at all if there are none. If no image exits,
    the result equals the last answer of ``model(x)`` to the bit.

    Which images go on depends on data, so Python decides: of a model compiled with ``way="regions"`` the regions stay compiled,
    the selection between pieces is eager. Later pieces run on fewer images: compile with ``dynamic=True``, otherwise each number
    of images compiles graphs of its own. A single graph (the default of ``metablock.compile``) is of ``model(x)`` only: early
    exit then runs eagerly, with a MetablockWarning.

    Args:
        model: from :func:`metablock.build`, in evaluation mode. It returns several vectors of one width, in the order of `return`
            (or of `predict`).
        x: the images; a list if the network has several inputs.
        threshold: above 1 no image exits, at 0 all do.

    Returns:
        Logits ``(batch, classes)``.

    Raises:
        MetablockError: a model in train mode; one with a single answer, or with answers of different shapes.

    >>> import metablock, torch
    >>> from metablock.language.load import load_text
    >>> spec = load_text('''name: two
    ... input: image(3, 8)
    ... model: |
    ...   x ->
    ...   a = x >> global_pool
    ...   return one = a >> linear(5), two = a >> linear(5)
    ... ''')
    >>> model = metablock.build(spec).eval()
    >>> with torch.no_grad():
    ...     metablock.early_exit(model, torch.randn(4, 3, 8, 8), threshold=0.9).shape
    torch.Size([4, 5])
    """
    if model.training:
        raise MetablockError("early exit is for inference, this model is in train mode", "call .eval() first")
    if model not in _PIECES:
        _PIECES[model] = pieces(model)
        if model._compiled_call_impl is not None:
            message = "early exit runs eagerly: the network is compiled as one graph, without a way out"
            warnings.warn(
                f'{message}\n  `metablock.compile(model, way="regions")` compiles its parts', MetablockWarning, stacklevel=2
            )
    parts = _PIECES[model]
    images = [x] if isinstance(x, Tensor) else list(x)
    if isinstance(model, Network) and model.check_sizes:
        model._check_inputs(images)
    tensors = {value.id: tensor for value, tensor in zip(flat_values(model.ir.inputs), images, strict=True)}
    tensors |= {mask.id: None for mask in model.ir.masks.values()}
    logits = rows = None  # rows: which images of the batch the current piece runs on; None for all
    for number, piece in enumerate(parts):
        outputs = piece.run(model, *[tensors[value.id] for value in piece.inputs])
        tensors |= {value.id: tensor for value, tensor in zip(piece.outputs, outputs, strict=True)}
        answer: Tensor = outputs[0]
        logits = answer if logits is None or rows is None else logits.index_copy(0, rows, answer)
        unsure = answer.softmax(-1).amax(-1) < threshold
        if number + 1 == len(parts) or not unsure.any():
            break
        if not unsure.all():
            remaining = unsure.nonzero().flatten()
            rows = remaining if rows is None else rows[remaining]
            later = {value.id: value for part in parts[number + 1 :] for value in part.inputs if value.id in tensors}
            tensors = {key: _select(tensors[key], value, remaining) for key, value in later.items()}
    assert logits is not None
    return logits


def pieces(model: Block) -> list[Piece]:
    """The forward of a network, cut after each of its answers. Raises MetablockError for answers that do not fit together."""
    root: Subgraph = model.ir
    steps = root.steps if root.prediction is None else [*root.steps, *root.prediction_steps]
    answers = _answers(root, model.spec.name)
    parts: list[list[Step]] = []
    computed: set[int] = set()
    for answer in answers:
        part = steps_for(root, steps, [answer], computed)
        computed |= {value.id for step in part for value in flat_values(step.output)}
        parts.append(part)
    return [_piece(root, answer, part, parts[i + 1 :]) for i, (answer, part) in enumerate(zip(answers, parts, strict=True))]


def _answers(root: Subgraph, name: str) -> list[Value]:
    """The vectors that a network returns in evaluation."""
    output = root.output if root.prediction is None else root.prediction
    answers = list(output.values()) if isinstance(output, dict) else output if isinstance(output, (list, tuple)) else [output]
    if len(answers) < 2:
        raise MetablockError(f"'{name}' gives one answer", "early exit needs several: `return coarse = ..., fine = ...`")
    shapes = {getattr(answer, "feature", None) for answer in answers}
    if len(shapes) > 1 or any(shape is None or shape.layout != "vector" for shape in shapes):
        raise MetablockError(f"'{name}' gives answers of different shapes", "early exit needs vectors of one width")
    return list(answers)


def _piece(root: Subgraph, answer: Value, steps: list[Step], later: list[list[Step]]) -> Piece:
    """The piece of these steps; ``later`` are the steps of the pieces after it."""
    computed = {value.id: value for step in steps for value in flat_values(step.output)}
    read = {value.id: value for step in steps for value in inputs_of(root, step)} | {answer.id: answer}
    inputs = tuple(value for key, value in read.items() if key not in computed)
    needed = {value.id for part in later for step in part for value in inputs_of(root, step)}
    outputs = (answer, *(value for key, value in computed.items() if key in needed and key != answer.id))
    subgraph = Subgraph(inputs=inputs, children=root.children, steps=steps, output=list(outputs), pinned=True)
    return Piece(type(make(write(subgraph, root=True).text, "")).forward, inputs, outputs)


def _select(tensor: Tensor, value: Value, rows: Tensor) -> Tensor:
    """The rows of a tensor that belong to these images; of windows, all windows of an image."""
    windows = value.feature.windows
    if value.feature.layout == "table":
        return tensor
    if windows > 1:
        return tensor.unflatten(0, (-1, windows)).index_select(0, rows).flatten(0, 1)
    return tensor.index_select(0, rows)
