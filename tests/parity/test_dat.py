"""DAT beside its recorded output (tests/test_papers.py): the places that it reads, starts, other sizes. (timm does not have it.)"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.operators.moving_bias import MovingBias
from metablock.operators.sample import Sample
from oracles import BAR, check_gradients, compare, golden, golden_inputs, randomised_state, recipe

SMALL = ["depth = [2, 1, 2, 2]", "dim = [64, 64, 128, 128]", "size = 3"]


def places_of(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The places that each deformable attention reads: ``(b, groups, h, w, 2)``."""
    places: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, inputs, __: places.append(inputs[1].unflatten(-1, (-1, 2)).movedim(3, 1)))
        for module in model.modules()
        if isinstance(module, Sample)
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return places


def test_recorded_places() -> None:
    """The official code returns the places and those it starts from: ours where the offsets are zero."""
    recorded = golden("dat__tiny.json")
    state = recipe(recorded["keys"])
    (x,) = golden_inputs(recorded)
    model = metablock.build("dat", variant="tiny", weights=state, dtype=torch.float64).eval()
    results = places_of(model, x)
    for key, value in state.items():
        if "conv_offset.3" in key:
            value.zero_()
    metablock.load_weights(model, state, model.spec)
    results += places_of(model, x)
    assert compare(results, recorded | {"outputs": recorded["outputs"][1:]}) < BAR["float64"]


@pytest.mark.parametrize("variant", ["tiny", "pp_tiny"])
def test_training_step(variant: str) -> None:
    model = metablock.build("dat", variant=variant, input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(4, 3, 64, 96)), torch.arange(4)).backward()
    check_gradients(model, moved=True)


def test_start() -> None:
    """As the code: torch's own, for what resets its weights runs over parameters and looks for modules; and the tables."""
    model = metablock.build("dat", variant="base", edits=["depth = [1, 1, 2, 2]"])
    tables = [module.weight for module in model.modules() if isinstance(module, MovingBias)]
    assert len(tables) == 2
    assert all(table.std().item() == pytest.approx(0.01, rel=0.05) for table in tables)
    linear = model.stages[3].blocks[1].channel.linear1.weight
    assert linear.abs().max().item() == pytest.approx(1024**-0.5, rel=0.01)


def test_a_larger_image_changes_the_tables_alone() -> None:
    small, large = (metablock.build("dat", variant=f"pp_base{size}", device="meta").state_dict() for size in ("", "_384"))
    assert {key.rsplit(".", 3)[1] for key in small if small[key].shape != large[key].shape} == {"pos"}
