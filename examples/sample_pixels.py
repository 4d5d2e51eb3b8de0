"""Learns digits pixel by pixel with iGPT's network, made small, and samples new ones: ``python examples/sample_pixels.py``.

A picture is a sequence of ids, row by row, each the nearest of a few grey values. The network predicts each from those before it.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits

import metablock
from metablock.backend.block import Block

GREYS, SIDE = 8, 8


def pixels() -> torch.Tensor:
    """The digits as ids, ``(1797, 64)`` in int64, from 0 to 7."""
    images = torch.from_numpy(load_digits().images).flatten(1)  # 0 to 16
    return (images * GREYS / 17).long()


def network() -> Block:
    """iGPT on sequences of 64 pixels, with four blocks."""
    edits = ["depth = 4", "dim = 64", "heads = 4", f"colours = linear({GREYS}, bias=false)"]
    return metablock.build("igpt_s", input=f"{GREYS}x{SIDE * SIDE}", edits=edits)


@torch.no_grad()
def sample(model: Block, count: int, temperature: float = 1.0) -> torch.Tensor:
    """Ids of new pictures, ``(count, 64)``, drawn pixel by pixel. What stands behind a pixel does not change its logits."""
    model.eval()
    ids = torch.zeros(count, SIDE * SIDE, dtype=torch.long)
    for place in range(SIDE * SIDE):
        logits = model(ids)[:, place] / temperature
        ids[:, place] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
    return ids


def train(model: Block, data: torch.Tensor, steps: int, batch: int = 64) -> list[float]:
    """Trains by the network's own loss, the mean cross entropy of all pixels, and returns it step by step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    values = []
    for _ in range(steps):
        loss = metablock.losses(model, data[torch.randint(len(data), (batch,))])["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        values.append(float(loss.detach()))
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--samples", type=int, default=4)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model, data = network(), pixels()
    values = train(model, data, arguments.steps)
    last = sum(values[-20:]) / len(values[-20:])
    print(f"cross entropy of a pixel: {values[0]:.2f} at first, {last:.2f} at the end ({GREYS} greys by chance: 2.08)")
    for picture in sample(model, arguments.samples).view(-1, SIDE, SIDE):
        print("\n".join("".join(" .:-=+*#"[grey] * 2 for grey in row) for row in picture.tolist()) + "\n")


if __name__ == "__main__":
    main()
