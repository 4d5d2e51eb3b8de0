"""Weights from checkpoints: every feature of the rules, every way in which a file or a state dict can be wrong."""

from __future__ import annotations

import pickle
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import SPECS
from safetensors.torch import save_file
from torch import Tensor, nn

import metablock
from metablock.errors import MetablockError, SpecError
from metablock.language.check import check_names
from metablock.language.format import format_text
from metablock.language.load import load_text
from metablock.language.spec import Rule, Spec, WeightTable
from metablock.language.weight_rules import NetworkFacts, check_rules, read_rules
from metablock.report.check import check
from metablock.weights.export_names import export_state
from metablock.weights.loading import WeightsError, load_weights, read_state
from oracles import require

State = dict[str, Tensor]


def spec(*rules: str, **tables: list[str]) -> Spec:
    """A spec of which only the rules matter; ``rules`` are those of the table `theirs`."""
    lines = ["name: tiny", "input: image(3, 8)", "stages: {body: bn}", "weights:"]
    for name, table in {**({"theirs": rules} if rules else {}), **tables}.items():
        lines += [f"  {name}:", *(f"    {rule}" for rule in table)]
    return load_text("\n".join(lines) + "\n", "tiny.yaml")


def model(**shapes: tuple[int, ...]) -> nn.Module:
    """A module with parameters of these names (``a__b`` for ``a.b``) and shapes, all zero."""
    root = nn.Module()
    for name, shape in shapes.items():
        *path, last = name.split("__")
        holder = root
        for part in path:
            if part not in holder._modules:
                holder.add_module(part, nn.Module())
            holder = holder.get_submodule(part)
        holder.register_parameter(last, nn.Parameter(torch.zeros(shape)))
    return root


def numbered(*shape: int, start: int = 1) -> Tensor:
    """Different numbers, so that every rearrangement shows."""
    return torch.arange(start, start + torch.Size(shape).numel(), dtype=torch.float32).view(shape)


def unchanged(module: nn.Module) -> bool:
    return not any(tensor.any() for tensor in module.state_dict().values())


A, B = numbered(4, 6), numbered(2, 6, start=100)


# What rules can say


@pytest.mark.parametrize(
    ("rule", "state", "expected"),
    [
        ("w: a", {"a": A}, A),
        ("w: net.a", {"net.a": A}, A),
        ("w: a ++ b", {"a": A, "b": B}, torch.cat([A, B])),
        ("w: a ++ b ++ a", {"a": A, "b": B}, torch.cat([A, B, A])),
        ("w: a.{*}.w", {"a.0.w": A, "a.2.w": A + 1, "a.10.w": B}, torch.cat([A, A + 1, B])),
        ("w: (a.{*} | flip) ++ b | transpose", {"a.1": A, "a.0": B, "b": A + 1}, torch.cat([torch.cat([B, A]).flip(0), A + 1]).T),
        ("w: a | chunk(0, 2)", {"a": A}, A[:2]),
        ("w: a | chunk(1, 4)", {"a": A}, A[1:2]),
        ("w: a | rows(1, 3)", {"a": A}, A[1:3]),
        ("w: a | columns(2, 6)", {"a": A}, A[:, 2:]),
        ("w: a | transpose", {"a": A}, A.T),
        ("w: a | transpose", {"a": A.view(2, 2, 6)}, A.view(2, 2, 6).transpose(1, 2)),
        ("w: a | reshape(2, -1, 3)", {"a": A}, A.reshape(2, -1, 3)),
        ("w: a | reshape(-1)", {"a": A}, A.flatten()),
        ("w: a | rows(0, 2) | reshape", {"a": A}, A[:2].reshape(3, 4)),  # our shape
        ("w: a | permute(2, 0, 1)", {"a": A.view(2, 2, 6)}, A.view(2, 2, 6).permute(2, 0, 1)),
        ("w: a | ungroup(2, 1, 1)", {"a": A}, A[[0, 2, 1, 3]]),
        ("w: a | ungroup(-1, 1, 1)", {"a": A}, A[[0, 2, 1, 3]]),
        ("w: a | flip", {"a": A}, A[[3, 2, 1, 0]]),
        ("w: a | ungroup(1, 1, 3)", {"a": A[:, 0]}, A[:, 0]),
        ("w: a ++ b | rows(3, 5) | transpose | reshape(3, 4)", {"a": A, "b": B}, torch.cat([A, B])[3:5].T.reshape(3, 4)),
        ("w: (a | chunk(1, 2)) ++ (b | rows(0, 1))", {"a": A, "b": B}, torch.cat([A[2:], B[:1]])),
        ("w: (a | flip) ++ b", {"a": A, "b": B}, torch.cat([A.flip(0), B])),
        ("w: b ++ (a | flip) | rows(1, 3)", {"a": A, "b": B}, torch.cat([B, A.flip(0)])[1:3]),
        (
            "w: ((a | transpose) ++ (b | transpose | reshape(6, 2) | columns(0, 2) | reshape(3, 4))) | transpose",
            {"a": A, "b": B},
            torch.cat([A.T, B.T.reshape(3, 4)]).T,
        ),
        ("w: ((a ++ b) | flip) ++ b", {"a": A, "b": B}, torch.cat([torch.cat([A, B]).flip(0), B])),
        ("w: (a)", {"a": A}, A),
        ("w: a|chunk(1,2)|transpose", {"a": A}, A[2:].T),
        ('"w": "a ++ b"', {"a": A, "b": B}, torch.cat([A, B])),
        ("w: 'a ++ b'", {"a": A, "b": B}, torch.cat([A, B])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_steps(rule: str, state: State, expected: Tensor) -> None:
    module = model(w=tuple(expected.shape))
    report = load_weights(module, state, spec(rule), "theirs")
    torch.testing.assert_close(module.w.detach(), expected)
    assert report.complete
    assert report.source == "theirs"
    assert "1 tensors by the names of 'theirs'" in str(report)


def test_every_number_there_and_back() -> None:
    """`{*}` joins the tensors of a list, whatever its length, behind a `**` too; the way back needs their shapes."""
    rules = spec("net.**: theirs.**", "w: heads.{*}.w | transpose")
    module, state = model(net__w=(6, 10)), {f"theirs.heads.{i}.w": numbered(2, 6, start=10 * i) for i in range(5)}
    report = load_weights(module, state, rules, "theirs")
    torch.testing.assert_close(module.get_parameter("net.w"), torch.cat(list(state.values())).T)
    back = export_state(module, rules, "theirs", report.shapes)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    with pytest.raises(MetablockError, match=re.escape("the shape of theirs.heads.{*}.w does not follow")):
        export_state(module, rules, "theirs")
    with pytest.raises(WeightsError, match=re.escape("net.w (theirs.heads.{*}.w)")):
        load_weights(module, {"theirs.head.w": A}, rules, "theirs")
    with pytest.raises(WeightsError, match="cannot be concatenated"):
        load_weights(module, {"theirs.heads.0.w": A, "theirs.heads.1.w": B[:, :5]}, rules, "theirs")


def blocks(*depths: int, **more: tuple[int, ...]) -> nn.Module:
    """Stages of blocks that hold one number each."""
    shapes: dict[str, tuple[int, ...]] = {
        f"stages__{i}__blocks__{j}__w": (1,) for i, depth in enumerate(depths) for j in range(depth)
    }
    return model(**shapes, **more)


@pytest.mark.parametrize(
    ("right", "name"),
    [
        ("net.{i}.{j}.w", lambda i, j: f"net.{i}.{j}.w"),
        ("net{j}.{i}", lambda i, j: f"net{j}.{i}"),
        ("net.{2 * i + 1}.{j}", lambda i, j: f"net.{2 * i + 1}.{j}"),
        ("net.{i - -1}.{(j + 7) // 2}.{j % 2}", lambda i, j: f"net.{i + 1}.{(j + 7) // 2}.{j % 2}"),
        ("net.{3 - i}.{10 * i + j}", lambda i, j: f"net.{3 - i}.{10 * i + j}"),
        ("net.{layer(i, j)}", lambda i, j: f"net.{[0, 2, 5][i] + j}"),
        ("net.{2 * layer(i, j) + i}", lambda i, j: f"net.{2 * ([0, 2, 5][i] + j) + i}"),
        ("net.{layer(i, 0)}.{j}", lambda i, j: f"net.{[0, 2, 5][i]}.{j}"),
        ("net.{stages}.{i}.{j}", lambda i, j: f"net.3.{i}.{j}"),
        ("net.{layers - layer(i, j)}", lambda i, j: f"net.{6 - [0, 2, 5][i] - j}"),
    ],
)
def test_numbers(right: str, name: Callable[[int, int], str]) -> None:
    module = blocks(2, 3, 1)
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0)]
    state = {name(i, j): torch.tensor([10.0 * i + j + 1]) for i, j in places}
    load_weights(module, state, spec(f"stages.{{i}}.blocks.{{j}}.w: {right}"))
    for i, j in places:
        assert module.get_parameter(f"stages.{i}.blocks.{j}.w") == 10 * i + j + 1


def test_the_rest_and_the_order_of_rules() -> None:
    module = model(head__a__weight=(1,), head__a__bias=(1,), head__b__weight=(1,), stem__weight=(1,))
    rules = spec("head.b.*: special.*", "head.*: fc.*", "stem.weight: conv1")
    state = {
        "fc.a.weight": torch.ones(1),
        "fc.a.bias": 2 * torch.ones(1),
        "special.weight": 3 * torch.ones(1),
        "conv1": 4 * torch.ones(1),
    }
    report = load_weights(module, state, rules)
    assert [float(value) for value in module.state_dict().values()] == [1, 2, 3, 4]
    assert report.used["head.a.bias"] == "fc.a.bias"


def test_a_rest_that_other_rules_translate() -> None:
    rules = spec(
        "stages.{i}.blocks.{j}.**: net.{10 * i + j}.**",
        "norm{k}.*: ln_{k - 1}.*",
        "attn.**: attention.**",
        "qkv.*: q.* ++ k.* | rows(0, 3)",
        "linear.*: fc.*",
    )
    module = model(stages__1__blocks__2__attn__qkv__w=(3, 6), stages__1__blocks__2__norm1__b=(1,), linear__b=(1,))
    state = {"net.12.attention.q.w": B, "net.12.attention.k.w": A, "net.12.ln_0.b": torch.ones(1), "fc.b": torch.ones(1)}
    report = load_weights(module, state, rules, "theirs")
    torch.testing.assert_close(module.get_parameter("stages.1.blocks.2.attn.qkv.w").detach(), torch.cat([B, A[:1]]))
    assert report.used["stages.1.blocks.2.attn.qkv.w"] == "net.12.attention.q.w ++ net.12.attention.k.w"


def test_a_rest_that_no_rule_translates_is_left_to_the_rules_below() -> None:
    module = model(a__b=(1,))
    load_weights(module, {"y.b": torch.ones(1)}, spec("a.**: x.**", "a.*: y.*"))
    assert not unchanged(module)
    with pytest.raises(WeightsError, match=r"1 missing: a\.b \(no rule\)"):
        load_weights(module, {"x.b": torch.ones(1)}, spec("a.**: x.**", "c: d"), "theirs")


def test_a_number_that_stands_twice_is_the_same() -> None:
    module = model(a__1__b__1=(1,), a__1__b__2=(1,))
    rules = spec("a.{i}.b.{i}: same.{i}", "a.{i}.b.{j}: other.{i}.{j}")
    load_weights(module, {"same.1": torch.ones(1), "other.1.2": torch.full((1,), 2.0)}, rules)
    assert [float(value) for value in module.state_dict().values()] == [1, 2]


def test_one_foreign_tensor_may_fill_several_of_ours() -> None:
    module = model(a__0=(1,), a__1=(1,))
    load_weights(module, {"table": torch.ones(1)}, spec("a.{i}: table"))
    assert [float(value) for value in module.state_dict().values()] == [1, 1]


def test_steps_compute_with_the_numbers_of_the_name() -> None:
    module = model(parts__0=(2, 6), parts__1=(2, 6))
    load_weights(module, {"whole": A}, spec("parts.{i}: whole | rows(2 * i, 2 * i + 2)"))
    assert torch.equal(torch.cat(list(module.state_dict().values())), A)


def test_ignored_keys_and_tables_that_start_from_others() -> None:
    module = model(a__weight=(2,), b__weight=(2,))
    tables = {
        "first": ["of: second", "a.*: own.*", 'ignore: ["*.index", mask]'],
        "second": ["a.*: shadowed.*", "b.*: inherited.*", "ignore: deep.*.table"],
    }
    state = {"own.weight": torch.ones(2), "inherited.weight": 2 * torch.ones(2)}
    unread = {"x.y.index": torch.ones(1), "mask": torch.ones(1), "deep.0.1.table": torch.ones(1)}
    load_weights(module, {**state, **unread}, spec(**tables), "first")
    assert module.state_dict()["b.weight"].tolist() == [2, 2]
    with pytest.raises(WeightsError, match=r"1 left over: index"):
        load_weights(module, {**state, "index": torch.ones(1)}, spec(**tables), "first")


def test_extents_of_one_reshape_themselves() -> None:
    module = model(conv=(4, 6, 1, 1), linear=(4, 6), scale=(6,))
    rules = spec("conv: a", "linear: b", "scale: c")
    report = load_weights(module, {"a": A, "b": A.view(4, 6, 1), "c": torch.ones(1, 6, 1, 1)}, rules)
    assert report.reshaped == ["conv", "linear", "scale"]
    assert "3 reshaped: conv, linear, scale" in str(report)
    assert torch.equal(module.conv.flatten(1), module.linear)


# Rules that fit only where a test holds


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        ("i > 0", lambda i, j: i > 0),
        ("j % 2 == 0", lambda i, j: j % 2 == 0),
        ("i == 1 and not j == 2", lambda i, j: i == 1 and j != 2),
        ("(i == 0 or i == 2) and j <= 0", lambda i, j: i in (0, 2) and j == 0),
        ("layer(i, j) >= 3", lambda i, j: [0, 2, 5][i] + j >= 3),
        ("j == layer(i + 1, 0) - layer(i, 0) - 1", lambda i, j: j == [2, 3, 1][i] - 1),  # the last block of a stage
        ("i == stages - 1 or layer(i, j) == layers - 2", lambda i, j: i == 2 or [0, 2, 5][i] + j == 4),
        ("i", lambda i, j: i > 0),
        ("2 > 1", lambda i, j: True),
    ],
)
def test_tests_of_numbers(test: str, holds: Callable[[int, int], bool]) -> None:
    module = blocks(2, 3, 1)
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0)]
    state = {f"{'yes' if holds(i, j) else 'no'}.{i}.{j}": torch.tensor([10.0 * i + j + 1]) for i, j in places}
    rules = [f"stages.{{i}}.blocks.{{j}}.w if {test}: yes.{{i}}.{{j}}", "stages.{i}.blocks.{j}.w: no.{i}.{j}"]
    assert not check_rules(spec(*rules))
    load_weights(module, state, spec(*rules))
    for i, j in places:
        assert module.get_parameter(f"stages.{i}.blocks.{j}.w") == 10 * i + j + 1


HYBRID = """
name: hybrid
input: image(3, 16)
classes: 4
let:
  mix: layer_norm >> attention(heads)
  local: layer_norm >> dw(size)
  heads: 2
stem: conv(8, 4, stride=4)
stages:
  depth: [2, 3]
  size:  [3, 5]
  kind:  [relu, gelu]
  body:  depth * (res(mix if index % 3 == 1 else local) >> kind)
head: global_pool >> linear(classes)
weights:
  theirs:
    stages.{i}.blocks.{j}.mix.** if has("mix.attention.qkv"): a.{layer(i, j)}.**
    stages.{i}.blocks.{j}.local.**: c.{layer(i, j)}.**
    layer_norm.* if has("mix"): ln.*
    layer_norm.*: bn.*
    attention.qkv.*: (q.* | flip) ++ (kv.* | chunk(0, 2)) ++ (kv.* | chunk(1, 2))
    attention.*: attn.*
    dw.*: conv.*
    stem.* if variant == "large" or kind[0] == "gelu": other.*
    stem.* if heads == 2 and size[1] == 5 and kind[1] == "gelu": root.*
    head.*: head.*
variants:
  small: {}
  large: {heads: 4}
"""


def test_two_kinds_of_block_in_one_stage() -> None:
    """Told apart by a slot of the block, behind `**` too; columns, bindings and the variant are asked; and all of it back."""
    net = load_text(HYBRID, "hybrid.yaml")
    assert not check_names(net)
    model = metablock.build(net)
    state = export_state(model, model.spec, "theirs", {f"a.{i}.q.weight": (8, 8) for i in (1, 3)} | {
        f"a.{i}.{name}": shape for i in (1, 3) for name, shape in {
            "q.bias": (8,), "kv.weight": (16, 8), "kv.bias": (16,)}.items()
    })  # fmt: skip
    assert {key for key in state if key.startswith("a.1.")} == {
        f"a.1.{name}.{last}" for name in ("ln", "q", "kv", "attn.proj") for last in ("weight", "bias")
    }
    assert "c.0.bn.weight" in state and "root.weight" in state
    weight = model.get_parameter("stages.0.blocks.1.mix.attention.qkv.weight")
    assert torch.equal(state["a.1.q.weight"], weight[:8].flip(0)) and torch.equal(state["a.1.kv.weight"], weight[8:])
    again = metablock.build(net, weights=state, seed=5)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    large = metablock.build(net, variant="large")
    other = {key.replace("root", "other"): value for key, value in state.items()}
    assert metablock.load_weights(large, other, large.spec).complete
    text = format_text(HYBRID)
    assert format_text(text) == text and load_text(text).weights == net.weights


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ('kind == "gelu"', "'kind' has an entry per stage"),
        ("size[5] == 8", "'size' has no entry 5"),
        ("mix > 3", "words have no order"),
        ("layer(9, 0) > 3", "there is no stage 9 in this network of 2"),
    ],
)
def test_a_test_without_a_meaning_in_a_network(test: str, says: str) -> None:
    net = load_text(HYBRID.replace('variant == "large" or kind[0] == "gelu"', test), "hybrid.yaml")
    model = metablock.build(net)
    with pytest.raises(SpecError, match=re.escape(says)) as caught:
        load_weights(model, {"x": torch.ones(1)}, model.spec)
    assert str(caught.value).startswith("hybrid.yaml:25:")


def test_a_test_that_never_holds_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(HYBRID)
    assert check(str(path)) == ()
    path.write_text(HYBRID.replace("dw.*: conv.*", "dw.* if layers > 7: far.*\n    dw.*: conv.*"))
    problems = [problem.message for problem in check(str(path))]
    assert problems == ["the test of `dw.* if layers > 7` holds for no parameter of any network of this file"]


# What does not fit


def test_everything_that_does_not_fit_is_listed_and_nothing_changes() -> None:
    module = model(a=(2,), b=(2,), c=(2,), d=(2, 3), e=(2,))
    rules = spec("a: x", "b: y", "c: z ++ z2", "d: t | transpose", "e: e")
    state = {"x": torch.ones(2), "z": torch.ones(1), "t": torch.ones(2, 3), "e": torch.ones(2), "extra": torch.ones(1)}
    with pytest.raises(WeightsError) as caught:
        load_weights(module, state, rules, "theirs")
    report = caught.value.report
    assert report.missing == ["b (y)", "c (z2)"]
    assert report.left == ["z", "extra"]
    assert report.wrong == ["d (2, 3) from t (2, 3) (made (3, 2))"]
    text = str(caught.value)
    assert "the weights do not fit 'tiny'" in text
    assert "2 missing: b (y), c (z2)" in text
    assert "2 left over: z, extra" in text
    assert "1 of another shape: d (2, 3) from t (2, 3) (made (3, 2))" in text
    assert "nothing was loaded" in text
    assert unchanged(module)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == text


def test_a_name_without_a_rule() -> None:
    with pytest.raises(WeightsError, match=r"1 missing: b \(no rule\)"):
        load_weights(model(a=(1,), b=(1,)), {"x": torch.ones(1)}, spec("a: x"), "theirs")


def test_long_lists_are_cut_in_the_text_not_in_the_report() -> None:
    module = model(**{f"p{i}": (1,) for i in range(50)})
    with pytest.raises(WeightsError, match=r"50 missing: p0, .*p19, and 30 more") as caught:
        load_weights(module, {"q": torch.ones(1)}, spec("none: none"), "ours")
    assert len(caught.value.report.missing) == 50


@pytest.mark.parametrize(
    ("step", "shape"),
    [
        ("chunk(0, 3)", (4, 6)),  # three parts of four rows
        ("reshape(5, 5)", (4, 6)),
        ("transpose", (4,)),
        ("permute(0, 2, 1)", (4, 6)),
        ("columns(0, 2)", (4,)),
        ("ungroup(3, 1, 1)", (4, 6)),
        ("rows(2, 3)", ()),
    ],
)
def test_a_step_that_the_tensor_does_not_allow(step: str, shape: tuple[int, ...]) -> None:
    module = model(w=(2, 6))
    with pytest.raises(WeightsError, match=re.escape(f"w (2, 6) from a {shape} (`{step}` is impossible)")):
        load_weights(module, {"a": torch.ones(shape)}, spec(f"w: a | {step}"), "theirs")
    assert unchanged(module)


def test_tensors_that_do_not_concatenate() -> None:
    with pytest.raises(WeightsError, match=re.escape("w (4, 6) from a (4, 6) ++ b (2, 5) (cannot be concatenated)")):
        load_weights(model(w=(4, 6)), {"a": A, "b": B[:, :5]}, spec("w: a ++ b"), "theirs")


def test_the_counters_of_batch_norm_are_optional_on_both_sides() -> None:
    ours = nn.BatchNorm2d(3)
    state = {name: torch.ones_like(tensor) for name, tensor in ours.state_dict().items()}
    del state["num_batches_tracked"]
    load_weights(ours, state, spec("none: none"), "ours")
    assert ours.running_mean.eq(1).all()
    plain = nn.BatchNorm2d(3, track_running_stats=False)
    load_weights(
        plain,
        {"weight": torch.zeros(3), "bias": torch.ones(3), "num_batches_tracked": torch.tensor(7)},
        spec("none: none"),
        "ours",
    )
    assert plain.bias.eq(1).all()
    load_weights(ours, {f"n.{name}": tensor for name, tensor in nn.BatchNorm2d(3).state_dict().items()}, spec('"*": n.*'))
    assert ours.weight.eq(1).all()


def test_steps_leave_counters_alone() -> None:
    ours = nn.Sequential(nn.BatchNorm2d(4))
    state = {f"b.{name}": torch.full_like(value, 3) for name, value in ours[0].state_dict().items()}
    report = load_weights(ours, state, spec("0.*: b.* | ungroup(-1, 1, 1)"), "theirs")
    assert report.complete and ours[0].num_batches_tracked == 3


def test_names_without_a_rule_are_listed_once_with_what_ends_them() -> None:
    shapes = {f"stages__0__blocks__{j}__reduce__conv__weight": (1,) for j in range(30)}
    with pytest.raises(WeightsError) as caught:
        load_weights(model(**shapes), {"x": torch.ones(1)}, spec("stages.{i}.blocks.{j}.reduce.**: conv1.{j}.**"), "theirs")
    text = str(caught.value)
    assert len(caught.value.report.missing) == 30 and "no rule)" not in text
    assert "30 missing, without a rule: stages.0.blocks.{0-29}.reduce.conv.weight\n" in text
    hint = "tiny.yaml:6: `stages.{i}.blocks.{j}.reduce.**` fits, and no rule fits its rest `conv.weight`: end it with `*`, or add a rule"
    assert text.count(hint) == 1


def test_the_next_best_names_are_mentioned() -> None:
    rules = spec(first=["a: x", "b: y", "c: z"])
    with pytest.raises(WeightsError, match="2 of 3 tensors by the names of 'ours'") as caught:
        load_weights(model(a=(1,), b=(1,), c=(1,)), {"a": torch.ones(1), "b": torch.ones(1), "x": torch.ones(1)}, rules)
    fit = "by the names of 'first' 1 of 3 fit; 2 missing (b (y), ...), 2 left over (a, ...): "
    assert fit + 'build(..., weights=..., names="first"), or --names first, lists all' in str(caught.value)


def test_names_of_ours_that_others_share_are_not_what_is_meant() -> None:
    """A third of the names is also ours; the rules fit fewer, and say more."""
    module = model(**{f"a{i}": (1,) for i in range(3)}, **{f"b{i}__w": (1,) for i in range(6)})
    state = {**{f"a{i}": torch.ones(1) for i in range(3)}, **{f"x{i}.w": torch.ones(1) for i in range(6)}}
    with pytest.raises(WeightsError, match="5 of 9 tensors by the names of 'first'"):
        load_weights(module, state, spec(first=["a{i}: a{i}", "b0.*: x0.*", "b1.*: x1.*", "b{i}.*: y{i}.*"]))
    with pytest.raises(WeightsError, match=r"2 of 9 tensors by the names of 'first'(.|\n)*'ours' 3 of 9 fit; 6 missing"):
        load_weights(module, state, spec(first=["b0.*: x0.*", "b1.*: x1.*"]))


def test_a_mismatch_names_its_rule_and_line() -> None:
    shapes = {f"stages__0__blocks__{j}__norm__w": (1,) for j in range(30)}
    rules = spec("stages.{i}.blocks.{j}.**: net.{j}.**", "norm.*: ln.*", "a: x", "b: y | transpose")
    with pytest.raises(WeightsError) as caught:
        load_weights(model(**shapes, a=(1,), b=(2, 3)), {"z": torch.ones(1), "y": torch.ones(2, 3)}, rules, "theirs")
    report, text = caught.value.report, str(caught.value)
    assert report.rules["a"] == "tiny.yaml:8: `a: x`" and report.rules["b"] == "tiny.yaml:9: `b: y | transpose`"
    deep = "tiny.yaml:7: `norm.*: ln.*` (its rest, behind `stages.{i}.blocks.{j}.**`)"
    assert (
        f"31 missing: a (x), stages.0.blocks.{{0-29}}.norm.w (net.{{0-29}}.ln.w)\n    30 by {deep}\n    tiny.yaml:8: `a: x`"
        in text
    )
    assert "1 of another shape: b (2, 3) from y (2, 3) (made (3, 2))\n    tiny.yaml:9: `b: y | transpose`" in text
    many = spec(*(f"p{i}: q{i}" for i in range(8)))
    with pytest.raises(WeightsError, match="\n    and 2 more rules"):
        load_weights(model(**{f"p{i}": (1,) for i in range(8)}), {"q": torch.ones(1)}, many, "theirs")


def test_the_source_is_found() -> None:
    rules = spec(first=["a: x", "b: y"], second=["a: u", "b: v"])
    for names, source in ((("a", "b"), "ours"), (("x", "y"), "first"), (("u", "v"), "second")):
        module = model(a=(1,), b=(1,))
        assert load_weights(module, {name: torch.ones(1) for name in names}, rules).source == source
        assert not unchanged(module)
    with pytest.raises(WeightsError, match="by the names of 'second'"):  # the nearest is reported
        load_weights(model(a=(1,), b=(1,)), {"u": torch.ones(1), "w": torch.ones(1)}, rules)
    with pytest.raises(WeightsError, match="by the names of 'first'"):
        load_weights(model(a=(1,), b=(1,)), {"u": torch.ones(1), "v": torch.ones(1)}, rules, "first")
    with pytest.raises(MetablockError, match=r"'tiny' has no weight rules 'secund'\n  did you mean 'second'\?"):
        load_weights(model(a=(1,)), {"a": torch.ones(1)}, rules, "secund")
    with pytest.raises(MetablockError, match="there are: ours, first, second"):
        load_weights(model(a=(1,)), {"a": torch.ones(1)}, rules, "timm")


@pytest.mark.parametrize("wrap", ["model", "state_dict", "model_ema", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_training_scripts_wrapping(wrap: str, prefix: str) -> None:
    module = model(a__w=(2,))
    state = {wrap: {f"{prefix}a.w": torch.ones(2), "version": 3}, "epoch": 7, "args": None, "optimizer": {"a": [torch.ones(1)]}}
    report = load_weights(module, state, spec("none: none"))
    assert not unchanged(module)
    assert report.skipped == ["version"]
    averaged = {"state_dict": {"a.w": torch.ones(2)}, "model_ema": {"a.w": 2 * torch.ones(2)}}
    load_weights(module, averaged, spec("none: none"))
    assert module.get_parameter("a.w").eq(2).all()


def test_entries_that_are_no_tensors_are_reported() -> None:
    module = model(a=(2,))
    report = load_weights(module, {"a": torch.ones(2), "epoch": 3, "name": "x", "stats": [1.0]}, spec("none: none"))
    assert report.skipped == ["epoch", "name", "stats"]
    assert "3 no tensors: epoch, name, stats" in str(report)
    with pytest.raises(MetablockError, match="hold no tensors"):
        load_weights(module, {"epoch": 3, "model": {}}, spec("none: none"))
    with pytest.raises(MetablockError, match="hold no tensors"):
        load_weights(module, {}, spec("none: none"))


def test_on_meta_the_fit_is_seen_and_nothing_loaded() -> None:
    module = model(a=(2,)).to("meta")
    assert load_weights(module, {"a": torch.ones(2)}, spec("none: none")).complete
    with pytest.raises(WeightsError):
        load_weights(module, {"a": torch.ones(3)}, spec("none: none"))


# Rules that cannot be read

MALFORMED = [
    # rule, what is said, what is marked, a part of the hint
    ("a.{i: b", "a brace without its partner", "{", "`{i}`"),
    ("a.i}: b", "a brace without its partner", "}", "`{i}`"),
    ("a: b.{i", "a brace without its partner", "{", "`{i}`"),
    ("a.{2 * i}: b.{i}", "'{2 * i}' names no number", "{2 * i}", "`{i}` gives a number a name"),
    ("a.{layer}: b", "'{layer}' names no number", "{layer}", "gives a number a name"),
    ("a.{}: b", "'{}' names no number", "{}", "gives a number a name"),
    ('"*.a.*": b.*', "a second `*` on the left side", "*", "stands once"),
    ('"**": b.**', "'**' on the left side", "**", "at the end of a name"),
    ("a.**.b: c.**", "'**' on the left side", "**", "at the end of a name"),
    ("a.***: c.***", "'***' on the left side", "***", "at the end of a name"),
    ("a.**: b.*", "'*' on the right side", "*", "as on the left"),
    ("a.*: b.**", "'**' on the right side", "**", "as on the left"),
    ("a: b | chunk(1, 3) ++ c | chunk(2, 3)", "`++` after a step", "++", "`(a | chunk(0, 3)) ++ (b | chunk(2, 3))`"),
    ("a.{i}: b.{*}.{*}", "a second `{*}` in a name", "b.{*}.{*}", "one number"),
    ("a.**: b.{*}.**", "a rule with `**` only renames", "b.{*}.**", "translate the rest"),
    ("a.**: b.** ++ c.**", "a rule with `**` only renames", "b.** ++ c.**", "translate the rest"),
    ("a.**: b.** | transpose", "a rule with `**` only renames", "b.** | transpose", "translate the rest"),
    ("a.*: b", "`*` stands on the left side only", "b", "both sides"),
    ("a: b.*", "`*` stands on the right side only", "b.*", "both sides"),
    ("a.*: b.* ++ c", "`*` stands on the left side only", "c", "both sides"),
    ("a: ", "a foreign name is missing", "", "write the key"),
    ("a: b ++", "a foreign name is missing", "", "write the key"),
    ("a: '| transpose'", "a foreign name is missing", "", "write the key"),
    ("a: b c", "' ' in a parameter name", " ", "concatenates"),
    ("a: b + c", "'+' in a parameter name", " + ", "concatenates"),
    ("a: b, c", "',' in a parameter name", ", ", "concatenates"),
    ("a b: c", "' ' in a parameter name", " ", "concatenates"),
    ("a.{i}: b.{j}", "'j' is not named on the left side", "j", "the left side names i"),
    ("a: b.{i}", "'i' is not named on the left side", "i", "names no number"),
    ("a.{i}: b.{i + 0.5}", "computes with whole numbers", "0.5", "`{2 * i + 1}`"),
    ("a.{i}: b.{i / 2}", "computes with whole numbers", "i / 2", "`{2 * i + 1}`"),
    ("a.{i}: b.{i ** 2}", "computes with whole numbers", "i ** 2", "`{2 * i + 1}`"),
    ("a.{i}: b.{max(i, 1)}", "computes with whole numbers", "max(i, 1)", "`{layer(i, j)}`"),
    ("a.{i}: b.{layer(i)}", "computes with whole numbers", "layer(i)", "`{layer(i, j)}`"),
    ("a.{i}: b.{layer}", "'layer' is not named on the left side", "layer", "names i"),
    ("a.{i}: b.{i // 0}", "division by zero", "i // 0", "`{i}`"),
    ("a.{i}: b.{i +}", "", "", ""),
    ("a.{i}: b.{}", "", "", ""),
    ("a: (b | chunk(0, 2)", "a parenthesis without its partner", "(", "(a | chunk(0, 3))"),
    ("a: (b ++ c", "a parenthesis without its partner", "(", "(a | chunk(0, 3))"),
    ("a: b) ++ c", "in a parameter name", ")", "of one of them"),
    ("a: () ++ c", "a foreign name is missing", "", "write the key"),
    ("a: (b | turn) ++ c", "unknown step 'turn'", "turn", "there are chunk(k, n)"),
    ("a: (b | chunk(2, 2)) ++ c", "there is no part 2 of 2", "chunk(2, 2)", "from 0"),
    ("a.**: (b.** | flip)", "a rule with `**` only renames", "(b.** | flip)", "translate the rest"),
    ("a.{i}: b.{i} if i > 0", "a test on the right side", "i > 0", "`a.{i} if i > 0: b.{i}`"),
    ("a.{i} if: b.{i}", "a test is missing behind `if`", "", "has("),
    ("a.{i} if has(attn): b.{i}", "`has` takes one word", "has(attn)", 'has("attn")'),
    ("a.{i} if has(\"a\", \"b\"): b.{i}", "`has` takes one word", 'has("a", "b")', "slot"),
    ("a.{i} if i / 2 == 1: b.{i}", "computes with whole numbers", "i / 2", "`{2 * i + 1}`"),
    ("a.{i} if i > : b.{i}", "", "", ""),
    ("a.{i} if conv(3): b.{i}", "this is no test", "conv(3)", "has("),
    ("a: b | turn", "unknown step 'turn'", "turn", "there are chunk(k, n)"),
    ("a: b | chunks(0, 2)", "unknown step 'chunks'", "chunks", "did you mean 'chunk'?"),
    ("a: b | chunk(0)", "'chunk' takes 2 numbers", "chunk(0)", "chunk(k, n)"),
    ("a: b | chunk(k=0, n=2)", "'chunk' takes 2 numbers", "chunk(k=0, n=2)", "chunk(k, n)"),
    ("a: b | transpose(0, 1)", "'transpose' takes no numbers", "transpose(0, 1)", "transpose"),
    ("a: b | reshape(k=1)", "'reshape' takes only numbers", "reshape(k=1)", "reshape(...)"),
    ("a: b | permute", "this is no order of axes", "permute", "every axis once"),
    ("a: b | chunk(2, 2)", "there is no part 2 of 2", "chunk(2, 2)", "from 0"),
    ("a: b | rows(3, 3)", "an empty range from 3 to 3", "rows(3, 3)", "left out"),
    ("a: b | ungroup(0, 32, 64)", "these are no groups", "ungroup(0, 32, 64)", "how many, then the rows of each part"),
    ("a: b | ungroup(8, 192)", "these are no groups", "ungroup(8, 192)", "how many, then the rows of each part"),
    ("a: b | reshape(-1, -1)", "this is no shape", "reshape(-1, -1)", "once"),
    ("a: b | permute(1, 2)", "this is no order of axes", "permute(1, 2)", "0, 1"),
    ("a: b | rows(0, i)", "'i' is not named on the left side", "i", "names no number"),
    ("a: b | 3", "a step is a name with numbers", "3", "chunk(k, n)"),
    ("a: b |", "", "", ""),
    ("a: b | chunk(0, 2", "", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "message", "marked", "hint"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_malformed_rules_are_found_at_check_time(rule: str, message: str, marked: str, hint: str) -> None:
    wrong = spec(rule)
    problems = check_rules(wrong)
    assert len(problems) == 1, [problem.render() for problem in problems]
    (problem,) = problems
    assert problem.span is not None
    assert problem.span.text.name == "tiny.yaml"
    line, _ = problem.span.text.place(problem.span.start)
    assert line == 6
    assert message in problem.message
    assert problem.hint is not None
    assert hint in problem.hint
    if message:
        assert problem.span.content == marked
    assert problem.key in {p.key for p in check_names(wrong)}
    with pytest.raises(SpecError) as caught:
        load_weights(model(a=(1,)), {"b": torch.ones(1)}, wrong)
    assert [p.key for p in caught.value.problems] == [problem.key]


@pytest.mark.parametrize(
    ("rule", "message", "marked", "hint"),
    [
        ("a.{i} if k > 0: b.{i}", "unknown name 'k' in a test", "k", "no column and no binding"),
        ("a.{i} if layer > 0: b.{i}", "unknown name 'layer' in a test", "layer", "did you mean 'layers'?"),
        ("a.{i} if dim[0] > 0: b.{i}", "unknown name 'dim' in a test", "dim", "no column"),
        ('a.{i} if variants == "s": b.{i}', "unknown name 'variants' in a test", "variants", "did you mean 'variant'?"),
    ],
)
def test_a_test_names_what_the_file_has(rule: str, message: str, marked: str, hint: str) -> None:
    (problem,) = check_rules(spec(rule))
    assert problem.message == message and problem.span is not None and problem.span.content == marked
    assert problem.hint is not None and hint in problem.hint


def test_every_problem_of_a_rule_is_told() -> None:
    problems = check_rules(spec("a.{i}: b.{j} ++ c d | turn | chunk(3, 2)"))
    assert [p.message.split(" in ")[0] for p in problems] == [
        "'j' is not named on the left side", "' '", "unknown step 'turn'", "there is no part 3 of 2",
    ]  # fmt: skip


def test_tables_that_cannot_be_followed() -> None:
    (problem,) = check_rules(spec(**{"one": ["a: b", "of: two"], "two": ["b: a", "of: one"], "three": ["of: one"]}))[:1]
    assert problem.message == "weight rules start from each other: one -> two -> one"
    assert problem.span is not None
    assert problem.span.content == "one"
    with pytest.raises(SpecError, match="one -> two -> one"):
        read_rules(spec(**{"one": ["a: b", "of: two"], "two": ["b: a", "of: one"]}), "one")
    with pytest.raises(SpecError, match=r"weights 'one' start from unknown 'twoo'(.|\n)*did you mean 'two'\?"):
        spec(**{"one": ["of: twoo"], "two": ["a: b"]})
    with pytest.raises(SpecError, match="weights 'one' start from unknown 'one'"):
        spec(one=["of: one"])
    (problem,) = check_rules(spec(ours=["a: b"]))
    assert problem.message == "'ours' are our own names, they need no rules"
    (problem,) = check_rules(spec(one=["a: b", "ignore: ['x.{i}']"]))
    assert problem.message == "'x.{i}' in `ignore` is no foreign name"


def test_a_rule_that_is_never_reached() -> None:
    (problem,) = check_rules(spec("a.{i}.*: x.{i}.*", "a.{j}.norm.*: y.{j}.*"))
    assert problem.message == "this rule is never reached: 'a.{i}.*' above fits the same names"
    assert problem.span is not None
    assert problem.span.content == "a.{j}.norm.*: y.{j}.*"
    assert not check_rules(spec("a.{j}.norm.*: y.{j}.*", "a.{i}.*: x.{i}.*"))
    assert not check_rules(spec("a.0.*: y.*", "a.{i}.*: x.{i}.*", "a.*: z.*", "b.*: z.*"))
    assert not check_rules(spec("a.{i}.{i}: y", "a.{i}.{j}: x"))


def test_what_only_the_network_can_tell() -> None:
    with pytest.raises(SpecError, match="there is no stage 7 in this network of 2"):
        load_weights(blocks(1, 1), {"x": torch.ones(1)}, spec("stages.{i}.blocks.{j}.w: x.{layer(7, 0)}"), "theirs")
    with pytest.raises(SpecError, match=r"tiny.yaml:6:\d+: division by zero"):
        load_weights(blocks(1, 1), {"x": torch.ones(1)}, spec("stages.{i}.blocks.{j}.w: x.{j // i}"), "theirs")


def test_rules_made_in_python_have_no_place() -> None:
    table = WeightTable("theirs", None, (Rule("a.{i}", "b.{j}"),))
    (problem,) = check_rules(spec("a: b").with_(weights={"theirs": table}))
    assert "'j' is not named on the left side" in problem.render()


@pytest.mark.parametrize("name", SPECS)
def test_the_catalogues_rules_can_be_read(name: str) -> None:
    assert check_rules(SPECS[name]) == []


def test_no_mutant_of_a_rule_ends_in_a_traceback() -> None:
    """A character dropped, doubled or replaced: a problem with a place, or another rule."""
    chance = random.Random(0)
    rules = [rule for name in SPECS for table in SPECS[name].weights.values() for rule in table.rules]
    rules += [Rule("a.{i}.*", "b.{layer(i, 2) // 2}.* ++ c.{layers}.* | chunk(i, 3) | permute(1, 0)")] * 20
    found = 0
    for _ in range(1500):
        rule = chance.choice(rules)
        sides = [rule.ours, rule.theirs]
        side = chance.randrange(2)
        at = chance.randrange(len(sides[side]))
        sides[side] = sides[side][:at] + chance.choice(["", 2 * sides[side][at], *"{}*|+(,i0 "]) + sides[side][at + 1 :]
        mutant = spec("x: x").with_(weights={"theirs": WeightTable("theirs", None, (Rule(*sides),))})
        problems = check_rules(mutant)
        assert all(problem.span is not None and problem.hint for problem in problems), sides
        found += bool(problems)
    assert found > 500


# Files


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("import builtins; builtins.exploded = True",)


STATE = {"a": torch.ones(2), "b.c": torch.zeros(3, 4)}


def assert_same(state: dict[str, Any]) -> None:
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_files(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors")
    assert_same(read_state(tmp_path / "w.safetensors"))
    assert_same(read_state(str(tmp_path / "w.safetensors")))
    wrapped = {"model": STATE, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}
    for content in (STATE, wrapped, {"state_dict": STATE}, {"model": {f"module.{k}": v for k, v in STATE.items()}}):
        torch.save(content, tmp_path / "w.pth")
        assert_same(read_state(tmp_path / "w.pth"))
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert_same(read_state(tmp_path / "old.pt"))
    torch.save({**STATE, "epoch": 3}, tmp_path / "mixed.bin")
    assert read_state(tmp_path / "mixed.bin")["epoch"] == 3


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    import builtins

    torch.save({"model": STATE, "args": Bomb()}, tmp_path / "bomb.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(MetablockError, match=r"bomb\.pth: holds more than data \(code in it was not run\)"):
        read_state(tmp_path / "bomb.pth")
    assert not hasattr(builtins, "exploded")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "old.pth"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    if name == "w.safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=name == "w.pth")
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(MetablockError, match=rf"{re.escape(name)}: damaged, or not a checkpoint\n  nothing was loaded"):
        read_state(path)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(MetablockError, match=r"missing\.pth: no such file"):
        read_state(tmp_path / "missing.pth")
    with pytest.raises(MetablockError, match="not a file"):
        read_state(tmp_path)
    (tmp_path / "text.pth").write_text("weights: none\n")
    with pytest.raises(MetablockError, match=r"text\.pth: damaged, or not a checkpoint"):
        read_state(tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(MetablockError, match="holds a list, not a state dict"):
        read_state(tmp_path / "list.pth")
    torch.save(torch.ones(3), tmp_path / "tensor.pth")
    with pytest.raises(MetablockError, match="holds a Tensor, not a state dict"):
        read_state(tmp_path / "tensor.pth")


# Through the front door

NET = """
name: tiny
input: image(3, 8)
let:
  token: dw(3)
  reduce: conv(dim, 1)
stem: conv(4, 3, stride=2)
stages:
  depth: [1, 2]
  dim: [4, 6]
  down: [id, reduce]
  body: depth * res(bn >> token)
head: global_pool >> linear(classes)
weights:
  theirs:
    stem.*: conv1.*
    stages.{i}.down.*: reduce.{i}.*
    stages.{i}.blocks.{j}.bn.*: features.{2 * layer(i, j)}.*
    stages.{i}.blocks.{j}.token.*: features.{2 * layer(i, j) + 1}.*
    head.linear.weight: fc.weight | transpose
    head.linear.bias: fc.bias
"""


def test_a_network_from_a_file(tmp_path: Path) -> None:
    net = load_text(NET)
    first = metablock.build(net, classes=5)
    state = first.state_dict()
    theirs = {}
    for name, tensor in state.items():
        name = re.sub(r"^stem", "conv1", name).replace("stages.1.down", "reduce.1").replace("head.linear", "fc")
        for block, (i, j) in enumerate([(0, 0), (1, 0), (1, 1)]):
            name = name.replace(f"stages.{i}.blocks.{j}.bn", f"features.{2 * block}").replace(
                f"stages.{i}.blocks.{j}.token", f"features.{2 * block + 1}"
            )
        theirs[name] = tensor.T.contiguous() if name == "fc.weight" else tensor
    assert not set(theirs) & set(state)
    save_file(theirs, tmp_path / "w.safetensors")
    torch.save({"model": state}, tmp_path / "w.pth")
    for path in (tmp_path / "w.safetensors", tmp_path / "w.pth"):
        second = metablock.build(net, classes=5, weights=path, seed=1)
        assert all(torch.equal(a, b) for a, b in zip(second.state_dict().values(), state.values(), strict=True))
    assert len(metablock.build(net, classes=6, weights=theirs).loaded.adapted) == 2


def test_weights_keep_their_precision() -> None:
    net = load_text(NET)
    state = {name: tensor.double() * (1 + 1e-12) for name, tensor in metablock.build(net).state_dict().items()}
    loaded = metablock.build(net, weights=state, dtype=torch.float64).state_dict()
    assert all(
        torch.equal(loaded[name], state[name]) for name in state if state[name].is_floating_point() and "tracked" not in name
    )


def test_edits_that_change_the_names_are_told() -> None:
    net = load_text(NET)
    state = metablock.build(net).state_dict()
    with pytest.raises(WeightsError, match=r"left over: stages\.0\.blocks\.0\.token\.weight"):
        metablock.build(net, edits=["token = pool(3)"], weights=state)


# Tables of another size


def test_position_tables_of_another_size():
    """As timm resamples them; the class token's row stays."""
    timm = require("timm")
    small = metablock.build("vit_tiny_patch16_224", input="3x96x160", edits=["depth = 1"])
    large = metablock.build("vit_tiny_patch16_224", edits=["depth = 1"], seed=3)
    report = metablock.load_weights(small, large.state_dict(), small.spec)
    assert report.resized == ["stem.position.weight"]
    assert "1 resized: stem.position.weight" in str(report)
    wanted = timm.layers.resample_abs_pos_embed(large.stem.position.weight, (6, 10), num_prefix_tokens=1)
    assert torch.allclose(small.stem.position.weight, wanted, atol=1e-5)
    assert torch.equal(small.stages[0].blocks[0].token.qkv.weight, large.stages[0].blocks[0].token.qkv.weight)


def test_bias_tables_of_another_size():
    timm = require("timm")
    edits = ["depth = [1, 1, 1, 1]"]
    large = metablock.build("swin_base_patch4_window12_384", edits=edits)
    small = metablock.build("swin_base_patch4_window7_224", edits=edits, seed=2)
    report = metablock.load_weights(large, small.state_dict(), large.spec)
    assert len(report.resized) == 4
    ours = large.state_dict()[report.resized[0]]
    wanted = timm.layers.resize_rel_pos_bias_table_simple(small.state_dict()[report.resized[0]], (12, 12), tuple(ours.shape))
    assert torch.allclose(ours, wanted, atol=1e-5)
    large(torch.randn(1, 3, 384, 384))


def test_tables_that_have_no_size():
    model = metablock.build("vit_tiny_patch16_224", edits=["depth = 1"])
    state = model.state_dict() | {"stem.position.weight": torch.zeros(1, 180, 192)}  # 179 is no square
    with pytest.raises(metablock.MetablockError, match=r"1 of another shape: stem.position.weight \(1, 197, 192\) from"):
        metablock.load_weights(model, state, model.spec)


def test_rules_do_not_backtrack() -> None:
    """Numbers beside numbers, stars beside stars, rests of rests: a name that fits none is refused at once."""
    table = "weights:\n  timm:\n    '" + "".join(f"{{n{i}}}1" for i in range(26)) + "x': y\n"
    table += "".join(f"    '{'a' * n}**': 'b**'\n" for n in (1, 2, 3)) + "    ignore: ['" + "a*" * 30 + "c']\n"
    rules = read_rules(load_text(f"name: n\ninput: image(3, 8)\nmodel: conv(4)\n{table}"), "timm")
    assert rules.find("1" * 200, NetworkFacts()) is None
    assert rules.find("a" * 60, NetworkFacts()) is None
    assert not rules.ignored("a" * 400) and rules.ignored("ab" * 30 + "c")


# Names that are a level longer or shorter

LEVELS = """
name: net
input: image(3, 16)
classes: 4
let:
  norm: layer_norm
  channel: mlp(2)
stem: conv(8, 4, stride=4)
stages:
  depth: 2
  body:  depth * (res(norm >> channel) >> res(chain))
  chain: norm >> mlp(2)
head: global_pool >> linear(classes)
init: {linear: zeros}
weights:
  theirs:
    stages.{i}.blocks.{j}.norm.*: n.{i}.{j}.*
    stages.{i}.blocks.{j}.channel.linear{k}.*: m.{i}.{j}.{k}.*
    stages.{i}.blocks.{j}.chain.norm.*: k.{i}.{j}.*
    stages.{i}.blocks.{j}.chain.mlp.linear{k}.*: c.{i}.{j}.{k}.*
    stem.*: s.*
    head.*: h.*
"""


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("channel.linear{k}.*", "channel.mlp.linear{k}.*", "a slot that is one name or one call adds no level for it"),
        ("chain.mlp.linear{k}.*", "chain.linear{k}.*", "in a chain, a sum or an argument every operator adds a level"),
    ],
)
def test_a_rule_that_misses_by_a_level(tmp_path: Path, right: str, wrong: str, says: str) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(LEVELS)
    assert check(str(path)) == ()
    path.write_text(LEVELS.replace(right, wrong))
    (problem,) = check(str(path))
    assert problem.hint == f"did you mean `stages.{{i}}.blocks.{{j}}.{right}`? {says}"
    net = load_text(path.read_text(), "net.yaml")
    model = metablock.build(net)
    with pytest.raises(WeightsError, match=re.escape(f"`stages.{{i}}.blocks.{{j}}.{wrong}` fits nothing: {problem.hint}")):
        load_weights(model, {"s.weight": torch.ones(8, 3, 4, 4)}, model.spec, "theirs")


def test_an_init_rule_that_misses_by_a_level(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(LEVELS.replace("linear: zeros", "channel.mlp.linear1: zeros"))
    (problem,) = check(str(path))
    assert problem.hint == "did you mean `channel.linear1`? a slot that is one name or one call adds no level for it"
    path.write_text(LEVELS.replace("linear: zeros", "chain.linear1: zeros"))
    assert check(str(path)) == (), "in a selector, parts in between may be left out"
