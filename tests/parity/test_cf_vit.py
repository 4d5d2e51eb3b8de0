"""CF-ViT by its formulas: two passes, what is selected between them, and where an image stops. (timm has no CF-ViT.)"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import metablock
from metablock.backend.block import Block
from metablock.backend.compiler import _single_operators, distinct
from metablock.errors import MetablockWarning
from oracles import randomised_state, relative_error

SMALL = ["d = 48", "heads = 3", "depth = 5"]
DEIT, LVVIT = "cf_deit_small_7", "cf_lvvit_small_7"
VARIANTS = [DEIT, f"{DEIT}_split", LVVIT, f"{LVVIT}_split"]


def small(variant: str, *edits: str) -> Block:
    model = metablock.build(variant, edits=[*SMALL, *edits], input="3x64x96", classes=11, dtype=torch.float64)
    randomised_state(model)
    return model.eval()


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 64, 96, dtype=torch.float64)


class Formulas:
    """Section 3 of the paper, on one weight after the other; token sets are lists of what stands where."""

    def __init__(self, model: Block, lvvit: bool, split: bool):
        self.w: Mapping[str, Tensor] = model.state_dict()
        self.lvvit, self.split = lvvit, split
        self.eps, self.lam = (1e-5, 2.0) if lvvit else (1e-6, 1.0)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], self.eps)

    def mlp(self, x: Tensor, name: str) -> Tensor:
        return self.linear(F.gelu(self.linear(x, f"{name}.linear1")), f"{name}.linear2")

    def embed(self, x: Tensor) -> Tensor:
        if self.lvvit:
            for k, stride in ((1, 2), (2, 1), (3, 1)):
                name = f"stem.conv_bn{k}"
                weight = self.w[f"{name}.conv.weight"]
                x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
                bn = [self.w[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
                x = F.relu(F.batch_norm(x, *bn))
        name, size = ("stem.conv", 8) if self.lvvit else ("stem", 16)
        return F.conv2d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], stride=size).permute(0, 2, 3, 1)

    def blocks(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        g: Tensor | float = 0.0
        for i in range(5):
            name = f"stages.0.blocks.{i}"
            q, k, v = self.linear(self.norm(x, f"{name}.ya.norm"), f"{name}.ya.token.qkv").unflatten(-1, (3, 3, 16)).unbind(2)
            a = torch.einsum("bnhd,bmhd->bhnm", q, k).div(math.sqrt(16)).softmax(-1)
            if i >= 3:
                g = 0.99 * g + 0.01 * a
            x = x + self.linear(torch.einsum("bhnm,bmhd->bnhd", a, v).flatten(2), f"{name}.ya.token.proj") / self.lam
            x = x + self.mlp(self.norm(x, f"{name}.x.norm"), f"{name}.x.channel") / self.lam
        return x, g

    def logits(self, f: Tensor, share: float) -> Tensor:
        result = self.linear(f[:, 0], "shared.logits")
        return (result + 0.25 * self.linear(f[:, 1:], "shared.aux").amax(1)) / share if self.lvvit else result

    def with_class(self, patches: Tensor) -> Tensor:
        return torch.cat([self.w["shared.cls.weight"].expand(len(patches), -1, -1), patches], 1)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, w = x.shape[2] // 32, x.shape[3] // 32
        e1 = self.with_class(self.embed(F.interpolate(x, (16 * h, 16 * w), mode="bilinear", align_corners=True)).flatten(1, 2))
        e1 = e1 + self.w["e.position.weight"]
        x1, g = self.blocks(e1)
        f1 = self.norm(x1, "shared.final")
        r = self.mlp(self.norm(f1[:, 1:], "r.reuse.norm"), "r.reuse.channel").unflatten(1, (h, w))
        r = r.repeat_interleave(2, 1).repeat_interleave(2, 2)
        t = self.with_class((self.embed(x) + r).flatten(1, 2))
        if self.lvvit or self.split:
            t = t + self.w["t.place.weight"]
        if self.split:
            assert isinstance(g, Tensor)
            t = torch.stack([self.selected(*image, h, w) for image in zip(t, e1, g.mean(1)[:, 0, 1:], strict=True)])
        f2 = self.norm(self.blocks(t)[0], "shared.final")
        return self.logits(f1, 1.25), self.logits(f2, 1.0)

    def selected(self, t: Tensor, e1: Tensor, scores: Tensor, h: int, w: int) -> Tensor:
        """Of one image, patch by patch."""
        best = sorted(range(h * w), key=lambda j: -float(scores[j]))[: math.ceil(h * w / 2)]
        fine = [t[1 + (2 * (j // w) + y) * 2 * w + 2 * (j % w) + x] for j in best for y in (0, 1) for x in (0, 1)]
        return torch.stack([t[0], *fine, *(e1[1 + j] for j in range(h * w) if j not in best)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_formulas(variant: str) -> None:
    model, x = small(variant), images()
    with torch.no_grad():
        found = model(x)
        expected = Formulas(model, "lvvit" in variant, "split" in variant)(x)
    coarse, fine = found.values() if isinstance(found, dict) else found
    assert relative_error(coarse, expected[0]) < 1e-9
    assert relative_error(fine, expected[1]) < 1e-9


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_step(variant: str) -> None:
    """The table of fine positions alone gets no gradient where DeiT's second pass leaves it out, as in the official code."""
    model = small(variant).train()
    coarse, fine = model(images()).values()
    if "lvvit" in variant:  # token labels train every patch
        assert coarse[1].shape == (2, 2, 3, 11)
        coarse, fine = (cls + every.flatten(1, -2).mean(1) for cls, every in (coarse, fine))
    (coarse.square().sum() + fine.square().sum()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == ({"t.place.weight"} if variant == DEIT else set())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_rates_of_stochastic_depth() -> None:
    model = metablock.build(DEIT, input="3x32x32", edits=["d = 48", "heads = 3"])
    assert [float(block.x.drop.rate) for block in model.stages[0].blocks] == pytest.approx([0.1 * i / 11 for i in range(12)])


@pytest.mark.parametrize("variant", [f"{DEIT}_split", LVVIT])
def test_early_exit(variant: str) -> None:
    """Each image stops where its coarse logits are sure enough; where none does, the answer is the fine one to the bit."""
    model, x = small(variant), images(4)
    passes: list[int] = []
    model.stages[0].blocks[0].register_forward_hook(lambda _m, inputs, _o: passes.append(len(inputs[0])))
    with torch.no_grad():
        found = model(x)
        coarse, fine = found.values() if isinstance(found, dict) else found
        sure = coarse.softmax(-1).amax(-1)
        assert torch.equal(metablock.early_exit(model, x, 2.0), fine)
        assert torch.equal(metablock.early_exit(model, x, 0.0), coarse)
        passes.clear()
        middle = float(sure.sort().values[1:3].mean())
        mixed = metablock.early_exit(model, x, middle)
    assert passes == [4, 2]
    assert torch.equal(mixed[sure >= middle], coarse[sure >= middle])
    assert relative_error(mixed[sure < middle], fine[sure < middle]) < 1e-9


def test_what_is_compiled() -> None:
    """Both passes are graphs without a break, or one together; early exit runs the same graphs, whatever number of images is left."""
    torch._dynamo.reset()
    graphs: list[object] = []
    model, x = small(f"{DEIT}_split", "depth = 4"), images(4)
    options = {"backend": lambda graph, _: (graphs.append(graph), graph.forward)[1]}
    with torch.no_grad():
        expected = model(x)
        whole = metablock.compile(copy.deepcopy(model), **options)
        torch.testing.assert_close(whole(x), expected, rtol=1e-9, atol=1e-9)
        assert len(graphs) == 1
        with pytest.warns(MetablockWarning, match='early exit runs eagerly.*\n.*way="regions"'):
            metablock.early_exit(whole, x, 0.5)
        graphs.clear()
        metablock.compile(model, way="regions", dynamic=True, **options)
        sure = expected["coarse"].softmax(-1).amax(-1)
        for left in (4, 2, 1, 3):
            threshold = float(sure.sort().values[left - 1]) + 1e-12
            answer = metablock.early_exit(model, x, threshold)
            stays = torch.where((sure >= threshold)[:, None], expected["coarse"], expected["fine"])
            torch.testing.assert_close(answer, stays, rtol=1e-9, atol=1e-9)
    assert len(graphs) <= 2 * (distinct(model) + len(list(_single_operators(model))))  # one image alone is a size of its own
