"""The difference of two arms over seeds, with an interval that accounts for training and test-set noise.

A difference varies with training (another seed, another result) and with the test set (other images, another result).
Seeds are paired, and all seeds are evaluated on the same images. With d_s the difference at seed s, n seeds, D their
mean, and N images:

    A = var(d_s) / n               variance of D due to training and its interaction with the images
    B = mean of cov(b_s, b_t)      variance of D due to the images, common to all seeds; b_s are the differences at seed
        over pairs of seeds        s in the replicates of a bootstrap over images, with the same images for every seed
                                   and arm, times N / (N - 1), by which a bootstrap's variance is too small

B is not the variance of the mean of b_s, which includes the interaction of training and images that A already covers.
If runs find objects independently of each other, the interaction is all there is.

Both components are estimates, A with n - 1 degrees of freedom and B with N - 1. D minus its true value is referred to
the Behrens-Fisher distribution of sqrt(A) t(n - 1) + sqrt(B) t(N - 1) (`behrens_fisher.py`). Its quantiles give the
intervals, and its tails the p-values and the probability that the true difference is positive, so that all of them
agree.

With several bases (checkpoints that the seeds start from in turn) the units of training are the bases: A is the
variance of the mean over bases, with one degree of freedom less than there are bases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo_attn.stats.behrens_fisher import tail_probability, upper_quantile

__all__ = [
    "MIN_IMAGES",
    "MIN_SEEDS",
    "MeanEstimate",
    "PairedDifference",
    "Support",
    "difference",
    "estimate",
    "round_df",
]

MIN_SEEDS = 3  # for a verdict
MIN_IMAGES = 20  # for a verdict: below, the variance over images is too uncertain
_LEAST_P = 1e-12
_ROUNDING = 1e-9  # relative error of variances that should be equal
_DFS = np.array([1, 2, 3, 4, 5, 7, 10, 14, 20, 30, 50, 100, 200, 500, 1000, 1e6])

Floats = NDArray[np.float64]


def round_df(df: ArrayLike) -> Floats:
    """Return degrees of freedom, rounded down to one of a few values; at least 1."""
    return np.asarray(_DFS[np.maximum(np.searchsorted(_DFS, df, side="right") - 1, 0)])


@dataclass(frozen=True)
class Support:
    """The images, or groups of images, that C numbers rest on.

    Args:
        factor: [C] correction of the bootstrap's variance, N / (N - 1) for N images; NaN if the noise is unknown.
        df: [C] degrees of freedom of that variance, N - 1 for N images, rounded down to one of a few values: each
            different one needs a table of quantiles.
    """

    factor: Floats
    df: Floats

    @property
    def first(self) -> Support:
        """The support of the first number alone."""
        return Support(self.factor[:1], self.df[:1])

    @classmethod
    def of_images(cls, images: ArrayLike) -> Support:
        """Return the support of numbers that rest on N images each; with a single one the noise is unknown.

        Args:
            images: [C] or a number.
        """
        count = np.asarray(images, np.float64)
        with np.errstate(divide="ignore"):
            factor = np.where(count > 1, count / (count - 1), np.nan)
        return cls(factor, round_df(count - 1))

    @classmethod
    def of_means(cls, images: Sequence[ArrayLike], total: int) -> Support:
        """Return the support of numbers that are means over parts, such as classes.

        A part that n_k images belong to contributes to the bootstrap's variance in proportion to
        w_k = (n_k - 1) / n_k², and with n_k - 1 degrees of freedom. The sum has Satterthwaite's degrees of freedom,
        (sum of w_k)² / sum of w_k² / (n_k - 1), but not more than N - 1, because parts share images. It needs no other
        correction than N / (N - 1): a replicate has now more and now fewer images of a part, or none, which compensates
        for (n_k - 1) / n_k from three images on, and mostly with two (`tests/stats/test_groups.py`).

        A part with a single image is the same in all replicates, except that it is missing in q = 1 / e of them. That
        moves the mean over the other parts with q (1 - q) / P² of the part's variance, where P is the mean share of the
        parts that a replicate has. This is its w_k, with one degree of freedom, and the variance is divided by the
        share of it that the bootstrap shows if all images are equally noisy. A number whose parts rest on a single
        image each has no known noise.

        Args:
            images: For each of C numbers, the numbers of images that belong to its parts (n_k); parts without images
                are not in the mean.
            total: Number of images (N).
        """
        parts = [_support_of_mean(np.asarray(counts, np.float64)) for counts in images]
        factor, df = np.array(parts, np.float64).reshape(-1, 2).T
        whole = cls.of_images(np.full(len(df), total))
        return cls(factor * whole.factor, np.fmin(round_df(df), whole.df))

    @classmethod
    def unlimited(cls, columns: int) -> Support:
        """Return the support of C numbers that rest on so many images that their number does not matter."""
        return cls(np.ones(columns), np.full(columns, _DFS[-1]))


def _support_of_mean(images: Floats) -> tuple[float, float]:
    """Return the factor and the degrees of freedom of a mean over parts with so many images each.

    The factor is NaN if no part has several images.
    """
    images = images[images > 0]
    if not (images > 1).any():
        return math.nan, 1.0
    present = 1 - np.exp(-images).mean()
    single = math.exp(-1) * (1 - math.exp(-1)) / present**2
    noise = np.where(images > 1, (images - 1) / images**2, single)
    df = noise.sum() ** 2 / (noise**2 / np.maximum(images - 1, 1)).sum()
    shown = np.where(images > 1, 1 / images, single)
    return float((1 / images).sum() / shown.sum()), float(df)


@dataclass(frozen=True)
class MeanEstimate:
    """Means over seeds of C numbers, and the two components of their variance.

    Args:
        mean: [C] mean over seeds; with several bases, over the means of each base.
        sd: [C] standard deviation over seeds that start from the same base; NaN with one seed of each.
        training: [C] variance of the mean due to training (A); NaN with one seed or base.
        training_df: Its degrees of freedom.
        images: [C] variance of the mean due to the test images (B); NaN with one image.
        image_df: [C] degrees of freedom of `images`.
        seeds: Number of seeds.
        sd_bases: [C] standard deviation over bases, without that over seeds; NaN with one base.
    """

    mean: Floats
    sd: Floats
    training: Floats
    training_df: int
    images: Floats
    image_df: Floats
    seeds: int
    sd_bases: Floats

    @property
    def variance(self) -> Floats:
        """[C] variance of the mean (V)."""
        return self.training + self.images

    @property
    def share(self) -> Floats:
        """[C] share of training in the variance (w); 1 without variance."""
        variance = self.variance
        return np.divide(self.training, variance, out=np.ones_like(variance), where=variance != 0)

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return the interval's lower and upper ends [C]; requires two seeds."""
        margin = _upper_quantiles((1 - level) / 2, self.share, self.training_df, self.image_df)
        margin = margin * np.sqrt(self.variance)
        return self.mean - margin, self.mean + margin


def _upper_quantiles(tail: float, share: Floats, training_df: float, image_df: Floats) -> Floats:
    """Return `upper_quantile` with the degrees of freedom of each column."""
    result = np.full(share.shape, np.nan)
    for df in np.unique(image_df):
        here = (image_df == df) & np.isfinite(share)
        result[here] = upper_quantile(tail, share[here], training_df, df)
    return result


def estimate(
    values: NDArray[Any], replicates: NDArray[Any], support: Support | None = None, bases: Sequence[int] | None = None
) -> MeanEstimate:
    """Return means over seeds and their variances.

    Args:
        values: [n, C] C numbers for each of n seeds.
        replicates: [n, R, C] the same in the replicates of a bootstrap over images; NaN is skipped.
        support: The images that the numbers rest on; None if they are so many that their number does not matter.
        bases: The base that each seed starts from; None if it is the same for all.
    """
    seeds, columns = values.shape
    support = support or Support.unlimited(columns)
    groups = [np.flatnonzero(np.asarray(bases) == base) for base in dict.fromkeys(bases or [])]
    groups = groups or [np.arange(seeds)]
    sd, sd_bases, training, df = _training_noise(np.asarray(values, np.float64), groups)
    images, differing = _image_noise(np.asarray(replicates, np.float64))
    equal_by_chance = training == 0  # counts of few images are often equal although the images differ
    return MeanEstimate(
        mean=np.mean([values[group].mean(axis=0) for group in groups], axis=0),
        sd=sd,
        training=np.where(equal_by_chance, differing * support.factor / seeds, training),
        training_df=df,
        images=images * support.factor,
        image_df=np.broadcast_to(support.df, (columns,)),
        seeds=seeds,
        sd_bases=sd_bases,
    )


def _training_noise(values: Floats, groups: Sequence[NDArray[np.intp]]) -> tuple[Floats, Floats, Floats, int]:
    """Return the deviation over seeds, that over bases, the variance of the mean and its degrees of freedom."""
    unknown = np.full(values.shape[1], np.nan)
    within = sum(len(group) - 1 for group in groups)
    squares = sum(((values[group] - values[group].mean(axis=0)) ** 2).sum(axis=0) for group in groups)
    sd = np.sqrt(squares / within) if within else unknown
    if len(groups) == 1:
        return sd, unknown, sd**2 / len(values), within
    between = np.var([values[group].mean(axis=0) for group in groups], axis=0, ddof=1)
    per_base = np.mean([1 / len(group) for group in groups])
    sd_bases = np.sqrt(np.maximum(between - (sd**2 if within else 0.0) * per_base, 0.0))
    return sd, sd_bases, between / len(groups), len(groups) - 1


def _image_noise(replicates: Floats) -> tuple[Floats, Floats]:
    """Return the mean covariance [C] of the replicates [n, R, C] over pairs of seeds, and the variance beyond it."""
    seeds = len(replicates)
    known = np.isfinite(replicates).all(axis=0)  # [R, C]
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if not known.all():
            replicates = np.where(known, replicates, 0.0)
        centered = (replicates - replicates.sum(axis=1, keepdims=True) / count) * known
        own = (centered**2).sum(axis=1).mean(axis=0) / (count - 1)
        images = (centered.mean(axis=0) ** 2).sum(axis=0) / (count - 1)
        if seeds > 1:  # the variance of the mean is (own + (n - 1) shared) / n
            images = np.maximum((seeds * images - own) / (seeds - 1), 0.0)
        beyond = np.where(own - images > _ROUNDING * own, own - images, 0.0)
    return np.asarray(images), beyond


@dataclass(frozen=True)
class PairedDifference:
    """Difference of an arm to a reference over common seeds.

    Args:
        mean: Mean difference over the common seeds.
        ci95: Its 95 % interval; None with one seed or one test image. With two seeds it is wide and unreliable.
        p: Two-sided p-value; None without an interval.
        p_better: Probability that the true difference is above zero, under a prior that is flat for the difference and
            for the logarithms of both standard deviations; None without an interval.
        sd_training: Standard deviation over seeds of one run's difference; None with one seed.
        sd_bases: Standard deviation over the bases that seeds start from; None with one base.
        se_images: Standard error due to the test images, which more seeds do not reduce; None with one image.
        seeds: Number of common seeds.
        error: Standard error of the mean difference; None without an interval.
        share: Share of training in its square.
        training_df: Degrees of freedom of the noise of training.
        image_df: Degrees of freedom of the noise of the test images.
    """

    mean: float
    ci95: tuple[float, float] | None
    p: float | None
    p_better: float | None
    sd_training: float | None
    sd_bases: float | None
    se_images: float | None
    seeds: int
    error: float | None = None
    share: float = 1.0
    training_df: int = 0
    image_df: float = math.inf

    @property
    def units(self) -> int:
        """The number of seeds or, if they start from several bases, of bases."""
        return self.training_df + 1

    def interval(self, level: float, look_factor: float = 1.0) -> tuple[float, float] | None:
        """Return the interval of a level, such as 0.95; None if it is unknown.

        Args:
            level: The level.
            look_factor: Factor of the standard error due to training that accounts for several looks
                (`sequential.look_factor`).
        """
        if self.error is None:
            return None
        variance = self.share * look_factor**2 + 1 - self.share
        share = self.share * look_factor**2 / variance
        quantile = float(upper_quantile((1 - level) / 2, share, self.training_df, self.image_df))
        margin = quantile * math.sqrt(variance) * self.error
        return self.mean - margin, self.mean + margin


def difference(found: MeanEstimate, column: int = 0) -> PairedDifference:
    """Return one column of an estimate of differences, with its test."""
    mean, variance = float(found.mean[column]), float(found.variance[column])
    sd_training, sd_bases = _known(found.sd[column]), _known(found.sd_bases[column])
    se_images = _known(np.sqrt(found.images[column]))
    if not math.isfinite(variance):
        return PairedDifference(mean, None, None, None, sd_training, sd_bases, se_images, found.seeds)
    low, high = (float(end[column]) for end in found.interval())
    share, image_df = float(found.share[column]), float(found.image_df[column])
    p = _p_value(mean, variance, share, found.training_df, image_df)
    return PairedDifference(
        mean=mean,
        ci95=(low, high),
        p=p,
        p_better=0.5 if mean == 0 else 1 - p / 2 if mean > 0 else p / 2,
        sd_training=sd_training,
        sd_bases=sd_bases,
        se_images=se_images,
        seeds=found.seeds,
        error=math.sqrt(variance),
        share=share,
        training_df=found.training_df,
        image_df=image_df,
    )


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _p_value(mean: float, variance: float, share: float, training_df: int, image_df: float) -> float:
    """Return the two-sided p-value, at least 1e-12."""
    if mean == 0 or variance == 0:
        return 1.0 if mean == 0 else _LEAST_P
    tail = float(tail_probability(abs(mean) / math.sqrt(variance), share, training_df, image_df))
    return min(1.0, max(2 * tail, _LEAST_P))
