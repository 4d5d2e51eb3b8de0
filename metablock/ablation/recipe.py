"""How a network is trained, as data: a recipe is a YAML file of numbers and words (``metablock/ablation/recipes``)."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import MetablockError, Problem, Span, SpecError, Text, error, suggest
from ..language.yaml import Node, Scalar, read, read_file

FOLDER = Path(__file__).parent / "recipes"
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Recipe(BaseModel):
    """Everything that decides how a network is trained, except the network, the data and the seed. Each field has a description.

    >>> Recipe().optimizer, Recipe().epochs
    ('adamw', 20)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    # Length
    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the training set")] = 20
    batch: Annotated[int, Field(ge=1, le=65_536, description="images per step, over all devices")] = 64

    # Optimiser
    optimizer: Annotated[Literal["adamw", "sgd"], Field(description="AdamW, or SGD with Nesterov momentum")] = "adamw"
    lr: Annotated[float, Field(gt=0, le=100, description="learning rate at `lr_batch` images per step")] = 1e-3
    lr_batch: Annotated[int, Field(ge=0, description="the rate is scaled by batch / lr_batch; 0: not scaled")] = 0
    weight_decay: Annotated[
        float, Field(ge=0, le=1, description="of matrices and kernels; norms, biases, scales, tables and tokens have none")
    ] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1, description="of SGD; AdamW's first beta")] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1, description="AdamW's second beta")] = 0.999
    layer_decay: Annotated[float, Field(gt=0, le=1, description="factor on the rate for each block further from the head")] = 1.0
    clip: Annotated[float, Field(ge=0, description="largest norm of the gradient; 0: none")] = 0.0

    # Schedule, updated every step
    warmup: Annotated[float, Field(ge=0, description="epochs in which the rate rises from 0")] = 1.0
    schedule: Annotated[Literal["cosine", "constant"], Field(description="of the learning rate after the warm-up")] = "cosine"
    min_lr: Annotated[float, Field(ge=0, description="learning rate at the end of the cosine")] = 0.0

    # Loss
    loss: Annotated[Literal["cross_entropy", "bce", "focal"], Field(description="all of them take soft targets")] = (
        "cross_entropy"
    )
    smoothing: Annotated[float, Field(ge=0, lt=1, description="label smoothing")] = 0.0
    focal_alpha: Annotated[float, Field(ge=-1, le=1, description="weight of the true class; -1: no weights")] = 0.25
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    distill: Annotated[Literal["none", "soft", "hard"], Field(description="from the study's teacher, as DeiT does")] = "none"
    distill_weight: Annotated[float, Field(ge=0, le=1, description="weight of the teacher's part of the loss")] = 0.5
    distill_temperature: Annotated[float, Field(gt=0)] = 3.0

    # Augmentation: what is drawn depends on the run's seed, the epoch and the step alone
    flip: Annotated[float, Field(ge=0, le=1, description="probability of a horizontal flip")] = 0.0
    shift: Annotated[int, Field(ge=0, description="largest random shift along each axis, in pixels; zeros fill the gap")] = 0
    crop: Annotated[float, Field(gt=0, le=1, description="least area of a random resized crop; 1: none")] = 1.0
    randaugment: Annotated[int, Field(ge=0, le=10, description="operations per picture; 0: none")] = 0
    randaugment_magnitude: Annotated[float, Field(ge=0, le=30)] = 9.0
    erasing: Annotated[float, Field(ge=0, le=1, description="probability of random erasing")] = 0.0
    mixup: Annotated[float, Field(ge=0, description="alpha of mixup; 0: none")] = 0.0
    cutmix: Annotated[float, Field(ge=0, description="alpha of cutmix; 0: none. With both, each step draws one")] = 0.0
    mix_probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    jitter: Annotated[
        float, Field(ge=0, le=1, description="probability of a jitter of brightness and contrast by 0.4, saturation 0.2, hue 0.1")
    ] = 0.0
    gray: Annotated[float, Field(ge=0, le=1, description="probability of a picture without colours")] = 0.0
    blur: Annotated[float, Field(ge=0, le=1, description="probability of a Gaussian blur of 0.1 to 2 pixels")] = 0.0
    solarize: Annotated[float, Field(ge=0, le=1, description="probability that values above the middle are inverted")] = 0.0

    # Everything else
    score: Annotated[
        Literal["neighbours", "probe"],
        Field(description="of features without classes: votes of nearest neighbours, or a linear probe"),
    ] = "neighbours"
    ema: Annotated[
        float, Field(ge=0, lt=1, description="decay of the moving average of the weights; the average is evaluated; 0: none")
    ] = 0.0
    precision: Annotated[Literal["float32", "bfloat16", "float16"], Field(description="of the passes; weights stay float32")] = (
        "float32"
    )
    evaluate_every: Annotated[int, Field(ge=1, description="epochs between evaluations; the last is always evaluated")] = 1

    @model_validator(mode="after")
    def _warm(self) -> Recipe:
        if self.warmup >= self.epochs and self.warmup > 0 and self.epochs > 1:
            raise ValueError(f"warmup: {self.warmup:g} of {self.epochs} epochs leave nothing to train")
        return self

    def digest(self) -> str:
        """SHA-256 of all values: two recipes with the same digest train in the same way."""
        return sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


@cache
def recipes() -> dict[str, dict[str, Any]]:
    """The values of the shipped recipes, by name.

    >>> sorted(recipes())
    ['deit', 'resnet', 'small']
    """
    return {
        path.stem: {key.value: override(key.value, node, key.span) for key, node in read_file(path).entries}
        for path in sorted(FOLDER.glob("*.yaml"))
    }


def recipe(name: str = "small", **overrides: Any) -> Recipe:
    """A shipped recipe with some values changed.

    Args:
        name: ``small``, ``deit`` or ``resnet``.
        overrides: values of fields of :class:`Recipe`. Where ``epochs`` is overridden and ``warmup`` is not, the warm-up is at
            most a quarter of the epochs.

    Raises:
        MetablockError: an unknown name or field, or values out of range; all of them are reported.

    >>> recipe("deit", epochs=4, lr=1e-3).warmup
    1.0
    >>> recipe(lr=-1)
    Traceback (most recent call last):
        ...
    metablock.errors.SpecError: lr: a number more than 0 and at most 100, not -1
      learning rate at `lr_batch` images per step
    """
    known = recipes()
    if name not in known:
        raise MetablockError(f"unknown recipe '{name}'", suggest(name, known, f"known: {', '.join(known)}"))
    values = {**known[name], **overrides}
    epochs = overrides.get("epochs")
    if isinstance(epochs, int) and "warmup" not in overrides and values.get("warmup", 1.0) > 0.25 * epochs:
        values["warmup"] = 0.25 * epochs if epochs > 1 else 0.0  # a short run of a long recipe
    try:
        return Recipe.model_validate(values)
    except ValidationError as wrong:
        raise SpecError(_problems(wrong)) from None


def parse_number(text: str) -> int | float | None:
    """A number as this language writes it; None for any other text. What other readers of YAML guess is no number here.

    >>> [parse_number(text) for text in ("3e-4", "64", "0100", "1:30", "on", "1_000", "0x10", "nan", "1e999")]
    [0.0003, 64, None, None, None, None, None, None, None]
    """
    if not _NUMBER.fullmatch(text) or len(text) > 100:
        return None
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return None
    return int(value) if value == int(value) and abs(value) < 2**53 else value


def parse_override(key: str, text: str, span: Span | None = None) -> Any:
    """The value of one field from its text.

    Args:
        key: a field of :class:`Recipe`.
        text: its value, as a file would have it behind ``key:``.
        span: where the override is written, if it is in a file.

    Raises:
        SpecError: there is no such field, or the value is of another kind or out of range.

    >>> parse_override("lr", "3e-4"), parse_override("loss", "bce")
    (0.0003, 'bce')
    """
    _check_key(key, span)
    try:
        node = read(Text("--with", f"{key}: {text}")).get(key)
    except SpecError:
        node = None
    if node is None or not isinstance(node, Scalar):
        raise _wrong_value(key, text, span)
    return override(key, node, span)


def override(key: str, node: Node, span: Span | None = None) -> Any:
    """The value of one field from a node of a file. Raises SpecError as :func:`parse_override`."""
    _check_key(key, span)
    text = node.value if isinstance(node, Scalar) else node.span.content
    if not isinstance(node, Scalar):
        raise _wrong_value(key, text, span)
    options = getattr(Recipe.model_fields[key].annotation, "__args__", ())
    value = text if options else parse_number(text)
    try:
        Recipe.__pydantic_validator__.validate_assignment(Recipe.model_construct(**Recipe().model_dump()), key, value)
    except ValidationError as wrong:
        if any(item["loc"][:1] == (key,) for item in wrong.errors()):
            raise _wrong_value(key, text, span) from None
    return value


# What other trainers call the keys of a recipe.
_ELSEWHERE = {
    **dict.fromkeys(("learning_rate", "base_lr", "step_size"), "lr"),
    **dict.fromkeys(("batch_size", "bs", "train_batch_size"), "batch"),
    **dict.fromkeys(("num_epochs", "max_epochs", "n_epochs"), "epochs"),
    **dict.fromkeys(("opt", "optim"), "optimizer"),
    **dict.fromkeys(("wd", "decay", "l2"), "weight_decay"),
    **dict.fromkeys(("sched", "lr_schedule", "scheduler"), "schedule"),
    **dict.fromkeys(("warmup_epochs", "warmup_steps"), "warmup"),
    **dict.fromkeys(("label_smoothing", "ls"), "smoothing"),
    **dict.fromkeys(("clip_grad", "grad_clip", "max_norm", "gradient_clip"), "clip"),
    **dict.fromkeys(("criterion", "loss_fn"), "loss"),
    **dict.fromkeys(("amp", "dtype", "mixed_precision"), "precision"),
    **dict.fromkeys(("model_ema", "ema_decay"), "ema"),
    **dict.fromkeys(("reprob", "random_erasing"), "erasing"),
    **dict.fromkeys(("hflip", "horizontal_flip"), "flip"),
    "layer_wise_lr_decay": "layer_decay",
}


def _check_key(key: str, span: Span | None) -> None:
    if key not in Recipe.model_fields:
        raise error(f"a recipe has no '{key}'", span, _hint(key))


def _hint(key: str) -> str | None:
    """What an unknown key may have meant: what other trainers call a key, or one that is near."""
    here = _ELSEWHERE.get(key.lower().replace("-", "_"))
    return f"did you mean '{here}'?" if here else suggest(key, Recipe.model_fields, "`metablock train --help` names them")


def _wrong_value(key: str, text: str, span: Span | None) -> SpecError:
    field = Recipe.model_fields[key]
    shown = repr(text) if parse_number(text) is None else text
    shown = shown if len(shown) < 80 else f"{shown[:60]}..."
    return error(f"{key}: {_range(field)}, not {shown}", span, field.description or "a number")


def _problems(wrong: ValidationError, span: Span | None = None) -> Iterator[Problem]:
    """Pydantic's report in our words."""
    for item in wrong.errors():
        key = str(item["loc"][0]) if item["loc"] else ""
        field = Recipe.model_fields.get(key)
        if not key:
            yield Problem(item["msg"].removeprefix("Value error, "), span, "more epochs, or a shorter warm-up")
        elif field is None:
            yield Problem(f"a recipe has no '{key}'", span, _hint(key))
        else:
            yield Problem(f"{key}: {_range(field)}, not {reprlib.repr(item['input'])}", span, field.description or "a number")


def _range(field: Any) -> str:
    """The values that a field takes, in words."""
    options = getattr(field.annotation, "__args__", ())
    if options:
        return " or ".join(map(str, options))
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    bounds = {name: value for bound in field.metadata for name in words if (value := getattr(bound, name, None)) is not None}
    kind = "a whole number" if field.annotation is int else "a number"
    return " ".join(filter(None, [kind, " and ".join(f"{words[name]} {value:g}" for name, value in bounds.items())]))
