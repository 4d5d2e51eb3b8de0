"""What the numbers of a study allow one to say: each cell against the base, paired by seed, corrected for many comparisons.

The same seed gives base and variant the same data order, augmentation and initial weights, so what is compared is the mean of
the differences within seeds (paired t). Two questions are asked of each comparison:

*Is there a difference?* Two-sided paired t test of a true difference of 0.

*Is it too small to matter?* Two one-sided tests (TOST) of a true difference at or beyond the margin, on either side; the p value
is the larger of the two.

Each question has its own family of as many p values as the study has comparisons, corrected by Holm's step-down method, which
holds under any dependence (all comparisons share the runs of the base). So, for a whole study and whatever is true of the others:

* the chance that any variant that truly equals the base is called better or worse is at most ``alpha``;
* the chance that any variant that truly differs by the margin or more is called equivalent is at most ``alpha``.

A comparison without a test (not enough runs, no spread) still counts in both families, as a p value of 1: what a report says
in mid-study is not made easier by what is missing. Verdicts, in order of precedence:

``equivalent``  TOST significant. If the difference is significant as well, it is there but smaller than what matters: ``within``.
``better``, ``worse``  the difference is significant, and not shown to lie within the margin; the sign says which.
``undecided``  neither: more seeds are needed. Never read it as equal.

Equivalence comes first because the margin is the study's own statement of which differences matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

BETTER, WORSE, EQUIVALENT, UNDECIDED = VERDICTS = ("better", "worse", "equivalent", "undecided")

# Differences that vary by less than this part of the metric vary by rounding only: no t test on noise of the arithmetic.
_NO_SPREAD = 1e-10

Array = NDArray[Any]


class Tests(NamedTuple):
    """Of differences along the last axis: mean, s.d. (n − 1), p of the two-sided test and of the TOST, or NaN."""

    mean: Array
    sd: Array
    p_difference: Array
    p_equivalence: Array


@dataclass(frozen=True)
class Paired:
    """One variant against the base.

    Attributes:
        seeds: those that both have finished.
        difference: mean of variant − base over them; NaN without any.
        sd: of the differences (n − 1); NaN for less than two.
        margin: what the one-sided tests were made against.
        p_difference: of the two-sided t test against 0; None where there is no test.
        p_equivalence: of the two one-sided t tests against ±margin, the larger one; None where there is no test.
        note: why there is no test.
    """

    seeds: tuple[int, ...]
    difference: float
    sd: float
    margin: float
    p_difference: float | None = None
    p_equivalence: float | None = None
    note: str = ""

    @property
    def n(self) -> int:
        return len(self.seeds)

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """The t interval of the true difference at this confidence level; None where there is no test."""
        if self.p_difference is None:
            return None
        half = float(stats.t.isf((1 - level) / 2, self.n - 1)) * self.sd / sqrt(self.n)
        return self.difference - half, self.difference + half


@dataclass(frozen=True)
class Comparison:
    """One variant against the base, corrected for all comparisons of the study.

    Attributes:
        paired: the uncorrected tests.
        verdict: one of ``VERDICTS``.
        p_difference, p_equivalence: adjusted by Holm; None where there is no test.
        level: the confidence level of ``interval``, see :func:`judge`.
        interval: agrees with the verdict; None where there is no test.
        within: the verdict is ``equivalent`` and yet the difference is significant.
    """

    paired: Paired
    verdict: str
    p_difference: float | None
    p_equivalence: float | None
    level: float
    interval: tuple[float, float] | None
    within: bool = False


def t_tests(differences: ArrayLike, margin: float) -> Tests:
    """The tests of many samples at once.

    Args:
        differences: variant − base, the seeds along the last axis.
        margin: the smallest difference that matters, in units of the metric.
    """
    d = np.asarray(differences, float)
    n = d.shape[-1]
    nothing = np.full(d.shape[:-1], nan)
    if n < 2:
        return Tests(d.mean(-1) if n else nothing, nothing, nothing, nothing)
    mean, sd = d.mean(-1), d.std(-1, ddof=1)
    spread = sd > 0
    error = np.where(spread, sd, 1.0) / sqrt(n)
    two = 2 * stats.t.sf(np.abs(mean) / error, n - 1)
    one = np.maximum(stats.t.sf((mean + margin) / error, n - 1), stats.t.cdf((mean - margin) / error, n - 1))
    return Tests(mean, sd, np.where(spread, two, nan), np.where(spread, one, nan))


def compare(base: Mapping[int, float], other: Mapping[int, float], margin: float) -> Paired:
    """One variant against the base.

    Args:
        base, other: the metric by seed, higher is better; only the seeds that both have are used.
        margin: the smallest difference that matters, in units of the metric.
    """
    seeds = tuple(sorted(seed for seed in base.keys() & other.keys() if isfinite(base[seed]) and isfinite(other[seed])))
    differences = [other[seed] - base[seed] for seed in seeds]
    tests = t_tests(differences, margin)
    mean, sd = float(tests.mean), float(tests.sd)
    if not seeds:
        return Paired(seeds, nan, nan, margin, note="no seed finished in both")
    if len(seeds) < 2:
        return Paired(seeds, mean, nan, margin, note="one pair of runs: no test")
    if sd <= _NO_SPREAD * max(abs(value) for seed in seeds for value in (base[seed], other[seed])):
        # The t statistic is 0/0 or infinite. The metric is a count of examples: equal differences are its grain, not certainty.
        return Paired(seeds, mean, 0.0, margin, note=f"all {len(seeds)} differences are the same: no spread to test with")
    return Paired(seeds, mean, sd, margin, float(tests.p_difference), float(tests.p_equivalence))


def holm(p: ArrayLike) -> Array:
    """P values adjusted by Holm's step-down method, a family along the last axis. NaN (no test) counts as 1."""
    family: Array = np.nan_to_num(np.asarray(p, float), nan=1.0)
    count = family.shape[-1]
    order = np.argsort(family, axis=-1, kind="stable")
    steps = np.take_along_axis(family, order, -1) * (count - np.arange(count))
    adjusted = np.empty_like(family)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, -1), 1.0), -1)
    return adjusted


def holm_alphas(p: ArrayLike, alpha: float) -> Array:
    """The level at which Holm's method tested each p value of one family; for those from the first failure on, that one's level.

    ``p <= holm_alphas(p, alpha)`` is what Holm rejects.
    """
    family: Array = np.nan_to_num(np.asarray(p, float), nan=1.0)
    count = len(family)
    rejected = int((holm(family) <= alpha).sum())
    order = np.argsort(family, kind="stable")
    alphas = np.empty(count)
    alphas[order] = alpha / (count - np.minimum(np.arange(count), rejected)).clip(1)
    return alphas


def decide(difference: ArrayLike, p_difference: ArrayLike, p_equivalence: ArrayLike, alpha: float) -> Array:
    """Verdicts from mean differences and adjusted p values, elementwise; NaN is not significant."""
    difference, p_difference = np.asarray(difference, float), np.asarray(p_difference, float)
    differs = p_difference <= alpha
    choices = [np.asarray(p_equivalence, float) <= alpha, differs & (difference > 0), differs & (difference < 0)]
    return np.select(choices, [EQUIVALENT, BETTER, WORSE], UNDECIDED)


def judge(pairs: Mapping[str, Paired], alpha: float = 0.05) -> dict[str, Comparison]:
    """The verdicts of a study: all its comparisons, also those that have no runs yet, corrected together.

    The interval that goes with a verdict has the level at which Holm's method tested it, so that it never contradicts it:

    * better, worse: level 1 − a, where a is the level of the difference; it leaves out 0;
    * equivalent: level 1 − 2a, where a is the level of the one-sided tests; it lies within ±margin;
    * undecided: the wider of the two; it holds 0 and reaches beyond the margin.

    Args:
        pairs: by name, every comparison that was planned and can be made.
        alpha: the family-wise error of each of the two questions.
    """
    names = list(pairs)
    if not names:
        return {}
    difference = [nan if (p := pairs[name].p_difference) is None else p for name in names]
    equivalence = [nan if (p := pairs[name].p_equivalence) is None else p for name in names]
    adjusted = holm(difference), holm(equivalence)
    alphas = holm_alphas(difference, alpha), holm_alphas(equivalence, alpha)
    verdicts = decide([pairs[name].difference for name in names], *adjusted, alpha)
    result = {}
    for i, name in enumerate(names):
        paired, verdict = pairs[name], str(verdicts[i])
        apart, near = 1 - float(alphas[0][i]), 1 - 2 * float(alphas[1][i])
        level = {EQUIVALENT: near, UNDECIDED: max(apart, near)}.get(verdict, apart)
        tested = paired.p_difference is not None
        result[name] = Comparison(
            paired,
            verdict,
            float(adjusted[0][i]) if tested else None,
            float(adjusted[1][i]) if tested else None,
            level,
            paired.interval(level),
            verdict == EQUIVALENT and bool(adjusted[0][i] <= alpha),
        )
    return result


def smallest_difference(n: int, sd: float = 1.0, alpha: float = 0.05, power: float = 0.8, comparisons: int = 1) -> float:
    """The true difference that a study finds with this power: its two-sided paired t test is significant after correction.

    The level is alpha / comparisons, that of the first step of Holm's method: what holds whatever the other comparisons show.

    Args:
        n: pairs of runs (seeds).
        sd: standard deviation of the paired differences. It is not known before a study; with 1 the answer is a multiple of it.
        alpha: family-wise error.
        power: chance to find it.
        comparisons: variants that are compared with the base.

    Returns:
        the difference, in units of ``sd``; infinite for n < 2.
    """
    return _smallest(n, sd, power, lambda shift: _power(n, alpha / comparisons, shift))


def smallest_margin(n: int, sd: float = 1.0, alpha: float = 0.05, power: float = 0.8, comparisons: int = 1) -> float:
    """The smallest margin within which a variant that truly equals the base is called equivalent with this power.

    Arguments and units as in :func:`smallest_difference`.
    """
    return _smallest(n, sd, power, lambda shift: _power_of_equivalence(n, alpha / comparisons, shift))


def _smallest(n: int, sd: float, power: float, at: Callable[[float], float]) -> float:
    """The shift at which ``at`` reaches ``power``. Shifts are in standard errors: their scale does not depend on n and sd."""
    if n < 2:
        return inf
    high = 1.0
    while at(high) < power:
        high *= 2
    return float(optimize.brentq(lambda shift: at(shift) - power, 0.0, high, xtol=1e-9)) * sd / sqrt(n)


def _spreads(n: int, points: int = 4000) -> Array:
    """Sample s.d. over true s.d., at the middles of equally probable pieces: means over them are expectations."""
    return np.sqrt(stats.chi2.ppf((np.arange(points) + 0.5) / points, n - 1) / (n - 1))


def _power(n: int, alpha: float, shift: float) -> float:
    """Power of the two-sided t test: the noncentral t beyond the critical value (scipy's own nct is NaN in its far tails)."""
    limit = stats.t.isf(alpha / 2, n - 1) * _spreads(n)
    return float((stats.norm.sf(limit - shift) + stats.norm.cdf(-limit - shift)).mean())


def _power_of_equivalence(n: int, alpha: float, margin: float) -> float:
    """Power of the TOST at a true difference of 0: the mean must lie within the margin by t standard errors on both sides."""
    room = np.maximum(margin - stats.t.isf(alpha, n - 1) * _spreads(n), 0.0)
    return float((2 * stats.norm.cdf(room) - 1).mean())
