"""A backbone's feature maps, a small FPN and a segmentation head: the network learns to outline bright discs.

python examples/segment.py [ARCHITECTURE]
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock

EDITS = ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]", "drop = 0"]


class FPN(nn.Module):
    """Feature pyramid (Lin et al. 2017): maps, finest first -> one map at the finest size. Adds coarse maps to finer ones."""

    def __init__(self, channels: list[int], width: int = 32):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        coarse = None
        for lateral, fine in zip(reversed(self.lateral), reversed(maps), strict=True):
            x = lateral(fine)
            coarse = x if coarse is None else x + F.interpolate(coarse, size=x.shape[2:], mode="bilinear")
        return self.smooth(coarse)


class Segmenter(nn.Module):
    """Images (b, 3, h, w) -> logits (b, classes, h, w)."""

    def __init__(self, architecture: str, classes: int = 2, width: int = 32):
        super().__init__()
        self.backbone = metablock.build(architecture, features=True, input=(3, 64, 64), edits=EDITS)
        self.neck = FPN(self.backbone.feature_info.channels(), width)
        self.head = nn.Sequential(nn.GELU(), nn.Conv2d(width, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.head(self.neck(self.backbone(x))), size=x.shape[2:], mode="bilinear")


def batch(size: int) -> tuple[Tensor, Tensor]:
    """Images of noise with a brighter disc (b, 3, 64, 64), and the masks of the discs (b, 64, 64)."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    centre, radius = torch.randint(16, 48, (size, 2, 1, 1)), torch.randint(6, 16, (size, 1, 1))
    disc = (y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2 < radius**2
    return torch.randn(size, 3, 64, 64) * 0.5 + disc[:, None], disc.long()


def main(architecture: str = "convnext_tiny", steps: int = 60) -> float:
    torch.manual_seed(0)
    model = Segmenter(architecture)
    print(model.backbone.feature_info.get_dicts(["module", "num_chs", "reduction"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    iou = 0.0
    for step in range(steps):
        images, masks = batch(8)
        logits = model(images)
        loss = F.cross_entropy(logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        predicted = logits.argmax(1)
        iou = float((predicted & masks).sum() / (predicted | masks).sum().clamp(min=1))
        if step % 20 == 19:
            print(f"step {step + 1}: loss {loss.item():.3f}, intersection over union {iou:.2f}")
    return iou


if __name__ == "__main__":
    main(*sys.argv[1:])
