"""A compiled network in an ordinary training loop: a small ConvNeXt learns which quarter of an image is bright.

python examples/train.py
"""

import torch
import torch.nn.functional as F

import metablock

EDITS = ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 64]", "token = dw(3)", "drop = 0", "gamma = 1"]


def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of noise with one brighter quarter, and the numbers of the quarters."""
    images, labels = torch.randn(size, 3, 64, 64), torch.randint(4, (size,))
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, 32 * row : 32 * (row + 1), 32 * column : 32 * (column + 1)] += 1
    return images, labels


def main(steps: int = 30, compiled: bool = True) -> float:
    torch.manual_seed(0)
    model = metablock.build("convnext_tiny", edits=EDITS, classes=4, input=(3, 64, 64))
    if compiled:
        metablock.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        images, labels = batch(16)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            print(f"step {step + 1}: loss {loss.item():.3f}")
    return loss.item()


if __name__ == "__main__":
    main()
