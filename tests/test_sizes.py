"""Every family of the catalogue at sizes that are not square and not its own: it is built for them, or says what stands against it."""

from __future__ import annotations

import re

import pytest
import torch
from cases import SMALLEST, SPECS, shrunk
from torch.utils._pytree import tree_leaves

import metablock
from metablock.api import example

SIZES = ("3x192x256", "3x97x131")
# What does not fit which of these sizes, and why.
WINDOWS, ODD = (
    "windows of .* do not (cover|divide) a map of",
    "two shapes do not meet: .* 25x33|two shapes do not meet: tokens 1 [+] 12x16",
)
MAPS = {"vit_adapter"}  # what leaves is no vector of classes
BOUND = {
    ("agent_swin_t", SIZES[0]): WINDOWS,
    ("agent_swin_t", SIZES[1]): WINDOWS,
    ("agent_cswin_t", SIZES[0]): WINDOWS,
    ("stvit_r_swin_t", SIZES[0]): WINDOWS,
    ("stvit_r_swin_t", SIZES[1]): WINDOWS,
    ("tiny_patch16", SIZES[1]): ODD,
    ("hrnet_w18_small", SIZES[1]): ODD,
    ("gcvit_xxtiny", SIZES[1]): WINDOWS,
    ("maxvit_tiny_tf_224", SIZES[1]): WINDOWS,
    ("tnt_s_patch16_224", SIZES[1]): WINDOWS,
    ("det_deit_tiny", SIZES[1]): ODD,
    ("biformer_tiny", SIZES[1]): "4x4 regions do not divide a map",  # the official code asserts it
}


# Both sizes are called of these; of the others one.
TWICE = ("metaformer", "swin", "vit", "hrnet", "agent_attention")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "variant"), SMALLEST, ids=[variant for _, variant in SMALLEST])
def test_other_sizes(name: str, variant: str, size: str) -> None:
    def run() -> None:
        edits = shrunk(name, variant)["edits"]
        model = metablock.build(SPECS[name], variant=variant, edits=edits, input=size, classes=5, device="meta").eval()
        output = model(*example(model, 2))
        for y in output.values() if isinstance(output, dict) else output if isinstance(output, tuple) else [output]:
            assert y.shape == (2, 5) or (name in MAPS and y.shape[0] == 2 and y.dim() == 4)

    if (variant, size) not in BOUND:
        run()
        return
    with pytest.raises(metablock.SpecError, match=BOUND[variant, size]) as caught:
        run()
    assert all(problem.span is not None and problem.hint for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("name", "variant", "size"),
    [
        (*pair, size)
        for i, pair in enumerate(SMALLEST)
        for size in ((80, 112), (61, 47))
        if i % 2 == (size[0] == 61) or pair[0] in TWICE
    ],
)
def test_a_call_at_another_size(name: str, variant: str, size: tuple[int, int]) -> None:
    """A network gives what one built for that size would give, or says what it was built for."""
    options = shrunk(name, variant)
    model = metablock.build(SPECS[name], variant=variant, classes=5, **options).eval()
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        said = ""
        try:
            found = tree_leaves(model(x))
        except metablock.MetablockError as wrong:
            said = str(wrong)
        if said:
            assert re.match(
                rf"'\S+' was built for \(batch, 3, \d+, \d+\), and was called with \(2, 3, {size[0]}, {size[1]}\)\n  .", said
            )
            return
        other = metablock.build(SPECS[name], variant=variant, classes=5, **options | {"input": f"3x{size[0]}x{size[1]}"}).eval()
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
    for whole in (False, True):
        model = metablock.build("swin_tiny", edits=["depth = [1, 1, 1, 1]"], input="3x224x224").eval()
        compiled = metablock.compile(model, backend="eager", whole=whole)
        with (
            torch.no_grad(),
            pytest.raises(metablock.MetablockError, match=r"window\(.*is made for one size: build it with input='3x192x192'"),
        ):
            compiled(torch.zeros(1, 3, 192, 192))
