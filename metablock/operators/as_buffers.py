"""Weights as constants."""

from __future__ import annotations

from torch import Tensor, nn


def as_buffers(module: nn.Module) -> nn.Module:
    """The same module, whose parameters have become buffers of the same names: its state dict stays, and it has no parameters.

    Example:
        >>> linear = as_buffers(nn.Linear(2, 3))
        >>> list(linear.parameters()), sorted(linear.state_dict())
        ([], ['bias', 'weight'])
    """
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                del part._parameters[name]
                part.register_buffer(name, parameter.detach())
    return module


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of a module by name, also where they have become buffers; of a frozen batch norm its weight and bias.

    Example:
        >>> list(weights_of(as_buffers(nn.Linear(2, 3))))
        ['weight', 'bias']
    """
    constants = {name: value for name, value in module.named_buffers() if name.rpartition(".")[2] in ("weight", "bias")}
    return dict(module.named_parameters()) | constants
