"""The measuring instruments themselves: the recipe gives the recorded answers, and the comparison sees one wrong weight."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from oracles import BAR, compare, golden, golden_inputs, goldens, randomised_state, recipe, relative_error, require


def from_timm(name: str) -> tuple[nn.Module, dict]:
    g = golden(f"{name}.json")
    model = require("timm").create_model(g["variant"]).to(getattr(torch, g["dtype"])).eval()
    missing, unexpected = model.load_state_dict(recipe(g["keys"], g["gain"], torch.float64), strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return model, g


@torch.no_grad()
def error(model: nn.Module, g: dict) -> float:
    return compare(model(*golden_inputs(g)), g)


@pytest.mark.parametrize("name", ["mobilenet_v2__mobilenetv2_100", "vit__vit_tiny_patch16_224"])
def test_timm_gives_the_recorded_answer(name: str):
    model, g = from_timm(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == g["params"]
    assert error(model, g) < BAR[g["dtype"]]


@pytest.mark.parametrize("key", ["conv_stem.weight", "blocks.3.1.bn3.running_var", "classifier.bias"])
def test_one_disturbed_weight_is_seen(key: str):
    model, g = from_timm("mobilenet_v2__mobilenetv2_100")
    with torch.no_grad():
        model.state_dict()[key].flatten()[0] += 0.1
    # classifier.bias[0] reaches only the first logit of each image, which is among the samples.
    assert error(model, g) > 100 * BAR[g["dtype"]]


@pytest.mark.parametrize("name", goldens())
def test_every_recording_is_whole(name: str):
    g = golden(name)
    assert name == f"{g['slug']}__{g['variant'].replace('/', '@').replace('+', '_plus_')}.json"
    assert g["outputs"]
    for output in g["outputs"]:
        assert len(output["index"]) == len(output["value"]) > 0


def test_recipe_draws_each_kind_of_tensor():
    keys = {"a.weight": [64, 32], "a.bias": [64], "n.weight": [64], "n.running_mean": [64], "n.running_var": [64], "t": []}
    state = recipe(keys, gain=2.0)
    assert {key: list(tensor.shape) for key, tensor in state.items()} == keys
    assert state["a.weight"].std().item() == pytest.approx(2 / 32**0.5, rel=0.1)
    assert state["n.weight"].mean().item() == pytest.approx(1, abs=0.1)
    assert state["n.running_var"].min() >= 0.5
    assert state["a.bias"].dtype == torch.float64
    assert recipe({"a.bias": [64]})["a.bias"].equal(state["a.bias"]), "a tensor depends on its name alone"


def test_inputs_of_every_kind():
    entries = [{"normal": [2, 3]}, {"randint": 7, "shape": [4]}, {"value": [1, 0], "dtype": "torch.bool"}, {"value": None}]
    normal, integers, words, nothing = golden_inputs({"slug": "a", "variant": "b", "dtype": "float32", "inputs": entries})
    assert isinstance(normal, Tensor)
    assert normal.dtype == torch.float32
    assert isinstance(integers, Tensor)
    assert integers.dtype == torch.int64
    assert words is not None
    assert words.tolist() == [True, False]
    assert nothing is None


def test_compare_flattens_and_takes_the_worst():
    g = {"outputs": [{"shape": [2], "index": [0, 1], "value": [1.0, 2.0]}, {"shape": [1], "index": [0], "value": [4.0]}]}
    good, other = torch.tensor([1.0, 2.0]), torch.tensor([4.0])
    assert compare({"b": other, "a": good}, g) == 0
    assert compare((good, [other + 1]), g) == 0.25
    assert compare((good * torch.nan, other), g) == float("inf")
    with pytest.raises(AssertionError):
        compare(good, g)


def test_relative_error_is_in_double():
    expected = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert relative_error(expected + 2e-9, expected) == pytest.approx(1e-9, rel=1e-3)


class Sly(nn.Module):
    """All that hides an error when left at its initial value."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.gamma = nn.Parameter(1e-6 * torch.ones(8))
        self.position = nn.Parameter(torch.zeros(1, 16, 8))
        self.head = nn.Linear(8, 8)
        nn.init.zeros_(self.head.weight)
        self.register_buffer("index", torch.arange(4))


def test_randomised_state_leaves_nothing_at_rest():
    first, again, other = (randomised_state(Sly(), seed) for seed in (0, 0, 1))
    for name, tensor in first.items():
        assert tensor.equal(again[name])
        if name in ("index", "norm.num_batches_tracked"):
            assert tensor.equal(Sly().state_dict()[name])
        else:
            assert not tensor.equal(other[name])
            assert tensor.std() > 0.05
            assert 0.03 < tensor.abs().mean() < 2
    assert first["norm.running_var"].min() >= 0.5


@pytest.mark.parametrize("model", ["mobilenet_v2", "resnet18"])
def test_torchvision_runs_randomised(model: str):
    module = getattr(require("torchvision").models, model)().eval()
    randomised_state(module)
    with torch.no_grad():
        outputs = module(torch.randn(2, 3, 64, 96))
    assert outputs.isfinite().all()
    assert outputs.std() > 0.01


@pytest.mark.parametrize(("demand", "outcome"), [("0", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_a_missing_oracle_skips_or_fails(monkeypatch: pytest.MonkeyPatch, demand: str, outcome: type[BaseException]):
    monkeypatch.setenv("METABLOCK_REQUIRE_ORACLES", demand)
    with pytest.raises(outcome, match="no oracle: no_such_package"):
        require("no_such_package")
