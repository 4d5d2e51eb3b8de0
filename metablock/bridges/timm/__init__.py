"""The catalogue in timm: ``timm.create_model("metablock/poolformer_s12")``.

::

    import timm
    from metablock.bridges.timm import register

    register()
    model = timm.create_model("metablock/poolformer_s12", num_classes=10, in_chans=1, img_size=192)
    pyramid = timm.create_model("metablock/swin_tiny_patch4_window7_224", features_only=True, out_indices=(1, 2, 3))

A model has the interface that timm's training and feature-extraction code uses (:mod:`metablock.bridges.timm.interface`). Its
``state_dict`` has metablock's names; ``pretrained=True`` loads the first checkpoint that the spec names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any

from torch import nn

from ...api import build
from ...catalogue.lookup import catalogue
from ...errors import MetablockError, install_hint
from ...front import resolved
from ...lowering.network import input_features
from .interface import with_interface

# The prefix of our names in timm's registry; none of timm's own names has a slash.
PREFIX = "metablock/"


def register(names: Iterable[str] | None = None) -> list[str]:
    """Registers architectures with timm. A second call changes nothing.

    Args:
        names: variants of the catalogue; None: all of them.

    Returns:
        Their names in timm: ``metablock/`` and the variant's name.

    Raises:
        MetablockError: timm is not installed; an unknown name.

    >>> import timm
    >>> register(["resnet18"])
    ['metablock/resnet18']
    >>> timm.create_model("metablock/resnet18", num_classes=10, device="meta").num_features
    512
    """
    try:
        from timm.models import _factory, _registry
    except ModuleNotFoundError as problem:
        if problem.name != "timm":
            raise
        raise MetablockError("timm is not installed", install_hint("timm")) from None
    known = {variant or file: (file, variant) for file, spec in catalogue().items() for variant in spec.variants or [None]}
    wanted = list(known) if names is None else list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise MetablockError(f"unknown architecture '{unknown[0]}'", "`metablock list` shows the catalogue")
    _accept_names(_factory)
    entries = []
    for name in wanted:
        entry = PREFIX + name
        if entry not in _registry._model_entrypoints:
            _registry._model_entrypoints[entry] = partial(create, *known[name])
            _registry._model_to_module[entry] = "metablock"
            _registry._module_to_models["metablock"].add(entry)
        entries.append(entry)
    return entries


def _accept_names(factory: Any) -> None:
    """Makes timm accept our names: it would read a name with a slash as a repository of a hub."""
    parse: Callable[[str], tuple[str | None, str]] = factory.parse_model_name
    if getattr(parse, "accepts", None) == PREFIX:
        return

    @wraps(parse)
    def parse_model_name(model_name: str) -> tuple[str | None, str]:
        return (None, model_name) if model_name.startswith(PREFIX) else parse(model_name)

    parse_model_name.accepts = PREFIX  # type: ignore[attr-defined]
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
    global_pool: str | None = None,
    bn_momentum: float | None = None,
    bn_eps: float | None = None,
    features_only: bool = False,
    out_indices: tuple[int, ...] | None = None,
    device: Any = None,
    dtype: Any = None,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Any = None,
    cache_dir: Any = None,
    **further: Any,
) -> nn.Module:
    """Builds a model; ``timm.create_model`` calls it with its own options.

    Args:
        file: the file of the catalogue.
        variant: one of its variants.
        pretrained: load the weights that ``pretrained_cfg`` or its overlay names, else the first checkpoint of the spec.
        num_classes: the number of classes; 0: no classifier.
        in_chans: the number of input channels.
        img_size: the extents of the input, ``(height, width)`` or one number for all.
        drop_path_rate: the largest rate of a linear ramp of stochastic depth.
        global_pool: the pooling that the spec has: ``avg``, or ``token`` for a class token.
        bn_momentum, bn_eps: of all batch norms.
        features_only: build the feature pyramid (see :func:`metablock.features`).
        out_indices: the stages whose maps it gives.
        device, dtype: of the weights.
        pretrained_cfg, pretrained_cfg_overlay: entries of the model's ``pretrained_cfg``; ``file``, ``url`` or ``hf_hub_id`` name
            weights.
        cache_dir: None: weights lie in the caches of huggingface_hub and torch.hub.
        further: options that leave the network as it is (``drop_rate=0.0``, ``scriptable=False``).

    Returns:
        The network, with the interface of timm's models.

    Raises:
        MetablockError: an option that this network cannot follow: ``drop_path_rate`` without a `drop` column, ``bn_eps`` without
            a batch norm, another pooling than its own; one that has no meaning here.

    >>> create("resnet", "resnet18", num_classes=10, in_chans=1, drop_rate=0.0, device="meta").pretrained_cfg["input_size"]
    (1, 224, 224)
    """
    name = PREFIX + (variant or file)
    for option, value in further.items():
        if value not in (None, False) and not (option.endswith("_rate") and value == 0):
            hint = _PLACES.get(option, "parts are swapped in the spec")
            raise MetablockError(f"'{name}' has no option '{option}'", hint)
    settings = _settings(name, pretrained_cfg) | _settings(name, pretrained_cfg_overlay)
    if pretrained and cache_dir is not None:
        raise MetablockError(f"'{name}' has no option 'cache_dir'", "HF_HUB_CACHE and TORCH_HOME say where weights are kept")
    spec = catalogue()[file]
    edits = []
    if drop_path_rate is not None and "drop" in spec.columns:
        edits = [f"drop = ramp({drop_path_rate})"]
    elif drop_path_rate:
        raise MetablockError(f"'{variant or file}' has no `drop` column", "leave out drop_path_rate")
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
        weights=_source(settings) or True if pretrained else None,
        device=device,
        dtype=dtype,
        features=(list(out_indices) if out_indices is not None else True) if features_only else False,
    )
    _set_batch_norms(model, name, momentum=bn_momentum, eps=bn_eps)
    if features_only:
        return model
    return with_interface(model, name, num_classes, settings, global_pool)


# Where a spec has what these options of timm's would change.
_PLACES = {
    "drop_rate": "dropout before the classifier is the spec's: head: ... >> dropout(0.1) >> linear(classes)",
    "attn_drop_rate": "dropout of attention is the spec's: attention(heads, drop=0.1)",
    "proj_drop_rate": "dropout behind a projection is the spec's: linear(c) >> dropout(0.1)",
}


def _settings(name: str, config: Any) -> dict[str, Any]:
    """The entries of a ``pretrained_cfg`` that are set: of a dict, or of timm's class."""
    if isinstance(config, str):
        raise MetablockError(f"'{name}' has no weights called '{config}'", "name a file: pretrained_cfg_overlay=dict(file=...)")
    entries = config.to_dict() if hasattr(config, "to_dict") else dict(config or {})
    return {key: value for key, value in entries.items() if value is not None}


def _source(settings: dict[str, Any]) -> Any:
    """The weights that a ``pretrained_cfg`` names, as :func:`metablock.build` takes them; None if there are none."""
    if hub := settings.get("hf_hub_id"):
        file = settings.get("hf_hub_filename")
        hub = f"hf:{hub}" + (f":{file}" if file else "")
    return settings.get("state_dict") or settings.get("file") or settings.get("url") or hub


def _set_batch_norms(model: nn.Module, name: str, **values: float | None) -> None:
    """Sets attributes of all batch norms. Raises MetablockError if there is none to set."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for key, value in values.items():
        if value is not None and not norms:
            raise MetablockError(f"'{name}' has no batch norm", f"leave out bn_{key}")
        for norm in norms if value is not None else ():
            setattr(norm, key, value)
