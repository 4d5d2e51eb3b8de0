"""How a network is trained, as data: a recipe is a YAML file of numbers and words (``metablock/ablation/recipes``)."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import MetablockError, suggest

FOLDER = Path(__file__).parent / "recipes"


class Recipe(BaseModel):
    """Everything that decides how a network is trained, but for the network, the data and the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Length
    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the training set")] = 20
    batch: Annotated[int, Field(ge=1, le=65_536, description="images a step, over all devices")] = 64

    # Optimiser
    optimizer: Annotated[Literal["adamw", "sgd"], Field(description="AdamW, or SGD with Nesterov momentum")] = "adamw"
    lr: Annotated[float, Field(gt=0, le=100, description="learning rate at `lr_batch` images a step")] = 1e-3
    lr_batch: Annotated[int, Field(ge=0, description="the rate is scaled by batch / lr_batch; 0: not scaled")] = 0
    weight_decay: Annotated[
        float, Field(ge=0, le=1, description="of matrices and kernels; norms, biases and tables have none")
    ] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1, description="of SGD; AdamW's first beta")] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1, description="AdamW's second beta")] = 0.999
    layer_decay: Annotated[float, Field(gt=0, le=1, description="factor on the rate for each block further from the head")] = 1.0
    clip: Annotated[float, Field(ge=0, description="largest norm of the gradient; 0: none")] = 0.0

    # Schedule, a step at a time
    warmup: Annotated[float, Field(ge=0, description="epochs in which the rate rises from 0")] = 1.0
    schedule: Annotated[Literal["cosine", "constant"], Field(description="afterwards")] = "cosine"
    min_lr: Annotated[float, Field(ge=0, description="where the cosine ends")] = 0.0

    # Loss
    loss: Annotated[Literal["cross_entropy", "bce", "focal"], Field(description="of soft targets, all of them")] = "cross_entropy"
    smoothing: Annotated[float, Field(ge=0, lt=1, description="label smoothing")] = 0.0
    focal_alpha: Annotated[float, Field(ge=-1, le=1, description="weight of the class itself; -1: none")] = 0.25
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    distill: Annotated[Literal["none", "soft", "hard"], Field(description="from the study's teacher, as DeiT does")] = "none"
    distill_weight: Annotated[float, Field(ge=0, le=1, description="of the teacher's part")] = 0.5
    distill_temperature: Annotated[float, Field(gt=0)] = 3.0

    # Augmentation: each from the run's seed, the epoch and the step alone
    flip: Annotated[float, Field(ge=0, le=1, description="probability of a horizontal flip")] = 0.0
    shift: Annotated[int, Field(ge=0, description="pixels of zeros around, then a crop of the old size")] = 0
    crop: Annotated[float, Field(gt=0, le=1, description="least area of a random resized crop; 1: none")] = 1.0
    randaugment: Annotated[int, Field(ge=0, le=10, description="operations a picture; 0: none")] = 0
    randaugment_magnitude: Annotated[float, Field(ge=0, le=30)] = 9.0
    erasing: Annotated[float, Field(ge=0, le=1, description="probability of random erasing")] = 0.0
    mixup: Annotated[float, Field(ge=0, description="alpha of mixup; 0: none")] = 0.0
    cutmix: Annotated[float, Field(ge=0, description="alpha of cutmix; 0: none. With both, each step draws one")] = 0.0
    mix_probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    # Further
    ema: Annotated[
        float, Field(ge=0, lt=1, description="decay of an average of the weights, which is evaluated then; 0: none")
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
        """What identifies the recipe: the SHA-256 of all its values."""
        return sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


@cache
def recipes() -> dict[str, dict[str, Any]]:
    """The shipped recipes by name."""
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in sorted(FOLDER.glob("*.yaml"))}


def recipe(name: str = "small", **overrides: Any) -> Recipe:
    """A recipe by name, with some values changed. Raises MetablockError."""
    known = recipes()
    if name not in known:
        raise MetablockError(f"unknown recipe '{name}'\n  {suggest(name, known, 'known: ' + ', '.join(known))}")
    values = {**known[name], **overrides}
    if "epochs" in overrides and "warmup" not in overrides and values.get("warmup", 1.0) > 0.25 * values["epochs"]:
        values["warmup"] = 0.25 * values["epochs"] if values["epochs"] > 1 else 0.0  # a short run of a long recipe
    try:
        return Recipe.model_validate(values)
    except ValidationError as wrong:
        raise MetablockError(_told(wrong)) from None


def parse_override(key: str, text: str) -> Any:
    """The value of one key from its text. Raises MetablockError for an unknown key or a value of another kind."""
    if key not in Recipe.model_fields:
        hint = suggest(key, Recipe.model_fields, "`metablock train --help` names them")
        raise MetablockError(f"a recipe has no '{key}'\n  {hint}")
    value = yaml.safe_load(text) if text.strip() else None
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)  # YAML takes 1e-3 for a word
    try:
        Recipe.__pydantic_validator__.validate_assignment(Recipe.model_construct(**Recipe().model_dump()), key, value)
    except ValidationError as wrong:
        told = [error for error in wrong.errors() if error["loc"][:1] == (key,)]
        if told:
            raise MetablockError(_told(wrong)) from None
    return value


def _told(wrong: ValidationError) -> str:
    lines = []
    for error in wrong.errors():
        key = str(error["loc"][0]) if error["loc"] else ""
        if not key:
            lines.append(f"{error['msg'].removeprefix('Value error, ')}")
            continue
        field = Recipe.model_fields.get(key)
        if field is None:
            lines.append(f"a recipe has no '{key}'\n  {suggest(key, Recipe.model_fields, '')}")
            continue
        lines.append(f"{key}: {_wanted(field)}, not {error['input']!r}\n  {field.description or 'a number'}")
    return "\n".join(lines)


def _wanted(field: Any) -> str:
    options = getattr(field.annotation, "__args__", ())
    if options:
        return " or ".join(map(str, options))
    bounds = {}
    for bound in field.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if getattr(bound, name, None) is not None:
                bounds[name] = f"{getattr(bound, name):g}"
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    kind = "a whole number" if field.annotation is int else "a number"
    return " ".join([kind, *(" and ".join(f"{words[name]} {value}" for name, value in bounds.items()).split())])
