"""The statistics of a study, against scipy, by hand, and against simulated studies whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from metablock.ablation.statistics import (
    VERDICTS,
    Paired,
    compare,
    decide,
    holm,
    holm_alphas,
    judge,
    smallest_difference,
    smallest_margin,
    t_tests,
)

ALPHA, STUDIES = 0.05, 8000
# Three standard errors of an error rate of alpha, as the simulation estimates it.
SLACK = 3 * (ALPHA * (1 - ALPHA) / STUDIES) ** 0.5


def by_seed(values) -> dict[int, float]:
    return {seed: float(value) for seed, value in enumerate(values)}


# Against scipy


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_paired_tests_are_those_of_scipy(n: int):
    rng = np.random.default_rng(n)
    base, other, margin = rng.normal(90, 1, n), rng.normal(90.5, 1, n), 0.8
    paired = compare(by_seed(base), by_seed(other), margin)
    reference = stats.ttest_rel(other, base)
    assert paired.p_difference == pytest.approx(reference.pvalue)
    assert paired.difference == pytest.approx((other - base).mean())
    assert paired.sd == pytest.approx((other - base).std(ddof=1))
    one_sided = [
        stats.ttest_1samp(other - base, -margin, alternative="greater").pvalue,
        stats.ttest_1samp(other - base, margin, alternative="less").pvalue,
    ]
    assert paired.p_equivalence == pytest.approx(max(one_sided))
    assert paired.interval(0.9) == pytest.approx(tuple(reference.confidence_interval(0.9)))


def test_many_samples_at_once_are_the_same_as_one_by_one():
    d = np.random.default_rng(0).normal(0.3, 1, (4, 3, 5))
    tests = t_tests(d, 0.5)
    reference = stats.ttest_1samp(d, 0, axis=-1)
    np.testing.assert_allclose(tests.p_difference, reference.pvalue)
    one = compare(by_seed(np.zeros(5)), by_seed(d[1, 2]), 0.5)
    assert one.p_equivalence == pytest.approx(tests.p_equivalence[1, 2])


def test_only_common_seeds_with_finite_values_are_paired():
    paired = compare({0: 90.0, 1: 91.0, 2: 92.0, 3: 90.0}, {1: 92.0, 2: 92.5, 3: float("nan"), 9: 1.0}, 1)
    assert paired.seeds == (1, 2)
    assert paired.difference == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("base", "other", "words"),
    [
        ({}, {0: 1.0}, "no seed"),
        ({0: 90.0}, {0: 91.0, 1: 92.0}, "one pair"),
        ({0: 90.0, 1: 91.0, 2: 92.0}, {0: 90.1, 1: 91.1, 2: 92.1}, "the same"),
        ({0: 90.0, 1: 91.0}, {0: 90.0, 1: 91.0}, "the same"),
    ],
)
def test_without_a_test_it_says_why_and_decides_nothing(base, other, words: str):
    paired = compare(base, other, 5.0)
    assert words in paired.note
    assert paired.p_difference is None and paired.p_equivalence is None and paired.interval() is None
    verdict = judge({"a": paired})["a"]
    assert verdict.verdict == "undecided" and verdict.interval is None


# Holm


def test_holm_by_hand():
    # 0.01 × 4 = 0.04; 0.02 × 3 = 0.06; 0.022 × 2 = 0.044, but not below 0.06; 0.5 × 1.
    np.testing.assert_allclose(holm([0.02, 0.01, 0.5, 0.022]), [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.9]), [0.03, 1.0, 1.0])
    np.testing.assert_allclose(holm([[0.04, 0.01], [0.5, 0.6]]), [[0.04, 0.02], [1.0, 1.0]])
    assert holm([]).shape == (0,)


def test_the_levels_of_holm_reject_what_holm_rejects():
    np.testing.assert_allclose(holm_alphas([0.02, 0.01, 0.5, 0.022], 0.05), [0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05 / 3])
    rng = np.random.default_rng(1)
    for _ in range(300):
        p = rng.uniform(size=7) ** 3
        np.testing.assert_array_equal(p <= holm_alphas(p, 0.05), holm(p) <= 0.05)


def test_a_comparison_without_runs_still_counts():
    clear = compare(by_seed([90, 91, 92]), by_seed([95, 96.1, 97.2]), 1)
    alone, among = judge({"a": clear})["a"], judge({"a": clear, "b": compare({}, {}, 1)})["a"]
    assert among.p_difference == pytest.approx(2 * alone.p_difference)


# Verdicts


def test_verdicts_and_their_precedence():
    got = decide([1, -1, 1, 0.1, 0.1, np.nan], [0.01, 0.01, 0.2, 0.01, 0.3, np.nan], [0.9, 0.9, 0.9, 0.01, 0.01, np.nan], 0.05)
    assert list(got) == ["better", "worse", "undecided", "equivalent", "equivalent", "undecided"]
    # Small but certain: there is a difference, and it does not matter.
    small = judge({"a": compare(by_seed([90, 91, 92, 93]), by_seed([90.2, 91.21, 92.19, 93.2]), 1)})["a"]
    assert small.verdict == "equivalent" and small.within and small.p_difference < 0.05


def test_the_interval_never_contradicts_its_verdict():
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(400):
        margin = rng.uniform(0.3, 3)
        base = rng.normal(90, 0.5, 4)
        pairs = {
            str(i): compare(by_seed(base), by_seed(base + rng.normal(shift, rng.uniform(0.05, 0.7), 4)), margin)
            for i, shift in enumerate(rng.choice([0, 0, 0.4, -2, 4], 5))
        }
        for result in judge(pairs, ALPHA).values():
            low, high = result.interval
            seen.add(result.verdict)
            if result.verdict == "equivalent":
                assert -margin < low and high < margin
            elif result.verdict == "undecided":
                assert low < 0 < high and (low < -margin or high > margin)
            else:
                assert (low > 0) if result.verdict == "better" else (high < 0)
            assert result.paired.interval(result.level) == result.interval
    assert seen == set(VERDICTS)


# Simulated studies


def simulate(truth, n: int, margin: float, shared: float = 1.0, seed: int = 0) -> np.ndarray:
    """Verdicts of many studies: variants with these true differences to one base, whose runs all comparisons share."""
    rng = np.random.default_rng(seed)
    truth = np.asarray(truth, float)
    base = shared * rng.normal(size=(STUDIES, 1, n))
    differences = truth[:, None] + rng.normal(size=(STUDIES, len(truth), n)) - base
    tests = t_tests(differences, margin)
    return decide(tests.mean, holm(tests.p_difference), holm(tests.p_equivalence), ALPHA)


def differs(verdicts: np.ndarray) -> np.ndarray:
    return (verdicts == "better") | (verdicts == "worse")


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_no_equal_variant_is_called_better_or_worse_more_often_than_alpha(n: int, shared: float):
    wrong = differs(simulate([0] * 6, n, margin=0.0, shared=shared)).any(1).mean()
    assert wrong <= ALPHA + SLACK
    if not shared:  # not by never deciding
        assert wrong >= ALPHA - SLACK - 0.01


def test_nor_among_variants_that_truly_differ():
    verdicts = simulate([0, 0, 0, 30, -30, 30], 5, margin=0.0)
    assert differs(verdicts[:, :3]).any(1).mean() <= ALPHA + SLACK
    assert (verdicts[:, 3] == "better").mean() > 0.99 and (verdicts[:, 4] == "worse").mean() > 0.99


def test_nor_is_a_better_variant_called_worse():
    verdicts = simulate([0.2, 0.2, 0.2, -0.2], 4, margin=0.0)
    wrong = (verdicts[:, :3] == "worse").any(1) | (verdicts[:, 3] == "better")
    assert wrong.mean() <= ALPHA + SLACK


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("truth", [[2, 2, -2, -2], [2, 0, 0, 0, 0], [2, -2, 5, 5, 0]])
def test_no_variant_at_the_margin_is_called_equivalent_more_often_than_alpha(n: int, truth: list[float]):
    at_or_beyond = np.abs(truth) >= 2
    wrong = (simulate(truth, n, margin=2.0) == "equivalent")[:, at_or_beyond].any(1).mean()
    assert wrong <= ALPHA + SLACK


def test_the_error_of_equivalence_is_reached_not_only_bounded():
    wrong = (simulate([8], 10, margin=8.0) == "equivalent").mean()
    assert abs(wrong - ALPHA) <= SLACK


def test_equal_variants_are_found_equivalent_with_enough_seeds():
    assert (simulate([0, 0, 0], 20, margin=2.0) == "equivalent").mean() > 0.9


# Before a study


@pytest.mark.parametrize(("n", "comparisons"), [(2, 1), (3, 1), (3, 6), (5, 6), (10, 3)])
def test_the_smallest_difference_is_found_with_its_power(n: int, comparisons: int):
    least = smallest_difference(n, 1.0, ALPHA, 0.8, comparisons)
    rng = np.random.default_rng(n)
    p = t_tests(rng.normal(least, 1, (20000, n)), 1.0).p_difference
    assert (p <= ALPHA / comparisons).mean() == pytest.approx(0.8, abs=0.012)
    assert smallest_difference(n, 2.5, ALPHA, 0.8, comparisons) == pytest.approx(2.5 * least)


def test_the_smallest_difference_is_that_of_the_noncentral_t():
    for n in (3, 5, 10):
        least = smallest_difference(n, 1.0, ALPHA)
        critical = stats.t.isf(ALPHA / 2, n - 1)
        assert stats.nct.sf(critical, n - 1, least * n**0.5) == pytest.approx(0.8, abs=2e-3)


@pytest.mark.parametrize("n", [3, 8])
def test_the_smallest_margin_is_reached_with_its_power(n: int):
    least = smallest_margin(n, 1.0, ALPHA, 0.8, 4)
    p = t_tests(np.random.default_rng(n).normal(0, 1, (20000, n)), least).p_equivalence
    assert (p <= ALPHA / 4).mean() == pytest.approx(0.8, abs=0.012)


def test_more_seeds_show_smaller_differences_and_one_shows_none():
    row = [smallest_difference(n, comparisons=6) for n in (1, 2, 3, 5, 10, 30)]
    assert row == sorted(row, reverse=True) and np.isinf(row[0])
    assert np.isinf(smallest_margin(1))


def test_an_empty_study_has_no_verdicts():
    assert judge({}) == {}
    assert Paired((), float("nan"), float("nan"), 1).n == 0
