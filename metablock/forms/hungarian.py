"""The loss of predicted sets in the language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import error
from ..lowering.arguments import Module
from ..lowering.ir import ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def hungarian(
    t: Tracer,
    x: ValueTree,
    *,
    boxes: Module,
    objects: Module,
    object_boxes: Module,
    loss: str,
    cost: list[float],
    no_object: float = 0.1,
    alpha: float = 0.25,
    gamma: float = 2.0,
    one_class: bool = False,
) -> ValueTree:
    """Matches predicted boxes one to one with objects, at least cost, and compares them.

    It gives three numbers: the loss of the classes, the L1 distance of matched boxes and their 1 - GIoU. The last two, and a
    focal loss, are divided by the number of objects.

    Args:
        boxes: of each token, a box: centre x, centre y, width, height as parts of the image's.
        objects: the classes that are there (`objects`).
        object_boxes: and their boxes (`object_boxes`).
        loss: ``"cross_entropy"``: the last logit stands for no object (DETR); ``"focal"`` (Deformable DETR).
        cost: in the matching, the weights of the class (its probability; with ``"focal"`` the difference of its losses), of the
            L1 distance and of GIoU.
        no_object: with ``"cross_entropy"``, the weight of tokens without an object.
        alpha: of the focal loss: weight of positive entries.
        gamma: of the focal loss: how fast entries that are right lose their weight.
        one_class: all objects count as class 0: of proposals.

    Returns:
        Three numbers.

    Raises:
        SpecError: boxes that are no four channels on the tokens of the logits; a word that ``loss`` does not know; other than
            three costs.

    >>> from metablock.front import front
    >>> from metablock.language.load import load_text
    >>> net = "name: n\\ninput: image(3, 8)\\nclasses: 5\\nmodel: x -> return logits = x >> linear(5), boxes = x >> linear(4)\\n"
    >>> net += "loss: |\\n  logits, boxes, objects, object_boxes ->\\n"
    >>> net += '  return logits >> hungarian(boxes, objects, object_boxes, "focal", [2, 5, 2])[0]\\n'
    >>> front(load_text(net)).ir.objective.terms
    ('loss',)
    """
    if loss not in ("cross_entropy", "focal"):
        raise error(f'`loss` is "{loss}"', hint="write one of cross_entropy, focal")
    if len(cost) != 3:
        raise error(f"{len(cost)} costs", hint="three: of class, distance and GIoU: `cost=[1, 5, 2]`")
    logits = t.ir.cast(single(x), "tokens")
    ours = t.ir.cast(single(t.apply(boxes, x)), "tokens")
    if ours.c != 4 or ours.feature.n != logits.feature.n:
        raise error(f"boxes of {ours.feature} for logits of {logits.feature}", boxes.span, "four channels on the same tokens")
    wanted, theirs = single(t.apply(objects, x)), single(t.apply(object_boxes, x))
    if wanted.feature.layout != "ids" or theirs.feature.layout != "tokens" or theirs.c != 4:
        raise error(f"objects of {wanted.feature} in {theirs.feature}", objects.span, "read `objects, object_boxes` in the loss")
    known = logits.c - (loss == "cross_entropy")
    if known != wanted.c and not one_class:
        hint = "with cross entropy one logit more than classes, for no object"
        raise error(f"logits of {known} classes meet objects of {wanted.c}", boxes.span, hint)
    settings: dict[str, Any] = {"cost": cost, "no_object": no_object, "alpha": alpha, "gamma": gamma, "one_class": one_class}
    inputs = [logits, ours, wanted, theirs]
    result = t.ir.call("hungarian.Hungarian", t.now.draft.number("hungarian"), inputs, loss=loss, **settings)
    return t.ir.split(result, [1, 1, 1])
