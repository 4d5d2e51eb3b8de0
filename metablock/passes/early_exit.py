"""Early exit: of a network that answers several times, each time better, an image takes the first answer that is sure enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from ..backend.block import Block, make
from ..backend.codegen import write
from ..errors import MetablockError
from ..lowering.ir import Step, Subgraph, Value, flat_values, inputs_of, steps_for


@dataclass(frozen=True)
class Piece:
    """What has to be computed for the next answer: from these values the answer, and what later pieces read."""

    run: Callable[..., Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


_PIECES: WeakKeyDictionary[Block, list[Piece]] = WeakKeyDictionary()


def early_exit(model: Block, x: Tensor | Sequence[Tensor], threshold: float) -> Tensor:
    """The logits of each image: those of the first answer whose largest softmax probability reaches the threshold, else the last.

    What comes after an answer is computed for the images alone that still need it, and not at all if there are none. Where
    no image exits, the last answer is that of ``model(x)`` to the bit.

    Which images go on depends on data, so this runs from Python: a compiled model's regions are compiled here too, and what
    chooses between them is eager. The number of images differs from piece to piece: compile with ``dynamic=True``, or each
    number makes graphs of its own. (``compile(model, whole=True)`` compiles ``model(x)`` alone.)

    Args:
        model: from :func:`metablock.build`, in evaluation. It gives several vectors of one width, in the order of `return` (or of
            `predict`).
        x: the images; a list where the network has several inputs.
        threshold: above 1 no image exits, at 0 all do.

    Raises:
        MetablockError: a model in train mode; one that has a single answer, or answers of different shapes.
    """
    if model.training:
        raise MetablockError("early exit is for inference, this model is in train mode\n  call .eval() first")
    if model not in _PIECES:
        _PIECES[model] = pieces(model)
    parts = _PIECES[model]
    given = [x] if isinstance(x, Tensor) else list(x)
    values = {wire.id: value for wire, value in zip(flat_values(model.ir.inputs), given, strict=True)}
    result = rows = None
    for number, piece in enumerate(parts):
        made = piece.run(model, *[values[wire.id] for wire in piece.inputs])
        values |= {wire.id: value for wire, value in zip(piece.outputs, made, strict=True)}
        answer: Tensor = made[0]
        result = answer if result is None or rows is None else result.index_copy(0, rows, answer)
        unsure = answer.softmax(-1).amax(-1) < threshold
        if number + 1 == len(parts) or not unsure.any():
            break
        if not unsure.all():
            chosen = unsure.nonzero().flatten()
            rows = chosen if rows is None else rows[chosen]
            later = {wire.id: wire for part in parts[number + 1 :] for wire in part.inputs if wire.id in values}
            values = {key: _chosen(values[key], wire, chosen) for key, wire in later.items()}
    assert result is not None
    return result


def pieces(model: Block) -> list[Piece]:
    """The forward of a network, cut behind each of its answers."""
    root: Subgraph = model.ir
    if root.prediction is None:
        steps, given = root.steps, root.output
    else:
        steps, given = [*root.steps, *root.prediction_steps], root.prediction
    answers = list(given.values()) if isinstance(given, dict) else given if isinstance(given, (list, tuple)) else [given]
    name = model.spec.name
    if len(answers) < 2:
        raise MetablockError(f"'{name}' gives one answer\n  early exit needs several: `return coarse = ..., fine = ...`")
    shapes = {getattr(answer, "feature", None) for answer in answers}
    if len(shapes) > 1 or any(shape is None or shape.layout != "vector" for shape in shapes):
        raise MetablockError(f"'{name}' gives answers of different shapes\n  early exit needs vectors of one width")
    parts: list[list[Step]] = []
    done: set[int] = set()
    for answer in answers:
        part = steps_for(root, steps, [answer], done)
        done |= {wire.id for step in part for wire in flat_values(step.output)}
        parts.append(part)
    return [_piece(root, answer, part, parts[i + 1 :]) for i, (answer, part) in enumerate(zip(answers, parts, strict=True))]


def _piece(root: Subgraph, answer: Value, steps: list[Step], later: list[list[Step]]) -> Piece:
    made = {wire.id: wire for step in steps for wire in flat_values(step.output)}
    read = {wire.id: wire for step in steps for wire in inputs_of(root, step)} | {answer.id: answer}
    inputs = tuple(wire for key, wire in read.items() if key not in made)
    wanted = {wire.id for part in later for step in part for wire in inputs_of(root, step)}
    outputs = (answer, *(wire for key, wire in made.items() if key in wanted and key != answer.id))
    level = Subgraph(inputs=inputs, children=root.children, steps=steps, output=list(outputs), pinned=True)
    return Piece(type(make(write(level, root=True).text, "")).forward, inputs, outputs)


def _chosen(value: Tensor, wire: Value, rows: Tensor) -> Tensor:
    """These images of a value."""
    windows = wire.feature.windows
    if wire.feature.layout == "table":
        return value
    if windows > 1:
        return value.unflatten(0, (-1, windows)).index_select(0, rows).flatten(0, 1)
    return value.index_select(0, rows)
