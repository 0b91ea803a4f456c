"""The noise budget of a study: where the noise of its differences comes from, and what would reduce it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from yolo_attn.stats.compare import MIN_SEEDS
from yolo_attn.stats.power import Noise, sd_of_base
from yolo_attn.study.results.judging import Rules
from yolo_attn.study.results.records import NoiseSummary, StudyResults
from yolo_attn.study.results.size import Size

__all__ = ["Budget", "noise_budget"]


@dataclass(frozen=True)
class Budget:
    """The noise of a difference to the baseline in the main metric, pooled over the variants.

    Args:
        error: Standard error of a difference.
        training: Share of training in its square.
        images: Share of the test images.
        bases: Share of the bases; None with one, or if it is part of that of training.
        sizes: The study as it is, then with more seeds, bases or test images.
        joint: Whether the share of training is that of bases too, because each has a single seed.
    """

    error: float
    training: float
    images: float
    bases: float | None
    sizes: Sequence[Size]
    joint: bool = False

    @property
    def shares(self) -> dict[str, float]:
        """The shares by their source."""
        training = "training and bases" if self.joint else "training"
        found = {training: self.training, "bases": self.bases, "test images": self.images}
        return {name: share for name, share in found.items() if share is not None}

    def added_seconds(self, size: Size) -> float | None:
        """Return the training time that a size needs in addition to the study as it is, None if unknown."""
        now = self.sizes[0].seconds
        return None if size.seconds is None or now is None else size.seconds - now


def noise_budget(study: StudyResults) -> Budget | None:
    """Return the noise budget of a study, None while its noise is unknown."""
    noise = study.noise
    known = [arm.difference().seeds or 0 for arm in study.variants]
    seeds = min((number for number in known if number >= MIN_SEEDS), default=0)
    if noise is None or not seeds:
        return None
    bases = max(1, *map(study.units, study.variants)) if study.has_several_bases else 1
    variances = (noise.training**2 / seeds, noise.images**2, (noise.bases or 0.0) ** 2 / bases)
    total = math.fsum(variances)
    if total == 0:
        return None
    training, images, between = (variance / total for variance in variances)
    return Budget(
        error=math.sqrt(total),
        training=training,
        images=images,
        bases=between if noise.bases is not None else None,
        sizes=[_size(study, noise, *of) for of in _sizes(study.info.max_seeds or seeds, bases, noise.bases)],
        joint=bases > 1 and noise.bases is None,
    )


def _sizes(seeds: int, bases: int, noise_of_bases: float | None) -> Iterator[tuple[int, int, int]]:
    """Yield the seeds, bases and factor of test images of the study as it is, then of larger ones."""
    each = max(seeds // bases, 1)
    yield seeds, bases, 1
    if bases == 1:
        yield seeds + 1, 1, 1
        yield 2 * seeds, 1, 1
    else:
        yield each * (bases + 1), bases + 1, 1
        if noise_of_bases is not None:
            yield 2 * each * bases, bases, 1
        yield each * 2 * bases, 2 * bases, 1
    yield seeds, bases, 2


def _size(study: StudyResults, noise: NoiseSummary, seeds: int, bases: int, images: int) -> Size:
    """Return what a study with some seeds, bases and images would take and detect."""
    units, training, several = seeds, noise.training, bases > 1
    if several:
        units, training = bases, sd_of_base(training, noise.bases or 0.0, max(seeds // bases, 1))
    image_df = images * (noise.image_df or math.inf)
    expected = Noise(training, noise.images / math.sqrt(images), noise.df or math.inf, image_df)
    rules, variants = Rules.of(study.info), len(study.variants)
    rules = replace(rules, max_seeds=rules.max_seeds and seeds)
    return Size(
        seeds=seeds,
        bases=bases if several else None,
        runs=seeds * len(study.trained_arms) + (bases if several else len(study.common_bases)),
        seconds=_seconds(study, seeds, bases),
        detectable=rules.detectable(expected, units, variants),
        equivalent=rules.chance_of_equivalent(expected, units, variants),
        images=images,
    )


def _seconds(study: StudyResults, seeds: int, bases: int) -> float | None:
    """Return the training time of some seeds of all arms, and of the bases if they are several; None if unknown."""
    times = [arm.seconds for arm in study.trained_arms if arm.done]
    trained = [base.seconds for base in study.common_bases if base.status == "done"] if bases > 1 else []
    known = [seconds for seconds in (*times, *trained) if seconds is not None]
    if len(known) < len(times) + len(trained):
        return None
    return seeds * math.fsum(known[: len(times)]) + (bases * fmean(known[len(times) :]) if trained else 0.0)
