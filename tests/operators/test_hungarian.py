"""The loss of predicted sets, against its formulas written out for one image, one query, one object at a time."""

from __future__ import annotations

import math
import sys
from itertools import permutations

import pytest
import torch
from torch import Tensor

import metablock
from metablock.errors import MetablockError, SpecError
from metablock.operators.hungarian import Hungarian, generalized_iou
from oracles import relative_error

B, Q, K, M = 3, 4, 3, 4
COUNTS = [2, 0, 3]


def data(columns: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, boxes, objects with as many real ones as COUNTS says, at any place, and their boxes."""
    g = torch.Generator().manual_seed(seed)
    logits, boxes = torch.randn(B, Q, columns, generator=g).double() * 2, torch.rand(B, Q, 4, generator=g).double()
    objects, object_boxes = torch.full((B, M), K), torch.rand(B, M, 4, generator=g).double()
    for b, count in enumerate(COUNTS):
        objects[b, torch.randperm(M, generator=g)[:count]] = torch.randint(K, (count,), generator=g)
    return logits.requires_grad_(), boxes.requires_grad_(), objects, object_boxes


def giou(a: Tensor, b: Tensor) -> Tensor:
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    wide = torch.minimum(ax + aw / 2, bx + bw / 2) - torch.maximum(ax - aw / 2, bx - bw / 2)
    high = torch.minimum(ay + ah / 2, by + bh / 2) - torch.maximum(ay - ah / 2, by - bh / 2)
    both = wide * high if wide > 0 and high > 0 else 0 * wide
    hull = (torch.maximum(ax + aw / 2, bx + bw / 2) - torch.minimum(ax - aw / 2, bx - bw / 2)) * (
        torch.maximum(ay + ah / 2, by + bh / 2) - torch.minimum(ay - ah / 2, by - bh / 2)
    )
    union = aw * ah + bw * bh - both
    return both / union - (hull - union) / hull


def class_cost(row: Tensor, k: int, focal: bool) -> float:
    if not focal:
        return -math.exp(row[k]) / sum(math.exp(v) for v in row)
    p = 1 / (1 + math.exp(-row[k]))
    return 0.25 * (1 - p) ** 2 * -math.log(p + 1e-8) - 0.75 * p**2 * -math.log(1 - p + 1e-8)


def plain(logits: Tensor, boxes: Tensor, objects: Tensor, object_boxes: Tensor, focal: bool, cost: list[float]) -> Tensor:
    """The three losses; every assignment is tried."""
    total, weights = logits.new_zeros(3), 0.0
    for b in range(B):
        real = [(int(k), box) for k, box in zip(objects[b], object_boxes[b], strict=True) if k < K]

        def price(queries: tuple[int, ...], b: int = b, real: list[tuple[int, Tensor]] = real) -> float:
            pairs = zip(queries, real, strict=True)
            return sum(
                cost[0] * class_cost(logits[b, q].detach(), k, focal)
                + cost[1] * float((boxes[b, q].detach() - box).abs().sum())
                - cost[2] * float(giou(boxes[b, q].detach(), box))
                for q, (k, box) in pairs
            )

        best = min(permutations(range(Q), len(real)), key=price)
        wanted = dict(zip(best, real, strict=True))
        for q in range(Q):
            row = logits[b, q]
            if focal:
                for k in range(K):
                    p = row[k].sigmoid()
                    positive = q in wanted and wanted[q][0] == k
                    total[0] += -0.25 * (1 - p) ** 2 * p.log() if positive else -0.75 * p**2 * (1 - p).log()
            else:
                weight = 1.0 if q in wanted else 0.1
                total[0] -= weight * row.log_softmax(0)[wanted[q][0] if q in wanted else K]
                weights += weight
            if q in wanted:
                total[1] += (boxes[b, q] - wanted[q][1]).abs().sum()
                total[2] += 1 - giou(boxes[b, q], wanted[q][1])
    count = max(sum(int(k) < K for row in objects for k in row), 1)
    return total / torch.tensor([count if focal else weights, count, count], dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_formulas(loss: str, seed: int) -> None:
    focal, cost = loss == "focal", [1.0 + (loss == "focal"), 5.0, 2.0]
    logits, boxes, objects, object_boxes = data(K + (not focal), seed)
    ours = Hungarian(loss=loss, cost=cost)(logits, boxes, objects, object_boxes)
    assert ours.shape == (1, 3)
    theirs = plain(logits, boxes, objects, object_boxes, focal, cost)
    assert relative_error(ours[0], theirs) < 1e-12
    weight = torch.tensor([1.0, 5.0, 2.0]).double()
    gradients = [torch.autograd.grad(value @ weight, (logits, boxes)) for value in (ours[0], theirs)]
    for a, b in zip(*gradients, strict=True):
        assert b.any()
        assert relative_error(a, b) < 1e-10


def test_without_objects_and_with_more_than_queries() -> None:
    logits, boxes, objects, object_boxes = (x.detach() for x in data(K + 1, 0))
    loss = Hungarian(loss="cross_entropy", cost=[1, 5, 2])
    by_class, distance, overlap = loss(logits, boxes, torch.full_like(objects, K), object_boxes)[0]
    assert float(by_class) == pytest.approx(float(-logits.log_softmax(-1)[..., K].mean()))
    assert distance == overlap == 0
    many = torch.rand(B, 9, 4).double()
    crowded = loss(logits, boxes, torch.zeros(B, 9, dtype=torch.int64), many)[0]
    assert crowded.isfinite().all()
    assert 0 < crowded[2] < 2 * Q / 9  # Q of 9 objects have a query, and all 9 count


def test_objects_of_one_class_and_ids_that_fill_up() -> None:
    logits, boxes, objects, object_boxes = data(K, 0)
    loss = Hungarian(loss="focal", cost=[2, 5, 2], one_class=True)
    same = torch.where(objects < K, 0, K)
    wanted = Hungarian(loss="focal", cost=[2, 5, 2])(logits, boxes, same, object_boxes)
    assert torch.equal(loss(logits, boxes, objects, object_boxes), wanted)
    other = torch.where(objects < K, objects, -1)
    assert torch.equal(loss(logits, boxes, other, object_boxes), wanted)


def test_generalized_iou() -> None:
    a = torch.rand(5, 4).double()
    assert relative_error(generalized_iou(a, a), torch.ones(5).double()) < 1e-12
    far = torch.tensor([[0.1, 0.1, 0.2, 0.2], [0.9, 0.9, 0.2, 0.2]]).double()
    assert float(generalized_iou(far[0], far[1])) == pytest.approx(0.08 - 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, boxes, objects, object_boxes = (x.detach() for x in data(K + 1, 0))
    loss = Hungarian(loss="cross_entropy", cost=[1, 5, 2])
    half = [logits.to(dtype), boxes.to(dtype), objects, object_boxes]
    value = loss(*half)
    assert value.dtype == torch.float32
    assert relative_error(value, loss(half[0].double(), half[1].double(), objects, object_boxes)) < 1e-5


# In a spec

SPEC = """
name: net
input: image(3, 8)
classes: 3
model: |
  image ->
  return logits = image >> linear({logits}) >> tokens, boxes = image >> linear({boxes}) >> sigmoid >> tokens
loss: |
  logits, boxes, objects, object_boxes ->
  class, l1, giou = logits >> hungarian(boxes, objects, object_boxes, {arguments})
  return class = class, l1 = l1, giou = giou
"""
DETR = 'loss="cross_entropy", cost=[1, 5, 2]'


def spec(logits: str = "classes + 1", boxes: str = "4", arguments: str = DETR) -> str:
    return SPEC.format(logits=logits, boxes=boxes, arguments=arguments)


def test_a_spec_reads_objects() -> None:
    model = metablock.build(metablock.load_text(spec()))
    images, objects, object_boxes = torch.randn(2, 3, 8, 8), torch.tensor([[0, 2], [1, 3]]), torch.rand(2, 2, 4)
    terms = metablock.losses(model, images, objects=objects, object_boxes=object_boxes)
    outputs = model(images)
    wanted = Hungarian(loss="cross_entropy", cost=[1, 5, 2])(outputs["logits"], outputs["boxes"], objects, object_boxes)
    assert list(terms) == ["class", "l1", "giou"]
    assert torch.equal(torch.stack(list(terms.values())), wanted[0])
    with pytest.raises(MetablockError, match="the loss reads 'object_boxes', which is not given"):
        metablock.losses(model, images, objects=objects)
    with pytest.raises(
        MetablockError, match=r"objects and their boxes have the shapes \(2, 2\) and \(2, 1, 4\) for a batch of 2"
    ):
        metablock.losses(model, images, objects=objects, object_boxes=object_boxes[:, :1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"logits": "classes"}, "logits of 2 classes meet objects of 3"),
        ({"arguments": 'loss="focal", cost=[2, 5, 2]'}, "logits of 4 classes meet objects of 3"),
        ({"boxes": "5"}, "boxes of tokens 64 x 5 for logits of tokens 64 x 4"),
        ({"arguments": 'loss="hinge", cost=[1, 5, 2]'}, '`loss` is "hinge"'),
        ({"arguments": 'loss="focal", cost=[5, 2]'}, "2 costs"),
    ],
)
def test_mistakes(changed: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        metablock.build(metablock.load_text(spec(**changed)), device="meta")


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MetablockError, match="matching boxes needs scipy") as caught:
        Hungarian(loss="cross_entropy", cost=[1, 5, 2])(*data(K + 1, 0))
    assert "[ablate]" in str(caught.value)


@pytest.mark.parametrize(("name", "variant"), [("detr", "detr_r50"), ("deformable_detr", "single_scale")])
def test_all_layers_of_the_papers_are_compared(name: str, variant: str) -> None:
    """The terms are sums over the decoder's layers, weighed 1, 5, 2 and 2, 5, 2."""
    model = metablock.build(name, variant=variant, input="3x64x64", edits=["depth = 1", "wide = 64"], classes=K)
    objects, object_boxes = torch.tensor([[0, 2, K]]), torch.rand(1, 3, 4)
    g = torch.Generator().manual_seed(0)
    focal = name != "detr"
    layers = [(torch.randn(1, Q, K + (not focal), generator=g), torch.rand(1, Q, 4, generator=g)) for _ in range(6)]
    loss = Hungarian(loss="focal" if focal else "cross_entropy", cost=[2 if focal else 1, 5, 2])
    wanted = torch.stack([loss(*layer, objects, object_boxes)[0] for layer in layers]).sum(0)
    logits, boxes = zip(*layers, strict=True)
    ours = model.get_submodule(model.ir.objective.child)(*logits, *boxes, objects, object_boxes)
    ours = torch.stack([term.squeeze() for term in (ours.values() if isinstance(ours, dict) else ours)])
    assert relative_error(ours, wanted * torch.tensor([2.0 if focal else 1.0, 5.0, 2.0])) < 1e-6
