"""The difference of two arms over seeds, with an interval that carries both kinds of noise.

Two things make a difference vary: training (another seed, another result) and the test set (other images, another
result). Seeds are paired, and all seeds see the same images. With d_s the difference of seed s, n seeds, D their mean:

    A = var(d_s) / n               what training, and its interplay with the images, contributes to the variance of D
    B = mean of cov(b_s, b_t)      what the images contribute to all seeds alike; b_s are the differences of seed s in
        over pairs of seeds        the replicates of a bootstrap over images, the same images for every seed and arm
    V = A + B                      the variance of D
    w = A / V                      the share of it that is known from n seeds only

B is not the variance of the mean of b_s: that has the interplay of training and images in it, which A has already.
Where runs find objects independently of each other the interplay is all there is; counted twice, it would make false
alarms eight times rarer than asked for, at the cost of missing true differences.

The interval is D ± c sqrt(V), with c² = z² + (t² - z²) w^2.5 (3 - 2w), where z is a quantile of the normal distribution
and t that of Student's with n - 1 degrees of freedom. The usual choice, Student's t with Satterthwaite's degrees of
freedom df = V² / (A² / (n - 1) + B² / (R - 1)) for R replicates, is not safe with few seeds: where A comes out small by
chance, w does too, and c with it. The power of w was chosen such that false alarms are nearest to what is asked for,
over all ratios of the two noises (integrated over A numerically; tests/stats/test_compare.py does it again):

    asked for   3 seeds                       5 seeds                       10 seeds
    5 %         4.2 to 5.0 (df: 5.0 to 7.9)   4.5 to 5.0 (df: 5.0 to 5.9)   4.6 to 5.0 (df: 5.0 to 5.2)
    1.67 %      1.3 to 2.1 (df: 1.7 to 4.4)   1.5 to 1.7 (df: 1.7 to 2.5)   1.5 to 1.7 (df: 1.7 to 1.9)

1.67 % is what Holm's correction asks of the best of three variants. A p-value is the level at which the interval ends
at zero, so the two never disagree. df is told for information.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

__all__ = [
    "MIN_SEEDS",
    "Difference",
    "Estimate",
    "critical_value",
    "estimate",
    "holm",
    "minimum_detectable",
    "paired_difference",
    "pooled_noise",
    "verdict",
]

MIN_SEEDS = 3  # for a verdict
_LEAST_P = 1e-12
_NODES = 400

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """How much better an arm is than the baseline.

    Args:
        mean: Mean difference over the common seeds.
        ci95: Its 95 % interval; None with one seed, which says nothing about training, and with one test image, which
            says nothing about others. With two seeds it is wide and loose.
        p: Two-sided p-value; None where there is no interval.
        p_better: Confidence that the true difference is above zero; None where there is no interval.
        sd_training: Standard deviation over seeds of one run's difference; None with one seed.
        se_images: Standard error that comes from the test images and that more seeds don't remove; None with one image.
        df: Satterthwaite's degrees of freedom, for information.
        seeds: Number of common seeds.
    """

    mean: float
    ci95: tuple[float, float] | None
    p: float | None
    p_better: float | None
    sd_training: float | None
    se_images: float | None
    df: float | None
    seeds: int


@dataclass(frozen=True)
class Estimate:
    """Means over seeds of C numbers, and the two parts of their variance.

    Args:
        mean: [C] mean over seeds.
        sd: [C] standard deviation over seeds; not a number with one seed.
        images: [C] variance of the mean that comes from the test images (B); not a number with one image.
        seeds: Number of seeds (n).
        replicates: Of the bootstrap (R).
    """

    mean: Floats
    sd: Floats
    images: Floats
    seeds: int
    replicates: int

    @property
    def training(self) -> Floats:
        """[C] variance of the mean that comes from training (A)."""
        return self.sd**2 / self.seeds

    @property
    def variance(self) -> Floats:
        """[C] variance of the mean (V)."""
        return self.training + self.images

    @property
    def share(self) -> Floats:
        """[C] the training's share of the variance (w); 1 where there is no variance."""
        variance = self.variance
        return np.divide(self.training, variance, out=np.ones_like(variance), where=variance != 0)

    @property
    def df(self) -> Floats:
        """[C] Satterthwaite's degrees of freedom; those of the seeds where there is no variance."""
        tail = self.share**2 / (self.seeds - 1) + (1 - self.share) ** 2 / (self.replicates - 1)
        return np.asarray(1 / tail)

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return the interval's lower and upper ends [C]; needs two seeds."""
        margin = critical_value((1 - level) / 2, self.share, self.seeds) * np.sqrt(self.variance)
        return self.mean - margin, self.mean + margin


def estimate(values: NDArray[Any], draws: NDArray[Any], *, test_images: int | None = None) -> Estimate:
    """Return means over seeds and their variances.

    Args:
        values: [n, C] a number of C kinds for each of n seeds.
        draws: [n, R, C] the same in the replicates of a bootstrap over images; what is not a number is left out.
        test_images: Number of images; a bootstrap over one always draws the same.
    """
    seeds, replicates = draws.shape[:2]
    sample = np.asarray(draws, np.float64)
    known = np.isfinite(sample).all(axis=0)  # [R, C]
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if not known.all():
            sample = np.where(known, sample, 0.0)
        centred = (sample - sample.sum(axis=1, keepdims=True) / count) * known
        own = (centred**2).sum(axis=1).mean(axis=0) / (count - 1)
        images = (centred.mean(axis=0) ** 2).sum(axis=0) / (count - 1)
        if seeds > 1:  # the variance of the mean is (own + (n - 1) shared) / n
            images = np.maximum((seeds * images - own) / (seeds - 1), 0.0)
    if test_images == 1:
        images = np.full_like(images, np.nan)
    sd = np.std(values, axis=0, ddof=1) if seeds > 1 else np.full(values.shape[1], np.nan)
    return Estimate(np.mean(values, axis=0), np.asarray(sd), images, seeds, replicates)


def critical_value(tail: float, share: Any, seeds: int) -> Any:
    """Return how many standard errors leave a probability on one side (c; see the top of the file).

    Args:
        tail: The probability, such as 0.025.
        share: The training's share of the variance; a number or an array.
        seeds: Number of seeds, 2 or more.
    """
    normal, student = special.ndtri(tail), special.stdtrit(seeds - 1, tail)
    return np.sqrt(normal**2 + (student**2 - normal**2) * share**2.5 * (3 - 2 * share))


def paired_difference(
    base: Mapping[int, float],
    other: Mapping[int, float],
    base_draws: Mapping[int, NDArray[Any]],
    other_draws: Mapping[int, NDArray[Any]],
) -> Difference | None:
    """Return the difference of two arms over their common seeds; None when they have none.

    Args:
        base: A metric of the baseline by seed.
        other: The same of the other arm.
        base_draws: [R] the metric in the replicates of a bootstrap over images, by seed.
        other_draws: The same of the other arm, under the same weights.
    """
    common = [seed for seed in base if seed in other and math.isfinite(other[seed] - base[seed])]
    if not common:
        return None
    values = np.array([[other[seed] - base[seed]] for seed in common])
    draws = np.stack([np.asarray(other_draws[seed], np.float64) - base_draws[seed] for seed in common])
    return difference(estimate(values, draws[:, :, None]))


def difference(found: Estimate, column: int = 0) -> Difference:
    """Return one column of an estimate of differences, with its test."""
    mean, images = float(found.mean[column]), float(found.images[column])
    if found.seeds == 1:
        return Difference(mean, None, None, None, None, _root(images), None, 1)
    if not math.isfinite(images):
        return Difference(mean, None, None, None, float(found.sd[column]), None, None, found.seeds)
    low, high = (float(end[column]) for end in found.interval())
    p = _p_value(abs(mean), math.sqrt(found.variance[column]), float(found.share[column]), found.seeds)
    p_better = 0.5 if mean == 0 else 1 - p / 2 if mean > 0 else p / 2
    spread = float(found.sd[column]), math.sqrt(images), float(found.df[column])
    return Difference(mean, (low, high), p, p_better, *spread, found.seeds)


def _root(variance: float) -> float | None:
    return math.sqrt(variance) if math.isfinite(variance) else None


def _p_value(distance: float, error: float, share: float, seeds: int) -> float:
    """Return the level at which the interval ends at zero, at least 1e-12."""
    if distance == 0 or error == 0:
        return 1.0 if distance == 0 else _LEAST_P

    def excess(logarithm: float) -> float:
        return float(critical_value(math.exp(logarithm) / 2, share, seeds)) - distance / error

    if excess(math.log(_LEAST_P)) <= 0:
        return _LEAST_P
    return math.exp(optimize.brentq(excess, math.log(_LEAST_P), 0.0))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number (Holm 1979); None stays None and does not count.

    One that is below alpha may be called so with a chance of at most alpha that any of the calls is wrong.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        corrected[index] = highest
    return corrected


def verdict(found: Difference | None, p: float | None, alpha: float = 0.05) -> str | None:
    """Return "better", "worse" or "not shown"; None below three seeds.

    Args:
        found: The difference to the baseline.
        p: Its p-value, corrected where there are several variants.
        alpha: The chance of a wrong "better" or "worse" that is taken.
    """
    if found is None or p is None or found.seeds < MIN_SEEDS:
        return None
    if p >= alpha or found.mean == 0:
        return "not shown"
    return "better" if found.mean > 0 else "worse"


def pooled_noise(noises: Iterable[tuple[float, float]]) -> tuple[float, float] | None:
    """Return sd_training and se_images that stand for those of several differences: the roots of their mean squares.

    A difference without any noise is one of a model to itself, and tells nothing of others; None if there is no other.

    Args:
        noises: sd_training and se_images of each difference.
    """
    known = [noise for noise in noises if any(noise)]
    if not known:
        return None
    training, images = (math.sqrt(np.mean(np.square(part))) for part in zip(*known, strict=True))
    return training, images


def minimum_detectable(
    seeds: int, sd_training: float, se_images: float, *, variants: int = 1, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the smallest true difference that a study finds with the given power.

    With several variants it is that of one among others that change nothing: Holm's correction then asks for a p-value
    below alpha divided by their number.

    Args:
        seeds: Number of common seeds, 2 or more.
        sd_training: Standard deviation of one run's difference to the baseline's with the same seed.
        se_images: Standard error that comes from the test images.
        variants: Number of variants that are tested together.
        alpha: Two-sided level of the tests, all taken together.
        power: How often a difference of that size is found.
    """
    if seeds <= 1:
        raise ValueError(f"seeds={seeds}: one seed says nothing about training; at least 2")
    variance = sd_training**2 / seeds + se_images**2
    if variance == 0:
        return 0.0
    # The variance over seeds is itself uncertain: the power is a mean over what it may come out as.
    quantile = (np.arange(_NODES) + 0.5) / _NODES
    training = sd_training**2 / seeds * special.chdtri(seeds - 1, 1 - quantile) / (seeds - 1)
    total = training + se_images**2
    margin = critical_value(alpha / variants / 2, training / total, seeds) * np.sqrt(total)

    def lacking(size: float) -> float:
        found = special.ndtr((size - margin) / scale) + special.ndtr((-size - margin) / scale)
        return float(found.mean()) - power

    scale = math.sqrt(variance)
    largest = float(margin.max()) + 10 * scale
    return float(optimize.brentq(lacking, 0.0, largest))
