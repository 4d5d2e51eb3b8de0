"""Which parameters a training reaches: found on a copy of the network that computes nothing, before the first step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..api import example
from ..backend.block import Block
from ..errors import MetablockError

_ONE_VALUE = "Expected more than 1 value per channel"  # how torch's batch norms refuse


def check_batch(meta: Block, size: int) -> None:
    """Checks that the batch norms of a network can train on batches of this size.

    Args:
        meta: the network on ``meta``.
        size: the number of examples that one process sees in a step.

    Raises:
        MetablockError: a batch norm gets one value a channel, which has no variance.
    """
    if size != 1 or not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in meta.modules()):
        return
    try:
        _forward(meta, size)
    except ValueError as wrong:
        if str(wrong).startswith(_ONE_VALUE):
            message = "a batch norm gets one value a channel from a batch of 1, which has no variance"
            raise MetablockError(message, "a larger batch, for instance --with batch=2, or a larger input") from None
        raise


def unreached(model: Block, meta: Block, used: Callable[[Any], Sequence[Tensor]]) -> set[str]:
    """The trainable parameters that no gradient of the loss reaches: what is only counted, or computes what nothing reads.

    Args:
        model: the network.
        meta: the same network on ``meta``; operators that cannot run there run on a copy of ``model``.
        used: the outputs that enter the loss, of all outputs.

    >>> import metablock
    >>> text = "name: net\\ninput: image(3, 8)\\nmodel: unused(4) >> global_pool >> linear(2)"
    >>> model, meta = (metablock.build(metablock.load_text(text), device=device) for device in ("cpu", "meta"))
    >>> unreached(model, meta, lambda output: [output])
    {'unused.weight'}
    """
    try:
        network, outputs = meta, used(_forward(meta, 2))
    except Exception:  # an operator of other people's may need numbers
        network = copy.deepcopy(model)
        outputs = used(_forward(network, 2))
    names = {id(parameter): name for name, parameter in network.named_parameters() if parameter.requires_grad}
    seen: set[Any] = set()
    waiting = [output.grad_fn for output in outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.pop(id(getattr(node, "variable", None)), None)
        waiting += [following for following, _ in node.next_functions]
    return set(names.values())


def _forward(model: Block, batch: int) -> Any:
    """The outputs in train mode, of inputs without meaning. Random numbers go on as if it had not run."""
    first = next(model.parameters())
    devices = [first.device] if first.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        return model.train()(*example(model, batch))
