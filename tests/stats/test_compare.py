from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import special, stats

from yolo_attn.stats.compare import (
    MeanEstimate,
    PairedDifference,
    critical_value,
    difference,
    estimate,
    holm,
    minimum_detectable,
    paired_difference,
    pooled_noise,
    verdict,
)

SEEDS = (3, 5, 10)


def false_alarms(seeds: int, ratio: float, level: float, usual: bool = False) -> float:
    """Return the false positive rate at a share of training in the variance, integrated over its estimate.

    Args:
        seeds: Number of seeds.
        ratio: The true share.
        level: Asked for.
        usual: Student's t with Satterthwaite's degrees of freedom instead.
    """
    quantiles = (np.arange(2000) + 0.5) / 2000
    training = ratio * stats.chi2.ppf(quantiles, seeds - 1) / (seeds - 1)
    variance = training + 1 - ratio
    share = training / variance
    if usual:
        critical = -special.stdtrit((seeds - 1) / share**2, level / 2)
    else:
        critical = critical_value(level / 2, share, seeds)
    return float(np.mean(2 * special.ndtr(-critical * np.sqrt(variance))))


@pytest.mark.parametrize(
    ("seeds", "level", "low", "high", "usual"),
    [
        (3, 0.05, 0.0415, 0.0505, 0.079),
        (5, 0.05, 0.0445, 0.0501, 0.059),
        (10, 0.05, 0.0460, 0.0501, 0.052),
        (3, 0.05 / 3, 0.0125, 0.0215, 0.044),
        (5, 0.05 / 3, 0.0143, 0.0168, 0.025),
        (10, 0.05 / 3, 0.0145, 0.0168, 0.019),
    ],
)
def test_false_positive_rate_is_nominal_at_every_noise_ratio(
    seeds: int, level: float, low: float, high: float, usual: float
) -> None:
    """Check the table in compare.py."""
    ratios = [*np.linspace(0.01, 0.99, 50), 0.999]
    rates = [false_alarms(seeds, ratio, level) for ratio in ratios]
    assert low < min(rates)
    assert max(rates) < high
    assert max(false_alarms(seeds, ratio, level, usual=True) for ratio in ratios) == pytest.approx(usual, abs=0.001)


def test_critical_value_is_student_or_normal_with_a_single_noise() -> None:
    for seeds, tail in itertools.product(SEEDS, (0.025, 0.005)):
        assert critical_value(tail, 1.0, seeds) == pytest.approx(stats.t.ppf(1 - tail, seeds - 1))
        assert critical_value(tail, 0.0, seeds) == pytest.approx(stats.norm.ppf(1 - tail))
        between = critical_value(tail, np.linspace(0, 1, 50), seeds)
        assert (np.diff(between) >= 0).all()


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
    """Return the difference of an arm to a baseline of zeros."""
    zero, seeds = np.zeros(resampled.shape[1]), range(len(values))
    found = paired_difference(
        dict.fromkeys(seeds, 0.0), dict(enumerate(values)), dict.fromkeys(seeds, zero), dict(enumerate(resampled))
    )
    assert found is not None
    return found


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
    assert found.df == pytest.approx(3)
    interval = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.ci95 == pytest.approx((interval.low, interval.high))


def test_equal_seeds_leave_only_image_noise() -> None:
    rng = np.random.default_rng(0)
    resampled = np.tile(rng.normal(0.02, 0.01, 1000), (3, 1))
    found = compared([0.02, 0.02, 0.02], resampled)
    error = resampled[0].std(ddof=1)
    assert found.se_images == pytest.approx(error)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.02 / error))
    assert found.df == pytest.approx(999)


def test_identical_models_are_inconclusive() -> None:
    rng = np.random.default_rng(0)
    values = {seed: float(rng.random()) for seed in range(3)}
    resampled = {seed: rng.random(100) for seed in range(3)}
    found = paired_difference(values, values, resampled, resampled)
    assert found is not None
    assert (found.mean, found.ci95, found.p, found.p_better) == (0.0, (0.0, 0.0), 1.0, 0.5)
    assert (found.sd_training, found.se_images) == (0.0, 0.0)
    assert verdict(found, found.p) == "inconclusive"


def test_difference_without_noise_has_the_smallest_p() -> None:
    found = compared([0.1, 0.1, 0.1], np.full((3, 50), 0.1))
    assert found.ci95 == pytest.approx((0.1, 0.1))
    assert found.p == pytest.approx(0, abs=1e-11)
    assert verdict(found, found.p) == "better"


def test_only_common_finite_seeds_are_used() -> None:
    resampled = {seed: np.random.default_rng(seed).random(50) for seed in range(4)}
    base = {0: 0.1, 1: 0.2, 2: math.nan, 3: 0.3}
    other = {0: 0.2, 1: 0.4, 2: 0.5}
    found = paired_difference(base, other, resampled, resampled)
    assert found is not None
    assert found.seeds == 2
    assert found.mean == pytest.approx(0.15)
    assert paired_difference(base, {7: 0.1}, resampled, {7: resampled[0]}) is None


def test_one_seed_has_no_interval_and_two_have_no_verdict() -> None:
    rng = np.random.default_rng(0)
    single = compared([0.5], rng.normal(0.5, 0.01, (1, 500)))
    assert (single.ci95, single.p, single.p_better, single.sd_training, single.df) == (None,) * 5
    assert single.se_images == pytest.approx(0.01, rel=0.1)
    assert verdict(single, single.p) is None
    two = compared([0.5, 0.51], rng.normal(0.5, 0.01, (2, 500)))
    assert two.ci95 is not None
    assert verdict(two, two.p) is None


@pytest.mark.parametrize(
    ("mean", "p", "expected"), [(0.1, 0.01, "better"), (-0.1, 0.01, "worse"), (0.1, 0.05, "inconclusive")]
)
def test_verdict_uses_the_corrected_p_value(mean: float, p: float, expected: str) -> None:
    found = PairedDifference(mean, (0, 0), 0.001, 0.999, 0.1, 0.1, 2.0, 3)
    assert verdict(found, p) == expected
    assert verdict(None, p) is None
    assert verdict(found, None) is None


def test_holm_matches_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([None, 0.5, None, 0.6]) == [None, 1.0, None, 1.0]
    assert holm([]) == []
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = list(rng.random(6) ** 3)
        corrected = np.array(holm(p), float)
        for alpha in rng.random(10):
            # Step down: reject while p is at most alpha / (number left).
            order, rejected = np.argsort(p), np.zeros(6, bool)
            for step, index in enumerate(order):
                if p[index] > alpha / (6 - step):
                    break
                rejected[index] = True
            assert np.array_equal(corrected <= alpha, rejected)


@pytest.mark.parametrize(("seeds", "training", "images"), [(3, 1.0, 0.2), (5, 1.0, 1.0), (10, 0.2, 1.0), (2, 1.0, 0.0)])
def test_minimum_detectable_difference_has_the_given_power(seeds: int, training: float, images: float) -> None:
    size = minimum_detectable(seeds, training, images)
    rng = np.random.default_rng(0)
    studies = 20000
    values = size + rng.normal(0, training, (seeds, studies)) + rng.normal(0, images, studies)
    variance = values.var(axis=0, ddof=1) / seeds + images**2
    share = values.var(axis=0, ddof=1) / seeds / variance
    found = np.abs(values.mean(axis=0)) > critical_value(0.025, share, seeds) * np.sqrt(variance)
    assert found.mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("seeds", "variants"), [(3, 2), (4, 3), (5, 5)])
def test_power_holds_among_variants_without_effect(seeds: int, variants: int) -> None:
    size = minimum_detectable(seeds, 2.0, 1.0, variants=variants)
    rng = np.random.default_rng(0)
    found = 0
    studies = 2000
    for _ in range(studies):
        differences = []
        for effect in [size] + [0.0] * (variants - 1):
            values = effect + rng.normal(0, 2.0, (seeds, 1)) + rng.normal(0, 1.0)
            differences.append(difference(MeanEstimate(values.mean(0), values.std(0, ddof=1), np.ones(1), seeds, 1000)))
        found += verdict(differences[0], holm([item.p for item in differences])[0]) == "better"
    # Another variant is sometimes rejected too, which relaxes the level of this one and increases its power slightly.
    assert 0.77 < found / studies < 0.84


def test_pooled_noise_skips_models_compared_with_themselves() -> None:
    assert pooled_noise([(3.0, 1.0), (4.0, 7.0), (0.0, 0.0)]) == pytest.approx((math.sqrt(12.5), 5.0))
    assert pooled_noise([(0.0, 0.0)]) is None
    assert pooled_noise([]) is None


def test_one_test_image_has_no_interval() -> None:
    values, resampled = np.array([[0.1], [0.1], [0.1]]), np.full((3, 50, 1), 0.1)
    found = difference(estimate(values, resampled, test_images=1))
    assert (found.mean, found.sd_training) == pytest.approx((0.1, 0.0))
    assert (found.ci95, found.p, found.p_better, found.se_images) == (None, None, None, None)
    assert verdict(found, found.p) is None
    single = difference(estimate(values[:1], resampled[:1], test_images=1))
    assert (single.ci95, single.se_images) == (None, None)


def test_minimum_detectable_difference_with_known_noise_matches_the_textbook() -> None:
    expected = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert minimum_detectable(5, 0.0, 0.01) == pytest.approx(0.01 * expected, rel=1e-3)
    assert minimum_detectable(3, 0.0, 0.0) == 0.0
    assert minimum_detectable(10, 0.01, 0.0) < minimum_detectable(5, 0.01, 0.0) < minimum_detectable(3, 0.01, 0.0)
    with pytest.raises(ValueError, match="at least 2"):
        minimum_detectable(1, 0.01, 0.01)


def test_columns_are_estimated_independently() -> None:
    rng = np.random.default_rng(0)
    values, resampled = rng.normal(size=(4, 3)), rng.normal(size=(4, 200, 3))
    together = estimate(values, resampled)
    for column in range(3):
        alone = dataclasses.asdict(difference(estimate(values[:, [column]], resampled[:, :, [column]])))
        found = dataclasses.asdict(difference(together, column))
        assert found.pop("ci95") == pytest.approx(alone.pop("ci95"))
        assert found == pytest.approx(alone)
