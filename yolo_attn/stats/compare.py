"""The difference of two arms over seeds, with an interval that accounts for training and test-set noise.

A difference varies with training (another seed, another result) and with the test set (other images, another result).
Seeds are paired, and all seeds are evaluated on the same images. With d_s the difference at seed s, n seeds and D their
mean:

    A = var(d_s) / n               variance of D due to training and its interaction with the images
    B = mean of cov(b_s, b_t)      variance of D due to the images, common to all seeds; b_s are the differences at seed
        over pairs of seeds        s in the replicates of a bootstrap over images, with the same images for every seed
                                   and arm
    V = A + B                      variance of D
    w = A / V                      share of the variance that is estimated from n seeds only

B is not the variance of the mean of b_s, which includes the interaction of training and images that A already covers.
If runs find objects independently of each other, the interaction is all there is. Counting it twice would make false
positives eight times rarer than the nominal level and reduce the power.

The interval is D ± c sqrt(V), with c² = z² + (t² - z²) w^2.5 (3 - 2w), where z is a quantile of the normal distribution
and t that of Student's t with n - 1 degrees of freedom. The usual choice, Student's t with Satterthwaite's degrees of
freedom df = V² / (A² / (n - 1) + B² / (R - 1)) for R replicates, is anti-conservative with few seeds: when A is small
by chance, so are w and c. The power of w was chosen to bring the false positive rate closest to the nominal level over
all ratios of the two noises (integrated over A numerically; tests/stats/test_compare.py repeats it):

    nominal     3 seeds                       5 seeds                       10 seeds
    5 %         4.2 to 5.0 (df: 5.0 to 7.9)   4.5 to 5.0 (df: 5.0 to 5.9)   4.6 to 5.0 (df: 5.0 to 5.2)
    1.67 %      1.3 to 2.1 (df: 1.7 to 4.4)   1.5 to 1.7 (df: 1.7 to 2.5)   1.5 to 1.7 (df: 1.7 to 1.9)

1.67 % is the level that Holm's correction requires of the best of three variants. A p-value is the level at which the
interval ends at zero, so p-value and interval always agree. df is reported for information.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = [
    "MIN_SEEDS",
    "VERDICTS",
    "MeanEstimate",
    "PairedDifference",
    "Verdict",
    "critical_value",
    "estimate",
    "holm",
    "minimum_detectable",
    "paired_difference",
    "pooled_noise",
    "verdict",
]

MIN_SEEDS = 3  # for a verdict
Verdict = Literal["better", "worse", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = ("better", "worse", "inconclusive")
_LEAST_P = 1e-12
_NODES = 400

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedDifference:
    """Difference of an arm to the baseline over common seeds.

    Args:
        mean: Mean difference over the common seeds.
        ci95: Its 95 % interval; None with one seed or one test image. With two seeds it is wide and unreliable.
        p: Two-sided p-value; None without an interval.
        p_better: Confidence that the true difference is above zero; None without an interval.
        sd_training: Standard deviation over seeds of one run's difference; None with one seed.
        se_images: Standard error due to the test images, which more seeds do not reduce; None with one image.
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
class MeanEstimate:
    """Means over seeds of C numbers, and the two components of their variance.

    Args:
        mean: [C] mean over seeds.
        sd: [C] standard deviation over seeds; NaN with one seed.
        images: [C] variance of the mean due to the test images (B); NaN with one image.
        seeds: Number of seeds (n).
        replicates: Number of bootstrap replicates (R).
    """

    mean: Floats
    sd: Floats
    images: Floats
    seeds: int
    replicates: int

    @property
    def training(self) -> Floats:
        """[C] variance of the mean due to training (A)."""
        return self.sd**2 / self.seeds

    @property
    def variance(self) -> Floats:
        """[C] variance of the mean (V)."""
        return self.training + self.images

    @property
    def share(self) -> Floats:
        """[C] share of training in the variance (w); 1 without variance."""
        variance = self.variance
        return np.divide(self.training, variance, out=np.ones_like(variance), where=variance != 0)

    @property
    def df(self) -> Floats:
        """[C] Satterthwaite's degrees of freedom; n - 1 without variance."""
        tail = self.share**2 / (self.seeds - 1) + (1 - self.share) ** 2 / (self.replicates - 1)
        return np.asarray(1 / tail)

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return the interval's lower and upper ends [C]; requires two seeds."""
        margin = critical_value((1 - level) / 2, self.share, self.seeds) * np.sqrt(self.variance)
        return self.mean - margin, self.mean + margin


def estimate(values: NDArray[Any], replicates: NDArray[Any], *, test_images: int | None = None) -> MeanEstimate:
    """Return means over seeds and their variances.

    Args:
        values: [n, C] C numbers for each of n seeds.
        replicates: [n, R, C] the same in the replicates of a bootstrap over images; NaN is skipped.
        test_images: Number of images; with one, all replicates are equal.
    """
    seeds, count_replicates = replicates.shape[:2]
    sample = np.asarray(replicates, np.float64)
    known = np.isfinite(sample).all(axis=0)  # [R, C]
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if not known.all():
            sample = np.where(known, sample, 0.0)
        centered = (sample - sample.sum(axis=1, keepdims=True) / count) * known
        own = (centered**2).sum(axis=1).mean(axis=0) / (count - 1)
        images = (centered.mean(axis=0) ** 2).sum(axis=0) / (count - 1)
        if seeds > 1:  # the variance of the mean is (own + (n - 1) shared) / n
            images = np.maximum((seeds * images - own) / (seeds - 1), 0.0)
    if test_images == 1:
        images = np.full_like(images, np.nan)
    sd = np.std(values, axis=0, ddof=1) if seeds > 1 else np.full(values.shape[1], np.nan)
    return MeanEstimate(np.mean(values, axis=0), np.asarray(sd), images, seeds, count_replicates)


def critical_value(tail: float, share: Any, seeds: int) -> Any:
    """Return the number of standard errors that leave a probability on one side (c in the module docstring).

    Args:
        tail: The probability, such as 0.025.
        share: Share of training in the variance; a number or an array.
        seeds: Number of seeds, at least 2.
    """
    normal, student = special.ndtri(tail), special.stdtrit(seeds - 1, tail)
    return np.sqrt(normal**2 + (student**2 - normal**2) * share**2.5 * (3 - 2 * share))


def paired_difference(
    base: Mapping[int, float],
    other: Mapping[int, float],
    base_replicates: Mapping[int, NDArray[Any]],
    other_replicates: Mapping[int, NDArray[Any]],
) -> PairedDifference | None:
    """Return the difference of two arms over their common seeds; None without common seeds.

    Args:
        base: A metric of the baseline by seed.
        other: The same metric of the other arm.
        base_replicates: [R] the metric in the replicates of a bootstrap over images, by seed.
        other_replicates: The same for the other arm, with the same weights.
    """
    common = [seed for seed in base if seed in other and math.isfinite(other[seed] - base[seed])]
    if not common:
        return None
    values = np.array([[other[seed] - base[seed]] for seed in common])
    sample = np.stack([np.asarray(other_replicates[seed], np.float64) - base_replicates[seed] for seed in common])
    return difference(estimate(values, sample[:, :, None]))


def difference(found: MeanEstimate, column: int = 0) -> PairedDifference:
    """Return one column of an estimate of differences, with its test."""
    mean, images = float(found.mean[column]), float(found.images[column])
    if found.seeds == 1:
        return PairedDifference(mean, None, None, None, None, _root(images), None, 1)
    if not math.isfinite(images):
        return PairedDifference(mean, None, None, None, float(found.sd[column]), None, None, found.seeds)
    low, high = (float(end[column]) for end in found.interval())
    p = _p_value(abs(mean), math.sqrt(found.variance[column]), float(found.share[column]), found.seeds)
    p_better = 0.5 if mean == 0 else 1 - p / 2 if mean > 0 else p / 2
    spread = float(found.sd[column]), math.sqrt(images), float(found.df[column])
    return PairedDifference(mean, (low, high), p, p_better, *spread, found.seeds)


def _root(variance: float) -> float | None:
    return math.sqrt(variance) if math.isfinite(variance) else None


def _p_value(distance: float, error: float, share: float, seeds: int) -> float:
    """Return the level at which the interval ends at zero, at least 1e-12."""
    from scipy import optimize  # not needed in the processes of runs, which import this module

    if distance == 0 or error == 0:
        return 1.0 if distance == 0 else _LEAST_P

    def excess(logarithm: float) -> float:
        return float(critical_value(math.exp(logarithm) / 2, share, seeds)) - distance / error

    if excess(math.log(_LEAST_P)) <= 0:
        return _LEAST_P
    return math.exp(optimize.brentq(excess, math.log(_LEAST_P), 0.0))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number (Holm 1979); None stays None and is not counted.

    Rejecting all that are below alpha makes any false rejection with a probability of at most alpha.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        corrected[index] = highest
    return corrected


def verdict(found: PairedDifference | None, p: float | None, alpha: float = 0.05) -> Verdict | None:
    """Return "better", "worse" or "inconclusive"; None without a test or below `MIN_SEEDS` seeds.

    Args:
        found: The difference to the baseline.
        p: Its p-value, corrected if there are several variants.
        alpha: Probability of a wrong "better" or "worse".
    """
    if found is None or p is None or found.seeds < MIN_SEEDS:
        return None
    if p >= alpha or found.mean == 0:
        return "inconclusive"
    return "better" if found.mean > 0 else "worse"


def pooled_noise(noises: Iterable[tuple[float, float]]) -> tuple[float, float] | None:
    """Return the root mean squares of sd_training and se_images of several differences.

    A difference without any noise compares a model with itself and is skipped. The result is None if no other is left.

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

    With several variants it is the difference of one variant when the others have no effect: Holm's correction then
    requires a p-value below alpha divided by their number.

    Args:
        seeds: Number of common seeds, at least 2.
        sd_training: Standard deviation over seeds of one run's difference.
        se_images: Standard error due to the test images.
        variants: Number of variants that are tested together.
        alpha: Two-sided level of all tests together.
        power: Probability of finding a difference of that size.

    Raises:
        ValueError: There are fewer than 2 seeds.
    """
    from scipy import optimize

    if seeds <= 1:
        raise ValueError(f"seeds={seeds}: training noise requires at least 2 seeds")
    variance = sd_training**2 / seeds + se_images**2
    if variance == 0:
        return 0.0
    # The variance over seeds is itself uncertain: the power is averaged over its distribution.
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
