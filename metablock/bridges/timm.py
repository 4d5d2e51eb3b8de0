"""The catalogue in timm: ``timm.create_model("metablock/poolformer_s12")``.

::

    import timm
    from metablock.bridges.timm import register

    register()
    model = timm.create_model("metablock/poolformer_s12", num_classes=10, in_chans=1, img_size=192)
    pyramid = timm.create_model("metablock/swin_tiny_patch4_window7_224", features_only=True, out_indices=(1, 2, 3))

A model answers what timm's training and feature-extraction code asks: ``forward_features``, ``forward_head``,
``get_classifier``, ``reset_classifier``, ``num_features``, ``pretrained_cfg``, ``feature_info``. Its ``state_dict`` has
metablock's names; ``pretrained`` brings the first checkpoint that the spec names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any

from torch import Tensor, nn

from ..api import build
from ..backend.block import Block, make
from ..catalogue.lookup import catalogue
from ..errors import MetablockError, install_hint
from ..front import resolved
from ..lowering.network import input_features
from ..operators.linear import Linear
from ..passes.features import trunk

# What stands before our names in timm's registry, where none of timm's own names has a slash.
PREFIX = "metablock/"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def register(names: Iterable[str] | None = None) -> list[str]:
    """Makes architectures known to timm.

    Args:
        names: of the catalogue; by default all variants.

    Returns:
        The names in timm: ``metablock/`` and ours.

    Raises:
        MetablockError: timm is not installed; an unknown name.
    """
    try:
        from timm.models import _factory, _registry
    except ImportError:
        raise MetablockError("timm is not installed", install_hint("timm")) from None
    known = {variant or file: (file, variant) for file, spec in catalogue().items() for variant in spec.variants or [None]}
    wanted = list(known) if names is None else list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise MetablockError(f"unknown architecture '{unknown[0]}'\n  `metablock list` shows the catalogue")
    _names_pass(_factory)
    done = []
    for name in wanted:
        entry = PREFIX + name
        if entry not in _registry._model_entrypoints:
            _registry._model_entrypoints[entry] = partial(create, *known[name])
            _registry._model_to_module[entry] = "metablock"
            _registry._module_to_models["metablock"].add(entry)
        done.append(entry)
    return done


def _names_pass(factory: Any) -> None:
    """timm takes a name with a slash for a place on a hub; ours are names."""
    parse: Callable[[str], tuple[str | None, str]] = factory.parse_model_name
    if getattr(parse, "passes", None) == PREFIX:
        return

    @wraps(parse)
    def parse_model_name(model_name: str) -> tuple[str | None, str]:
        return (None, model_name) if model_name.startswith(PREFIX) else parse(model_name)

    parse_model_name.passes = PREFIX  # type: ignore[attr-defined]
    factory.parse_model_name = parse_model_name


def create(
    file: str,
    variant: str | None,
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    drop_path_rate: float | None = None,
    features_only: bool = False,
    out_indices: tuple[int, ...] | None = None,
    device: Any = None,
    dtype: Any = None,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Any = None,
    cache_dir: Any = None,
    **unknown: Any,
) -> nn.Module:
    """What timm calls to make a model. Raises MetablockError for an option that has no meaning here."""
    if unknown:
        raise MetablockError(
            f"'{PREFIX}{variant or file}' has no option '{next(iter(unknown))}'\n  parts are swapped in the spec"
        )
    spec = catalogue()[file]
    edits = []
    if drop_path_rate is not None:
        if "drop" not in spec.columns:
            raise MetablockError(f"'{variant or file}' has no `drop` column\n  leave out drop_path_rate")
        edits = [f"drop = ramp({drop_path_rate})"]
    if num_classes == 0:
        edits.append("classes = 1")  # replaced by the identity below

    own = input_features(resolved(spec, variant=variant))[0]
    channels = in_chans or own.c
    grid = own.grid if img_size is None else (img_size,) * own.rank if isinstance(img_size, int) else tuple(img_size)
    changed = (channels, *grid) != (own.c, *own.grid)
    model = build(
        spec,
        variant=variant,
        classes=num_classes or None,
        input=(channels, *grid) if changed else None,
        edits=edits,
        weights=True if pretrained else None,
        device=device,
        dtype=dtype,
        features=(list(out_indices) if out_indices is not None else True) if features_only else False,
    )
    if features_only:
        return model
    return _timms(model, num_classes)


class _Timm:
    """What timm's code asks of a model, beside the network's own ``forward``."""

    num_classes: int
    num_features: int
    head_hidden_size: int
    pretrained_cfg: dict[str, Any]
    classifier: str | None

    @property
    def default_cfg(self) -> dict[str, Any]:
        """As ``pretrained_cfg``."""
        return self.pretrained_cfg

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.source, self.key), self.__getstate__()  # type: ignore[attr-defined]

    def forward_features(self, x: Tensor) -> Tensor:
        """What enters the head: a map, or tokens."""
        run: Any = self.trunk_ or self
        result: Tensor = run(x)
        return result

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The head; with ``pre_logits`` without its classifier."""
        head, last = self.head_part, self.get_classifier()
        if not pre_logits:
            return head(x)
        hook = last.register_forward_hook(lambda _module, given, _output: given[0])
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
        """The layer that gives the logits."""
        if self.classifier is None:
            return nn.Identity()
        return self.get_submodule(self.classifier)  # type: ignore[attr-defined]

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new last layer, as initialised; none for 0 classes. Pooling is the spec's: `head` in it."""
        if self.classifier is None or self.trunk_ is None:
            raise MetablockError("this network has no single last layer\n  build it anew with num_classes")
        weight = next(self.parameters())  # type: ignore[attr-defined]
        width = self.head_hidden_size
        last = nn.Linear(width, num_classes, device=weight.device, dtype=weight.dtype) if num_classes else nn.Identity()
        parent, _, name = self.classifier.rpartition(".")
        setattr(self.get_submodule(parent), name, last)  # type: ignore[attr-defined]
        self.num_classes = num_classes


def _timms(model: Block, num_classes: int | None) -> nn.Module:
    found = trunk(model)
    features = [
        (name, module) for name, module in model.named_modules() if name.startswith("head.") and isinstance(module, Linear)
    ]
    classes = num_classes if num_classes is not None else model.spec.classes
    classifier = features[-1][0] if features and found is not None else None
    model.__class__ = _mixed(type(model))
    mine: Any = model
    mine.__dict__["trunk_held"] = (found[0],) if found is not None else ()
    mine.num_classes, mine.classifier = classes, classifier
    mine.head_hidden_size = features[-1][1].weight.shape[1] if features else 0
    wire = getattr(found[0].ir.output, "feature", None) if found is not None else None
    mine.num_features = wire.c if wire is not None else mine.head_hidden_size
    feature = model.inputs[0]
    mine.pretrained_cfg = {
        "architecture": PREFIX + (model.spec.variant or model.spec.name),
        "num_classes": classes,
        "input_size": (feature.c, *feature.grid),
        "pool_size": None,
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": _MEAN,
        "std": _STD,
        "first_conv": None,
        "classifier": classifier,
    }
    if num_classes == 0:
        mine.reset_classifier(0)
    return model


def _mixed(cls: type) -> type:
    return type(cls.__name__, (_Timm, cls), {"__module__": __name__})


def _revive(source: str, key: str) -> Block:

    block = make(source, key, root=True)
    block.__class__ = _mixed(type(block))
    return block
