"""iGPT learns small made pictures, a rectangle of one colour on another, pixel after pixel, and draws new ones.

python examples/sample_pixels.py [STEPS]
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock

COLOURS, SIDE = 4, 8
EDITS = [f"vocab = {COLOURS}", f"input = tokens(vocab, {SIDE * SIDE})", "depth = 3", "dim = 64", "heads = 4"]


def pictures(batch: int, generator: torch.Generator) -> Tensor:
    """Ids of colours (batch, SIDE * SIDE), row by row."""
    result = torch.zeros(batch, SIDE, SIDE, dtype=torch.long)
    for picture in result:
        ground, colour = torch.randperm(COLOURS, generator=generator)[:2]
        (top, left), (height, width) = (torch.randint(low, high, (2,), generator=generator) for low, high in ((0, 4), (2, 5)))
        picture[:] = ground
        picture[top : top + height, left : left + width] = colour
    return result.flatten(1)


def train(model: nn.Module, steps: int, generator: torch.Generator) -> float:
    """Trains a network on the next pixel; gives the last loss. The network itself shifts its input by one."""
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    loss = torch.zeros(())
    for step in range(steps):
        ids = pictures(32, generator)
        loss = F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:4}  loss {loss.item():.3f}")
    return loss.item()


@torch.no_grad()
def sample(model: nn.Module, count: int, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
    """New pictures (count, SIDE * SIDE): each pixel is drawn from what the network says after those before it."""
    ids = torch.zeros(count, SIDE * SIDE, dtype=torch.long)
    for place in range(SIDE * SIDE):
        chances = (model(ids)[:, place] / temperature).softmax(-1)
        ids[:, place] = torch.multinomial(chances, 1, generator=generator).flatten()
    return ids


def is_rectangle(picture: Tensor) -> bool:
    """Whether a picture (SIDE, SIDE) is a rectangle of one colour on another, which has its corner at the end."""
    places = (picture != picture[-1, -1]).nonzero()
    if not len(places):
        return False
    (top, left), (bottom, right) = places.amin(0).tolist(), places.amax(0).tolist()
    inside = picture[top : bottom + 1, left : right + 1]
    return bool((inside == inside[0, 0]).all()) and len(picture.unique()) == 2


def main(steps: int = 600) -> float:
    generator = torch.Generator().manual_seed(0)
    model = metablock.build("igpt_s", edits=EDITS)
    train(model.train(), steps, generator)
    drawn = sample(model.eval(), 40, generator).unflatten(1, (SIDE, SIDE))
    for rows in zip(*drawn[:6].tolist(), strict=True):
        print("   ".join("".join(".o#x"[colour] for colour in row) for row in rows))
    right = sum(map(is_rectangle, drawn)) / len(drawn)
    print(f"{right:.0%} of {len(drawn)} are rectangles")
    return right


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
