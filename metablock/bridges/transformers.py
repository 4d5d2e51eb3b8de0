"""The catalogue in transformers: a config, an image classifier, a backbone. Importing registers them with ``Auto...``.

::

    import metablock.bridges.transformers as hf

    model = hf.MetablockForImageClassification(hf.MetablockConfig.of("poolformer_s12", classes=10))
    model.save_pretrained("my-poolformer")
    model = AutoModelForImageClassification.from_pretrained("my-poolformer")
    backbone = hf.MetablockBackbone.from_pretrained("my-poolformer", out_features=["stage2", "stage4"])

``AutoBackbone`` builds a backbone from a config (``from_config``) or from a repository of the hub, but not from a folder. The
config holds the resolved spec as text: a saved network is rebuilt as it was, even after the catalogue has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..api import assemble
from ..backend.block import Block
from ..errors import MetablockError, install_hint
from ..front import Edits, InputSize, front, resolved
from ..language.edits import resolve
from ..language.format import show_spec
from ..language.load import load_text
from ..language.spec import Spec
from ..passes.features import features

try:
    from transformers import (
        AutoBackbone,
        AutoConfig,
        AutoModelForImageClassification,
        PretrainedConfig,
        PreTrainedModel,
    )
    from transformers.modeling_outputs import BackboneOutput, ImageClassifierOutput
except ImportError as problem:
    if isinstance(problem, ModuleNotFoundError) and problem.name == "transformers":
        raise MetablockError("transformers is not installed", install_hint("transformers")) from None
    first = str(problem).splitlines()[0]
    raise MetablockError(f"transformers does not import: {first}", "`import transformers` itself must work") from problem


class MetablockConfig(PretrainedConfig):
    """A network: its resolved spec as text, the number of classes, and the maps that a backbone gives.

    Args:
        spec: the text of a resolved spec; :meth:`of` writes it.
        out_features: the maps that a backbone gives, by name: ``stage1`` ...; the last by default.
        out_indices: the same by number, from 1.
        kwargs: the options of transformers' configs; ``num_labels``: the number of classes.

    Raises:
        MetablockError: the text is no spec (SpecError, with places); a map that the network does not have.

    >>> config = MetablockConfig.of("resnet18", classes=10)
    >>> config.num_labels, config.stage_names, config.out_features, config.hidden_sizes
    (10, ['stage1', 'stage2', 'stage3', 'stage4'], ['stage4'], [64, 128, 256, 512])
    """

    model_type = "metablock"

    def __init__(
        self,
        spec: str = "",
        out_features: Sequence[str] | None = None,
        out_indices: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.stage_names: list[str] = []
        self.out_features: list[str] | None = None
        self.out_indices: list[int] | None = None
        if spec:
            info = _maps(_resolved(spec))
            self.hidden_sizes = info.channels() if info else []
            self.stage_names = [f"stage{i + 1}" for i in range(len(self.hidden_sizes))]
            self.choose(out_features, out_indices)

    def choose(self, out_features: Sequence[str] | None = None, out_indices: Sequence[int] | None = None) -> None:
        """Chooses the maps that a backbone gives.

        Args:
            out_features: their names; they come before ``out_indices``.
            out_indices: their numbers, from 1; None, too: the last map.

        Raises:
            MetablockError: a map that the network does not have.
        """
        names = self.stage_names
        if out_features is None:
            last = [len(names)] if names else []
            out_features = [f"stage{i}" for i in (last if out_indices is None else out_indices)]
        wrong = [name for name in out_features if name not in names]
        if wrong:
            raise MetablockError(f"no map '{wrong[0]}'", f"there are {', '.join(names)}; out_indices count from 1")
        self.out_features = [name for name in names if name in out_features]
        self.out_indices = [names.index(name) + 1 for name in self.out_features]

    def settle(self) -> None:
        """Makes names and numbers of the maps agree again after one of them was set, as ``from_pretrained`` does."""
        names = [self.stage_names[i - 1] for i in self.out_indices or () if 1 <= i <= len(self.stage_names)]
        saved = [f"stage{len(self.stage_names)}"]
        if self.out_features and (self.out_features != saved or names == saved):
            self.choose(out_features=self.out_features)
        else:
            self.choose(out_indices=self.out_indices)

    @classmethod
    def of(
        cls,
        source: str | Path | Spec,
        *,
        variant: str | None = None,
        classes: int | None = None,
        input: InputSize | None = None,
        edits: Edits = (),
        **kwargs: Any,
    ) -> MetablockConfig:
        """The config of a network.

        Args:
            source, variant, classes, input, edits: the network, as :func:`metablock.build` takes them.
            kwargs: further arguments of the config: ``out_features``, ``id2label`` ...

        Raises:
            MetablockError: as :func:`metablock.build`; a map that the network does not have.
        """
        spec = resolved(source, variant=variant, edits=edits, classes=classes, input=input)
        return cls(spec=show_spec(spec), num_labels=spec.classes, **kwargs)

    def network(self) -> Block:
        """The network, with initial weights.

        Raises:
            MetablockError: the config holds no spec; its text is none (SpecError).
        """
        if not self.spec:
            raise MetablockError("the config holds no spec", "MetablockConfig.of('poolformer_s12')")
        spec, ir = front(_resolved(self.spec), classes=self.num_labels)
        with torch.device("cpu"):  # not on meta, as transformers may ask: tables that no file holds need values
            return assemble(spec, ir)


def _resolved(text: str) -> Spec:
    """A resolved spec from its text. It may hold bindings that other variants use."""
    return resolve(load_text(text, "config.json"))


def _maps(spec: Spec) -> Any:
    """The feature info of a spec's maps; None for a network without any."""
    try:
        return features(assemble(*front(spec), device="meta")).feature_info
    except MetablockError:
        return None


class MetablockModel(PreTrainedModel):
    """The base class of classifier and backbone. The network is ``net``."""

    config_class = MetablockConfig
    base_model_prefix = "net"
    main_input_name = "pixel_values"

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the spec's `init:` has initialised them already."""

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """The model of a folder or a repository of the hub, as in transformers.

        Tensors that the files do not hold (index tables, a head for other classes) have a new network's values.

        Args:
            args, kwargs: the arguments of transformers' ``from_pretrained``.
            output_loading_info: also return the loading info.

        Returns:
            The model, in evaluation; with ``output_loading_info`` the pair of model and info.

        Raises:
            MetablockError: the config's text is no spec. What transformers raises for missing or damaged files.
        """
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        fresh = cls(model.config)
        saved = fresh.state_dict().keys()
        new = {*info["missing_keys"], *(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"])}
        tensors = {**dict(fresh.named_parameters()), **dict(fresh.named_buffers())}
        with torch.no_grad():
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
                if name in new or name not in saved:
                    tensor.copy_(tensors[name])
        return (model, info) if output_loading_info else model


class MetablockForImageClassification(MetablockModel):
    """An image classifier: ``pixel_values (b, channels, *extents)`` -> logits ``(b, num_labels)``.

    Args:
        config: from :meth:`MetablockConfig.of`.

    Raises:
        MetablockError: the config holds no spec.

    >>> config = MetablockConfig.of("resnet18", classes=10, input=(3, 32, 32))
    >>> model = MetablockForImageClassification(config).eval()
    >>> model(torch.zeros(2, 3, 32, 32)).logits.shape
    torch.Size([2, 10])
    """

    def __init__(self, config: MetablockConfig) -> None:
        super().__init__(config)
        self.net = config.network()
        self.post_init()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs: Any) -> Any:
        """The logits, and with labels the loss.

        Args:
            pixel_values: ``(b, channels, *extents)``.
            labels: the classes ``(b)``, int64, for a cross entropy.
            kwargs: not used.

        Returns:
            An ``ImageClassifierOutput`` of ``logits (b, num_labels)`` and ``loss``, a number or None.

        Raises:
            MetablockError: the network has several outputs in train mode.
        """
        logits = self.net(pixel_values)
        if not isinstance(logits, Tensor):
            outputs = f"'{self.net.spec.name}' gives {type(logits).__name__}, not logits"
            raise MetablockError(outputs, "call .eval(), or use its `net`")
        loss = nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return ImageClassifierOutput(loss=loss, logits=logits)


class MetablockBackbone(MetablockModel):
    """A backbone: ``pixel_values (b, channels, *extents)`` -> the maps of ``config.out_features`` (:func:`metablock.features`).

    Args:
        config: from :meth:`MetablockConfig.of`.

    Raises:
        MetablockError: the config holds no spec; the network has no maps.

    >>> config = MetablockConfig.of("resnet18", input=(3, 32, 32), out_features=["stage2", "stage4"])
    >>> backbone = MetablockBackbone(config).eval()
    >>> [tuple(m.shape) for m in backbone(torch.zeros(1, 3, 32, 32)).feature_maps], backbone.channels
    ([(1, 128, 4, 4), (1, 512, 1, 1)], [128, 512])
    """

    # A classifier's checkpoint has a head, which a backbone does not use.
    _keys_to_ignore_on_load_unexpected = [r"net\.(?!stem|stages|shared).*", r"net\.stages\..*"]  # noqa: RUF012

    def __init__(self, config: MetablockConfig) -> None:
        config.settle()
        super().__init__(config)
        self.net = features(config.network())
        self.stage_names = list(config.stage_names)
        self.out_features = list(config.out_features or [])
        self.num_features = self.net.feature_info.channels()
        self.post_init()

    @property
    def channels(self) -> list[int]:
        """The channels of the maps."""
        return [self.num_features[self.stage_names.index(name)] for name in self.out_features]

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> Any:
        """A ``BackboneOutput`` whose ``feature_maps`` are the chosen maps ``(b, c, *extents)``, finest first."""
        maps = dict(zip(self.stage_names, self.net(pixel_values), strict=True))
        return BackboneOutput(feature_maps=tuple(maps[name] for name in self.out_features))


AutoConfig.register("metablock", MetablockConfig, exist_ok=True)
AutoModelForImageClassification.register(MetablockConfig, MetablockForImageClassification, exist_ok=True)
AutoBackbone.register(MetablockConfig, MetablockBackbone, exist_ok=True)
__all__ = ["MetablockBackbone", "MetablockConfig", "MetablockForImageClassification"]
