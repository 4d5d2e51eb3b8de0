"""Training by a spec's `loss`: its terms, and the moving averages of its modules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import MetablockError
from ..lowering.ir import Subgraph
from ..lowering.objective import Average
from ..operators.blocks import blocks


def losses(model: nn.Module, *inputs: Tensor, **data: Tensor) -> dict[str, Tensor]:
    """Runs a network in train mode and computes the terms of its spec's `loss`; their sum is what is minimised.

    Args:
        model: built from a spec, or a spec and a method, with a `loss`.
        inputs: what ``forward`` takes; of a method, what is drawn may be left out.
        data: what the loss reads beside inputs and outputs: ``label``, the numbers of the classes, ``(b,)`` in int64; ``target``,
            distributions ``(b, classes)``; ``objects``, the classes of the objects in a picture ``(b, m)`` in int64, filled up to
            one m by the number of classes, and ``object_boxes``, ``(b, m, 4)``.

    Returns:
        Scalars by name.

    Raises:
        MetablockError: the spec has no loss, or it reads something that is not given.

    >>> import metablock
    >>> text = "name: net\\ninput: image(3, 8)\\nclasses: 2\\nmodel: global_pool >> linear(classes)\\n"
    >>> text += 'loss: |\\n  output, label -> output >> cross_entropy(label, over="batch")\\n'
    >>> model = metablock.build(metablock.load_text(text))
    >>> sorted(losses(model, torch.randn(4, 3, 8, 8), label=torch.tensor([0, 1, 1, 0])))
    ['loss']
    """
    training, inputs = model.training, (*inputs, *drawn_inputs(model, inputs))
    model.train()
    try:
        outputs = model(*inputs)
    finally:
        model.train(training)
    return loss_terms(model, inputs, outputs, data)


def drawn_inputs(model: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The inputs of a method's network that are drawn and not given, from torch's default generator."""
    ir = getattr(model, "ir", None)
    sources = ir.sources if isinstance(ir, Subgraph) else ()
    if not inputs or not sources or not all(source.drawn for source in sources[len(inputs) :]):
        return []
    assert isinstance(ir, Subgraph)
    x, result = inputs[0], []
    for source, value in list(zip(sources, ir.inputs, strict=True))[len(inputs) :]:
        size = value.feature.size(len(x))
        if source.kind == "blocks":
            result.append(blocks(x, source.count, *size[1:]))
        else:
            draw = {"uniform": torch.rand, "normal": torch.randn}[source.kind]
            result.append(draw(size, dtype=x.dtype).to(x.device))
    return result


def loss_terms(model: nn.Module, inputs: Sequence[Tensor], outputs: Any, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The terms of a network's loss, of what it gave in train mode. The arguments are those of :func:`losses`."""
    ir = getattr(model, "ir", None)
    objective = ir.objective if isinstance(ir, Subgraph) else None
    if objective is None:
        raise MetablockError(
            "the network has no loss of its own", "its spec, or a method, states one: `loss: output, label -> ...`"
        )
    values = [_read(kind, key, inputs, outputs, data) for kind, key in objective.reads]
    result = getattr(model, objective.child)(*_tensors(values))
    terms = result.values() if isinstance(result, dict) else [result] if isinstance(result, Tensor) else result
    return {name: term.squeeze() for name, term in zip(objective.terms, terms, strict=True)}


def _read(kind: str, key: Any, inputs: Sequence[Tensor], outputs: Any, data: Mapping[str, Tensor]) -> Any:
    if kind == "output":
        return outputs if key is None else outputs[key]
    if kind == "input":
        if key >= len(inputs):
            raise MetablockError(
                f"the loss reads input {key + 1}, {len(inputs)} are given", "give the inputs that are drawn, too"
            )
        return inputs[key]
    if key not in data:
        raise MetablockError(f"the loss reads '{key}', which is not given", f"pass it by name: losses(model, x, {key}=...)")
    return data[key]


def _tensors(values: Any) -> list[Tensor]:
    """The tensors of outputs in lists and dicts, in order."""
    if isinstance(values, Tensor):
        return [values]
    parts = values.values() if isinstance(values, dict) else () if values is None else values
    return [tensor for part in parts for tensor in _tensors(part)]


def pairs(model: nn.Module, average: Average) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """The parameters of a moving average, each with the one that it follows."""
    other = ".".join(average.other)
    known = dict(model.named_parameters())
    for name, parameter in model.get_submodule(".".join(average.own)).named_parameters():
        # What follows one name or one call has it as a level, which the module itself has not; what is outside has its own name.
        places = (f"{other}.{name}", f"{other}.{name.partition('.')[2]}", name)
        theirs = next((place for place in places if place in known), "")
        if not theirs or known[theirs].shape != parameter.shape:
            hint = "give a binding of the method another name than a part of the backbone has"
            raise MetablockError(f"'{'.'.join(average.own)}.{name}' has no counterpart in '{other}'", hint)
        yield parameter, known[theirs]


@torch.no_grad()
def start_averages(model: nn.Module) -> None:
    """Lets the moving averages of a network begin where what they follow begins."""
    for average in _averages(model):
        for own, other in pairs(model, average):
            if not own.is_meta:
                own.copy_(other)


@torch.no_grad()
def update_averages(model: nn.Module, progress: float) -> None:
    """Moves the averages of a network by one step, before it runs.

    Args:
        model: a network with modules that follow others (``ema``); any other is left as it is.
        progress: the part of the training that is over, 0 to 1: the momentum goes from its first to its last value by a half
            cosine.
    """
    for average in _averages(model):
        momentum = average.end - (average.end - average.start) * (1 + math.cos(math.pi * progress)) / 2
        for own, other in pairs(model, average):
            own.lerp_(other.to(own.dtype), 1 - momentum)


def _averages(model: nn.Module) -> tuple[Average, ...]:
    ir = getattr(model, "ir", None)
    return ir.averages if isinstance(ir, Subgraph) else ()
