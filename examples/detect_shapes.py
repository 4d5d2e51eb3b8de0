"""A small detector learns to find coloured squares, discs and triangles: a plain loop around the loss that its spec states.

python examples/detect_shapes.py [STEPS]

1200 steps take about two minutes of one core.

`metablock train` reads data sets of classes; boxes come from a loop like this one.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

import metablock

SPEC = Path(__file__).parent / "small_detector.yaml"
SIZE, MOST, CLASSES = 64, 3, 3


def scenes(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of one to three shapes on a noisy ground.

    Returns:
        Pictures ``(count, 3, 64, 64)``; classes ``(count, 3)``: square, disc, triangle, or 3 where there is no further shape;
        boxes ``(count, 3, 4)``: centre x, centre y, width, height as parts of the picture's.
    """
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    pictures = 0.1 * torch.randn(count, 3, SIZE, SIZE)
    classes = torch.randint(CLASSES, (count, MOST))
    classes[torch.arange(MOST) > torch.randint(MOST, (count, 1))] = CLASSES
    half = SIZE * (0.08 + 0.1 * torch.rand(count, MOST))
    # Shapes lie in different quarters of the picture, and so do not cover each other.
    quarter = torch.rand(count, 4).argsort(1)[:, :MOST]
    room = SIZE / 2 - 2 * half
    cx = SIZE / 2 * (quarter % 2) + half + room * torch.rand(count, MOST)
    cy = SIZE / 2 * (quarter // 2) + half + room * torch.rand(count, MOST)
    for k in range(MOST):
        dx, dy = x - cx[:, k, None, None], y - cy[:, k, None, None]
        h, kind = half[:, k, None, None], classes[:, k, None, None]
        square = (dx.abs() <= h) & (dy.abs() <= h)
        disc = dx**2 + dy**2 <= h**2
        triangle = square & (dx.abs() <= (dy + h) / 2)
        inside = torch.where(kind == 0, square, torch.where(kind == 1, disc, triangle)) & (kind < CLASSES)
        colour = torch.nn.functional.normalize(torch.rand(count, 3, 1, 1) + 0.1, dim=1) * 1.5
        pictures = torch.where(inside[:, None], colour, pictures)
    boxes = torch.stack([cx, cy, 2 * half, 2 * half], -1) / SIZE
    return pictures, classes, boxes


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes ``(n, 4)`` and ``(m, 4)``: ``(n, m)``."""
    a, b = a[:, None], b[None]
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    both = (high - low).clamp_min(0).prod(-1)
    return both / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both)


@torch.no_grad()
def judge(model: torch.nn.Module, count: int = 256) -> tuple[float, float, float]:
    """On new pictures: the mean overlap of a shape with the best prediction of its class; the part of the shapes whose overlap is
    above a half; the part of the predictions that find one."""
    model.eval()
    pictures, classes, boxes = scenes(count)
    output = model(pictures)
    model.train()
    said = output["logits"].argmax(-1)
    overlaps, right, predictions = [], 0, 0
    for k in range(count):
        real, its = classes[k] < CLASSES, said[k] < CLASSES
        same = said[k][its][:, None] == classes[k][real][None]
        values = overlap(output["boxes"][k][its], boxes[k][real]) * same
        predictions += int(its.sum())
        best = values.max(0).values if its.any() else torch.zeros(int(real.sum()))
        right += int((best > 0.5).sum())
        overlaps.append(best)
    every = torch.cat(overlaps)
    return float(every.mean()), float((every > 0.5).float().mean()), right / max(predictions, 1)


def main(steps: int = 1200, batch: int = 32) -> tuple[list[float], tuple[float, float, float]]:
    """Trains; returns the loss of every step, and what :func:`judge` says at the end."""
    torch.manual_seed(0)
    model = metablock.build(SPEC)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps + 1, pct_start=0.1)
    history = []
    for step in range(steps):
        pictures, classes, boxes = scenes(batch)
        terms = metablock.losses(model, pictures, objects=classes, object_boxes=boxes)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        history.append(loss.item())
        if step % 100 == 99:
            shown = ", ".join(f"{name} {term.item():.3f}" for name, term in terms.items())
            print(f"step {step + 1}: {shown}; overlap {judge(model)[0]:.2f}", flush=True)
    result = judge(model, 512)
    print("overlap of a shape with its box {:.2f}, found {:.0%}, of the predictions right {:.0%}".format(*result))
    return history, result


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
