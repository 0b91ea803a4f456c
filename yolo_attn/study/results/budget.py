"""The noise budget of a study: where the noise of its differences comes from, and what would reduce it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from yolo_attn.stats.compare import MIN_SEEDS
from yolo_attn.stats.power import Noise, minimum_detectable_range, sd_of_base
from yolo_attn.stats.verdicts import simultaneous_alpha
from yolo_attn.study.results.judging import Rules
from yolo_attn.study.results.records import NoiseSummary, StudyResults

__all__ = ["Budget", "Scenario", "noise_budget"]


@dataclass(frozen=True)
class Scenario:
    """The study as it is, or with more seeds, bases or test images.

    Args:
        seeds: Seeds of each arm; the largest number if undecided arms get more.
        bases: Bases that they start from in turn.
        images: Factor for the number of test images.
        detectable: 90 % interval of the smallest true difference found with 80 % power.
        seconds: Training time that it adds; None if it is unknown.
    """

    seeds: int
    bases: int = 1
    images: int = 1
    detectable: tuple[float, float] = (0.0, 0.0)
    seconds: float | None = 0.0


@dataclass(frozen=True)
class Budget:
    """The noise of a difference to the baseline in the main metric, pooled over the variants.

    Args:
        error: Standard error of a difference.
        training: Share of training in its square.
        images: Share of the test images.
        bases: Share of the bases; None with one.
        scenarios: The study as it is, then others.
    """

    error: float
    training: float
    images: float
    bases: float | None
    scenarios: Sequence[Scenario]


def noise_budget(study: StudyResults) -> Budget | None:
    """Return the noise budget of a study, None while its noise is unknown."""
    noise = study.noise
    seeds = max((arm.difference().seeds or 0 for arm in study.variants), default=0)
    if noise is None or seeds < MIN_SEEDS:
        return None
    bases = max(1, *map(study.units, study.variants)) if study.has_several_bases else 1
    variances = (noise.training**2 / seeds, noise.images**2, (noise.bases or 0.0) ** 2 / bases)
    total = math.fsum(variances)
    if total == 0:
        return None
    training, images, between = (variance / total for variance in variances)
    planned = study.info.max_seeds or seeds
    return Budget(
        error=math.sqrt(total),
        training=training,
        images=images,
        bases=between if bases > 1 else None,
        scenarios=[_filled(study, noise, planned, scenario) for scenario in _scenarios(planned, bases)],
    )


def _scenarios(seeds: int, bases: int) -> Iterator[Scenario]:
    each = max(seeds // bases, 1)
    yield Scenario(seeds, bases)
    if bases == 1:
        yield Scenario(seeds + 1)
        yield Scenario(2 * seeds)
    else:
        yield Scenario(each * (bases + 1), bases + 1)
        yield Scenario(2 * each * bases, bases)
        yield Scenario(each * 2 * bases, 2 * bases)
    yield Scenario(seeds, bases, images=2)


def _filled(study: StudyResults, noise: NoiseSummary, planned: int, scenario: Scenario) -> Scenario:
    """Return a scenario with what it detects and costs."""
    info, seeds, bases = study.info, scenario.seeds, scenario.bases
    alpha = simultaneous_alpha(len(study.variants))
    widening = Rules(info.margin, info.no_worse, info.max_seeds and seeds).look_factor(alpha, seeds)
    units, training = seeds, noise.training
    if bases > 1:
        units, training = bases, sd_of_base(training, noise.bases or 0.0, max(seeds // bases, 1))
    expected = Noise(training, noise.images / math.sqrt(scenario.images), noise.df or math.inf)
    return replace(
        scenario,
        detectable=minimum_detectable_range(units, expected, alpha=alpha, look_factor=widening),
        seconds=_added_seconds(study, seeds - planned, bases),
    )


def _added_seconds(study: StudyResults, seeds: int, bases: int) -> float | None:
    """Return the training time of more seeds of all arms, and of more bases."""
    times = [arm.seconds for arm in study.arms if arm.done]
    trained = [base.seconds for base in study.common_bases]
    added = max(bases - len(trained), 0) if bases > 1 else 0
    if None in times or (added and None in trained):
        return None
    per_base = math.fsum(time or 0.0 for time in trained) / max(len(trained), 1)
    return seeds * math.fsum(time or 0.0 for time in times) + added * per_base
