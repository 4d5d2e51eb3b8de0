"""BEiT against timm, which has the official names; pre-training: one learned token for masked patches, one table for all blocks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from metablock.backend.compiler import distinct
from oracles import check_gradients, randomised_state, relative_error, require

SMALL = ["depth = 2", "dim = 32", "heads = 2"]
MIM = [*SMALL, "size = 64", "masked = 6"]


def pretraining(**options: object) -> nn.Module:
    model = metablock.build("beit", variant="mim_base", edits=MIM, dtype=torch.float64, **options)
    randomised_state(model)
    return model


def masks(n: int, count: int = 6) -> torch.Tensor:
    """As many masked patches of 16 in each image."""
    scores = torch.rand(n, 16, dtype=torch.float64)
    return (scores >= scores.sort(1, descending=True)[0][:, count - 1 : count]).to(scores.dtype).reshape(n, 1, 4, 4)


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_timm(size: tuple[int, int]) -> None:
    timm = require("timm").models.beit
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 10, "init_values": 0.1}
    reference = timm.Beit(size, use_abs_pos_emb=False, use_rel_pos_bias=True, **options).double().eval()
    state = randomised_state(reference)
    model = metablock.build("beit", edits=SMALL, weights=state, input=(3, *size), classes=10, dtype=torch.float64).eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


def test_keys_have_no_bias() -> None:
    token = metablock.build("beit", edits=SMALL, device="meta").stages[0].blocks[0].token
    assert (token.q.bias is not None, token.k.bias is not None, token.v.bias is not None) == (True, False, True)


def test_one_table_in_pretraining_one_a_block_after_it() -> None:
    tuned, before = (
        dict(metablock.build("beit", variant=v, device="meta").named_parameters()) for v in ("official_ft_base", "mim_base")
    )
    assert sum(name.endswith("table.weight") for name in tuned) == 12
    assert [name for name in before if name.endswith("table.weight")] == ["shared.table.table.weight"]


def test_masked_patches_are_not_seen() -> None:
    model, x, mask = pretraining().eval(), torch.randn(2, 3, 64, 64, dtype=torch.float64), masks(2)
    pixels = mask.repeat_interleave(16, 2).repeat_interleave(16, 3)
    with torch.no_grad():
        words = model(x, mask)
        torch.testing.assert_close(model(x + pixels * torch.randn_like(x), mask), words)
        assert relative_error(model(x + (1 - pixels) * torch.randn_like(x), mask), words) > 0.01
    assert words.shape == (2, 6, 8192)


def test_words_of_the_masked_come_first_row_by_row() -> None:
    """With fewer masked patches the others follow."""
    model, x = pretraining().eval(), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    mask[0, 0, 1, 2] = mask[0, 0, 3, 0] = 1
    with torch.no_grad():
        words = model(x, mask)
        whole = metablock.build(
            "beit", variant="mim_base", edits=[*SMALL, "size = 64", "masked = 16"], dtype=torch.float64
        ).eval()
        whole.load_state_dict(model.state_dict())
        everything = whole(x, mask)
    torch.testing.assert_close(words, everything[:, :6])


def test_pretraining_compiles_whole() -> None:
    torch._dynamo.reset()
    model, x, mask = pretraining().eval(), torch.randn(2, 3, 64, 64, dtype=torch.float64), masks(2)
    graphs: list[object] = []
    with torch.no_grad():
        expected = model(x, mask)
        metablock.compile(model, backend=lambda graph, _: graphs.append(graph) or graph.forward)
        torch.testing.assert_close(model(x, mask), expected)
    assert len(graphs) <= distinct(model)


@pytest.mark.parametrize(("variant", "cut"), [("official_ft_base", 2.0), ("mim_base", 0.02)])
def test_start(variant: str, cut: float) -> None:
    """What ends a branch starts smaller in later blocks; pre-training cuts at one deviation. Tables start as 0."""
    model = metablock.build("beit", variant=variant, edits=["depth = 2", "dim = 64"])
    first, second = (block.token.proj.weight.detach() for block in model.stages[0].blocks)
    assert abs(float(first.std() / second.std()) - 2**0.5) < 0.1
    assert float(model.stages[0].blocks[0].token.q.weight.detach().abs().max()) <= cut
    assert all((p == 0).all() for name, p in model.named_parameters() if name.endswith("table.weight"))


@pytest.mark.parametrize("variant", ["official_ft_base", "mim_base"])
def test_training_step(variant: str) -> None:
    if variant == "mim_base":
        model, inputs, classes = pretraining().train(), (torch.randn(8, 3, 64, 64, dtype=torch.float64), masks(8)), 8192
    else:
        options = {"edits": SMALL, "input": (3, 64, 64), "classes": 10, "dtype": torch.float64}
        model, inputs, classes = metablock.build("beit", **options).train(), (torch.randn(8, 3, 64, 64, dtype=torch.float64),), 10
        randomised_state(model)
    answers = model(*inputs).flatten(0, -2)
    nn.functional.cross_entropy(answers, torch.arange(len(answers)) % classes).backward()
    check_gradients(model, moved=True)
