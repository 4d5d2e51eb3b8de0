"""The catalogue in timm and in transformers."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

import metablock
from metablock.api import example
from metablock.language.load import load_text
from oracles import require

timm = require("timm")
transformers = require("transformers")
bridge = pytest.importorskip("metablock.bridges.timm")
hf = pytest.importorskip("metablock.bridges.transformers")


@pytest.fixture(scope="module", autouse=True)
def registered() -> list[str]:
    return bridge.register()


# timm


def test_names(registered: list[str]):
    assert len(registered) == len(set(registered)) > 300
    assert timm.is_model("metablock/poolformer_s12")
    assert "metablock/resnet18" in timm.list_models("metablock/resnet*")
    assert type(timm.create_model("resnet18")).__module__.startswith("timm.")  # its own are as they were
    assert bridge.register(["resnet18"]) == ["metablock/resnet18"]
    with pytest.raises(metablock.MetablockError, match="unknown architecture 'resnet17'"):
        bridge.register(["resnet17"])
    with pytest.raises(ValueError, match="looks like a Hugging Face Hub repo id"):
        timm.create_model("someone/resnet18")


def test_a_model_in_timms_ways():
    model = timm.create_model("metablock/mobilenetv2_035", num_classes=10, in_chans=1, img_size=64).eval()
    ours = metablock.build("mobilenetv2_035", classes=10, input=(1, 64, 64)).eval()
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x), ours(x))
        maps = model.forward_features(x)
        assert maps.shape[1] == model.num_features
        assert torch.equal(model.forward_head(maps), model(x))
        pooled = model.forward_head(maps, pre_logits=True)
        assert pooled.shape == (2, model.head_hidden_size)
        assert torch.equal(model.get_classifier()(pooled), model(x))
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert other.num_classes == 10
            assert torch.equal(other.forward_features(x), maps)
            assert other.state_dict().keys() == ours.state_dict().keys()
        model.reset_classifier(3)
        assert (model(x).shape, model.num_classes) == ((2, 3), 3)
        model.reset_classifier(0)
        assert torch.equal(model(x), pooled)
    data = timm.data.resolve_model_data_config(model)
    assert data["input_size"] == (1, 64, 64)
    assert timm.create_model("metablock/mobilenetv2_035", num_classes=0)(torch.randn(1, 3, 64, 64)).shape[0] == 1


def test_options_of_timm():
    model = timm.create_model("metablock/poolformer_s12", drop_path_rate=0.3, img_size=(64, 96))
    rates = [float(module.rate) for module in model.modules() if type(module).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.3)
    assert model.inputs[0].grid == (64, 96)
    maps = timm.create_model("metablock/poolformer_s12", features_only=True, out_indices=(1, 3))
    assert (maps.feature_info.channels(), maps.feature_info.reduction()) == ([128, 512], [8, 32])
    with pytest.raises(metablock.MetablockError, match=r"'metablock/poolformer_s12' has no option 'act_layer'"):
        timm.create_model("metablock/poolformer_s12", act_layer="gelu")


def test_a_network_without_one_last_layer():
    model = timm.create_model("metablock/deit_tiny_distilled_patch16_224")
    with pytest.raises(metablock.MetablockError, match="no single last layer"):
        model.reset_classifier(3)


# transformers

EDITS = ["depth = 1", "dim = [16, 32, 64, 128]", "heads = [1, 2, 4, 8]"]


@pytest.fixture
def saved(tmp_path) -> tuple[Any, str]:
    model = hf.MetablockForImageClassification(hf.MetablockConfig.of("swin_tiny", classes=5, edits=EDITS)).eval()
    model.save_pretrained(tmp_path)
    return model, str(tmp_path)


def test_saved_and_read_again(saved):
    model, folder = saved
    again = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    assert isinstance(again, hf.MetablockForImageClassification)
    x = example(model.net, 2)[0]
    with torch.no_grad():
        assert torch.equal(again(x).logits, model(x).logits)
        assert again(x, labels=torch.tensor([0, 4])).loss.isfinite()
    assert again.config.num_labels == 5
    assert metablock.resolved(load_text(again.config.spec)) == metablock.resolved(load_text(model.config.spec))


def test_another_head(saved):
    model, folder = saved
    again = hf.MetablockForImageClassification.from_pretrained(folder, num_labels=3, ignore_mismatched_sizes=True).eval()
    weight = again.get_parameter("net.head.linear.weight")
    assert weight.shape == (3, 128)
    assert 0.01 < weight.std() < 0.03  # drawn by the spec's `init:`
    assert torch.equal(again.get_parameter("net.stem.conv.weight"), model.get_parameter("net.stem.conv.weight"))


@pytest.mark.parametrize("chosen", [{"out_features": ["stage2", "stage4"]}, {"out_indices": [2, 4]}])
def test_backbone(saved, chosen: dict):
    model, folder = saved
    backbone = hf.MetablockBackbone.from_pretrained(folder, **chosen).eval()
    assert (backbone.channels, backbone.config.out_indices, backbone.out_features) == ([32, 128], [2, 4], ["stage2", "stage4"])
    x = example(model.net, 2)[0]
    with torch.no_grad():
        for a, b in zip(backbone(x).feature_maps, metablock.features(model.net, [1, 3])(x), strict=True):
            assert torch.equal(a, b)
    backbone = transformers.AutoBackbone.from_config(hf.MetablockConfig.of("swin_tiny", edits=EDITS, out_indices=[1]))
    assert [tuple(m.shape) for m in backbone(x).feature_maps] == [(2, 16, 56, 56)]


def test_bad_configs():
    with pytest.raises(metablock.MetablockError, match="no map 'stage7'\n  there are stage1, stage2, stage3, stage4"):
        hf.MetablockConfig.of("swin_tiny", out_features=["stage7"])
    with pytest.raises(metablock.MetablockError, match="the config holds no spec"):
        hf.MetablockForImageClassification(hf.MetablockConfig())
    with pytest.raises(metablock.MetablockError, match="unknown architecture"):
        hf.MetablockConfig.of("swim_tiny")


def test_a_variant_that_leaves_bindings_of_its_file_unused():
    """The text of a resolved spec holds the bindings of its other variants; a config builds from it all the same."""
    config = hf.MetablockConfig.of("resnet18", classes=3, input=(3, 32, 32))
    assert "bottleneck" in config.spec
    with torch.no_grad():
        assert hf.MetablockForImageClassification(config).eval()(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 3)
