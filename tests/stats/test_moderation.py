"""Moderated variances: simulated comparisons with known ones."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulation.boards import Noise, half_widths, simulate_board
from yolo_attn.stats.moderation import LEAST, CommonVariance, fit_common_variance, moderate_differences


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
    assert found is not None and 50 < found.df <= 1e6
    assert found.moderate(np.array([0.0001]), 2) == pytest.approx(0.04, rel=0.1)


def test_a_moderated_variance_is_between_its_own_and_the_common_one() -> None:
    common = CommonVariance(4.0, 6.0)
    assert common.moderate(np.array([12.0, 4.0]), 2).tolist() == [6.0, 4.0]


def test_few_arms_and_those_without_noise_are_not_moderated() -> None:
    assert fit_common_variance([0.1] * (LEAST - 1), 2) is None
    assert fit_common_variance([0.0] * 20, 2) is None
    assert fit_common_variance([0.0, *[0.1] * 20], 2) is not None
    assert moderate_differences(np.zeros((20, 3))) is None
    assert moderate_differences(np.random.default_rng(0).normal(size=(20, 1))) is None


def test_the_base_is_one_more_arm() -> None:
    """What a seed changes in all arms does not count; the noise of the base's runs does."""
    random = np.random.default_rng(4)
    runs = random.normal(0, 1, (20_001, 3))
    found = moderate_differences(runs[1:] - runs[0])
    assert found is not None
    assert found.common.variance == pytest.approx(1, rel=0.1)
    assert found.differences.mean() == pytest.approx(2, rel=0.1)
    assert found.df == found.common.df + 2
    shifted = moderate_differences(runs[1:] - runs[0] + np.array([5.0, -2.0, 1.0]))
    assert shifted is not None
    assert shifted.common.variance == pytest.approx(found.common.variance, rel=0.01)
    some = moderate_differences(random.normal(0, random.gamma(0.3, 1, 40)[:, None], (40, 3)))
    assert some is not None and some.differences.max() > 5 * some.differences.min()  # unequal noise: each counts


def test_a_training_that_fails_is_not_noise_of_the_other_arms() -> None:
    values = np.random.default_rng(5).normal(0, 1, (400, 3))
    failed = values.copy()
    failed[7, 1] -= 200
    before, after = moderate_differences(values), moderate_differences(failed)
    assert before is not None and after is not None
    others = np.arange(400) != 7
    assert after.differences[others] == pytest.approx(before.differences[others], rel=0.25)
    assert after.differences[7] > 100 * after.differences[others].max()


@pytest.mark.parametrize("df", [2.0, 5.0, np.inf])
def test_intervals_of_a_hundred_arms_hold_together(df: float) -> None:
    """Three seeds each, and a base in common: all intervals together miss in at most 5 % of the boards."""
    random, boards = np.random.default_rng(2), 300
    missed, widths = [], []
    for _ in range(boards):
        values = simulate_board(random, 100, 3, Noise(df))
        half, alone = half_widths(values)
        missed.append(bool((np.abs(values.mean(axis=1)) > half).any()))
        widths.append(float(np.median(half / alone)))
    assert np.mean(missed) < 0.08
    assert np.median(widths) < 0.5
