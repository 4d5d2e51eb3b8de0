"""LightConv's encoder and decoder learn a made language: sentences copied, or reversed. Greedy and beam decoding.

python examples/translate.py [copy|reverse] [STEPS]
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock

START, PADDING, END, LETTERS = 0, 1, 2, 12  # letters are the ids from 3
VOCAB, LONGEST = 3 + LETTERS, 8
EDITS = [f"vocab = {VOCAB}", "d = 64", "wide = 128", "heads = 4", "k = [3, 7, 15]", "input_rate = 0"]


def sentences(batch: int, task: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sources (batch, n) and their translations (batch, n + 1), which end in END; shorter ones end in PADDING."""
    source = torch.full((batch, LONGEST), PADDING)
    target = torch.full((batch, LONGEST + 1), PADDING)
    for row in range(batch):
        n = int(torch.randint(3, LONGEST + 1, (), generator=generator))
        letters = torch.randint(3, VOCAB, (n,), generator=generator)
        source[row, :n] = letters
        target[row, :n] = letters.flip(0) if task == "reverse" else letters
        target[row, n] = END
    return source, target


def shifted(target: Tensor) -> Tensor:
    """What the decoder sees: START, and all but the last of the ids that it is to give."""
    return F.pad(target[:, :-1], (1, 0), value=START)


def train(model: nn.Module, task: str, steps: int, generator: torch.Generator) -> float:
    """Trains a network; gives the last loss."""
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    loss = torch.zeros(())
    for step in range(steps):
        source, target = sentences(64, task, generator)
        logits = model(source, shifted(target))
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PADDING, label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:4}  loss {loss.item():.3f}")
    return loss.item()


@torch.no_grad()
def greedy(model: nn.Module, source: Tensor, longest: int = LONGEST + 1) -> Tensor:
    """The most likely id after each prefix: (batch, n) -> (batch, up to longest); behind END stands PADDING."""
    prefix = torch.full((len(source), 1), START)
    for _ in range(longest):
        following = model(source, prefix)[:, -1].argmax(-1)
        following[(prefix == END).any(1)] = PADDING
        prefix = torch.cat([prefix, following[:, None]], 1)
        if (prefix == END).any(1).all():
            break
    return prefix[:, 1:]


@torch.no_grad()
def beam(model: nn.Module, source: Tensor, width: int = 4, longest: int = LONGEST + 1) -> list[tuple[float, list[int]]]:
    """The best translations of one sentence (1, n), END left out, by their mean log-probability an id."""
    alive, ended = [(0.0, [START])], list[tuple[float, list[int]]]()
    for _ in range(longest):
        prefixes = torch.tensor([ids for _, ids in alive])
        scores = model(source.expand(len(alive), -1), prefixes)[:, -1].log_softmax(-1)
        scores[:, [START, PADDING]] = float("-inf")
        totals = torch.tensor([score for score, _ in alive])[:, None] + scores
        best = totals.flatten().topk(width)
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        grown = [(score, [*alive[at // VOCAB][1], at % VOCAB]) for score, at in pairs]
        ended += [(score / (len(ids) - 1), ids[1:-1]) for score, ids in grown if ids[-1] == END]
        alive = [(score, ids) for score, ids in grown if ids[-1] != END]
        if not alive or len(ended) >= width:
            break
    return sorted(ended, reverse=True)


def words(ids: list[int]) -> str:
    return "".join(chr(ord("a") + letter - 3) for letter in ids if letter >= 3)


def main(task: str = "reverse", steps: int = 600) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = metablock.build("lightconv_dynamicconv", variant="lightweight_wmt_en_de", edits=EDITS)
    train(model.train(), task, steps, generator)
    model.eval()
    source, target = sentences(100, task, generator)
    translations = [words(row) for row in target.tolist()]
    first = [words(row) for row in greedy(model, source).tolist()]
    best = [([words(ids) for _, ids in beam(model, row[row != PADDING][None])] or [""])[0] for row in source]
    right = [sum(a == b for a, b in zip(guess, translations, strict=True)) / len(translations) for guess in (first, best)]
    for row in range(5):
        print(f"{words(source[row].tolist()):8} -> {first[row]:8} (greedy)  {best[row]:8} (beam)")
    print(f"right: {right[0]:.0%} greedy, {right[1]:.0%} of beam 4")
    return right[0], right[1]


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
