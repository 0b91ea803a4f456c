from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import special, stats

from yolo_attn.stats.behrens_fisher import upper_quantile
from yolo_attn.stats.compare import PairedDifference, Support, difference, estimate


def false_alarms(seeds: int, ratio: float, level: float) -> float:
    """Return the false positive rate with known image noise, integrated over the estimate of training noise.

    Args:
        seeds: Number of seeds.
        ratio: The true share of training in the variance.
        level: The nominal rate.
    """
    quantiles = (np.arange(2000) + 0.5) / 2000
    training = ratio * stats.chi2.ppf(quantiles, seeds - 1) / (seeds - 1)
    variance = training + 1 - ratio
    distance = upper_quantile(level / 2, training / variance, seeds - 1, 1e6) * np.sqrt(variance)
    return float(np.mean(2 * special.ndtr(-distance)))


@pytest.mark.parametrize("level", [0.05, 0.05 / 10, 0.05 / 70])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_false_positive_rate_is_at_most_nominal_at_every_noise_ratio(seeds: int, level: float) -> None:
    rates = [false_alarms(seeds, ratio, level) for ratio in [0.0, *np.linspace(0.01, 0.99, 25), 0.999]]
    assert max(rates) < 1.03 * level
    assert rates[0] == pytest.approx(level, rel=0.01)  # the images alone
    assert rates[-1] == pytest.approx(level, rel=0.1)  # training alone


def normal_replicates(
    rng: np.random.Generator, seeds: int, shared: float, own: float, replicates: int = 4000
) -> np.ndarray:
    """Return [seeds, replicates] with a part common to all seeds and a part of each seed."""
    return shared * rng.normal(size=replicates) + own * rng.normal(size=(seeds, replicates))


def test_image_variance_is_the_part_common_to_all_seeds() -> None:
    rng = np.random.default_rng(0)
    resampled = normal_replicates(rng, 4, shared=0.3, own=1.0, replicates=40000)
    found = estimate(np.array([[1.0], [2.0], [3.0], [6.0]]), resampled[:, :, None])
    assert found.images[0] == pytest.approx(0.09, abs=0.02)  # the variance of the mean is 0.09 + 1 / 4
    assert found.mean[0] == 3.0
    assert found.training[0] == pytest.approx(np.var([1, 2, 3, 6], ddof=1) / 4)
    by_hand = np.cov(resampled)
    pairs = by_hand[~np.eye(4, dtype=bool)].mean()
    assert found.images[0] == pytest.approx(pairs)


def test_nan_replicates_are_skipped() -> None:
    rng = np.random.default_rng(0)
    resampled = normal_replicates(rng, 3, 1.0, 0.5, 300)
    holed = resampled.copy()
    holed[:, ::3] = np.nan
    values = np.arange(3.0)[:, None]
    found = estimate(np.repeat(values, 2, axis=1), np.stack([holed, resampled], axis=-1))
    rest = estimate(values, resampled[:, np.arange(300) % 3 > 0][:, :, None])
    assert found.images[0] == pytest.approx(rest.images[0])
    assert found.images[1] != pytest.approx(rest.images[0], rel=1e-6)
    unknown = estimate(np.full((3, 1), np.nan), np.full((3, 300, 1), np.nan))
    assert math.isnan(unknown.mean[0])
    assert math.isnan(unknown.interval()[0][0])


def compared(values: list[float], resampled: np.ndarray) -> PairedDifference:
    """Return the difference of an arm to a baseline of zeros, on very many images."""
    return difference(estimate(np.array(values)[:, None], resampled[:, :, None]))


def test_interval_and_p_value_agree() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        seeds = int(rng.integers(2, 8))
        scale = rng.uniform(0, 2)
        found = compared(list(rng.normal(1, 1, seeds)), normal_replicates(rng, seeds, scale, 0.5, 100))
        assert found.ci95 is not None
        assert found.p is not None
        assert found.p_better is not None
        low, high = found.ci95
        assert low < found.mean < high
        assert low + high == pytest.approx(2 * found.mean)
        assert (found.p < 0.05) == (low > 0 or high < 0)
        assert found.p_better == pytest.approx(1 - found.p / 2 if found.mean > 0 else found.p / 2)


def test_p_is_student_over_seeds_without_image_noise() -> None:
    values = [0.02, 0.03, 0.01, 0.025]
    found = compared(values, np.zeros((4, 100)))
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    interval = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.ci95 == pytest.approx((interval.low, interval.high))


def test_equal_seeds_leave_only_image_noise() -> None:
    rng = np.random.default_rng(0)
    resampled = np.tile(rng.normal(0.02, 0.01, 1000), (3, 1))
    found = compared([0.02, 0.02, 0.02], resampled)
    error = resampled[0].std(ddof=1)
    assert found.se_images == pytest.approx(error)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.02 / error), rel=1e-4)


def test_identical_models_differ_by_exactly_zero() -> None:
    found = compared([0.0, 0.0, 0.0], np.zeros((3, 100)))
    assert (found.mean, found.ci95, found.p, found.p_better) == (0.0, (0.0, 0.0), 1.0, 0.5)
    assert (found.sd_training, found.se_images) == (0.0, 0.0)
    assert found.interval(0.99) == (0.0, 0.0)


def test_counts_that_are_equal_by_chance_prove_nothing() -> None:
    """In each of three seeds the variant gets one more of 100 images right, each time another one."""
    drawn = np.random.default_rng(0).multinomial(100, [0.01] * 100, 2000)
    found = compared([0.01, 0.01, 0.01], drawn[:, :3].T / 100)
    assert found.ci95 is not None and found.p is not None
    assert found.ci95[0] < 0 and found.p > 0.05
    assert found.sd_training == 0.0
    error = math.sqrt(0.01 * 0.99 / 100 / 3)
    assert found.error == pytest.approx(error, rel=0.1)


def test_interval_of_any_level_agrees_with_the_p_value() -> None:
    rng = np.random.default_rng(1)
    found = compared([0.3, 0.5, 0.9, 0.4], normal_replicates(rng, 4, 0.2, 0.1))
    assert found.p is not None
    low, _ = found.interval(1 - found.p) or (math.nan, 0.0)
    assert low == pytest.approx(0, abs=1e-4)


def test_looks_widen_only_the_part_due_to_training() -> None:
    rng = np.random.default_rng(0)
    alone = compared([0.3, 0.5, 0.9, 0.4], np.zeros((4, 100)))
    low, high = alone.interval(0.95) or (0.0, 0.0)
    wider = alone.interval(0.95, look_factor=1.5) or (0.0, 0.0)
    assert wider[1] - wider[0] == pytest.approx(1.5 * (high - low))
    images = compared([0.5, 0.5, 0.5], np.tile(rng.normal(0.5, 0.1, 1000), (3, 1)))
    assert images.interval(0.95, look_factor=1.5) == pytest.approx(images.interval(0.95))


def test_few_images_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    values, resampled = np.array([[0.5], [0.6], [0.4]]), normal_replicates(rng, 3, 0.3, 0.0)[:, :, None]
    many = estimate(values, resampled)
    few = estimate(values, resampled, Support.of_images([10]))
    assert few.images[0] == pytest.approx(many.images[0] * 10 / 9)
    assert few.interval()[1][0] > many.interval()[1][0]


def test_with_several_bases_the_bases_are_the_units() -> None:
    """The variance of the mean is that of a t-test over the means of the bases."""
    rng = np.random.default_rng(0)
    base_effects = rng.normal(0, 2.0, 3)
    values = base_effects[[0, 1, 2, 0, 1, 2]] + rng.normal(0, 0.1, 6)
    found = estimate(values[:, None], np.zeros((6, 10, 1)), bases=[0, 1, 2, 0, 1, 2])
    means = np.array([values[[base, base + 3]].mean() for base in range(3)])
    assert found.mean[0] == pytest.approx(means.mean())
    assert found.training[0] == pytest.approx(stats.sem(means) ** 2)
    assert found.training_df == 2
    assert found.sd[0] == pytest.approx(np.sqrt(np.mean([values[[k, k + 3]].var(ddof=1) for k in range(3)])))
    assert found.sd_bases[0] == pytest.approx(np.std(means, ddof=1), rel=0.01)
    assert difference(found).p == pytest.approx(stats.ttest_1samp(means, 0).pvalue)


def test_difference_without_noise_has_the_smallest_p() -> None:
    found = compared([0.1, 0.1, 0.1], np.full((3, 50), 0.1))
    assert found.ci95 == pytest.approx((0.1, 0.1))
    assert found.p == pytest.approx(0, abs=1e-11)


def test_one_seed_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    single = compared([0.5], rng.normal(0.5, 0.01, (1, 500)))
    assert (single.ci95, single.p, single.p_better, single.sd_training, single.interval(0.9)) == (None,) * 5
    assert single.se_images == pytest.approx(0.01, rel=0.1)


def test_one_test_image_has_no_interval() -> None:
    values, resampled = np.array([[0.1], [0.1], [0.1]]), np.full((3, 50, 1), 0.1)
    found = difference(estimate(values, resampled, Support.of_images([1])))
    assert (found.mean, found.sd_training) == pytest.approx((0.1, 0.0))
    assert (found.ci95, found.p, found.p_better, found.se_images) == (None, None, None, None)
    single = difference(estimate(values[:1], resampled[:1], Support.of_images([1])))
    assert (single.ci95, single.se_images) == (None, None)


def test_columns_are_estimated_independently() -> None:
    rng = np.random.default_rng(0)
    values, resampled = rng.normal(size=(4, 3)), rng.normal(size=(4, 200, 3))
    together = estimate(values, resampled)
    for column in range(3):
        alone = dataclasses.asdict(difference(estimate(values[:, [column]], resampled[:, :, [column]])))
        found = dataclasses.asdict(difference(together, column))
        assert found.pop("ci95") == pytest.approx(alone.pop("ci95"))
        assert found == pytest.approx(alone)
