"""Constants and tables: a network that is built in float64 computes with those of float64; every dtype has the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from cases import ONE, small
from torch import Tensor

import metablock
from metablock.backend.draws import Doubles, Draws, keep_constants, unsaved
from metablock.language.load import load_text

CONSTANTS = {
    "times(0.1)": ("Times", "factor", 0.1),
    "dropout(0.1)": ("Dropout", "rate", 0.1),
    "res(conv(c), drop=0.1)": ("DropPath", "rate", 0.1),
    "softmax(0.3, start=1.7)": ("Softmax", "temperature", 0.3),
    "id * knob(0.7)": ("Knob", "value", 0.7),
}


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("text", CONSTANTS)
def test_numbers_of_the_spec(text: str) -> None:
    cls, name, number = CONSTANTS[text]
    spec = load_text(f"name: t\ninput: image(4, 8)\nlet:\n  block: {text}\nmodel: x -> x >> block")
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        [part] = [m for m in metablock.build(spec, dtype=dtype).modules() if type(m).__name__ == cls]
        buffer = getattr(part, name)
        assert buffer.dtype == dtype and buffer.item() == torch.tensor(number, dtype=dtype).item()
    [later] = [m for m in metablock.build(spec).double().modules() if type(m).__name__ == cls]
    assert getattr(later, name).item() == torch.tensor(number).item()  # keeps what float32 had


@pytest.mark.parametrize(("name", "variant"), ONE, ids=[variant for _, variant in ONE])
def test_tables_are_those_of_float64(name: str, variant: str) -> None:
    """As if float64 had been torch's default dtype; the weights are those of float32."""
    model = small(name, variant, dtype=torch.float64)
    with default(torch.float64):
        expected: dict[str, Tensor] = unsaved(small(name, variant))
    tables = unsaved(model)
    assert tables.keys() == expected.keys()
    for key, table in tables.items():
        assert table.dtype == torch.float64 and torch.equal(table, expected[key]), key
    single = small(name, variant).state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(value, single[key].double() if value.is_floating_point() else single[key]), key


def test_constants_beside_draws() -> None:
    """What an operator of one's own computes is exact where it was not drawn."""

    class Mixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("share", torch.full((1,), 1 / 3), persistent=False)
            self.register_buffer("noise", torch.randn(4), persistent=False)

    with Draws().seeded(0):
        module = Mixed().double()
    noise = module.noise.clone()
    with Draws().seeded(1), Doubles():
        keep_constants(module, Mixed())
    assert module.share.item() == 1 / 3 and torch.equal(module.noise, noise)
