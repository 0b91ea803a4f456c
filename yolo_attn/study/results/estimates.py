"""Statistics of a study's arms: means over seeds, differences to the baseline, verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.stats import npz
from yolo_attn.stats.compare import (
    MIN_SEEDS,
    MeanEstimate,
    PairedDifference,
    Verdict,
    difference,
    estimate,
    holm,
    minimum_detectable,
    pooled_noise,
    verdict,
)
from yolo_attn.stats.tasks import evaluation_of
from yolo_attn.study.files import MATCHES
from yolo_attn.study.results.metrics import RunMetrics, run_metrics
from yolo_attn.study.results.records import ClassDifference, ClassResult, Difference, SeedMean

__all__ = ["ArmEstimates", "RunSource", "arm_estimates", "cached_metrics", "detectable", "tested_differences"]

_Interval = tuple[float, float]


@dataclass(frozen=True)
class RunSource:
    """The files that the numbers of a done run are computed from; equal sources have equal numbers.

    Args:
        seed: Seed of the run.
        folder: Folder of the run.
        matches: Fingerprint of its matches.
        task: Task of its model.
        keep: Whether computed metrics may be written into the folder.
    """

    seed: int
    folder: Path
    matches: str
    task: str | None = None
    keep: bool = True

    @classmethod
    def of(cls, folder: Path, seed: int, task: str | None = None, *, keep: bool = True) -> RunSource:
        """Return the source of a run.

        Raises:
            UserError: Its matches are missing or damaged.
        """
        return cls(seed, folder, npz.fingerprint(folder / MATCHES), task, keep)


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
        return _any_learnt(self.learnt.values())


@lru_cache(maxsize=256)
def cached_metrics(source: RunSource) -> RunMetrics:
    """Return the metrics of a run, computed once for the same source.

    Raises:
        UserError: Its matches are damaged.
    """
    return run_metrics(source.folder, source.task, keep=source.keep)


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
    means = _means(estimate(*_stacked(list(by_seed.values())), test_images=first.images))
    pairs = [(by_seed[source.seed], cached_metrics(source)) for source in baseline or () if source.seed in by_seed]
    found = _paired_estimate(pairs) if pairs else None
    changes = [None] * len(means) if found is None else _class_differences(found)
    classes = zip(first.classes, first.instances, means[len(names) :], changes[len(names) :], strict=True)
    return ArmEstimates(
        runs={seed: dict(zip(names, map(_finite, run.values), strict=False)) for seed, run in by_seed.items()},
        metrics=dict(zip(names, means, strict=False)),
        per_class={
            name: ClassResult(**vars(mean), instances=count, delta=delta) for name, count, mean, delta in classes
        },
        differences=None
        if found is None
        else {name: _metric_difference(found, column) for column, name in enumerate(names)},
        learnt={seed: run.learnt for seed, run in by_seed.items()},
        chance={seed: run.chance.mean if run.chance else None for seed, run in by_seed.items()},
        comparable=_any_learnt(cached_metrics(source).learnt for source in (*runs, *(baseline or ()))) is not False,
    )


def _any_learnt(runs: Iterable[bool | None]) -> bool | None:
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


def _stacked(runs: Sequence[RunMetrics]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    return np.stack([run.values for run in runs]), np.stack([run.replicates for run in runs])


def _paired_estimate(pairs: Sequence[tuple[RunMetrics, RunMetrics]]) -> MeanEstimate:
    """Return the estimate of the differences, arm minus baseline, over common seeds."""
    (arm, arm_replicates), (base, base_replicates) = (_stacked(side) for side in zip(*pairs, strict=True))
    return estimate(arm - base, arm_replicates.astype(np.float64) - base_replicates, test_images=pairs[0][0].images)


def _means(found: MeanEstimate) -> list[SeedMean]:
    """Return mean, standard deviation and interval of each column."""
    columns = zip(found.mean, found.sd, _intervals(found), strict=True)
    return [SeedMean(_finite(mean), _finite(sd), interval) for mean, sd, interval in columns]


def _class_differences(found: MeanEstimate) -> list[ClassDifference | None]:
    """Return the difference in each column, None where it is unknown."""
    columns = zip(found.mean, _intervals(found), strict=True)
    return [ClassDifference(float(mean), interval) if np.isfinite(mean) else None for mean, interval in columns]


def _intervals(found: MeanEstimate) -> list[_Interval | None]:
    """Return the 95 % interval of each column, None where it is unknown."""
    if found.seeds == 1:
        return [None] * len(found.mean)
    pairs = np.stack(found.interval(), axis=1)
    return [(float(low), float(high)) if np.isfinite(low) else None for low, high in pairs]


def _metric_difference(found: MeanEstimate, column: int) -> PairedDifference | None:
    """Return the difference in one metric; None when it is undefined, such as without an object of a size."""
    return difference(found, column) if np.isfinite(found.mean[column]) else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def tested_differences(
    kinds: Sequence[str], arms: Sequence[ArmEstimates]
) -> list[tuple[Mapping[str, Difference | None], Verdict | None]]:
    """Return the differences with corrected p-values, and the verdict, of each arm.

    Holm's correction covers the variants, separately for each metric. Controls are not hypotheses, and their p-values
    stay uncorrected. An arm is not tested when neither it nor the baseline has learned.

    Args:
        kinds: "baseline", "variant" or "control" for each arm.
        arms: Their statistics.
    """
    names = list(arms[0].metrics)
    main = names[0]
    variants = [index for index, kind in enumerate(kinds) if kind == "variant"]
    corrected: dict[str, dict[int, float | None]] = {
        name: dict(zip(variants, holm([_p(arms[index], name) for index in variants]), strict=True)) for name in names
    }
    results: list[tuple[Mapping[str, Difference | None], Verdict | None]] = []
    for index, arm in enumerate(arms):
        if arm.differences is None:
            results.append(({}, None))
            continue
        p = corrected[main].get(index) if index in variants else _p(arm, main)
        differences = {
            name: None if found is None else Difference(**vars(found), p_holm=corrected[name].get(index))
            for name, found in arm.differences.items()
        }
        results.append((differences, verdict(arm.differences[main], p)))
    return results


def _p(arm: ArmEstimates, name: str) -> float | None:
    found = arm.differences[name] if arm.differences and arm.comparable else None
    return found.p if found else None


def detectable(variants: Sequence[ArmEstimates]) -> dict[str, float]:
    """Return the smallest true difference found with 80 % power at this study's noise, for each metric.

    The noise is pooled over the tested variants. The result is empty while no difference has enough seeds for a
    verdict. Controls are excluded, since an identity layer may not differ from the base at all.

    Args:
        variants: Statistics of the variants.
    """
    sizes: dict[str, float] = {}
    for name in variants[0].metrics if variants else ():
        found = [arm.differences[name] for arm in variants if arm.differences and arm.comparable]
        known = [item for item in found if item and item.seeds >= MIN_SEEDS and item.p is not None]
        noise = pooled_noise((item.sd_training or 0.0, item.se_images or 0.0) for item in known)
        if noise:
            sizes[name] = minimum_detectable(min(item.seeds for item in known), *noise, variants=len(known))
    return sizes
