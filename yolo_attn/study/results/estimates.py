"""Statistics of a study's arms: means over seeds, differences to the baseline, verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.stats import npz
from yolo_attn.stats.compare import MIN_SEEDS, MeanEstimate, PairedDifference, Support, difference, estimate
from yolo_attn.stats.power import Noise, pooled_noise
from yolo_attn.stats.tasks import evaluation_of
from yolo_attn.study.files import MATCHES
from yolo_attn.study.results.metrics import RunMetrics, run_metrics
from yolo_attn.study.results.records import ClassResult, NoiseSummary, PlainEstimate, SeedMean

__all__ = [
    "ArmEstimates",
    "RunSource",
    "any_learnt",
    "arm_estimates",
    "cached_metrics",
    "forget",
    "noise",
    "pair_difference",
    "summarize_noise",
]

_Interval = tuple[float, float]
_PAIRS = 2**16


@dataclass(frozen=True)
class RunSource:
    """The files that the numbers of a done run are computed from; equal sources have equal numbers.

    Args:
        seed: Seed of the run.
        folder: Folder of the run.
        matches: Fingerprint of its matches.
        task: Task of its model.
        keep: Whether computed metrics may be written into the folder.
        base: Number of the pretrained base that it starts from.
        groups: How the images are grouped.
    """

    seed: int
    folder: Path
    matches: str
    task: str | None = None
    keep: bool = True
    base: int = 0
    groups: str | None = None

    @classmethod
    def of(
        cls,
        folder: Path,
        seed: int,
        task: str | None = None,
        *,
        keep: bool = True,
        base: int = 0,
        groups: str | None = None,
    ) -> RunSource:
        """Return the source of a run.

        Raises:
            UserError: Its matches are missing or damaged.
        """
        return cls(seed, folder, npz.fingerprint(folder / MATCHES), task, keep, base, groups)


@dataclass(frozen=True)
class ArmEstimates:
    """The statistics of one arm.

    Args:
        runs: Value of each metric, by seed; None where undefined.
        metrics: Mean over seeds of each metric, the main one first.
        per_class: Mean over seeds of the main metric of each class, and its difference to the baseline.
        differences: Difference to the baseline in each metric; None for the baseline, or without common seeds.
        learnt: Whether each run has learned, by seed; None when that cannot be decided.
        chance: Main metric that each run reaches by chance, by seed; None when unknown.
        comparable: Whether this arm or the baseline has learned. If neither has, there is no verdict.
    """

    runs: Mapping[int, Mapping[str, float | None]]
    metrics: Mapping[str, SeedMean]
    per_class: Mapping[str, ClassResult]
    differences: Mapping[str, PairedDifference | None] | None
    learnt: Mapping[int, bool | None] = field(default_factory=dict)
    chance: Mapping[int, float | None] = field(default_factory=dict)
    comparable: bool = True

    @property
    def any_learnt(self) -> bool | None:
        """Whether any run has learned; None when that cannot be decided."""
        return any_learnt(self.learnt.values())


@lru_cache(maxsize=256)
def cached_metrics(source: RunSource) -> RunMetrics:
    """Return the metrics of a run, computed once for the same source.

    Raises:
        UserError: Its matches are damaged.
    """
    return run_metrics(source.folder, source.task, groups=source.groups, keep=source.keep)


@lru_cache(maxsize=4096)
def arm_estimates(
    runs: tuple[RunSource, ...], baseline: tuple[RunSource, ...] | None, task: str | None = None
) -> ArmEstimates:
    """Return the statistics of one arm, computed once for the same sources.

    Args:
        runs: The arm's done runs.
        baseline: The baseline's done runs; None for the baseline itself.
        task: Task of the study.

    Raises:
        UserError: Matches are damaged, or runs were evaluated on different images.
    """
    names = evaluation_of(task).metrics
    if not runs:
        return ArmEstimates({}, {name: SeedMean() for name in names}, {}, None)
    _check_same_dataset(runs, baseline or ())
    by_seed = {source.seed: cached_metrics(source) for source in runs}
    first = by_seed[runs[0].seed]
    bases = [source.base for source in runs]
    means = _means(estimate(*_stacked(list(by_seed.values())), first.support, bases))
    found = None if baseline is None else _paired_estimate(runs, baseline)
    changes = [None] * len(means) if found is None else _class_differences(found)
    start = len(names)
    labels = zip(first.classes, first.instances, first.class_groups, strict=True)
    classes = zip(labels, means[start:], changes[start:], strict=True)
    return ArmEstimates(
        runs={seed: dict(zip(names, map(_finite, run.values), strict=False)) for seed, run in by_seed.items()},
        metrics=dict(zip(names, means, strict=False)),
        per_class={
            name: ClassResult(**vars(mean), instances=count, groups=groups, delta=delta)
            for (name, count, groups), mean, delta in classes
        },
        differences=None
        if found is None
        else {name: _metric_difference(found, column) for column, name in enumerate(names)},
        learnt={seed: run.learnt for seed, run in by_seed.items()},
        chance={seed: run.chance.mean if run.chance else None for seed, run in by_seed.items()},
        comparable=any_learnt(cached_metrics(source).learnt for source in (*runs, *(baseline or ()))) is not False,
    )


def any_learnt(runs: Iterable[bool | None]) -> bool | None:
    """Return whether any of some runs has learned; None if that is unknown."""
    known = list(runs)
    return True if True in known else False if known and None not in known else None


def _check_same_dataset(runs: Sequence[RunSource], baseline: Sequence[RunSource]) -> None:
    """Raise UserError unless all runs were evaluated on the same images and objects."""
    for source in (*runs, *baseline):
        if cached_metrics(source).dataset != cached_metrics(runs[0]).dataset:
            raise UserError(
                f"{source.folder / MATCHES}: images, objects or classes differ from {runs[0].folder / MATCHES}; "
                "delete the folder of the wrong one to run it again"
            )


def _stacked(runs: Sequence[RunMetrics | _MainMetric]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    return np.stack([run.values for run in runs]), np.stack([run.replicates for run in runs])


@lru_cache(maxsize=4096)
def _paired_estimate(runs: tuple[RunSource, ...], reference: tuple[RunSource, ...]) -> MeanEstimate | None:
    """Return the estimate of the differences, arm minus reference, over common seeds; None without any."""
    return _paired(runs, reference, cached_metrics)


@lru_cache(maxsize=_PAIRS)
def pair_difference(runs: tuple[RunSource, ...], reference: tuple[RunSource, ...]) -> PairedDifference | None:
    """Return the difference of an arm to any other arm in the main metric; None without common seeds.

    Args:
        runs: The arm's done runs.
        reference: Those of the other arm.
    """
    found = _paired(runs, reference, _main_metric)
    return None if found is None else _metric_difference(found, 0)


class _MainMetric(NamedTuple):
    """The first column of a run's `RunMetrics`."""

    values: NDArray[np.float64]
    replicates: NDArray[np.float32]
    support: Support


@lru_cache(maxsize=_PAIRS)  # a few kilobytes each: a hundred variants have 4,950 pairs, which read all runs in turn
def _main_metric(source: RunSource) -> _MainMetric:
    found = cached_metrics(source)
    return _MainMetric(found.values[:1].copy(), found.replicates[:, :1].copy(), found.support.first)


def _paired(
    runs: Sequence[RunSource], reference: Sequence[RunSource], read: Callable[[RunSource], RunMetrics | _MainMetric]
) -> MeanEstimate | None:
    others = {source.seed: source for source in reference}
    common = [source for source in runs if source.seed in others]
    if not common:
        return None
    arm, base = [read(source) for source in common], [read(others[source.seed]) for source in common]
    (values, replicates), (base_values, base_replicates) = _stacked(arm), _stacked(base)
    change = replicates.astype(np.float64) - base_replicates
    return estimate(values - base_values, change, arm[0].support, [source.base for source in common])


def forget() -> None:
    """Clear the caches, so that everything is computed again or read from the runs' folders."""
    for known in (cached_metrics, arm_estimates, _paired_estimate, pair_difference, _main_metric):
        known.cache_clear()


def _means(found: MeanEstimate) -> list[SeedMean]:
    """Return mean, standard deviation and interval of each column."""
    columns = zip(found.mean, found.sd, _intervals(found), strict=True)
    return [SeedMean(_finite(mean), _finite(sd), interval) for mean, sd, interval in columns]


def _class_differences(found: MeanEstimate) -> list[PlainEstimate | None]:
    """Return the difference in each column, None where it is unknown."""
    columns = zip(found.mean, _intervals(found), strict=True)
    return [PlainEstimate(float(mean), interval) if np.isfinite(mean) else None for mean, interval in columns]


def _intervals(found: MeanEstimate) -> list[_Interval | None]:
    """Return the 95 % interval of each column, None where it is unknown."""
    if not found.training_df:
        return [None] * len(found.mean)
    pairs = np.stack(found.interval(), axis=1)
    return [(float(low), float(high)) if np.isfinite(low) else None for low, high in pairs]


def _metric_difference(found: MeanEstimate, column: int) -> PairedDifference | None:
    """Return the difference in one metric; None when it is undefined, such as without an object of a size."""
    return difference(found, column) if np.isfinite(found.mean[column]) else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def noise(variants: Sequence[ArmEstimates], name: str) -> Noise | None:
    """Return the noise of the variants' differences in one metric, pooled; None while it is unknown.

    With several bases it is the noise per base. Controls are excluded, since an identity layer may not differ from the
    base at all.

    Args:
        variants: Statistics of the variants.
        name: Name of the metric.
    """
    tested = _tested(variants, name)
    return pooled_noise(
        (
            (found.error * math.sqrt(found.share * found.units), found.se_images, found.units)
            for found in tested
            if found.error is not None
        ),
        min((found.image_df for found in tested), default=math.inf),
    )


def summarize_noise(variants: Sequence[ArmEstimates], found: Noise) -> NoiseSummary:
    """Return the noise in the main metric, with the parts of seeds and bases separated.

    With one seed of each base nothing separates them, and their noise together is that of training.

    Args:
        variants: Statistics of the variants.
        found: Their noise as `noise` returns it.
    """
    noisy = [item for item in _tested(variants, next(iter(variants[0].metrics))) if item.error]
    bases = [item.sd_bases for item in noisy if item.sd_bases is not None]
    seeds = [item.sd_training for item in noisy if item.sd_training is not None]
    separate = bool(bases and seeds)
    return NoiseSummary(
        training=_root_mean_square(seeds) if separate else found.training,
        images=found.images,
        bases=_root_mean_square(bases) if separate else None,
        df=found.df,
        image_df=found.image_df,
    )


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(fmean(value**2 for value in values)) if values else 0.0


def _tested(variants: Sequence[ArmEstimates], name: str) -> list[PairedDifference]:
    """Return the variants' differences that have enough seeds or bases for a verdict."""
    found = [arm.differences[name] for arm in variants if arm.differences and arm.comparable]
    return [item for item in found if item and item.units >= MIN_SEEDS and item.p is not None]
