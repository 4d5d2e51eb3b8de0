"""A network with the interface of timm's models: what timm's scripts and functions call on one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...backend.block import Block, make
from ...backend.compiler import regions
from ...backend.layers import layers
from ...backend.roles import DECAYED, roles
from ...errors import MetablockError
from ...passes.features import trunk

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _TimmInterface:
    """The interface of timm's models, beside the network's own ``forward``."""

    num_classes: int
    num_features: int
    head_hidden_size: int
    pretrained_cfg: dict[str, Any]
    classifier: str | None

    @property
    def default_cfg(self) -> dict[str, Any]:
        """The same as ``pretrained_cfg``."""
        return self.pretrained_cfg

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.source, self.key), self.__getstate__()  # type: ignore[attr-defined]

    def forward_features(self, x: Tensor) -> Tensor:
        """The input ``(b, channels, height, width)`` -> what enters the head: a map ``(b, c, height, width)``, or tokens."""
        run: Any = self.trunk_ or self
        result: Tensor = run(x)
        return result

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """What enters the head -> logits ``(b, num_classes)``; with ``pre_logits`` what enters the classifier."""
        head, last = self.head_part, self.get_classifier()
        if not pre_logits:
            return head(x)
        hook = last.register_forward_hook(lambda _module, inputs, _output: inputs[0])
        try:
            return head(x)
        finally:
            hook.remove()

    @property
    def head_part(self) -> nn.Module:
        return self.head if self.trunk_ is not None else nn.Identity()  # type: ignore[attr-defined]

    @property
    def trunk_(self) -> nn.Module | None:
        held = self.__dict__.get("trunk_held")
        return held[0] if held else None

    def get_classifier(self) -> nn.Module:
        """The layer that computes the logits; an identity where the head has no single last layer."""
        if self.classifier is None:
            return nn.Identity()
        return self.get_submodule(self.classifier)  # type: ignore[attr-defined]

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the classifier.

        Args:
            num_classes: the number of classes; 0: an identity.
            global_pool: None, or the pooling that the network has.

        Raises:
            MetablockError: the network has no single last layer, or pools in another way.
        """
        self.check_pool(global_pool)
        if self.classifier is None or self.trunk_ is None:
            raise MetablockError("this network has no single last layer", "build it anew with num_classes")
        weight = next(self.parameters())  # type: ignore[attr-defined]
        width = self.head_hidden_size
        last = nn.Linear(width, num_classes, device=weight.device, dtype=weight.dtype) if num_classes else nn.Identity()
        parent, _, name = self.classifier.rpartition(".")
        setattr(self.get_submodule(parent), name, last.train(self.training))  # type: ignore[attr-defined]
        self.num_classes = num_classes

    def check_pool(self, kind: str | None) -> None:
        """Raises MetablockError if the network does not pool in this way, in timm's words: ``avg``, ``max``, ``token``."""
        pools: set[str] = {str(module.kind) for module in self.head_part.modules() if type(module).__name__ == "GlobalPool"}
        entering = getattr(self.trunk_, "ir", None)
        if not pools and entering is not None and getattr(entering.output, "feature", None) and entering.output.feature.prefix:
            pools = {"token"}
        if kind is not None and pools != {kind}:
            own = f"it has {' and '.join(sorted(pools))}" if pools else "it has none that timm has a word for"
            raise MetablockError(f"this network has no global_pool '{kind}'", f"{own}; the spec's `head` pools")

    # What timm's optimisers ask

    def no_weight_decay(self) -> set[str]:
        """The names of the parameters without weight decay: all but matrices and kernels (:func:`metablock.roles`)."""
        return {name for name, role in roles(self).items() if role not in DECAYED}  # type: ignore[arg-type]

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """The layer of a parameter by its name, for learning rates that fall towards the input.

        Args:
            coarse: whether a stage, not a block, is a layer.

        Returns:
            A function from a parameter's name to its layer, from 0 (:func:`metablock.backend.layers.layers`).
        """
        numbers = layers(self, coarse=coarse)  # type: ignore[arg-type]
        last = max(numbers.values(), default=0)
        return lambda name: numbers.get(name, last)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether the blocks of the stages forget their inner results and compute them again in the backward pass.

        Raises:
            MetablockError: the network has no blocks.
        """
        blocks = [region for region in regions(self) if region.region == "block"]  # type: ignore[arg-type]
        if enable and not blocks:
            raise MetablockError("gradient checkpointing needs blocks, and this network has none", "leave it off")
        for block in blocks:
            if enable:
                block.__dict__["forward"] = partial(_recomputed, block)
            else:
                block.__dict__.pop("forward", None)


def _recomputed(block: Block, *args: Tensor) -> Any:
    """The output of a block whose inner results are not kept for the backward pass."""
    run: Callable[..., Any] = type(block).forward
    if not torch.is_grad_enabled():
        return run(block, *args)
    return checkpoint(run, block, *args, use_reentrant=False)


def with_interface(
    model: Block, name: str, num_classes: int | None, settings: dict[str, Any] | None = None, global_pool: str | None = None
) -> nn.Module:
    """The network itself, with timm's interface: its class becomes a subclass of its own.

    Args:
        model: a whole network, from :func:`metablock.build`.
        name: its name in timm.
        num_classes: the number of its classes; 0: it loses its classifier; None: the spec's.
        settings: entries of ``pretrained_cfg``, instead of the network's own.
        global_pool: how it is said to pool.

    Raises:
        MetablockError: it pools in another way; it is to lose its classifier and has no single last layer.

    >>> import metablock
    >>> model = with_interface(metablock.build("swin_tiny", device="meta"), "metablock/swin_tiny", None)
    >>> model.num_features, model.default_cfg["input_size"], model.get_classifier()
    (768, (3, 224, 224), Linear(in_features=768, out_features=1000, bias=True))
    >>> [name for name in sorted(model.no_weight_decay()) if name.endswith("table.weight")][0]
    'stages.0.blocks.0.token.attn.pos.table.weight'
    """
    body, _ = trunk(model) or (None, "")
    linear = [(path, part) for path, part in model.named_modules() if path.startswith("head.") and isinstance(part, nn.Linear)]
    classes = num_classes if num_classes is not None else model.spec.classes
    classifier = linear[-1][0] if linear and body is not None else None
    model.__class__ = _mixed(type(model))
    wrapped: Any = model
    wrapped.__dict__["trunk_held"] = (body,) if body is not None else ()  # not a submodule: its parts are the network's own
    wrapped.num_classes, wrapped.classifier = classes, classifier
    wrapped.head_hidden_size = linear[-1][1].weight.shape[1] if linear else 0
    entering = getattr(body.ir.output, "feature", None) if body is not None else None
    wrapped.num_features = entering.c if entering is not None else wrapped.head_hidden_size
    feature = model.inputs[0]
    colours = feature.c == len(_MEAN)
    wrapped.pretrained_cfg = {
        "architecture": name,
        "num_classes": classes,
        "input_size": (feature.c, *feature.grid),
        "pool_size": None,
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": _MEAN if colours else (0.5,) * feature.c,
        "std": _STD if colours else (0.5,) * feature.c,
        "first_conv": None,
        "classifier": classifier,
        **(settings or {}),
    }
    wrapped.check_pool(global_pool)
    if num_classes == 0:
        wrapped.reset_classifier(0)
    return model


def _mixed(cls: type) -> type:
    return type(cls.__name__, (_TimmInterface, cls), {"__module__": __name__})


def _revive(source: str, key: str) -> Block:
    """The empty module that unpickling fills."""
    block = make(source, key, root=True)
    block.__class__ = _mixed(type(block))
    return block
