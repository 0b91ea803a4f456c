"""Calibration of the intervals, on thousands of simulated studies of equal and of different arms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.simulation.images import Images
from yolo_attn.stats.ap import average_precisions, summarize
from yolo_attn.stats.bootstrap import image_weights
from yolo_attn.stats.compare import MeanEstimate, Support, difference, estimate

STUDIES, REPLICATES = 2000, 200
# Standard deviation of one run's training noise, standard error of the images.
NOISES = {"training larger": (1.0, 0.2), "equal": (1.0, 1.0), "training smaller": (0.2, 1.0)}

Floats = NDArray[np.float64]
Rejects = Callable[[Floats, Floats], NDArray[np.bool_]]


def binomial(studies: int) -> tuple[float, float]:
    """Return the 99 % range of a false positive rate whose expectation is 5 %."""
    low, high = stats.binom.interval(0.99, studies, 0.05)
    return low / studies, high / studies


def normal_studies(seeds: int, training: float, images: float, effect: float = 0.0) -> tuple[Floats, Floats]:
    """Return differences [seeds, STUDIES] and their bootstrap [seeds, REPLICATES, STUDIES].

    Half of the variance of training noise is interaction with the images, which is also part of the bootstrap.
    """
    rng = np.random.default_rng(0)
    values = effect + rng.normal(0, training, (seeds, STUDIES)) + rng.normal(0, images, STUDIES)
    resampled = rng.normal(0, images, (REPLICATES, STUDIES)) + rng.normal(
        0, training / 2**0.5, (seeds, REPLICATES, STUDIES)
    )
    return values, values[:, None] + resampled


def never_above(rate: float, studies: int) -> bool:
    """Whether a rate may be 5 % or less; the interval is conservative where neither noise dominates."""
    return bool(stats.binom.sf(round(rate * studies) - 1, studies, 0.05) > 0.005)


def outside(found: MeanEstimate, truth: float) -> float:
    low, high = found.interval()
    return float(np.mean((low > truth) | (high < truth)))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_false_positive_rate_and_coverage(seeds: int, noise: str) -> None:
    values, resampled = normal_studies(seeds, *NOISES[noise])
    found = estimate(values, resampled)
    assert outside(found, 0.0) > 0.01
    assert never_above(outside(found, 0.0), STUDIES)
    tests = [difference(found, study) for study in range(0, STUDIES, 50)]
    assert [test.p < 0.05 for test in tests if test.p is not None] == [
        test.ci95[0] > 0 or test.ci95[1] < 0 for test in tests if test.ci95 is not None
    ]
    values, resampled = normal_studies(seeds, *NOISES[noise], effect=1.5)
    assert never_above(outside(estimate(values, resampled), 1.5), STUDIES)


def satterthwaite(values: Floats, resampled: Floats) -> NDArray[np.bool_]:
    found = estimate(values, resampled)
    df = found.variance**2 / (found.training**2 / found.training_df + found.images**2 / (REPLICATES - 1))
    return np.abs(found.mean) > -special.stdtrit(df, 0.025) * np.sqrt(found.variance)


def percentiles(values: Floats, resampled: Floats) -> NDArray[np.bool_]:
    """Bootstrap seeds and images together."""
    rng = np.random.default_rng(1)
    seeds, replicates = resampled.shape[:2]
    picked = rng.integers(0, seeds, (replicates, seeds))
    means = resampled[picked, np.arange(replicates)[:, None]].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return (low > 0) | (high < 0)


def over_seeds_alone(values: Floats, resampled: Floats) -> NDArray[np.bool_]:
    return np.asarray(stats.ttest_1samp(values, 0).pvalue < 0.05)


def images_twice(values: Floats, resampled: Floats) -> NDArray[np.bool_]:
    """Use the bootstrap's variance of the mean, which counts the interaction twice."""
    found = estimate(values, resampled)
    twice = dataclasses.replace(found, images=resampled.mean(axis=0).var(axis=0, ddof=1))
    low, high = twice.interval()
    return (low > 0) | (high < 0)


@pytest.mark.parametrize(
    ("method", "seeds", "noise"),
    [
        (satterthwaite, 3, (1.0, 0.2)),
        (percentiles, 3, (1.0, 0.2)),
        (percentiles, 5, (1.0, 0.2)),
        (over_seeds_alone, 3, (1.0, 1.0)),
        (over_seeds_alone, 10, (0.2, 1.0)),
        (images_twice, 5, (1.0, 0.0)),
    ],
)
def test_calibration_detects_a_miscalibrated_method(method: Rejects, seeds: int, noise: tuple[float, float]) -> None:
    low, high = binomial(STUDIES)
    assert not low <= float(np.mean(method(*normal_studies(seeds, *noise)))) <= high


# Skill of the arm that varies from seed to seed, and from image to image (the same in all seeds).
SKILLS = {"training larger": (0.3, 0.0), "equal": (0.15, 0.5), "training smaller": (0.0, 0.8)}
RUN_STUDIES, RUN_IMAGES, RUN_REPLICATES, RUN_SEEDS = 400, 120, 100, 3


def simulated_study(rng: np.random.Generator, by_seed: float, by_image: float) -> tuple[Floats, Floats]:
    """Return differences in mAP50-95 of two equal arms [seeds] and their bootstrap [seeds, replicates]."""
    images = Images(rng, RUN_IMAGES, classes=1)
    weights = np.concatenate([np.ones((1, RUN_IMAGES), np.int16), image_weights(RUN_IMAGES, RUN_REPLICATES)])
    arms = []
    for _ in range(2):
        skill = images.arm(by_image)
        runs = [images.evaluate(skill + rng.normal(0, by_seed)) for _ in range(RUN_SEEDS)]
        arms.append(np.stack([summarize(average_precisions(run, weights))[0][:, 0] for run in runs]))
    change = arms[1] - arms[0]
    return change[:, 0], change[:, 1:]


@pytest.mark.slow
@pytest.mark.parametrize("noise", SKILLS)
def test_false_positive_rate_from_detections_to_verdict(noise: str) -> None:
    rng = np.random.default_rng(0)
    studies = [simulated_study(rng, *SKILLS[noise]) for _ in range(RUN_STUDIES)]
    values, resampled = (np.stack(parts, axis=-1) for parts in zip(*studies, strict=True))
    support = Support.of_images(np.full(RUN_STUDIES, RUN_IMAGES))
    rate = outside(estimate(values, resampled, support), 0.0)
    assert rate > 0.005
    assert never_above(rate, RUN_STUDIES)
