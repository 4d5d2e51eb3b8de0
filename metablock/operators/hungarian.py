"""The loss of networks that predict a set of boxes: a one-to-one matching, then the losses of matched pairs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MetablockError, error, install_hint
from .losses import FocalLoss
from .rules.hungarian import HungarianRule


class Hungarian(HungarianRule, nn.Module):
    """Matches boxes of queries to the objects of their example, at least cost, and compares each with its own object.

    ``forward(logits, boxes, objects, object_boxes)``: ``logits (b, Q, K)``; ``boxes (b, Q, 4)``: centre x, centre y, width,
    height as parts of the image's; ``objects (b, M)`` ids in int64, any id outside the classes fills up; ``object_boxes
    (b, M, 4)``.
    Returns ``(1, 3)``: the loss of the classes, ``sum |box - object's|``, ``sum (1 - GIoU)``, the last two over matched pairs.
    These are divided by the number of objects in the batch, the mean of all processes, at least 1.

    An object o costs a query ``cost[0] * class + cost[1] * |box - o's| - cost[2] * GIoU``. No gradient enters the matching.

    Args:
        loss: ``"cross_entropy"``: K - 1 classes and, last, no object; the class costs ``-softmax(logits)_o``; the loss is the
            mean of all queries by their weights. ``"focal"``: K classes; the class costs the focal loss of o if it is there,
            minus that if it is not; the loss is summed and divided as the other two.
        cost: weights of class, distance and GIoU in the matching.
        no_object: with cross entropy, the weight of queries without an object.
        alpha: of the focal loss: the weight of positive entries.
        gamma: of the focal loss: how fast entries that are right lose their weight.
        one_class: whether all objects count as class 0.

    DETR, Carion et al. 2020, Eq. 1, 2 (arXiv 2005.12872); with the focal loss, Deformable DETR, Zhu et al. 2021 (arXiv
    2010.04159).

    Example:
        >>> logits, boxes = torch.zeros(1, 2, 3), torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.4, 0.4]]])
        >>> loss = Hungarian(loss="cross_entropy", cost=[1, 5, 2])
        >>> objects, object_boxes = torch.tensor([[1, 2]]), torch.tensor([[[0.2, 0.2, 0.4, 0.2], [0.0, 0.0, 0.0, 0.0]]])
        >>> loss(logits, boxes, objects, object_boxes).round(decimals=4)
        tensor([[1.0986, 0.2000, 0.5000]])
    """

    def __init__(
        self,
        *,
        loss: str,
        cost: list[float],
        no_object: float = 0.1,
        alpha: float = 0.25,
        gamma: float = 2.0,
        one_class: bool = False,
    ):
        super().__init__()
        self.loss, self.cost, self.no_object, self.one_class = loss, cost, no_object, one_class
        self.alpha, self.gamma = alpha, gamma
        self.focal = FocalLoss(over="sum", alpha=alpha, gamma=gamma)

    def forward(self, logits: Tensor, boxes: Tensor, objects: Tensor, object_boxes: Tensor) -> Tensor:
        double = torch.float64 in (logits.dtype, boxes.dtype)
        logits, boxes, object_boxes = (x.to(torch.float64 if double else torch.float32) for x in (logits, boxes, object_boxes))
        if objects.shape != object_boxes.shape[:-1] or len(objects) != len(boxes) or object_boxes.shape[-1] != 4:
            shapes = f"{tuple(objects.shape)} and {tuple(object_boxes.shape)} for a batch of {len(boxes)}"
            raise error(
                f"objects and their boxes have the shapes {shapes}", hint="(b, m) ids, (b, m, 4) boxes, filled up to one m"
            )
        classes = logits.shape[-1] - (self.loss == "cross_entropy")
        real = (objects >= 0) & (objects < classes)
        ids = objects * 0 if self.one_class else objects.masked_fill(~real, 0)
        image, query, place = self.matching(logits, boxes, ids, object_boxes, real)

        wanted = torch.full(logits.shape[:2], classes, device=logits.device)
        wanted[image, query] = ids[image, place]
        count = _mean_count(real.sum().to(logits.dtype))
        if self.loss == "focal":
            by_class = self.focal(logits, F.one_hot(wanted, classes + 1)[..., :-1].to(logits.dtype)).squeeze() / count
        else:
            weight = torch.ones(classes + 1, dtype=logits.dtype, device=logits.device)
            weight[-1] = self.no_object
            by_class = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)
        ours, theirs = boxes[image, query], object_boxes[image, place]
        distance = (ours - theirs).abs().sum() / count
        overlap = (1 - generalized_iou(ours, theirs)).sum() / count
        return torch.stack([by_class, distance, overlap])[None]

    @torch.no_grad()
    def matching(
        self, logits: Tensor, boxes: Tensor, ids: Tensor, object_boxes: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The matched pairs: numbers of the image, the query and the object."""
        assign = _assignment()
        if self.loss == "focal":
            p, a, g = logits.sigmoid(), self.alpha, self.gamma
            absent, present = (1 - a) * p**g * -(1 - p + 1e-8).log(), a * (1 - p) ** g * -(p + 1e-8).log()
            each = present - absent
        else:
            each = -logits.softmax(-1)
        by_class = each.gather(2, ids[:, None].expand(-1, boxes.shape[1], -1))
        distance = torch.cdist(boxes, object_boxes, p=1)
        overlap = generalized_iou(boxes[:, :, None], object_boxes[:, None])
        cost = self.cost[0] * by_class + self.cost[1] * distance - self.cost[2] * overlap
        cost, real = cost.nan_to_num().cpu(), real.cpu()
        images, queries, places = [], [], []
        for number, (one, its) in enumerate(zip(cost, real, strict=True)):
            row, column = (torch.as_tensor(part) for part in assign(one[:, its].numpy()))
            images.append(torch.full_like(row, number))
            queries.append(row)
            places.append(its.nonzero()[:, 0][column])
        image, query, place = (torch.cat(part).to(boxes.device) for part in (images, queries, places))
        return image, query, place


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union minus the part of the hull that neither box covers (Rezatofighi et al. 2019, arXiv 1902.09630).

    Args:
        a, b: boxes ``(..., 4)``: centre x, centre y, width, height; they broadcast.

    Returns:
        ``(...)``, in [-1, 1].
    """
    low_a, high_a = a[..., :2] - a[..., 2:] / 2, a[..., :2] + a[..., 2:] / 2
    low_b, high_b = b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2
    both = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp_min(0).prod(-1)
    hull = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).clamp_min(0).prod(-1)
    union = (high_a - low_a).prod(-1) + (high_b - low_b).prod(-1) - both
    return both / union - (hull - union) / hull


def _mean_count(count: Tensor) -> Tensor:
    """A count as the mean of all processes, at least 1."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp_min(1)


def _assignment() -> Any:
    """scipy's assignment of least cost. Raises MetablockError without scipy."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise MetablockError("matching boxes needs scipy", install_hint("ablate")) from None
    return linear_sum_assignment


__all__ = ["Hungarian", "generalized_iou"]
