"""Every family of the catalogue at sizes that are not square and not its own: it is built for them, or says what stands against it."""

from __future__ import annotations

import pickle
import re
from copy import deepcopy
from typing import Any

import pytest
import torch
from cases import ONE_SIZE, PICTURES, SPECS, shrunk
from torch._dynamo.testing import CompileCounter
from torch.utils._pytree import tree_leaves

import metablock
from metablock.api import example
from metablock.backend.input_size import ENOUGH, InputSizes
from metablock.front import front
from metablock.language.load import load_text
from metablock.lowering.ir import flat_values

SIZES = ("3x192x256", "3x97x131")
# What does not fit which of these sizes, and why.
WINDOWS, ODD = (
    "windows of .* do not (cover|divide) a map of",
    "two shapes do not meet: .* 25x33|two shapes do not meet: tokens 1 [+] 12x16",
)
ONE_SIZE_ONLY = f"{WINDOWS}|two shapes do not meet|do not divide|0 copies"
MAPS = {"deformable_detr", "detr", "parsenet", "vit_adapter"}  # what leaves is no vector of classes
BOUND = {
    ("agent_swin_t", SIZES[0]): WINDOWS,
    ("agent_swin_t", SIZES[1]): WINDOWS,
    ("agent_cswin_t", SIZES[0]): WINDOWS,
    ("stvit_r_swin_t", SIZES[0]): WINDOWS,
    ("stvit_r_swin_t", SIZES[1]): WINDOWS,
    ("tiny_patch16", SIZES[1]): ODD,
    ("hrnet_w18_small", SIZES[1]): ODD,
    ("gcvit_xxtiny", SIZES[1]): WINDOWS,
    ("xtiny", SIZES[0]): WINDOWS,
    ("xtiny", SIZES[1]): WINDOWS,
    ("maxvit_tiny_tf_224", SIZES[1]): WINDOWS,
    ("tnt_s_patch16_224", SIZES[1]): WINDOWS,
    ("det_deit_tiny", SIZES[1]): ODD,
    ("biformer_tiny", SIZES[1]): "4x4 regions do not divide a map",  # the official code asserts it
}


# Both sizes are called of these; of the others one.
TWICE = ("metaformer", "swin", "vit", "hrnet", "agent_attention")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "variant"), PICTURES, ids=[variant for _, variant in PICTURES])
def test_other_sizes(name: str, variant: str, size: str) -> None:
    def run() -> None:
        edits = shrunk(name, variant)["edits"]
        model = metablock.build(SPECS[name], variant=variant, edits=edits, input=size, classes=5, device="meta").eval()
        shapes = [tuple(y.shape) for y in tree_leaves(model(*example(model, 2)))]
        declared = model.ir.output if model.ir.prediction is None else model.ir.prediction
        assert shapes == [value.feature.size(2) for value in flat_values(declared)]
        assert set(shapes) == {(2, 5)} or name in MAPS

    bound = BOUND.get((variant, size), ONE_SIZE_ONLY if name in ONE_SIZE - {"stvit"} else None)
    if bound is None:
        run()
        return
    with pytest.raises(metablock.SpecError, match=bound) as caught:
        run()
    assert all(problem.span is not None and problem.hint for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("name", "variant", "size"),
    [
        (*pair, size)
        for i, pair in enumerate(PICTURES)
        for size in ((80, 112), (61, 47))
        if i % 2 == (size[0] == 61) or pair[0] in TWICE
    ],
)
def test_a_call_at_another_size(name: str, variant: str, size: tuple[int, int]) -> None:
    """A network gives what one built for that size would give, or says what it was built for."""
    options = shrunk(name, variant)
    model = metablock.build(SPECS[name], variant=variant, classes=5, **options).eval()
    c = model.inputs[0].c
    x = torch.randn(2, c, *size)
    with torch.no_grad():
        said = ""
        try:
            found = tree_leaves(model(x))
        except metablock.MetablockError as wrong:
            said = str(wrong)
        if said:
            built, called = rf"was built for \(batch, {c}, \d+, \d+\)", rf"was called with \(2, {c}, {size[0]}, {size[1]}\)"
            assert re.match(rf"'\S+' {built}, and {called}\n  .", said)
            return
        other = metablock.build(SPECS[name], variant=variant, classes=5, **options | {"input": f"{c}x{size[0]}x{size[1]}"}).eval()
        other.load_state_dict(model.state_dict())
        for ours, theirs in zip(found, tree_leaves(other(x)), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5), (ours - theirs).abs().max()


def test_a_wrong_call_is_told() -> None:
    model = metablock.build("poolformer_s12", edits=["depth = [1, 1, 1, 1]"], input="3x64x64")
    for shape, said in {
        (2, 1, 64, 64): r"called with \(2, 1, 64, 64\)\n  it takes 3 channels; another number is built by input='1x64x64'",
        (3, 64, 64): r"called with \(3, 64, 64\)\n  the batch comes first: x\[None\]",
        (2, 3): r"called with \(2, 3\)\n  the batch comes first, then channels, then extents",
    }.items():
        with pytest.raises(metablock.MetablockError, match=said):
            model(torch.zeros(shape))
    with pytest.raises(metablock.MetablockError, match=r"\n  it takes one input$"):
        model(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    with pytest.raises(RuntimeError, match="should be the same"):  # what the size has no part in stays torch's
        model(torch.zeros(1, 3, 64, 64, dtype=torch.float64))


def test_a_wrong_call_of_a_compiled_network_is_told() -> None:
    for way in ("whole", "regions", "nested"):
        model = metablock.build("swin_tiny", edits=["depth = [1, 1, 1, 1]"], input="3x224x224").eval()
        compiled = metablock.compile(model, backend="eager", way=way)
        with (
            torch.no_grad(),
            pytest.raises(metablock.MetablockError, match=r"window\(.*is made for one size: build it with input='3x192x192'"),
        ):
            compiled(torch.zeros(1, 3, 192, 192))


WINDOWED = "name: w\ninput: image(3, 16)\nclasses: 5\nstem: conv(8, 4, stride=4)\nstages:\n  body: window(2, linear(8))\n"
WINDOWED += "head: global_pool >> linear(classes)\n"


@pytest.mark.parametrize("size", [(16, 32), (16, 24), (32, 32), (8, 32), (4, 64)])
def test_windows_never_mix_images(size: tuple[int, int]) -> None:
    model = metablock.build(load_text(WINDOWED)).eval()
    with pytest.raises(metablock.MetablockError, match=r"was built for \(batch, 3, 16, 16\)"):
        model(torch.zeros(2, 3, *size))
    model.check_sizes = False
    with pytest.raises(RuntimeError):  # the parts themselves divide each axis, not the number of tokens
        model(torch.zeros(2, 3, *size))


# A network, and a size of as many tokens.
EQUALLY_MANY = [
    ("vit_tiny_patch16_224", ["depth = 1"], "3x64x64", (32, 128)),
    ("pcpvt_small_v0", ["depth = [1, 1, 1, 1]"], "3x64x64", (128, 32)),
    ("tnt_s_patch16_224", ["depth = 1"], "3x64x64", (32, 128)),
    ("mixer_s16_224", ["depth = 1"], "3x64x64", (32, 128)),
    ("coatnet_0_224", ["depth = [1, 1, 1, 1]"], "3x64x64", (32, 128)),
]


@pytest.mark.parametrize(("name", "edits", "built", "size"), EQUALLY_MANY)
def test_equally_many_tokens_are_no_fit(name: str, edits: list[str], built: str, size: tuple[int, int]) -> None:
    model = metablock.build(name, edits=edits, input=built, classes=5).eval()
    x = torch.zeros(1, 3, *size)
    for call in (model, metablock.compile(deepcopy(model), backend="eager"), torch.compile(model, backend="eager")):
        with pytest.raises(metablock.MetablockError, match=f"build it with input='3x{size[0]}x{size[1]}'"):
            call(x)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    copy: dict[str, Any] = {}
    exec(metablock.standalone(model), copy)
    with pytest.raises(AssertionError, match=r"x is \(batch, 3, 64, 64\)"):
        copy["Model"]()(x)


def test_a_graph_for_any_size_has_no_guard_on_it() -> None:
    """A network that is good for any size compiles to one graph with symbols; one that is bound says so while it is traced."""
    graphs = CompileCounter()
    free = metablock.build("resnet18", edits=["depth = [1, 1, 1, 1]"], input="3x64x64", classes=5).eval()
    call = torch.compile(free, backend=graphs, dynamic=True, fullgraph=True)
    with torch.no_grad():
        for size in ((64, 72), (80, 48), (96, 112)):
            call(torch.zeros(2, 3, *size))
    assert graphs.frame_count == 1
    bound = metablock.build("vit_tiny_patch16_224", edits=["depth = 1"], input="3x64x64", classes=5).eval()
    with torch.no_grad(), pytest.raises((torch._dynamo.exc.Unsupported, metablock.MetablockError), match="was built for"):
        torch.compile(bound, backend="eager", fullgraph=True)(torch.zeros(2, 3, 32, 128))


def test_a_part_without_its_bound_head_takes_any_size() -> None:
    text = "name: v\ninput: image(3, 32)\nclasses: 5\nstages:\n  depth: [1, 1]\n  dim: [8, 16]\n  down: conv(dim, 2, stride=2)\n"
    text += "  body: depth * conv(dim, 3)\nhead: flatten >> linear(classes)\n"
    model = metablock.build(load_text(text)).eval()
    maps = metablock.features(model)
    assert [y.shape[2:] for y in maps(torch.zeros(1, 3, 48, 64))] == [(24, 32), (12, 16)]
    with pytest.raises(metablock.MetablockError, match=r"head.*is made for one size"):
        model(torch.zeros(1, 3, 48, 64))
    model.check_sizes, model.head = False, torch.nn.AdaptiveAvgPool2d(1)
    assert model(torch.zeros(1, 3, 48, 64)).shape == (1, 16, 1, 1)


def test_several_inputs_have_sizes_each() -> None:
    text = "name: two\ninput:\n  a: image(3, 16)\n  b: image(3, 16)\nmodel: |\n  a, b ->\n  s = a >> conv(4, 3)\n"
    model = metablock.build(load_text(text + "  return s + (b >> conv(4, 3))\n")).eval()
    zeros = torch.zeros
    assert model(zeros(1, 3, 20, 24), zeros(1, 3, 20, 24)).shape == (1, 4, 20, 24)
    assert model(zeros(1, 3, 20, 24), x2=zeros(1, 3, 20, 24)).shape == (1, 4, 20, 24)
    with pytest.raises(metablock.MetablockError, match=r"cannot be built for that size either"):
        model(zeros(1, 3, 20, 24), zeros(1, 3, 24, 20))


def test_a_network_that_is_copied_pickled_or_merged_knows_its_sizes() -> None:
    model = metablock.build("vit_tiny_patch16_224", edits=["depth = 1"], input="3x64x64", classes=5).eval()
    for one in (deepcopy(model), pickle.loads(pickle.dumps(model)), metablock.reparameterize(model), metablock.features(model)):
        with pytest.raises(metablock.MetablockError, match="was built for"):
            one(torch.zeros(1, 3, 32, 128))


@pytest.mark.parametrize("test", ["grid[0] >= 64", "grid[0] % 32 == 0"])
def test_a_network_that_asks_for_its_extents_is_looked_at_for_each_size(test: str) -> None:
    text = f"name: t\ninput: image(3, 64)\nclasses: 5\nstages:\n  depth: 1\n  dim: 8\n  body: depth * conv(dim, 7 if {test} else 3)\n"
    model = metablock.build(load_text(text + "head: global_pool >> linear(classes)\n")).eval()
    with torch.no_grad():
        for extent in range(64, 64 + 32 * (ENOUGH + 2), 32):
            model(torch.zeros(1, 3, extent, extent))
        for call in (model, torch.compile(model, backend="eager", dynamic=True)):
            with pytest.raises(metablock.MetablockError, match="made for one size"):
                call(torch.zeros(1, 3, 48, 48))
    assert "torch._assert" in metablock.standalone(model)
    with pytest.raises(metablock.MetablockError, match="bound to its size"):
        metablock.export(model, dynamic=["height", "width"])


def test_sizes_between_those_that_fit_are_taken_to_fit() -> None:
    spec, ir = front("resnet18", edits=["depth = [1, 1, 1, 1]"], input="3x64x64")
    sizes = InputSizes(spec, [ir.inputs[0].feature])
    for extra in range(1, ENOUGH):
        assert sizes.problem([(1, 3, 64 + 8 * extra, 64 + 5 * extra)]) is None
    tried = len(sizes.good)
    assert tried == ENOUGH
    assert sizes.problem([(1, 3, 100, 101)]) is None
    assert len(sizes.good) == tried
    assert sizes.problem([(1, 3, 400, 64)]) is None
    assert len(sizes.good) == tried + 1
