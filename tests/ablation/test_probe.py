"""Receptive fields and spectra of networks whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import metablock
from metablock.ablation.probe import area, from_json, probe, to_json
from metablock.ablation.report.probes import table, write_probe
from metablock.errors import MetablockError
from metablock.language.load import load_text

SPEC = """\
name: seen
input: image(1, 33)
classes: 3
let:
  token: conv(4, 3)
  other: conv(4, 5)
stem: conv(4)
stages:
  depth: [1, 1]
  body:
    - depth * token
    - depth * other
head: global_pool >> linear(classes)
"""


def built(*edits: str) -> metablock.backend.block.Block:
    torch.manual_seed(0)
    return metablock.build(load_text(SPEC), edits=edits)


def test_fields_of_convolutions():
    first, second = probe(built(), torch.randn(2, 1, 33, 33))
    for stage, half in ((first, 1), (second, 3)):
        seen = stage.field > 0
        wanted = np.zeros((33, 33), dtype=bool)
        wanted[16 - half : 17 + half, 16 - half : 17 + half] = True
        assert (seen == wanted).all()
        assert stage.field.max() == 1
        assert stage.areas[0.99] <= (2 * half + 1) / 33


def test_attention_sees_everything():
    first, _ = probe(built("token = attention(2)"), torch.randn(1, 1, 33, 33))
    assert (first.field > 0).all()
    assert first.areas[0.99] > 0.9


def test_areas():
    field = np.zeros((9, 9))
    field[4, 4], field[4, 5], field[0, 0] = 2, 1, 1
    assert [area(field, share) for share in (0.5, 0.75, 1.0)] == [1 / 9, 3 / 9, 1.0]
    assert area(np.zeros((3, 3)), 0.5) == 0


def test_spectra():
    """Means over windows lower high frequencies; what they leave out raises them."""
    flat, _ = probe(built("token = id"), torch.randn(8, 1, 33, 33))
    low, _ = probe(built("token = avg_pool(5)"), torch.randn(8, 1, 33, 33))
    high, _ = probe(built("token = id - avg_pool(5)"), torch.randn(8, 1, 33, 33))
    assert flat.spectrum.shape == (33, 33)
    ends = [stage.radial[np.isfinite(stage.radial)][-1] for stage in (low, flat, high)]
    assert ends[0] < ends[1] < ends[2]
    assert low.radial[0] == 0


def test_layouts_agree():
    """Maps, tokens and grids of the same values have the same figures."""
    x = torch.randn(1, 1, 33, 33)
    maps, grids = built("token = pw(4)", "other = id"), built("token = linear(4)", "other = id")
    grids.load_state_dict(
        {
            name: value.reshape(grids.state_dict()[name].shape)
            for name, value in zip(grids.state_dict(), maps.state_dict().values(), strict=True)
        }
    )
    one, two = probe(maps, x)[0], probe(grids, x)[0]
    assert np.allclose(one.spectrum, two.spectrum, atol=1e-6)
    assert np.allclose(one.field, two.field)


def test_what_is_written(tmp_path: Path):
    probes = {
        "conv $3": probe(built(), torch.randn(1, 1, 33, 33)),
        "attention": probe(built("token = attention(2)"), torch.randn(1, 1, 33, 33)),
    }
    written = write_probe(probes, tmp_path)
    assert {path.suffix for path in written} == {".md", ".svg", ".png"}
    assert all(path.stat().st_size > 500 for path in written)
    lines = table(probes).splitlines()
    assert lines[0].startswith("| network | stage | map | 20% | 30% | 50% | 99% |")
    assert len(lines) == 2 + 4 + 2


def test_the_model_stays_as_it_was():
    model = built().train()
    probe(model, torch.randn(1, 1, 33, 33))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_what_cannot_be_probed():
    signal = load_text(SPEC.replace("image(1, 33)", "signal(1, 33)"))
    with pytest.raises(MetablockError, match=r"'seen' takes no single picture"):
        probe(metablock.build(signal), torch.randn(1, 1, 33))
    with pytest.raises(MetablockError, match=r"has no stages that give one map"):
        probe(metablock.build("mobile_former_26m", device="meta"), torch.randn(1, 3, 224, 224))


def test_kept_as_text_and_read_again():
    model = metablock.build("poolformer_s12", edits=["depth = 1", "dim = [8, 8, 8, 8]"], input="3x224x224")
    before = probe(model, torch.randn(1, 3, 224, 224))
    after = from_json(to_json(before))
    for a, b in zip(before, after, strict=True):
        assert (a.stage, a.grid, a.areas) == (b.stage, b.grid, b.areas)
        assert max(b.field.shape) <= 96
        np.testing.assert_allclose(a.spectrum, b.spectrum, rtol=1e-3, atol=1e-9)
        np.testing.assert_allclose(a.radial, b.radial, rtol=1e-3, atol=1e-9)


def test_modes_stay_as_they_were() -> None:
    edits = ["depth = 1", "dim = [8, 8, 8, 8]"]
    model = metablock.build("resnet18", edits=edits, input=(3, 32, 32)).train()
    model.stem.eval()
    before = {name: part.training for name, part in model.named_modules()}
    probe(model, torch.randn(1, 3, 32, 32))
    assert {name: part.training for name, part in model.named_modules()} == before
    assert not any(part._forward_hooks for part in model.modules())
