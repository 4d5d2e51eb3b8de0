"""Dynamic filter networks against plain torch: the video of moving digits, which no recording holds."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

import metablock
from oracles import randomised_state


def test_moving_mnist() -> None:
    """Ten frames are seen; nine predictions of ten are fed back. One set of weights makes every step."""
    small = ["blank = zeros(8 * 8, d) >> grid(8, 8)"]
    model = metablock.build("dfn", variant="moving_mnist_refine", input="10x16x16", edits=small).eval()
    model.load_state_dict(randomised_state(model))
    w = {name.removeprefix("shared.step."): tensor for name, tensor in model.state_dict().items()}

    def C(x: Tensor, name: str, stride: int = 1) -> Tensor:  # noqa: N802
        kernel = w[f"{name}.conv.weight"]
        return F.leaky_relu(F.conv2d(x, kernel, w[f"{name}.conv.bias"], stride, kernel.shape[2] // 2), 0.01)

    def step(x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        e = C(C(C(C(x, "h.encode.first"), "h.encode.C1", 2), "h.encode.C2"), "h.encode.C3")
        h = C(e, "h.mid") + C(C(h, "h.keep.C1"), "h.keep.C2")
        d = C(C(h, "f.small.C1"), "f.small.C2").repeat_interleave(2, 2).repeat_interleave(2, 3)
        d = C(C(C(d, "f.large.C1"), "f.large.C2"), "f.large.C3")
        f = F.conv2d(d, w["f.large.conv.weight"], w["f.large.conv.bias"]).softmax(1)
        y = (F.unfold(x, 9, padding=4).unflatten(2, (16, 16)) * f).sum(1, keepdim=True)
        r = torch.cat([y, x], 1)
        for k in range(1, 5):
            r = C(r, f"answer.C{k}")
        return y + r, h

    frames, h = torch.rand(1, 10, 16, 16), torch.zeros(1, 128, 8, 8)
    with torch.no_grad():
        for t in range(9):
            h = step(frames[:, t : t + 1], h)[1]
        y, expected = frames[:, 9:], []
        for _ in range(10):
            y, h = step(y, h)
            expected.append(y)
        result = model(frames)
    torch.testing.assert_close(result.movedim(-1, 1), torch.cat(expected, 1), rtol=1e-3, atol=1e-3)


def test_initial_weights() -> None:
    for variant, bound in (("stereo", math.sqrt(3 / (64 * 9))), ("steerable", math.sqrt(6 / (64 + 128)))):
        model = metablock.build("dfn", variant=variant)
        kernel = next(p for p in model.parameters() if p.shape[:2] == (64, 64) or p.shape[:2] == (128, 64))
        assert kernel.abs().max().item() <= bound
        assert kernel.abs().max().item() > 0.99 * bound
        assert all(p.abs().max() == 0 for name, p in model.named_parameters() if "bias" in name or "position" in name)
