"""Training by a loss of the spec's own: what a step is given, and what a network that gives no classes is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backend.block import Block
from ..backend.objective import drawn_inputs
from ..errors import MetablockError
from ..language.spec import Spec
from ..lowering.objective import InputOrigin
from ..shape import Feature
from .augment import augment, check_augmentation
from .dataset import Data
from .recipe import Recipe, parse_override, recipe

_VIEW = InputOrigin("view")
# Nearest neighbours, as DINO has them (arXiv 2104.14294, appendix F.1): their number, and the temperature of their votes.
NEIGHBOURS, VOTES = 20, 0.07


def recipe_of(spec: Spec, name: str | None = None, **overrides: Any) -> Recipe:
    """The recipe that trains a network.

    Args:
        spec: resolved; of a method, its recipe is the default.
        name: a shipped recipe, instead of the default.
        overrides: values that replace the recipe's.

    Raises:
        MetablockError: an unknown recipe or value.

    >>> from metablock.front import resolved
    >>> recipe_of(resolved("resnet18")).epochs, recipe_of(resolved("vit_tiny_patch16_224", method="mae"), epochs=3).beta2
    (20, 0.95)
    """
    values: dict[str, Any] = {}
    if name is None and spec.method is not None:
        stated = dict(spec.method.recipe)
        name = stated.pop("of", None)
        values = {key: parse_override(key, text, spec.method.place("recipe")) for key, text in stated.items()}
    epochs = overrides.get("epochs")
    if isinstance(epochs, int) and values.get("warmup", 0.0) > 0.25 * epochs:
        values["warmup"] = 0.25 * epochs if epochs > 1 else 0.0  # a short run of a long recipe
    return recipe(name or "small", **{**values, **overrides})


def is_supervised(model: Block) -> bool:
    """Whether a network is judged by its classes: it has no loss of its own, or one that reads labels."""
    objective = model.ir.objective
    return objective is None or any(kind == "data" for kind, _ in objective.reads)


class Batches:
    """What a step of a training is given, made of examples.

    Args:
        model: the network.
        recipe: how examples are augmented.
        data: their shape and classes.
        teacher: gives the inputs that are a teacher's, of the first view.

    Raises:
        MetablockError: a view that the method does not define, augmentation that does not fit the data; a loss that reads
            labels where examples are mixed, or boxes.
    """

    def __init__(self, model: Block, recipe: Recipe, data: Data, teacher: nn.Module | None = None):
        self.model, self.recipe, self.data, self.teacher = model, recipe, data, teacher
        self.sources: tuple[InputOrigin, ...] = model.ir.sources or (_VIEW,) * len(model.inputs)
        self.views = [view_of(model.spec, recipe, source.word) for source in self.sources if source.kind == "view"]
        for view in self.views:
            check_augmentation(view, data.input)
        if teacher is None and any(source.kind == "teacher" for source in self.sources):
            raise MetablockError("the method learns from a teacher", "name one: --teacher SPEC --teacher-weights FILE")
        reads = model.ir.objective.reads if model.ir.objective is not None else ()
        for kind, name in reads:
            if kind == "data" and name not in ("label", "target"):
                hint = "write a loop over your data: metablock.losses(model, images, objects=..., object_boxes=...)"
                raise MetablockError(f"the loss reads `{name}`, and data sets of classes bring none", hint)
        if ("data", "label") in reads and (recipe.mixup or recipe.cutmix):
            raise MetablockError(
                "the recipe mixes examples, and the loss reads `label`", "let it read `target`, or mixup=0 cutmix=0"
            )

    def inputs(self, x: Tensor, y: Tensor, seed: int) -> tuple[list[Tensor], Tensor]:
        """The inputs of a step and the soft targets ``(b, classes)``. Draws from torch's default generator, seeded here."""
        inputs, targets = list[Tensor](), None
        for number, view in enumerate(self.views):
            torch.manual_seed(seed + number)
            seen, soft = augment(view, x, y, self.data.classes)
            targets = soft if targets is None else targets
            inputs.append(seen)
        assert targets is not None
        for source, feature in zip(self.sources, self.model.inputs, strict=True):
            if source.kind == "teacher":
                inputs.append(self._taught(inputs[0], feature))
            elif source.drawn:
                inputs += drawn_inputs(self.model, inputs)[:1]
        return inputs, targets

    def _taught(self, x: Tensor, feature: Feature) -> Tensor:
        """What the teacher gives for a batch. Raises MetablockError if that has another shape than the method states."""
        assert self.teacher is not None
        output = _first_tensor(self.teacher(x))
        if output.shape[1:] != feature.size()[1:]:
            shown = tuple(output.shape[1:])
            raise MetablockError(f"the teacher gives {shown}, the method expects {feature.size()[1:]}", "name another --teacher")
        return output

    def plain(self, x: Tensor) -> list[Tensor]:
        """The inputs of an evaluation: every view is the example itself; what is drawn is left to the network."""
        return [x] * len(self.views)


def view_of(spec: Spec, base: Recipe, word: str) -> Recipe:
    """The augmentation of a view: the recipe with the values of the method's ``views``."""
    if not word:
        return base
    views = spec.method.views if spec.method is not None else {}
    if word not in views:
        known = f"it has {', '.join(views)}" if views else "write them under `views:`"
        raise MetablockError(f"the method has no view '{word}'", known)
    place = spec.method.place("views") if spec.method is not None else None
    values = {key: parse_override(key, text, place) for key, text in views[word].items()}
    return base.model_copy(update={**_PLAIN, **values})


# A view states all of its augmentation.
_PLAIN: Mapping[str, Any] = {
    name: Recipe.model_fields[name].default
    for name in ("flip", "shift", "crop", "randaugment", "erasing", "jitter", "gray", "blur", "solarize", "mixup", "cutmix")
}


def features_of(output: Any) -> Tensor:
    """What a network gives in evaluation, as vectors ``(b, d)`` in float32: means over the positions of maps and tokens.

    >>> features_of([torch.ones(2, 4, 8), torch.zeros(2, 3)]).shape
    torch.Size([2, 8])
    """
    value = _first_tensor(output)
    if value.dim() == 4:
        value = value.mean((2, 3))
    elif value.dim() == 3:
        value = value.mean(1)
    return value.flatten(1).float()


def _first_tensor(output: Any) -> Tensor:
    """The first tensor of outputs, however they are nested."""
    while not isinstance(output, Tensor):
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output


_Side = tuple[Tensor, Tensor]  # features and labels


def judged(recipe: Recipe, train: _Side, val: _Side, classes: int) -> float:
    """The accuracy (per cent) on validation features of the classifier that the recipe's ``score`` names.

    >>> sides = torch.eye(2).repeat(3, 1), torch.tensor([0, 1] * 3)
    >>> judged(Recipe(), sides, sides, classes=2), judged(Recipe(score="probe"), sides, sides, classes=2)
    (100.0, 100.0)
    """
    guessed = probe(*train, val[0]) if recipe.score == "probe" else neighbours(*train, val[0], classes)
    return 100 * float((guessed == val[1]).double().mean())


def neighbours(train: Tensor, labels: Tensor, val: Tensor, classes: int) -> Tensor:
    """Classes ``(m,)`` of validation features ``(m, d)`` by the votes of the nearest training features ``(n, d)``.

    >>> neighbours(torch.eye(2), torch.tensor([0, 1]), torch.tensor([[1.0, 0.1]]), classes=2)
    tensor([0])
    """
    similar = F.normalize(val, dim=-1) @ F.normalize(train, dim=-1).mT
    nearest, at = similar.topk(min(NEIGHBOURS, len(train)), dim=-1)
    votes = torch.zeros(len(val), classes).scatter_add_(1, labels[at], (nearest / VOTES).exp())
    return votes.argmax(-1)


def probe(train: Tensor, labels: Tensor, val: Tensor) -> Tensor:
    """Classes ``(m,)`` of validation features ``(m, d)`` by a linear classifier of training features ``(n, d)``: logistic
    regression on standardised features (scikit-learn's, L2 with C = 1).

    >>> probe(torch.eye(2).repeat(3, 1), torch.tensor([0, 1] * 3), torch.tensor([[1.0, 0.1]]))
    tensor([0])
    """
    from sklearn.linear_model import LogisticRegression

    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    model = LogisticRegression(max_iter=1000).fit(((train - mean) / std).numpy(), labels.numpy())
    return torch.from_numpy(model.predict(((val - mean) / std).numpy()))


def full(outputs: Any) -> Any:
    """Outputs with float32 for what is half as wide: losses are computed in full precision."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs
    if isinstance(outputs, dict):
        return {name: full(value) for name, value in outputs.items()}
    return [full(value) for value in outputs] if isinstance(outputs, (list, tuple)) else outputs
