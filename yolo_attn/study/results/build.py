"""Building the results of a study from the results of its runs and their stored matches.

Metrics, intervals and verdicts are computed from the matches. Costs, and the metrics of Ultralytics'
validator, are taken from the runs' results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, stdev

from yolo_attn.errors import UserError, plain
from yolo_attn.stats.bootstrap import REPLICATES, SEED
from yolo_attn.stats.compare import Verdict
from yolo_attn.study.files import LATENCY
from yolo_attn.study.job import RunState, Scores
from yolo_attn.study.results.estimates import (
    ArmEstimates,
    RunSource,
    arm_estimates,
    cached_metrics,
    detectable,
    tested_differences,
)
from yolo_attn.study.results.paths import dataset_name, without_folders
from yolo_attn.study.results.records import (
    UNFINISHED,
    ArmSummary,
    Bootstrap,
    Difference,
    Latency,
    RunSummary,
    SeedMean,
    StudyInfo,
    StudyResults,
)
from yolo_attn.system.files import read_json

__all__ = ["ArmRuns", "make_results"]

_FEW_SEEDS = 2

_Tested = tuple[Mapping[str, Difference | None], Verdict | None]


@dataclass(frozen=True)
class ArmRuns:
    """The state of one arm's runs.

    Args:
        name: Name of the arm.
        kind: "baseline", "variant" or "control".
        model: Its model YAML, relative to the study's folder.
        runs: The state of its run with each seed of the study.
        transferred: Number of tensors shared with the baseline at initialization, and the baseline's number; None when
            unknown.
    """

    name: str
    kind: str
    model: str | None
    runs: Sequence[RunState]
    transferred: Sequence[int] | None = None

    @property
    def done(self) -> list[RunState]:
        """The runs that were trained and evaluated."""
        return [run for run in self.runs if run.status == "done"]


def make_results(folder: Path, info: StudyInfo, arms: Sequence[ArmRuns], *, keep: bool = True) -> StudyResults:
    """Return the results of a study.

    The metrics of a done run, and their bootstrap replicates, are computed once and cached in its folder. While runs
    wait or run, differences and intervals are interim, without p-values and verdicts: testing after every run and
    stopping at a significant difference would inflate the error rate.

    Args:
        folder: The study's folder.
        info: The setup of the study.
        arms: The baseline, then variants and controls in the order of the study.
        keep: Whether to cache the bootstrap in the runs' folders; otherwise the study is only read.

    Raises:
        UserError: Stored matches are missing, damaged, or of different images.
    """
    sources = [
        tuple(RunSource.of(folder / (run.folder or ""), run.seed, info.task, keep=keep) for run in item.done)
        for item in arms
    ]
    estimates = [arm_estimates(runs, sources[0] if number else None, info.task) for number, runs in enumerate(sources)]
    first = next((runs[0] for runs in sources if runs), None)
    latency = _read_latency(folder)
    info = _portable(info, first, _last_result(arms))
    variants = [found for item, found in zip(arms, estimates, strict=True) if item.kind == "variant"]
    return StudyResults(
        info=info,
        arms=[
            _arm_summary(index, item, found, tested, latency.get(item.name))
            for index, (item, found, tested) in enumerate(zip(arms, estimates, _tests(arms, estimates), strict=True))
        ],
        bootstrap=Bootstrap(REPLICATES, SEED),
        minimum_detectable=detectable(variants),
        notes=_notes(estimates, info.images),
    )


def _tests(arms: Sequence[ArmRuns], estimates: Sequence[ArmEstimates]) -> list[_Tested]:
    """Return each arm's differences and verdict, as far as they may be tested."""
    tested = tested_differences([item.kind for item in arms], estimates)
    if any(run.status in UNFINISHED for item in arms for run in item.runs):
        tested = [(_untested(differences), None) for differences, _ in tested]
    return [
        outcome if found.comparable else (_untested(outcome[0], interval=False), None)
        for found, outcome in zip(estimates, tested, strict=True)
    ]


def _untested(differences: Mapping[str, Difference | None], *, interval: bool = True) -> dict[str, Difference | None]:
    """Return differences without p-values.

    Args:
        differences: The differences.
        interval: Whether to keep their intervals.
    """
    return {
        name: found and replace(found, p=None, p_holm=None, p_better=None, ci95=found.ci95 if interval else None)
        for name, found in differences.items()
    }


def _portable(info: StudyInfo, first: RunSource | None, last_result: str | None) -> StudyInfo:
    """Return the setup without folders of this machine, with sizes from the matches of any done run."""
    found = cached_metrics(first) if first else None
    return replace(
        info,
        data=dataset_name(info.data) if info.data else None,
        command=without_folders(info.command) if info.command else None,
        images=found.images if found else info.images,
        instances=sum(found.instances) if found else info.instances,
        made=last_result,
    )


def _read_latency(folder: Path) -> Mapping[str, Latency]:
    """Return the measured latencies by arm; empty when they are missing or damaged."""
    path = folder / LATENCY
    if not path.exists():
        return {}
    try:
        arms = read_json(path).get("arms")
    except UserError:  # the file is measured again when the study resumes
        return {}
    items = arms.items() if isinstance(arms, dict) else ()
    return {name: found for name, item in items if (found := Latency.from_json(item)) and found.run}


def _last_result(arms: Sequence[ArmRuns]) -> str | None:
    """Return the time of the last result, which does not change when the same results are written again."""
    results = [run.result for item in arms for run in item.done if run.result]
    ends = [
        result.began + result.wall_seconds
        for result in results
        if result.began is not None and result.wall_seconds is not None
    ]
    return datetime.fromtimestamp(max(ends), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if ends else None


def _notes(estimates: Sequence[ArmEstimates], images: int | None) -> list[str]:
    """Return remarks needed to interpret the numbers."""
    differences = [found for arm in estimates for found in (arm.differences or {}).values() if found]
    values = [value for arm in estimates for run in arm.runs.values() for value in run.values() if value is not None]
    notes = []
    if any(found.seeds == _FEW_SEEDS for found in differences):
        notes.append("Intervals from two seeds are wide and unreliable, since two runs barely sample training noise.")
    if images == 1 and values:
        notes.append("There are no intervals and no verdicts, because there is only one test image.")
    if values and not any(values):
        notes.append("Average precision is 0 in all runs. Train longer or check the recipe.")
    return notes


def _arm_summary(
    index: int, item: ArmRuns, found: ArmEstimates, tested: _Tested, latency: Latency | None
) -> ArmSummary:
    measured = [run.measurements for run in item.done]
    seconds = [run.seconds for run in measured if run.seconds is not None]
    best = [run.metrics_best or {} for run in measured]
    differences, verdict = tested
    return ArmSummary(
        main=next(iter(found.metrics)),
        index=index,
        name=item.name,
        kind=item.kind,
        model=item.model,
        params=measured[0].params if measured else None,
        gflops=measured[0].gflops if measured else None,
        latency_ms=latency if latency and latency.run in {run.folder for run in item.done} else None,
        seconds=fmean(seconds) if seconds else None,
        memory_mib=_largest_peaks([run.memory_mib or {} for run in measured]),
        runs=[_run_summary(run, found) for run in item.runs],
        learnt=found.any_learnt,
        metrics=found.metrics,
        metrics_best={name: _plain_mean([values.get(name) for values in best]) for name in found.metrics},
        per_class=found.per_class,
        delta=differences,
        verdict=verdict,
        transferred=(item.transferred[0], item.transferred[1]) if item.transferred else None,
    )


def _run_summary(run: RunState, found: ArmEstimates) -> RunSummary:
    measured = run.measurements
    return RunSummary(
        seed=run.seed,
        status=run.status,
        error=run.error and plain(run.error),
        seconds=measured.seconds,
        epochs=measured.epochs,
        memory_mib=measured.memory_mib or {},
        folder=run.folder,
        metrics=found.runs.get(run.seed, {}),
        learnt=found.learnt.get(run.seed),
        chance=found.chance.get(run.seed),
        metrics_best=measured.metrics_best or {},
        metrics_ultralytics=measured.metrics_ultralytics or {},
    )


def _largest_peaks(peaks: Sequence[Scores]) -> dict[str, float | None]:
    """Return the largest peak memory of any run, by kind."""
    kinds = dict.fromkeys(kind for peak in peaks for kind in peak)
    return {
        kind: max((value for peak in peaks if (value := peak.get(kind)) is not None), default=None) for kind in kinds
    }


def _plain_mean(values: Sequence[float | None]) -> SeedMean:
    """Return mean and standard deviation over seeds of values whose test-set noise is unknown."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return SeedMean(fmean(known) if known else None, stdev(known) if len(known) > 1 else None)
