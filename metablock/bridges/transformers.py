"""The catalogue in Hugging Face transformers: a config, an image classifier, a backbone, known to ``Auto...`` once imported.

::

    import metablock.bridges.transformers as hf

    model = hf.MetablockForImageClassification(hf.MetablockConfig.of("poolformer_s12", classes=10))
    model.save_pretrained("my-poolformer")
    model = AutoModelForImageClassification.from_pretrained("my-poolformer")
    backbone = hf.MetablockBackbone.from_pretrained("my-poolformer", out_features=["stage2", "stage4"])

``AutoBackbone`` makes a backbone from a config (``from_config``), or from a repository of the hub; folders it does not take. The
config holds the resolved spec as text, so what was saved is built again as it was, whatever the catalogue has become.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..api import assemble
from ..backend.block import Block
from ..catalogue.lookup import parse_spec
from ..errors import MetablockError, install_hint
from ..front import Edits, InputSize, front, resolved
from ..language.format import show_spec
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
except ImportError:
    raise MetablockError("transformers is not installed", install_hint("transformers")) from None


class MetablockConfig(PretrainedConfig):
    """A network: its resolved spec as text, the number of classes, and which maps a backbone gives.

    Attributes:
        spec: the text of the spec, one variant, edits made.
        num_labels: the number of classes.
        out_features, out_indices: of a backbone: ``stage1`` ... or 1 ..., by default the last.
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
            info = _maps(parse_spec(spec, "config.json"))
            self.hidden_sizes = info.channels() if info else []
            self.stage_names = [f"stage{i + 1}" for i in range(len(self.hidden_sizes))]
            self.choose(out_features, out_indices)

    def choose(self, out_features: Sequence[str] | None = None, out_indices: Sequence[int] | None = None) -> None:
        """Which maps a backbone gives. Raises MetablockError for a stage that it does not have."""
        names = self.stage_names
        if out_features is None:
            last = [len(names)] if names else []
            out_features = [f"stage{i}" for i in (last if out_indices is None else out_indices)]
        wrong = [name for name in out_features if name not in names]
        if wrong:
            raise MetablockError(f"no map '{wrong[0]}'\n  there are {', '.join(names)}; out_indices count from 1")
        chosen = [name for name in names if name in out_features]
        self.out_features, self.out_indices = chosen, [names.index(name) + 1 for name in chosen]

    def settle(self) -> None:
        """Brings both ways to name the maps together, where one was set from outside, as ``from_pretrained`` does."""
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
        """The config of a network: a catalogue name, a path or a spec, with changes as :func:`metablock.build` takes them."""
        spec = resolved(source, variant=variant, edits=edits, classes=classes, input=input)
        return cls(spec=show_spec(spec), num_labels=spec.classes, **kwargs)

    def network(self) -> Block:
        """The network, with initial weights. Raises MetablockError where the text is no spec."""
        if not self.spec:
            raise MetablockError("the config holds no spec\n  MetablockConfig.of('poolformer_s12')")
        spec, ir = front(parse_spec(self.spec, "config.json"), classes=self.num_labels)
        with torch.device("cpu"):  # also where transformers would build on meta: tables that are not saved must have values
            return assemble(spec, ir)


def _maps(spec: Spec) -> Any:
    try:
        return features(assemble(*front(spec), device="meta")).feature_info
    except MetablockError:
        return None


class MetablockModel(PreTrainedModel):
    """What classifier and backbone share: the network is ``net``."""

    config_class = MetablockConfig
    base_model_prefix = "net"
    main_input_name = "pixel_values"

    def _init_weights(self, module: nn.Module) -> None:
        """The spec's `init:` has drawn them already."""

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """As in transformers. What no file holds (index tables; a head for other classes) is as a new network has it."""
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
    """``pixel_values (b, channels, *extents)``, and ``labels (b)`` for a cross entropy -> logits ``(b, num_labels)``."""

    def __init__(self, config: MetablockConfig) -> None:
        super().__init__(config)
        self.net = config.network()
        self.post_init()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs: Any) -> Any:
        """The logits, and the loss where labels are given."""
        logits = self.net(pixel_values)
        if not isinstance(logits, Tensor):
            raise MetablockError(
                f"'{self.net.spec.name}' gives {type(logits).__name__}, not logits\n  call .eval(), or use its `net`"
            )
        loss = nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return ImageClassifierOutput(loss=loss, logits=logits)


class MetablockBackbone(MetablockModel):
    """``pixel_values (b, channels, *extents)`` -> the maps of ``config.out_features``; see :func:`metablock.features`."""

    # A classifier's weights have a head that a backbone has no use for.
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
        """Of the maps that are given."""
        return [self.num_features[self.stage_names.index(name)] for name in self.out_features]

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> Any:
        """The maps, finest first."""
        maps = dict(zip(self.stage_names, self.net(pixel_values), strict=True))
        return BackboneOutput(feature_maps=tuple(maps[name] for name in self.out_features))


AutoConfig.register("metablock", MetablockConfig, exist_ok=True)
AutoModelForImageClassification.register(MetablockConfig, MetablockForImageClassification, exist_ok=True)
AutoBackbone.register(MetablockConfig, MetablockBackbone, exist_ok=True)
__all__ = ["MetablockBackbone", "MetablockConfig", "MetablockForImageClassification"]
