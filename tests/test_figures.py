"""Figures of a network without building it: parameters are those of the modules, multiply-accumulates are counted once."""

from __future__ import annotations

from pathlib import Path

import pytest

import metablock
from metablock import cache
from metablock.backend import costs
from metablock.front import front
from metablock.language.load import load_text
from metablock.report import figures

BODIES = {
    "plain": "conv(8, 3) >> batch_norm >> relu >> global_pool >> linear(5)",
    "frozen": "conv(8, 3) >> frozen(batch_norm >> conv(8, 3, groups=8)) >> global_pool >> linear(5)",
    "constant": "conv(8, 3) >> res(constant(conv(8, 3)))",
    "shared": "conv(8, 3) >> (shared f = conv(8, 3) return f >> f)",
}


def network(body: str):
    return load_text(f"name: net\ninput: image(3, 8)\nmodel: '{body}'\n")


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_parameters(body: str) -> None:
    spec = network(body)
    assert figures.parameters(front(spec)) == costs.parameters(metablock.build(spec, device="meta"))


def test_macs_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr(cache, "fingerprint", lambda: "code")
    answer = front(network(BODIES["plain"]))
    first = figures.macs(answer)
    assert first[""] == 3 * 8 * 9 * 64 + 8 * 5

    def never(*args: object) -> None:
        raise AssertionError("it is known")

    monkeypatch.setattr(costs, "macs", never)
    assert figures.macs(answer) == first
    (entry,) = (tmp_path / figures.KIND).iterdir()
    cache.store(figures.KIND, entry.name, b'{"": "many"}')
    with pytest.raises(AssertionError, match="it is known"):
        figures.macs(answer)
