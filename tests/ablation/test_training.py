"""Data sets, recipes, augmentation, losses and single trainings: the numbers, the resumption, every message."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from metablock.ablation.augment import augment, check_augmentation, mixed, shifted, step_seed
from metablock.ablation.data import Data, load_data
from metablock.ablation.losses import bce, cross_entropy, distillation, focal, soft_targets
from metablock.ablation.recipe import Recipe, parse_override, recipe, recipes
from metablock.ablation.study_file import load_study_text
from metablock.ablation.training import Options, TrainingError, train
from metablock.api import build
from metablock.errors import MetablockError, SpecError
from metablock.front import sized
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
        lambda: parse_override("learning_rate", "1"): r"a recipe has no 'learning_rate'\n  did you mean 'lr'",
        lambda: parse_override("batch-size", "1"): r"a recipe has no 'batch-size'\n  did you mean 'batch'",
        lambda: parse_override("optimizer", "lion"): r"optimizer: adamw or sgd, not 'lion'",
        lambda: parse_override("epochs", "2.5"): r"epochs: a whole number at least 1",
    }.items():
        with pytest.raises(MetablockError, match=said):
            do()
    assert parse_override("lr", "3e-4") == 3e-4


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("batch", "0100"), ("batch", "1_0"), ("batch", "0x10"), ("batch", ""), ("batch", "true"), ("lr", "1:30"), ("lr", "1e999"),
        ("lr", "a: b: c"), ("lr", "!!x 1"), ("lr", "[1]"), ("lr", "{a: 1}"), ("lr", "*a"), ("weight_decay", "on"),
        ("weight_decay", "yes"), ("clip", ".inf"), ("clip", "nan"), ("loss", "~"), ("mixup", "١"),
    ],
)  # fmt: skip
def test_what_other_readers_guess(key: str, text: str):
    """Everything is text until this language reads it; an error names the field, in a `--with` and in a study file."""
    with pytest.raises(SpecError) as wrong:
        parse_override(key, text)
    assert str(wrong.value).startswith(f"{key}: ")
    assert "\n" in str(wrong.value)
    for word in ("Input", "yaml", "pydantic", "Traceback"):
        assert word not in str(wrong.value)
    if text not in ("a: b: c", "!!x 1", "*a", "١"):  # the reader of the whole file has its own word for these
        with pytest.raises(SpecError, match=rf"<study>:4:11: {key}: ") as wrong:
            load_study_text(f"study: s\nbase: resnet18\nfactors: {{norm: [id]}}\nrecipe: {{ {key}: {text} }}\n")
    for value in (True, "3", float("nan"), float("inf"), None):
        if key != "loss":
            with pytest.raises(SpecError, match=f"{key}: a"):
                recipe(**{key: value})


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
    assert epochs[0].train_loss == pytest.approx(others[0].train_loss, rel=1e-4)
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(model.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)


class Always(torch.nn.Module):
    """Sees one class in everything."""

    def __init__(self, label: int):
        super().__init__()
        self.label = label

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.one_hot(torch.full((len(x),), self.label), 10).float() * 20


def differs(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return any(not torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_a_teacher(digits: Data):
    data = few(digits)
    teacher = build(MINI, seed=8).eval()
    chosen = recipe("small", epochs=1, batch=80, distill="hard")
    network, epochs = train(MINI, data, chosen, 0, teacher=teacher)
    plain, alone = train(MINI, data, chosen.model_copy(update={"distill": "none"}), 0)
    assert epochs[0].train_loss != alone[0].train_loss
    assert differs(network, plain)
    unweighted, _ = train(MINI, data, chosen.model_copy(update={"distill_weight": 0.0}), 0, teacher=teacher)
    assert not differs(unweighted, plain)
    other, _ = train(MINI, data, chosen, 0, teacher=build(MINI, seed=9).eval())
    assert differs(network, other)
    for kind in ("hard", "soft"):  # a teacher that is sure of itself is followed
        sure = Always(3)
        settings = recipe("small", epochs=3, batch=32, lr=1e-2, distill=kind, distill_weight=1.0)
        student, _ = train(MINI, data, settings, 0, teacher=sure)
        assert (student.eval()(data.val.get(range(80))[0]).argmax(-1) == 3).all()
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
