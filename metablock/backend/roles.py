"""What each parameter of a network is: a matrix, a bias, a table. By the class of its module, never by a spec's names.

======  ====================================================================================================================
role    what has it
======  ====================================================================================================================
matrix  weights of linear maps, kernels of convolutions: the only ones with weight decay
bias    what a linear map, a convolution or a norm adds: every parameter that its module calls ``bias``
norm    the factors of a norm
scale   factors of their own: layer scale, GRN, StarReLU
table   positions, biases of attention, the weights inside ``continuous_bias``, which compute one
token   learned tokens
unused  parameters that nothing reads
vector  of a foreign module: a parameter with one axis or none
======  ====================================================================================================================

Our operators and plug-ins declare roles on their class, ``roles = {"weight": "table"}``, by the name of a parameter or of a
submodule; torch's classes have theirs here. Of a class that declares nothing, a parameter with two axes or more is a ``matrix``.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

# The roles that weight decay applies to.
DECAYED = frozenset({"matrix"})

_NORMS: tuple[type[nn.Module], ...] = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_MATRICES: tuple[type[nn.Module], ...] = (nn.Linear, nn.Bilinear, _ConvNd)


def roles(model: nn.Module) -> dict[str, str]:
    """The role of every parameter of a module, by its name; see :mod:`metablock.backend.roles` for the roles.

    It depends on the classes of the modules alone: whatever a spec calls its parts, and whichever sizes they have.

    Args:
        model: a network from :func:`metablock.build`, or any module.

    Returns:
        ``matrix``, ``bias``, ``norm``, ``scale``, ``table``, ``token``, ``unused`` or ``vector``, in the order of
        ``named_parameters``; of a parameter that stands in several places the first.

    >>> import metablock
    >>> model = metablock.build("deit_tiny_patch16_224", edits=["depth = 1"], device="meta")
    >>> {name: role for name, role in metablock.roles(model).items() if name.startswith("stem")}
    {'stem.conv.weight': 'matrix', 'stem.conv.bias': 'bias', 'stem.cls.weight': 'token', 'stem.position.weight': 'table'}
    """
    result: dict[str, str] = {}
    _collect(model, "", None, result)
    return {name: result[name] for name, _ in model.named_parameters()}


def decayed(model: nn.Module) -> set[str]:
    """The names of the parameters that weight decay applies to: weights of linear maps and kernels.

    >>> import metablock
    >>> sorted(decayed(metablock.build("resnet18", edits=["depth = 1"], device="meta")))[:2]
    ['head.linear.weight', 'stages.0.blocks.0.branch.first.weight']
    """
    return {name for name, role in roles(model).items() if role in DECAYED}


def _collect(module: nn.Module, path: str, outer: str | None, result: dict[str, str]) -> None:
    """Adds the roles below a module. ``outer``: the role that what is around gives to all of it."""
    outer = outer or getattr(module, "only_role", None)
    declared = getattr(type(module), "roles", None)
    own = declared if isinstance(declared, dict) else {}
    for name, parameter in module._parameters.items():
        if parameter is not None:
            result[path + name] = outer or own.get(name) or _role(module, name, parameter)
    for name, child in module._modules.items():
        if child is not None:
            _collect(child, f"{path}{name}.", outer or own.get(name), result)


def _role(module: nn.Module, name: str, parameter: nn.Parameter) -> str:
    """The role of a parameter whose class declares none."""
    if name.endswith("bias") or name.startswith("bias"):
        return "bias"
    if isinstance(module, _NORMS):
        return "norm"
    if isinstance(module, _MATRICES):
        return "matrix"
    if isinstance(module, nn.PReLU):
        return "scale"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "table"
    return "vector" if parameter.dim() <= 1 else "matrix"
