"""Moderated variances: simulated comparisons with known ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from yolo_attn.stats.moderation import LEAST, CommonVariance, fit_common_variance


def sample(random: np.random.Generator, number: int, df: int, prior: float, scale: float = 0.04) -> np.ndarray:
    """Return true variances, with the degrees of freedom `prior` of their distribution."""
    return scale * prior / random.chisquare(prior, number) if np.isfinite(prior) else np.full(number, scale)


@pytest.mark.parametrize("prior", [4.0, 10.0])
def test_the_distribution_of_the_variances_is_found(prior: float) -> None:
    random = np.random.default_rng(0)
    true = sample(random, 50_000, 2, prior)
    found = fit_common_variance(list(true * random.chisquare(2, 50_000) / 2), 2)
    assert found is not None
    assert found.variance == pytest.approx(0.04, rel=0.05)
    assert found.df == pytest.approx(prior, rel=0.15)


def test_equal_variances_are_pooled() -> None:
    random = np.random.default_rng(1)
    found = fit_common_variance(list(0.04 * random.chisquare(2, 50_000) / 2), 2)
    assert found is not None and found.df > 50
    assert found.moderate(0.0001, 2)[0] == pytest.approx(0.04, rel=0.1)


def test_a_moderated_variance_is_between_its_own_and_the_common_one() -> None:
    common = CommonVariance(4.0, 6.0)
    assert common.moderate(12.0, 2) == (6.0, 8.0)
    assert common.moderate(4.0, 2) == (4.0, 8.0)


def test_few_comparisons_and_those_without_noise_are_not_moderated() -> None:
    assert fit_common_variance([0.1] * (LEAST - 1), 2) is None
    assert fit_common_variance([0.0] * 20, 2) is None
    assert fit_common_variance([0.0, *[0.1] * 20], 2) is not None


@pytest.mark.parametrize("prior", [3.0, 8.0, np.inf])
def test_intervals_of_a_hundred_comparisons_hold_together(prior: float) -> None:
    """Three seeds each: all intervals together miss in about 5 % of the boards, and are many times narrower."""
    random, number, seeds, boards = np.random.default_rng(2), 100, 3, 600
    missed, widths = [], []
    for _ in range(boards):
        true = sample(random, number, seeds - 1, prior)
        values = random.normal(0, np.sqrt(true), (seeds, number))
        own = values.var(axis=0, ddof=1)
        common = fit_common_variance(list(own), seeds - 1)
        assert common is not None
        moderated = np.array([common.moderate(one, seeds - 1) for one in own])
        quantile = stats.t.ppf(1 - 0.025 / number, moderated[:, 1])
        half = quantile * np.sqrt(moderated[:, 0] / seeds)
        missed.append(bool((np.abs(values.mean(axis=0)) > half).any()))
        plain = stats.t.ppf(1 - 0.025 / number, seeds - 1) * np.sqrt(own / seeds)
        widths.append(float(np.median(half / plain)))
    assert np.mean(missed) < 0.08
    assert np.median(widths) < 0.5
