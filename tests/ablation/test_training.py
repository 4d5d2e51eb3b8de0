"""Data sets, recipes, augmentation, losses and single trainings: the numbers, the resumption, every message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metablock.ablation.augment import augment, check_augmentation, mixed, shifted, step_seed
from metablock.ablation.data import Data, load_data
from metablock.ablation.losses import bce, cross_entropy, distillation, focal, soft_targets
from metablock.ablation.recipe import Recipe, parse_override, recipe, recipes
from metablock.ablation.training import Options, TrainingError, train
from metablock.api import build
from metablock.errors import MetablockError
from metablock.front import parse_input, sized
from metablock.language.edits import apply, parse_edits
from metablock.language.load import load_text
from metablock.shape import Feature

SPEC = """\
name: mini
input: image(1, 16)
classes: 10
let:
  token: pool(3)
  block: res(group_norm(1) >> token) >> res(dropout(0.1) >> mlp(2))
stem: conv(dim[0], 4, stride=4)
stages:
  depth: 2
  dim:   16
  drop:  0.1
  body:  depth * block
head: global_pool >> linear(classes)
"""
MINI = load_text(SPEC)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits", Feature("map", 1, (16, 16)))


def few(data: Data, count: int = 160) -> Data:
    from dataclasses import replace

    x, y = data.train.get(range(count))
    from metablock.ablation.data import TensorSplit

    return replace(data, train=TensorSplit(x, y), val=TensorSplit(x[:80], y[:80]))


# Data


def test_digits(digits: Data):
    assert (len(digits.train), len(digits.val), digits.classes) == (1433, 364, 10)
    x, y = digits.train.get([0, 5, 3])
    assert (x.shape, x.dtype, y.dtype) == ((3, 1, 16, 16), torch.float32, torch.int64)
    every = digits.train.get(range(len(digits.train)))[0]
    assert abs(float(every.mean())) < 1e-4
    assert abs(float(every.std()) - 1) < 1e-3
    assert load_data("digits", Feature("map", 1, (16, 16))).fingerprint == digits.fingerprint
    assert load_data("digits").fingerprint != digits.fingerprint
    assert load_data("digits", Feature("map", 3, (8, 8))).train.get([0])[0].shape == (1, 3, 8, 8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    from PIL import Image

    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("val", 10)):
        for label in ("cat", "dog"):
            folder = tmp_path / part / label
            folder.mkdir(parents=True)
            for i in range(count):
                size = (40, 30) if i % 2 else (30, 40)
                Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{i:03}.png")
    return tmp_path


def test_a_folder_of_pictures(pictures: Path):
    data = load_data(f"folder:{pictures}", parse_input("3x24x32"))
    assert (len(data.train), len(data.val), data.classes, data.skipped) == (120, 20, 2, ())
    x, y = data.train.get([0, 119])
    assert x.shape == (2, 3, 24, 32)
    assert y.tolist() == [0, 1]
    assert torch.equal(data.train.get([7])[0], data.train.get([7])[0])
    (pictures / "train" / "cat" / "000.png").unlink()
    assert load_data(f"folder:{pictures}", parse_input("3x24x32")).fingerprint != data.fingerprint


def test_a_folder_without_parts(pictures: Path):
    data = load_data(f"folder:{pictures / 'train'}", parse_input("1x16x16"))
    assert (len(data.train), len(data.val)) == (96, 24)
    assert data.train.get([0])[0].shape == (1, 1, 16, 16)


def test_corrupt_pictures(pictures: Path):
    bad = pictures / "train" / "cat" / "000.png"
    bad.write_bytes(bad.read_bytes()[:200])
    data = load_data(f"folder:{pictures}", parse_input("3x8x8"))
    assert data.skipped == (str(bad),)
    assert len(data.train) == 119
    for name in ("001.png", "002.png"):
        (pictures / "train" / "dog" / name).write_text("no picture")
    said = r"3 of 140 pictures in '.*' cannot be read: train/cat/000.png, train/dog/001.png.*\n  more than 1 % is too many"
    with pytest.raises(MetablockError, match=said):
        load_data(f"folder:{pictures}", parse_input("3x8x8"))


def test_bad_folders(pictures: Path, tmp_path: Path):
    with pytest.raises(MetablockError, match=r"there is no folder 'none'\n  check the path"):
        load_data("folder:none")
    with pytest.raises(MetablockError, match=r"pictures have 1 or 3 channels and two extents, not 3x8"):
        load_data(f"folder:{pictures}", parse_input("3x8"))
    (pictures / "train" / "emu").mkdir()
    with pytest.raises(MetablockError, match=r"the class folder '.*train/emu' has no pictures\n  remove it, or fill it"):
        load_data(f"folder:{pictures}")
    (pictures / "train" / "emu").rmdir()
    (pictures / "val" / "emu").mkdir()
    with pytest.raises(MetablockError, match=r"'.*val' has a class 'emu' that the training set lacks"):
        load_data(f"folder:{pictures}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MetablockError, match=r"has no class folders\n  a folder a class, at least two"):
        load_data(f"folder:{tmp_path / 'empty'}")


def test_arrays(tmp_path: Path):
    x, y = np.random.default_rng(0).normal(3, 2, (50, 2, 40)), np.arange(50) % 5
    path = tmp_path / "a.npz"
    np.savez(path, x=x, y=y)
    data = load_data(f"npz:{path}")
    assert (data.input, data.classes, len(data.train), len(data.val)) == (Feature("map", 2, (40,)), 5, 40, 10)
    assert abs(float(data.train.get(range(40))[0].mean())) < 1e-5
    np.savez(path, x_train=x[:30], y_train=y[:30], x_val=x[30:], y_val=y[30:])
    assert (len(load_data(f"npz:{path}").train), len(load_data(f"npz:{path}").val)) == (30, 20)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": np.zeros(3)}, r"has the arrays a\n  x and y are needed"),
        ({"x": np.zeros((5, 2)), "y": np.zeros(5, int)}, r"x is \(5, 2\), y \(5,\)\n  x is \(n, channels, extents\)"),
        ({"x": np.zeros((5, 1, 4)), "y": np.zeros(4, int)}, r"y \(4,\)"),
        ({"x": np.full((5, 1, 4), np.nan), "y": np.zeros(5, int)}, r"x has values that are NaN or infinite"),
        ({"x": np.zeros((5, 1, 4)), "y": np.arange(5) - 1}, r"not whole numbers from 0"),
        ({"x": np.zeros((5, 1, 4)), "y": np.zeros(5)}, r"not whole numbers from 0"),
        (
            {"x": np.zeros((12, 1, 4)), "y": np.array([0, 2] * 6)},
            r"no training example has the label 1\n  labels are 0 to classes - 1",
        ),
    ],
)
def test_bad_arrays(arrays: dict, said: str, tmp_path: Path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(MetablockError, match=said):
        load_data(f"npz:{tmp_path / 'a.npz'}")
    (tmp_path / "b.npz").write_text("no archive")
    with pytest.raises(MetablockError, match=r"is not an archive of arrays"):
        load_data(f"npz:{tmp_path / 'b.npz'}")


def test_a_data_set_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    columns = datasets.Features({"img": datasets.Image(), "fine": datasets.ClassLabel(names=["a", "b", "c"])})
    rows = {"img": [Image.new("RGB", (20, 20), (i * 8, 0, 0)) for i in range(30)], "fine": [i % 3 for i in range(30)]}
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=columns)})
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: splits)
    data = load_data("hf:who/what", parse_input("3x8x8"))
    assert (data.classes, len(data.train), len(data.val)) == (3, 24, 6)
    assert data.train.get([0, 1])[0].shape == (2, 3, 8, 8)

    def fails(name: str, config: str | None) -> None:
        raise ConnectionError("no way there\nfurther")

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(MetablockError, match=r"'who/what' cannot be loaded: no way there\n  check the name"):
        load_data("hf:who/what")


@pytest.mark.parametrize("name", ["digit", "digits:x", "npz:", "hf:", "imagenet"])
def test_unknown_data(name: str):
    with pytest.raises(MetablockError, match=rf"unknown data set '{name}'\n  .*known: digits, folder:PATH, hf:NAME"):
        load_data(name)


# Recipes


def test_recipes():
    assert set(recipes()) == {"small", "deit", "resnet"}
    assert all(recipe(name).digest() for name in recipes())
    assert recipe("small", epochs=5).epochs == 5
    assert recipe("deit", epochs=4).warmup == 1.0
    assert recipe("small").digest() != recipe("small", lr=1e-4).digest()
    for do, said in {
        lambda: recipe("smal"): r"unknown recipe 'smal'\n  did you mean 'small'",
        lambda: recipe("small", lr=-1): r"lr: a number more than 0 and at most 100, not -1\n  learning rate",
        lambda: recipe("small", epochs=2, warmup=2): r"warmup: 2 of 2 epochs leave nothing to train",
        lambda: parse_override("lrr", "1"): r"a recipe has no 'lrr'\n  did you mean 'lr'",
        lambda: parse_override("optimizer", "lion"): r"optimizer: adamw or sgd, not 'lion'",
        lambda: parse_override("epochs", "2.5"): r"epochs: a whole number at least 1",
    }.items():
        with pytest.raises(MetablockError, match=said):
            do()
    assert parse_override("lr", "3e-4") == 3e-4


# Losses: against torch and the formulas


def test_losses():
    torch.manual_seed(0)
    x, y = torch.randn(7, 5, dtype=torch.float64).float(), torch.randint(5, (7,))
    targets = soft_targets(y, 5, 0.1)
    assert torch.allclose(targets.sum(-1), torch.ones(7))
    assert torch.allclose(cross_entropy(x, targets), F.cross_entropy(x, y, label_smoothing=0.1))
    assert torch.allclose(bce(x, targets), F.binary_cross_entropy_with_logits(x, targets))
    vision = pytest.importorskip("torchvision").ops.sigmoid_focal_loss
    for alpha in (0.25, -1.0):
        assert torch.allclose(focal(x, targets, alpha, 2.0), vision(x, targets, alpha, 2.0, reduction="mean"))
    teacher = torch.randn(7, 5)
    hard = recipe("small", distill="hard")
    assert torch.allclose(distillation(hard, x, teacher), F.cross_entropy(x, teacher.argmax(-1)))
    soft = recipe("small", distill="soft", distill_temperature=3.0)
    p = (teacher / 3).softmax(-1)
    wanted = (p * (p.log() - (x / 3).log_softmax(-1))).sum() * 9 / 35
    assert torch.allclose(distillation(soft, x, teacher), wanted)


# Augmentation


def test_shifts():
    x = torch.arange(2 * 5, dtype=torch.float32).view(2, 1, 5) + 1
    torch.manual_seed(3)
    moved = shifted(x, 2)
    for before, after in zip(x[:, 0], moved[:, 0], strict=True):
        options = [F.pad(before, (2, 2))[2 - k : 7 - k] for k in range(-2, 3)]
        assert any(torch.equal(after, option) for option in options)
    assert shifted(torch.ones(3, 2, 4, 5, 6), 1).shape == (3, 2, 4, 5, 6)


def test_mixtures():
    torch.manual_seed(0)
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    y = soft_targets(torch.arange(4), 4, 0.0)
    for cut in (False, True):
        blended, targets = mixed(x, y, 1.0, cut)
        assert torch.allclose(targets.sum(-1), torch.ones(4))
        mean = blended.mean((1, 2, 3))
        assert torch.allclose(mean, targets @ torch.arange(4.0), atol=1e-5)  # labels say how much of each is there


@pytest.mark.parametrize("kind", ["flip", "crop", "randaugment", "erasing"])
def test_pictures_are_changed_the_same_way_each_time(kind: str):
    pytest.importorskip("kornia")
    settings = recipe("small", shift=0, **{kind: {"flip": 1.0, "crop": 0.3, "randaugment": 2, "erasing": 1.0}[kind]})
    x, y = torch.rand(4, 3, 16, 16), torch.zeros(4, dtype=torch.int64)
    results = []
    for _ in range(2):
        torch.manual_seed(1)
        results.append(augment(settings, x, y, 2)[0])
    assert torch.equal(*results)
    assert results[0].shape == x.shape
    assert not torch.allclose(results[0], x)
    assert results[0].isfinite().all()


def test_what_only_pictures_bear():
    with pytest.raises(MetablockError, match=r"the recipe's 'flip' is for pictures\n  turn it off for this data: flip=0.0"):
        check_augmentation(recipe("deit"), Feature("map", 12, (500,)))
    check_augmentation(recipe("small"), Feature("map", 12, (500,)))


def test_streams_of_random_numbers():
    seeds = {
        step_seed(seed, epoch, step, what) for seed in range(3) for epoch in range(5) for step in range(20) for what in range(3)
    }
    assert len(seeds) == 900


# Training


def numbers(epochs: list) -> list[tuple]:
    return [(e.train_loss, e.val_loss, e.val_top1, e.lr) for e in epochs]


@pytest.mark.parametrize(
    "settings", [{}, {"ema": 0.9, "mixup": 0.2, "optimizer": "sgd", "loss": "bce", "layer_decay": 0.7}], ids=["plain", "all"]
)
def test_an_interrupted_training_is_the_same(settings: dict, digits: Data, tmp_path: Path):
    data, chosen = few(digits), recipe("small", epochs=3, batch=32, **settings)
    model, whole = train(MINI, data, chosen, 5)
    path = tmp_path / "run.pt"

    class StopError(Exception):
        pass

    def stop(epoch) -> None:
        if epoch.epoch == 2:
            raise StopError

    with pytest.raises(StopError):
        train(MINI, data, chosen, 5, checkpoint=path, report=stop)
    torch.manual_seed(99)
    reported: list[int] = []
    again, rest = train(MINI, data, chosen, 5, checkpoint=path, report=lambda epoch: reported.append(epoch.epoch))
    assert reported == [1, 2, 3]
    assert numbers(rest) == numbers(whole)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_training_learns(digits: Data):
    spec = apply(MINI, parse_edits(["token = conv(c, 3)", "dim = 32"]))
    _, epochs = train(spec, digits, recipe("small", epochs=4, lr=1e-2), 0)
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert epochs[-1].val_top1 is not None
    assert epochs[-1].val_top1 > 60
    assert epochs[-1].lr < epochs[0].lr


def test_seeds_and_variants_are_paired(digits: Data):
    """Another seed gives another run; a part that is swapped leaves the weights of all others, and the data, as they were."""
    data, chosen = few(digits), recipe("small", epochs=1, batch=32)
    a, b = numbers(train(MINI, data, chosen, 1)[1]), numbers(train(MINI, data, chosen, 2)[1])
    assert a != b
    one = build(MINI, seed=4)
    two = build(MINI, edits=["token = dw(3)"], seed=4)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo's own look at it
def test_compiled_and_averaged(digits: Data):
    sure = apply(
        MINI, parse_edits(["block = res(group_norm(1) >> token) >> res(mlp(2))", "drop = 0"])
    )  # inductor has its own dice
    model, epochs = train(sure, few(digits), recipe("small", epochs=1, batch=80, ema=0.5), 0, options=Options(compiled=True))
    plain, others = train(sure, few(digits), recipe("small", epochs=1, batch=80, ema=0.5), 0)
    assert epochs[0].train_loss == pytest.approx(others[0].train_loss, rel=1e-5)
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(model.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)


def test_a_teacher(digits: Data):
    data = few(digits)
    teacher = build(MINI, seed=8).eval()
    chosen = recipe("small", epochs=1, batch=80, distill="hard")
    _, epochs = train(MINI, data, chosen, 0, teacher=teacher)
    assert epochs[0].train_loss > 0
    with pytest.raises(MetablockError, match=r"the recipe distils, and there is no teacher"):
        train(MINI, data, chosen, 0)


def test_what_goes_wrong(digits: Data, tmp_path: Path):
    data = few(digits)
    with pytest.raises(TrainingError, match=r"the loss is NaN or infinite \(epoch 1, by step 5 of 5\)"):
        train(
            MINI,
            data,
            recipe(
                "small",
                epochs=2,
                batch=32,
                optimizer="sgd",
                lr=1e2,
                clip=0,
                warmup=0,
                momentum=0.99,
                loss="cross_entropy",
                weight_decay=1,
            ),
            0,
        )
    with pytest.raises(MetablockError, match=r"the network gives \(7,\), the data has 10 classes"):
        train(sized(MINI, classes=7), data, recipe("small", epochs=1), 0)
    path = tmp_path / "bad.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(MetablockError, match=r"bad.pt: this checkpoint cannot be read: .*\n  remove it"):
        train(MINI, data, recipe("small", epochs=1), 0, checkpoint=path)
    assert Recipe().digest() == Recipe().digest()
