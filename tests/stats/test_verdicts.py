"""Verdicts are read off intervals, and are wrong no more often than the intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from yolo_attn.stats.verdicts import (
    ALPHA,
    VERDICTS,
    Verdict,
    adjusted_p,
    read_verdict,
    simultaneous_alpha,
)

NUMBER = st.floats(-10, 10, allow_nan=False)
MARGIN = st.floats(0.01, 5)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.1, 2.0), "better"),
        ((-2.0, -0.1), "worse"),
        ((-0.4, 0.4), "equivalent"),
        ((0.1, 0.4), "equivalent"),  # certainly above zero, and certainly smaller than the margin
        ((-0.4, 2.0), "inconclusive"),
        ((-2.0, 2.0), "inconclusive"),
        ((0.0, 2.0), "inconclusive"),  # zero is not excluded
        ((-0.5, 0.5), "inconclusive"),  # nor are the ends of the margin
        ((0.0, 0.0), "equivalent"),
    ],
)
def test_verdict_of_an_interval(interval: tuple[float, float], verdict: Verdict) -> None:
    assert read_verdict(interval, 0.5) == verdict


def test_no_worse_only_replaces_inconclusive() -> None:
    assert read_verdict((-0.4, 2.0), 0.5, no_worse=True) == "no worse"
    assert read_verdict((-0.5, 2.0), 0.5, no_worse=True) == "inconclusive"
    for interval in ((0.1, 2.0), (-2.0, -0.1), (-0.4, 0.4)):
        assert read_verdict(interval, 0.5, no_worse=True) == read_verdict(interval, 0.5)


@given(NUMBER, NUMBER, NUMBER, MARGIN, st.booleans())
def test_a_verdict_is_true_of_every_difference_in_its_interval(
    one: float, other: float, truth: float, margin: float, no_worse: bool
) -> None:
    """A wrong verdict therefore requires an interval that misses the true difference."""
    low, high = sorted((one, other))
    assume(low <= truth <= high)
    holds = {
        "better": truth > 0,
        "worse": truth < 0,
        "equivalent": abs(truth) < margin,
        "no worse": truth > -margin,
        "inconclusive": True,
    }
    assert set(holds) == set(VERDICTS)
    assert holds[read_verdict((low, high), margin, no_worse=no_worse)]


@given(NUMBER, st.floats(0, 10), MARGIN, st.floats(0, 10))
def test_a_narrower_interval_decides_the_same_or_more(center: float, half: float, margin: float, less: float) -> None:
    wide = read_verdict((center - half, center + half), margin)
    half = max(0.0, half - less)
    narrow = read_verdict((center - half, center + half), margin)
    assert wide in (narrow, "inconclusive") or (wide != "equivalent" and narrow == "equivalent")


@given(NUMBER, NUMBER, MARGIN)
def test_exchanging_the_arms_mirrors_the_verdict(one: float, other: float, margin: float) -> None:
    low, high = sorted((one, other))
    mirrored = {"better": "worse", "worse": "better"}
    verdict = read_verdict((low, high), margin)
    assert read_verdict((-high, -low), margin) == mirrored.get(verdict, verdict)


def test_equivalence_is_that_of_two_one_sided_tests() -> None:
    """Schuirmann's tests at half of the interval's error level, on samples of a normal distribution."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        sample = rng.normal(rng.uniform(-1, 1), 0.4, 8)
        found = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
        above = stats.ttest_1samp(sample, -0.6, alternative="greater").pvalue < 0.025
        below = stats.ttest_1samp(sample, 0.6, alternative="less").pvalue < 0.025
        assert (read_verdict((found.low, found.high), 0.6) == "equivalent") == (above and below)


def test_any_wrong_verdict_about_several_arms_is_as_rare_as_asked_for() -> None:
    """Arms with a true difference of zero and of exactly the margin, which share a baseline."""
    rng = np.random.default_rng(0)
    studies, margin, truth = 4000, 0.5, np.array([0.0, 0.5, -0.5, 0.0, 0.5])
    noise = rng.normal(size=(studies, len(truth))) - rng.normal(size=(studies, 1))
    distance = stats.norm.isf(simultaneous_alpha(len(truth)) / 2) * np.sqrt(2) * 0.1
    wrong = 0
    for means in truth + 0.1 * noise:
        verdicts = [read_verdict((mean - distance, mean + distance), margin) for mean in means]
        wrong += any(
            (verdict == "better" and true <= 0)
            or (verdict == "worse" and true >= 0)
            or (verdict == "equivalent" and abs(true) >= margin)
            for verdict, true in zip(verdicts, truth, strict=True)
        )
    assert 0.02 < wrong / studies <= ALPHA


@given(st.floats(0, 1), st.integers(1, 100))
def test_adjusted_p_and_simultaneous_intervals_agree(p: float, comparisons: int) -> None:
    adjusted = adjusted_p(p, comparisons)
    assert adjusted is not None and p <= adjusted <= 1
    assume(abs(p * comparisons - ALPHA) > 1e-12)
    assert (adjusted < ALPHA) == (p < simultaneous_alpha(comparisons))


def test_corrections_of_nothing() -> None:
    assert adjusted_p(None, 3) is None
    assert simultaneous_alpha(0) == simultaneous_alpha(1) == ALPHA
