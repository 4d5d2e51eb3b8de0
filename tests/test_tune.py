"""The fastest way to compile is measured, kept and found again; a model that was tuned is as it was, but compiled."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import metablock
from metablock import cache
from metablock.backend import trial, tune
from metablock.backend.tune import Candidate, Trial, Tuning
from metablock.language.load import load_text

TINY = """
name: tiny
input: image(3, 8)
stem: conv_bn(8, 3, stride=2)
stages:
  depth: [2]
  body: depth * res(conv_bn(c, 3) >> relu)
head: global_pool >> linear(5)
"""


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, that takes entries though the code is younger than the process; few passes."""
    monkeypatch.setenv("METABLOCK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "fingerprint", lambda: "this version")
    monkeypatch.setattr(trial, "PASSES", 2)


def tiny(train: bool = False) -> metablock.Block:
    return metablock.build(load_text(TINY)).train(train)


def test_every_way_is_tried_and_the_fastest_compiles(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([3.0, 1.0, 4.0, 2.0, *[5.0] * 9])
    monkeypatch.setattr(trial, "_seconds", lambda step, device: next(times))
    model, x = tiny(), torch.randn(2, 3, 8, 8)
    before, expected = {key: value.clone() for key, value in model.state_dict().items()}, model(x)
    strides = [weight.stride() for weight in model.parameters()]
    metablock.compile(model, tune=x, backend="eager", channels_last=False)
    tried = [one.candidate for one in model.tuned.trials]
    assert {one.way for one in tried} >= {"whole", "regions"} and {one.mode for one in tried} == {"default"}
    assert model.tuned.best == tried[0] and model.tuned.trials[0].seconds == 1.0
    assert [weight.stride() for weight in model.parameters()] == strides
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected)
    assert capsys.readouterr().out == f"{model.tuned}\n"


def test_the_layout_of_the_choice_is_stored_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted in (False, True):
        monkeypatch.setattr(tune, "measure", lambda model, x, w=wanted: (1.0 + (lies_last(model) != w), 0.0))
        model = tiny()
        metablock.compile(model, tune=True, backend="eager", whole=True, dynamic=wanted)  # another key
        assert model.tuned.best.channels_last is lies_last(model) is wanted
        assert {one.candidate.channels_last for one in model.tuned.trials} == {False, True}


def lies_last(model: nn.Module) -> bool:
    return model.get_submodule("stem.conv").weight.stride()[1] == 1


def test_what_was_found_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(tune, "measure", lambda model, x: calls.append(1) or (float(len(calls)), 0.0))
    first = tune.tune(tiny(), batch=2)
    count = len(calls)
    again = tune.tune(tiny(), batch=2)
    assert (len(calls), again.recalled, again.trials) == (count, True, first.trials) and not first.recalled
    assert "from the cache" in str(again)
    tune.tune(tiny(), batch=3)
    assert len(calls) == 2 * count
    tune.tune(tiny(train=True), batch=2)
    assert len(calls) == 3 * count
    tune.tune(tiny().double(), batch=2)
    assert len(calls) == 4 * count
    monkeypatch.setenv("METABLOCK_CACHE", "0")
    assert not tune.tune(tiny(), batch=2).recalled and len(calls) == 5 * count


@pytest.mark.parametrize("data", ["", "{}", "[]", "[1]", '[{"candidate": {"way": "none"}}]', "not json"])
def test_an_entry_that_is_none_is_measured_again(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "measure", lambda model, x: (1.0, 0.0))
    monkeypatch.setattr(cache, "load", lambda kind, key: data.encode())
    assert not tune.tune(tiny()).recalled


def test_what_is_kept_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = []
    monkeypatch.setattr(tune, "measure", lambda model, x: (1.0, 0.0))
    monkeypatch.setattr(cache, "store", lambda kind, key, data: stored.append((kind, json.loads(data))))
    tune.tune(tiny())
    assert stored[0][0] == "tune" and set(stored[0][1][0]) == {"candidate", "seconds", "compiling", "failure"}


def test_a_way_that_fails_says_why_and_the_others_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(model: nn.Module, x: object) -> tuple[float, float]:
        if lies_last(model):
            raise RuntimeError("\nno kernel for that\n  and a trace")
        return 1.0, 0.0

    monkeypatch.setattr(tune, "measure", measure)
    found = tune.tune(tiny())
    failed = [one for one in found.trials if one.seconds is None]
    assert failed and not found.best.channels_last
    assert {one.failure for one in failed} == {"no kernel for that"} and "no kernel for that" in str(found)
    monkeypatch.setattr(tune, "measure", lambda model, x: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA")))
    with pytest.raises(metablock.MetablockError, match=r"compiles in no way: .*: out of memory"):
        tune.tune(tiny(), batch=7)


def test_training_is_measured_and_leaves_no_trace() -> None:
    model, x = tiny(train=True), torch.randn(2, 3, 8, 8)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    metablock.compile(model, tune=x, backend="eager", whole=True, channels_last=False)
    assert model.tuned.training and model.tuned.batch == 2
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)  # batch norm's statistics, too
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.grad is None for weight in model.parameters())


def test_what_makes_sense_is_tried() -> None:
    model = tiny()
    on_gpu = tune.candidates(model, "cuda", {})
    assert {one.mode for one in on_gpu} == {"default", "reduce-overhead", "max-autotune"}
    assert {one.mode for one in tune.candidates(model, "cuda", {"mode": "max-autotune"})} == {"max-autotune"}
    assert {one.mode for one in tune.candidates(model, "cpu", {})} == {"default"}
    assert not any(one.channels_last for one in tune.candidates(nn.Linear(2, 2), "cuda", {}))
    frozen = [one for one in tune.candidates(model, "cpu", {"freeze": True}) if one.freeze]
    assert len(frozen) == len(set(frozen)) == 2 and {one.way for one in frozen} == {"whole"}
    assert not any(one.freeze for one in tune.candidates(model, "cpu", {}))


def test_wrong_examples_are_refused() -> None:
    with pytest.raises(metablock.MetablockError, match=r"str is no example\n  tune=True, tune=x"):
        metablock.compile(tiny(), tune="x")  # type: ignore[arg-type]
    with pytest.raises(metablock.MetablockError, match=r"does not say what enters it\n  give an example"):
        metablock.compile(nn.Conv2d(3, 4, 3), tune=True)
    with pytest.raises(metablock.MetablockError, match="nothing can be measured on 'meta'"):
        metablock.compile(tiny().to("meta"), tune=True)
    with pytest.raises(metablock.MetablockError, match="train mode cannot be frozen"):
        metablock.compile(tiny(train=True), tune=True, freeze=True)


def test_the_table() -> None:
    trials = (
        Trial(Candidate("whole", True), 0.002, 1.0),
        Trial(Candidate("regions"), 0.003),
        Trial(Candidate("nested"), failure="no"),
    )
    assert str(Tuning(trials, "a machine", "float32", 8, False)).splitlines() == [
        "inference, batch 8, float32, a machine",
        "  whole, channels-last, default       2 ms  1.00",
        "  regions, as built, default          3 ms  1.50",
        "  nested, as built, default             no",
    ]
