"""Every family of the catalogue at sizes that are not square and not its own: it is built for them, or says what stands against it."""

from __future__ import annotations

import pytest
from cases import SMALLEST, SPECS

import metablock
from metablock.api import example

SIZES = ("3x192x256", "3x97x131")
# What does not fit which of these sizes, and why.
WINDOWS, ODD = "windows of .* do not (cover|divide) a map of", "two shapes do not meet: .* 25x33|two shapes do not meet: tokens 1 [+] 12x16"
BOUND = {
    ("agent_swin_t", SIZES[0]): WINDOWS,
    ("agent_swin_t", SIZES[1]): WINDOWS,
    ("agent_cswin_t", SIZES[0]): WINDOWS,
    ("stvit_r_swin_t", SIZES[0]): WINDOWS,
    ("stvit_r_swin_t", SIZES[1]): WINDOWS,
    ("tiny_patch16", SIZES[1]): ODD,
    ("hrnet_w18_small", SIZES[1]): ODD,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "variant"), SMALLEST, ids=[variant for _, variant in SMALLEST])
def test_other_sizes(name: str, variant: str, size: str) -> None:
    def run() -> None:
        model = metablock.build(SPECS[name], variant=variant, input=size, classes=5, device="meta").eval()
        output = model(*example(model, 2))
        for y in output.values() if isinstance(output, dict) else output if isinstance(output, tuple) else [output]:
            assert y.shape == (2, 5)

    if (variant, size) not in BOUND:
        run()
        return
    with pytest.raises(metablock.SpecError, match=BOUND[variant, size]) as caught:
        run()
    assert all(problem.span is not None and problem.hint for problem in caught.value.problems)
