"""Residuals of lists, and `each` of nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import metablock
from metablock.errors import SpecError
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")


def build(line: str) -> Any:
    text = "name: tiny\ninput: image(4, 8)\nmodel: |\n  x ->\n  y = [x, x >> avg_pool(2, stride=2)]\n  return y >> "
    return metablock.build(load_text(text + line + "\n"))


def test_members_are_added_to_members() -> None:
    model = build("res(each(conv(c, 3)))").eval()
    x = torch.randn(2, 4, 8, 8)
    maps = [x, torch.nn.functional.avg_pool2d(x, 2)]
    assert [name for name, _ in model.named_parameters()] == ["conv.weight", "conv.bias"]
    for y, z in zip(maps, model(x), strict=True):
        torch.testing.assert_close(z, y + model.conv(y))


def test_a_learned_scale_is_one_for_all() -> None:
    model = build("res(each(conv(c, 3)), scale=0.5)").eval()
    assert model.scale.weight.shape == (4,)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(model(x)[0], x + 0.5 * model.conv(x))


def test_a_sample_s_branch_is_dropped_in_all_members_or_in_none() -> None:
    model = build("res(each(conv(c, 3)), drop=0.5)")
    x = torch.randn(64, 4, 8, 8)
    maps = [x, torch.nn.functional.avg_pool2d(x, 2)]
    outputs = model.train()(x)
    shares = []
    for y, z in zip(maps, outputs, strict=True):
        branch = model.conv(y)
        share = ((z - y) / branch).flatten(1)
        torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=1e-6, atol=1e-6)
        shares.append(share[:, 0].round())
    assert torch.equal(*shares)
    assert sorted(shares[0].unique().tolist()) == [0, 2]
    torch.testing.assert_close(model.eval()(x)[1], maps[1] + model.conv(maps[1]))


def test_nothing_on_every_member_is_nothing() -> None:
    model = build("res(each(conv(c, 3) >> none))")
    assert not list(model.parameters())
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(model(x)[0], x)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("res(each(id), skip=id >> [x])", "`res` adds a list of 2 to a list of 1"),
        ("res(each(id), skip=x)", "`res` adds a list of 2 to one value"),
        ("each(conv(6)) >> res(each(conv(4)))", "two widths do not meet"),
    ],
)
def test_what_does_not_fit(line: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build(line)


def test_names_that_modules_have_already_are_avoided_in_lists_too() -> None:
    text = "name: tiny\ninput: image(4, 8)\nlet:\n  level: conv(c)\nmodel: |\n  x ->\n  return [x >> level for i in range(2)]\n"
    names = list(metablock.build(load_text(text)).state_dict())
    assert [name for name in names if "weight" in name] == ["level_.0.weight", "level_.1.weight"]
