"""The arithmetic of the benchmarks; what they time is not timed here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from benchmarks import timing
from benchmarks.against_timm import cells
from benchmarks.timing import Comparison, compare, summary


def test_a_ratio_above_one_means_that_the_first_is_faster() -> None:
    one = summary([(1.0, 2.0), (2.0, 4.0), (1.0, 3.0), (1.0, 2.0), (1.0, 1.0)])
    assert (one.ratio, one.low, one.high, one.spread) == (2.0, 2.0, 2.0, 0.0)
    assert one.seconds == (1.0, 2.0)
    assert summary([(2.0, 1.0)]).ratio == 0.5


def test_the_spread_is_shown_and_a_wide_one_marked() -> None:
    assert str(Comparison(1.0, 0.99, 1.01, (1.0, 1.0))) == "1.00 (0.99–1.01)"
    assert str(Comparison(1.0, 0.9, 1.1, (1.0, 1.0))) == "1.00 (0.90–1.10)*"


def sampler(times: Iterator[float], calls: list[str]) -> Callable[[Callable[[], object], int], float]:
    def sample(function: Callable[[], object], count: int) -> float:
        calls.append(str(function()))
        return next(times)

    return sample


def test_a_wide_row_is_measured_again_and_the_narrowest_counts() -> None:
    calls: list[str] = []
    warm, wide, narrow = [1.0, 1.0], [1.0, 1.0, 2.0, 1.0, 1.0, 3.0], [1.0, 2.0, 2.0, 1.0, 1.0, 2.0]
    one = compare(lambda: "a", lambda: "b", sampler(iter(warm + wide + narrow), calls), rounds=3)
    assert (one.ratio, one.tries, one.spread) == (2.0, 2, 0.0)
    assert "".join(calls) == "ab" + "abbaab" * 2  # who begins changes


def test_patience_ends() -> None:
    wide = [1.0, 1.0, 2.0, 1.0, 1.0, 3.0]
    one = compare(lambda: "a", lambda: "b", sampler(iter([1.0, 1.0] + wide * 2), []), rounds=3, tries=2)
    assert one.tries == 2 and one.spread > timing.WIDE


@pytest.mark.parametrize("frozen", [False, True])
def test_the_cells_of_a_row(frozen: bool) -> None:
    one = Comparison(1.0, 0.99, 1.01, (1.0, 1.0))
    row = {"eager": one, "compiled": one, "compile": 1.5, "frozen": one}
    text = "1.00 (0.99–1.01)"
    assert cells(row, "cpu", frozen) == [text, text, "1.50", *([text, ""] * frozen)]
    gpu = {"eager": one, "compiled": one, "ms": 2.0, "of the limit": 0.5, "peak": (10.0, 20.0), "modes": "default / max-autotune"}
    assert cells(gpu, "cuda", False) == [text, text, "2.00", "0.50", "10 / 20", "default / max-autotune"]
