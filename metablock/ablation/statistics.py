"""The statistics of a study: each variant against the base, paired by seed, corrected for multiple comparisons.

The same seed gives base and variant the same data order, augmentation and initial weights, so the tests compare the differences
within seeds (paired t). Two questions are asked of each comparison:

*Is there a difference?* A two-sided paired t test against a true difference of 0.

*Is it too small to matter?* Two one-sided t tests (TOST) against a true difference at or beyond the margin, on either side; the p
value is the larger of the two.

Each question has its own family, with one p value for every comparison of the study. Holm's step-down method corrects them. It
holds under any dependence (all comparisons share the runs of the base). So, for a whole study, whatever is true of the others:

* the chance that any variant that truly equals the base is called better or worse is at most ``alpha``;
* the chance that any variant that truly differs by the margin or more is called equivalent is at most ``alpha``.

A comparison without a test (too few runs, no spread) counts in both families, with a p value of 1: missing runs do not make the
verdicts of an unfinished study easier. Verdicts, in order of precedence:

``equivalent``  the TOST is significant. If the difference is significant, too, it exists but is too small to matter: ``within``.
``better``, ``worse``  the difference is significant, and not shown to lie within the margin; its sign says which.
``undecided``  neither test is significant: more seeds are needed. It does not mean equal.

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

# Differences that vary by less than this share of the metric vary by rounding alone, which is nothing to test with.
_NO_SPREAD = 1e-10

Array = NDArray[Any]


class Tests(NamedTuple):
    """Tests of differences along the last axis; NaN where there is no test.

    Attributes:
        mean: of the differences.
        sd: their standard deviation (n − 1).
        p_difference: p values of the two-sided t test against 0.
        p_equivalence: p values of the two one-sided t tests against ±margin, the larger of each pair.
    """

    mean: Array
    sd: Array
    p_difference: Array
    p_equivalence: Array


@dataclass(frozen=True)
class Paired:
    """One variant against the base, uncorrected. Differences are in units of the metric.

    Attributes:
        seeds: that both have finished.
        difference: mean of variant − base over the seeds; NaN without seeds.
        sd: standard deviation of the differences (n − 1); NaN for fewer than two seeds.
        margin: of the one-sided tests.
        p_difference: p value of the two-sided t test against 0; None if there is no test.
        p_equivalence: p value of the two one-sided t tests against ±margin, the larger one; None if there is no test.
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
        """Number of pairs."""
        return len(self.seeds)

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """The t interval of the true difference at this confidence level; None if there is no test."""
        if self.p_difference is None:
            return None
        half = half_width(self.sd, self.n, level)
        return self.difference - half, self.difference + half


@dataclass(frozen=True)
class Comparison:
    """One variant against the base, corrected for all comparisons of the study.

    Attributes:
        paired: the uncorrected tests.
        verdict: one of ``VERDICTS``.
        p_difference, p_equivalence: p values adjusted by Holm's method; None if there is no test.
        level: confidence level of ``interval``, see :func:`judge`.
        interval: of the true difference; it agrees with the verdict. None if there is no test.
        within: whether the verdict is ``equivalent`` although the difference is significant.
    """

    paired: Paired
    verdict: str
    p_difference: float | None
    p_equivalence: float | None
    level: float
    interval: tuple[float, float] | None
    within: bool = False


def half_width(sd: float, n: int, level: float) -> float:
    """Half the width of the t interval of a mean of ``n`` values with this standard deviation.

    >>> round(half_width(sd=1.0, n=4, level=0.95), 3)
    1.591
    """
    return float(stats.t.isf((1 - level) / 2, n - 1)) * sd / sqrt(n)


def t_tests(differences: ArrayLike, margin: float) -> Tests:
    """Tests many samples at once.

    Args:
        differences: variant − base, ``(..., seeds)``, in units of the metric.
        margin: the smallest difference that matters, in the same units.

    >>> tests = t_tests([[1.0, 1.2, 0.9], [0.1, -0.1, 0.0]], margin=0.5)
    >>> tests.p_difference.round(4).tolist(), tests.p_equivalence.round(4).tolist()
    ([0.0072, 1.0], [0.9869, 0.0065])
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
    """Compares one variant with the base.

    Args:
        base, other: the metric by seed, higher is better. Only seeds with finite values in both are used.
        margin: the smallest difference that matters, in units of the metric.

    >>> paired = compare({0: 90.1, 1: 91.0, 2: 90.4}, {0: 92.0, 1: 93.2, 2: 92.3, 3: 92.0}, margin=1.0)
    >>> paired.seeds, round(paired.difference, 2), round(paired.p_difference, 4)
    ((0, 1, 2), 2.0, 0.0025)
    >>> compare({0: 90.1}, {0: 92.0}, margin=1.0).note
    'one pair of runs: no test'
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
    """P values adjusted by Holm's step-down method (1979).

    Args:
        p: the p values of each family along the last axis; NaN (no test) counts as 1.

    >>> holm([0.02, 0.01, 0.5]).tolist()
    [0.04, 0.03, 0.5]
    """
    family: Array = np.nan_to_num(np.asarray(p, float), nan=1.0)
    count = family.shape[-1]
    order = np.argsort(family, axis=-1, kind="stable")
    steps = np.take_along_axis(family, order, -1) * (count - np.arange(count))
    adjusted = np.empty_like(family)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, -1), 1.0), -1)
    return adjusted


def holm_alphas(p: ArrayLike, alpha: float) -> Array:
    """The levels at which Holm's method tested the p values of one family: ``p <= holm_alphas(p, alpha)`` is what it rejects.

    The first p value that is not rejected and all larger ones have the same level.

    >>> holm_alphas([0.02, 0.01, 0.5], alpha=0.06).round(3).tolist()
    [0.03, 0.02, 0.06]
    """
    family: Array = np.nan_to_num(np.asarray(p, float), nan=1.0)
    count = len(family)
    rejected = int((holm(family) <= alpha).sum())
    order = np.argsort(family, kind="stable")
    alphas = np.empty(count)
    alphas[order] = alpha / (count - np.minimum(np.arange(count), rejected)).clip(1)
    return alphas


def decide(difference: ArrayLike, p_difference: ArrayLike, p_equivalence: ArrayLike, alpha: float) -> Array:
    """Verdicts from mean differences and adjusted p values, elementwise. NaN is not significant.

    >>> decide([1.2, -0.1, 0.8], [0.01, 0.9, 0.3], [0.9, 0.02, 0.4], alpha=0.05).tolist()
    ['better', 'equivalent', 'undecided']
    """
    difference, p_difference = np.asarray(difference, float), np.asarray(p_difference, float)
    differs = p_difference <= alpha
    choices = [np.asarray(p_equivalence, float) <= alpha, differs & (difference > 0), differs & (difference < 0)]
    return np.select(choices, [EQUIVALENT, BETTER, WORSE], UNDECIDED)


def judge(pairs: Mapping[str, Paired], alpha: float = 0.05) -> dict[str, Comparison]:
    """The verdicts of a study. All its comparisons are corrected together, also those that have no runs yet.

    A verdict's interval has the level at which Holm's method tested it, so the two never contradict each other:

    * better, worse: level 1 − a, where a is the level of the two-sided test; the interval excludes 0;
    * equivalent: level 1 − 2a, where a is the level of the one-sided tests; the interval lies within ±margin;
    * undecided: the wider of the two; the interval contains 0 and reaches beyond the margin.

    Args:
        pairs: by name, every planned comparison whose variant can be built.
        alpha: family-wise error of each of the two questions.

    >>> base = {0: 90.1, 1: 91.0, 2: 90.4}
    >>> clear, close = {0: 93.0, 1: 94.1, 2: 93.2}, {0: 90.2, 1: 91.0, 2: 90.5}
    >>> verdicts = judge({"clear": compare(base, clear, 1.0), "close": compare(base, close, 1.0)})
    >>> {name: comparison.verdict for name, comparison in verdicts.items()}
    {'clear': 'better', 'close': 'equivalent'}
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
    """The smallest true difference that a study detects with this power.

    Its two-sided paired t test is then significant at alpha / comparisons, the level of the first step of Holm's method, which is
    enough whatever the other comparisons show.

    Args:
        n: number of pairs of runs (seeds).
        sd: standard deviation of the paired differences, in units of the metric. Before a study it is unknown; with 1 the result
            is a multiple of it.
        alpha: family-wise error.
        power: probability of detection.
        comparisons: number of variants that are compared with the base.

    Returns:
        The difference, in units of the metric; infinite for n < 2.

    >>> [round(smallest_difference(n, comparisons=6), 1) for n in (3, 5, 10)]
    [8.0, 2.8, 1.4]
    """
    return _smallest(n, sd, power, lambda shift: _power(n, alpha / comparisons, shift))


def smallest_margin(n: int, sd: float = 1.0, alpha: float = 0.05, power: float = 0.8, comparisons: int = 1) -> float:
    """The smallest margin at which a variant that truly equals the base is called equivalent with this power.

    Arguments and units are those of :func:`smallest_difference`.

    >>> [round(smallest_margin(n), 1) for n in (3, 5, 10)]
    [2.7, 1.6, 1.0]
    """
    return _smallest(n, sd, power, lambda shift: _power_of_equivalence(n, alpha / comparisons, shift))


def _smallest(n: int, sd: float, power: float, at: Callable[[float], float]) -> float:
    """The shift at which ``at(shift)`` reaches ``power``. Shifts are in standard errors, the result in units of ``sd``."""
    if n < 2:
        return inf
    high = 1.0
    while at(high) < power:
        high *= 2
    return float(optimize.brentq(lambda shift: at(shift) - power, 0.0, high, xtol=1e-9)) * sd / sqrt(n)


def _spreads(n: int, points: int = 4000) -> Array:
    """Ratios of sample s.d. to true s.d., at the middles of equally probable intervals: their mean is an expectation."""
    return np.sqrt(stats.chi2.ppf((np.arange(points) + 0.5) / points, n - 1) / (n - 1))


def _power(n: int, alpha: float, shift: float) -> float:
    """Power of the two-sided t test: the noncentral t beyond the critical value (scipy's nct is NaN in its far tails)."""
    limit = stats.t.isf(alpha / 2, n - 1) * _spreads(n)
    return float((stats.norm.sf(limit - shift) + stats.norm.cdf(-limit - shift)).mean())


def _power_of_equivalence(n: int, alpha: float, margin: float) -> float:
    """Power of the TOST at a true difference of 0: the mean must lie within the margin by the critical t on both sides."""
    room = np.maximum(margin - stats.t.isf(alpha, n - 1) * _spreads(n), 0.0)
    return float((2 * stats.norm.cdf(room) - 1).mean())
