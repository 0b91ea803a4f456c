"""What studies detect, and that the seeds and images of a requirement are the fewest that suffice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from yolo_attn.stats.behrens_fisher import upper_quantile
from yolo_attn.stats.power import (
    MOST_SEEDS,
    Noise,
    minimum_detectable,
    minimum_detectable_range,
    pooled_noise,
    probability_equivalent,
    requirement,
)

ALPHA = 0.05 / 4


def once(seeds: int) -> float:
    """No factor: there is a single look."""
    return 1.0


@pytest.mark.parametrize(
    ("seeds", "training", "images", "image_df"),
    [(3, 1.0, 0.2, 1e6), (5, 1.0, 1.0, 1e6), (2, 1.0, 0.0, 1e6), (5, 1.0, 1.0, 19), (10, 0.2, 1.0, 5)],
)
def test_minimum_detectable_difference_has_the_given_power(
    seeds: int, training: float, images: float, image_df: float
) -> None:
    """Also where the verdicts estimate the noise of few images."""
    size = minimum_detectable(seeds, training, images, image_df=image_df)
    rng = np.random.default_rng(0)
    studies = 20000
    values = size + rng.normal(0, training, (seeds, studies)) + rng.normal(0, images, studies)
    of_training = values.var(axis=0, ddof=1) / seeds
    variance = of_training + images**2 * rng.chisquare(image_df, studies) / image_df
    share = of_training / variance
    found = np.abs(values.mean(axis=0)) > upper_quantile(0.025, share, seeds - 1, image_df) * np.sqrt(variance)
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_pooled_noise_skips_models_compared_with_themselves() -> None:
    noise = pooled_noise([(3.0, 1.0, 3), (4.0, 7.0, 3), (0.0, 0.0, 3), (None, 1.0, 3)])
    assert noise is not None
    assert (noise.training, noise.images) == pytest.approx((math.sqrt(12.5), 5.0))
    assert 2 < noise.df < 4  # two differences to one baseline
    assert pooled_noise([(0.0, 0.0, 3)]) is None
    assert pooled_noise([]) is None


def test_minimum_detectable_difference_with_known_noise_matches_the_textbook() -> None:
    expected = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert minimum_detectable(5, 0.0, 0.01) == pytest.approx(0.01 * expected, rel=1e-3)
    assert minimum_detectable(3, 0.0, 0.0) == 0.0
    assert minimum_detectable(10, 0.01, 0.0) < minimum_detectable(5, 0.01, 0.0) < minimum_detectable(3, 0.01, 0.0)
    with pytest.raises(ValueError, match="at least 2"):
        minimum_detectable(1, 0.01, 0.01)


def test_the_range_of_the_detectable_difference_covers_the_uncertainty_of_the_noise() -> None:
    known = minimum_detectable_range(3, Noise(0.02, 0.01))
    assert known == (minimum_detectable(3, 0.02, 0.01),) * 2
    low, high = minimum_detectable_range(3, Noise(0.02, 0.01, df=2))
    assert low < known[0] < high
    closer = minimum_detectable_range(3, Noise(0.02, 0.01, df=20))
    assert low < closer[0] < known[0] < closer[1] < high


@pytest.mark.parametrize(
    ("size", "noise"), [(0.5, Noise(0.5, 0.1, 6)), (2.0, Noise(0.5, 0.1, 6)), (0.9, Noise(1.0, 0.0, 4))]
)
def test_the_seeds_are_the_fewest_that_detect_the_difference(size: float, noise: Noise) -> None:
    found = requirement(size, noise, 160, ALPHA, once)
    assert found.images is None
    for seeds, training in zip(
        (found.fewest, found.seeds, found.most),
        (noise.limits()[0], noise.training, noise.limits()[1]),
        strict=True,
    ):
        assert seeds is not None and seeds >= 3
        assert minimum_detectable(seeds, training, noise.images, alpha=ALPHA) <= size
        if seeds > 3:
            assert minimum_detectable(seeds - 1, training, noise.images, alpha=ALPHA) > size


def test_more_images_are_required_where_no_number_of_seeds_suffices() -> None:
    noise = Noise(0.3, 0.5)
    assert minimum_detectable(MOST_SEEDS, 0.3, 0.5, alpha=ALPHA) > 1.0
    found = requirement(1.0, noise, 160, ALPHA, once)
    assert found.seeds is not None and found.images is not None
    for images, detects in ((found.images, True), (found.images - 1, False)):
        error = 0.5 * math.sqrt(160 / images)
        assert (minimum_detectable(found.seeds, 0.3, error, alpha=ALPHA) <= 1.0) == detects


def test_a_difference_far_below_the_noise_of_training_has_no_requirement() -> None:
    found = requirement(0.1, Noise(3.0, 0.01), 160, ALPHA, once)
    assert (found.seeds, found.images) == (None, None)


def test_the_factor_of_each_number_of_seeds_is_used() -> None:
    found = requirement(0.5, Noise(0.3, 0.0), 160, ALPHA, lambda seeds: 1.0 if seeds >= 20 else 1e6)
    assert found.seeds == 20


def test_the_noise_of_training_is_between_its_limits_as_often_as_stated() -> None:
    dice = np.random.default_rng(0)
    found = [Noise(float(np.std(dice.normal(0, 2.0, 5), ddof=1)), 0.0, 4).limits() for _ in range(4000)]
    assert np.mean([low < 2.0 < high for low, high in found]) == pytest.approx(0.9, abs=0.015)
    assert Noise(2.0, 1.0).limits() == (2.0, 2.0)


@pytest.mark.parametrize("factor", [1.0, 1.5])
@pytest.mark.parametrize(("seeds", "noise", "margin"), [(3, Noise(0.2, 0.05), 1.0), (6, Noise(0.2, 0.1), 0.5)])
def test_both_probabilities_are_those_of_simulated_studies(
    seeds: int, noise: Noise, margin: float, factor: float
) -> None:
    dice = np.random.default_rng(1)
    differences = dice.normal(0, noise.training, (20_000, seeds))
    training = differences.var(axis=1, ddof=1) / seeds
    mean = differences.mean(axis=1) + dice.normal(0, noise.images, 20_000)
    total = factor**2 * training + noise.images**2
    half = upper_quantile(0.025, 1 - noise.images**2 / total, seeds - 1, 1e6) * np.sqrt(total)
    equivalent = np.mean((mean - half > -margin) & (mean + half < margin))
    assert 0.02 < equivalent < 0.99
    assert probability_equivalent(seeds, noise, margin, 0.05, factor) == pytest.approx(equivalent, abs=0.012)
    size = minimum_detectable(seeds, noise.training, noise.images, look_factor=factor)
    assert np.mean(np.abs(mean + size) > half) == pytest.approx(0.8, abs=0.012)


def test_arms_without_noise_are_equivalent() -> None:
    assert probability_equivalent(3, Noise(0.0, 0.0), 0.5, 0.05) == 1
    assert probability_equivalent(3, Noise(5.0, 0.0), 0.5, 0.05) < 0.1
