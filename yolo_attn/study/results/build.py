"""Building the results of a study from the results of its runs and their stored matches.

Metrics, intervals and verdicts are computed from the matches. Costs, and the metrics of Ultralytics'
validator, are taken from the runs' results.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, stdev

from yolo_attn.errors import UserError, plain
from yolo_attn.stats.bootstrap import REPLICATES, SEED
from yolo_attn.stats.compare import MIN_SEEDS, PairedDifference
from yolo_attn.stats.power import Noise
from yolo_attn.stats.verdicts import Verdict
from yolo_attn.study.files import LATENCY
from yolo_attn.study.job import RunState, Scores
from yolo_attn.study.results.estimates import (
    ArmEstimates,
    RunSource,
    any_learnt,
    arm_estimates,
    cached_metrics,
    noise,
    pair_difference,
    summarize_noise,
)
from yolo_attn.study.results.judging import Rules, arms_of_one_own_base, judge, more_failures
from yolo_attn.study.results.looks import look_notes, looks_of, with_look
from yolo_attn.study.results.notes import notes_of
from yolo_attn.study.results.paths import dataset_name, without_folders
from yolo_attn.study.results.records import (
    ENDED,
    ArmSummary,
    BaseSummary,
    Bootstrap,
    Difference,
    Latency,
    Look,
    NoiseSummary,
    PairResult,
    RunSummary,
    SeedMean,
    StudyInfo,
    StudyResults,
)
from yolo_attn.study.results.values import as_boolean, as_text
from yolo_attn.system.files import read_json

__all__ = ["ArmRuns", "TrainedBase", "make_results"]

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

    @property
    def unfinished_seeds(self) -> set[int]:
        """The seeds whose runs wait, run or were interrupted."""
        return {run.seed for run in self.runs if run.status not in ENDED}


@dataclass(frozen=True)
class TrainedBase:
    """The training of a base.

    Args:
        arm: Name of the only arm that starts from it; None if all others do.
        run: The state of its run.
    """

    arm: str | None
    run: RunState


def make_results(
    folder: Path,
    info: StudyInfo,
    arms: Sequence[ArmRuns],
    *,
    bases: Sequence[TrainedBase] = (),
    looks: Sequence[Look] = (),
    keep: bool = True,
) -> StudyResults:
    """Return the results of a study.

    The metrics of a done run, and their bootstrap replicates, are computed once and cached in its folder. While planned
    runs wait or run, differences and intervals are interim, without p-values and verdicts: testing after every run and
    stopping at a significant difference would inflate the error rate. Verdicts are a look at the study, which is added
    to the earlier ones.

    Args:
        folder: The study's folder.
        info: The setup of the study.
        arms: The baseline, then variants and controls in the order of the study.
        bases: Trainings of the bases that the arms start from.
        looks: Earlier looks at the studies of the folder.
        keep: Whether to cache the bootstrap in the runs' folders; otherwise the study is only read.

    Raises:
        UserError: Stored matches are missing, damaged, or of different images.
    """
    sources = [tuple(_source(folder, run, info, keep=keep) for run in item.done) for item in arms]
    estimates = [arm_estimates(runs, sources[0] if number else None, info.task) for number, runs in enumerate(sources)]
    first = next((runs[0] for runs in sources if runs), None)
    latency = _read_latency(folder)
    info = _portable(info, first, _last_result(arms))
    trial = _Trial(info, arms, sources, estimates, bases)
    noises = trial.noises()
    main = noises.get(info.metrics[0])
    study = StudyResults(
        info=info,
        arms=[
            _arm_summary(index, item, found, trial.judge(index), latency.get(item.name))
            for index, (item, found) in enumerate(zip(arms, estimates, strict=True))
        ],
        bootstrap=Bootstrap(REPLICATES, SEED),
        minimum_detectable={
            name: ends[0] for name, found in noises.items() if (ends := trial.detectable(replace(found, df=math.inf)))
        },
        detectable_range=None if main is None else trial.detectable(main),
        noise=None if main is None else trial.summarize_noise(main),
        pairs=trial.pairs(),
        bases=[_base_summary(folder, info, base, keep=keep) for base in bases],
        notes=notes_of(info, estimates),
    )
    study = replace(study, looks=with_look(looks_of(looks, [run.folder for run in arms[0].runs]), study))
    return replace(study, notes=[*study.notes, *look_notes(study)])


def _source(folder: Path, run: RunState, info: StudyInfo, *, keep: bool) -> RunSource:
    path = folder / (run.folder or "")
    return RunSource.of(path, run.seed, info.task, keep=keep, base=run.base, groups=info.groups)


class _Trial:
    """The tests of a study.

    Args:
        info: The setup.
        arms: The arms.
        sources: Done runs of each arm.
        estimates: Statistics of each arm.
        bases: Trainings of the bases that the arms start from.
    """

    def __init__(
        self,
        info: StudyInfo,
        arms: Sequence[ArmRuns],
        sources: Sequence[tuple[RunSource, ...]],
        estimates: Sequence[ArmEstimates],
        bases: Sequence[TrainedBase],
    ) -> None:
        self._metrics = info.metrics
        self._rules = Rules.of(info)
        self._arms, self._sources, self._estimates, self._groups = arms, sources, estimates, info.group_count or 0
        self._variants = [index for index, item in enumerate(arms) if item.kind == "variant"]
        self._has_several_bases = sum(base.arm is None for base in bases) > 1
        self._of_one_own_base = arms_of_one_own_base(base.arm for base in bases)

    def judge(self, index: int) -> _Tested:
        """Return an arm's differences to the baseline and its verdict, as far as they may be tested.

        The intervals of all variants hold together. Controls are not hypotheses, so each holds by itself.
        """
        found = self._estimates[index]
        if found.differences is None:
            return {}, None
        variants = len(self._variants) if self._arms[index].kind == "variant" else 1
        return self._judge(index, 0, found.differences, variants, found.comparable)

    def _judge(
        self,
        index: int,
        reference: int,
        differences: Mapping[str, PairedDifference | None],
        comparisons: int,
        comparable: bool,
    ) -> _Tested:
        judged, verdict = judge(
            differences,
            self._rules,
            comparisons=comparisons,
            images=self._groups,
            failures=more_failures(self._arms[index].runs, self._arms[reference].runs),
        )
        if not comparable or self._lacks_bases(differences[self._metrics[0]]):
            return _untested(judged, interval=False), None
        if self._is_luck_of_bases(index, reference):
            return _untested(judged), None
        if verdict is None or self._is_interim(index, reference):
            return _untested(judged), None
        return judged, verdict

    def _lacks_bases(self, found: PairedDifference | None) -> bool:
        """Whether a single one of several bases is left, so that nothing shows how bases differ."""
        return self._has_several_bases and found is not None and found.sd_bases is None

    def _is_luck_of_bases(self, index: int, reference: int) -> bool:
        """Whether two arms start from different bases, one each, so that nothing shows how bases differ."""
        return any(self._arms[arm].name in self._of_one_own_base for arm in (index, reference))

    def _is_interim(self, index: int, reference: int) -> bool:
        """Whether runs that a verdict rests on wait or run; with looks after every seed these are only its own."""
        if self._rules.max_seeds is None:
            return any(item.unfinished_seeds for item in self._arms)
        own = {run.seed for run in self._arms[index].runs}
        return bool(own & (self._arms[index].unfinished_seeds | self._arms[reference].unfinished_seeds))

    def pairs(self) -> list[PairResult]:
        """Return the differences of the variants to the width control, and to each other.

        Both families are corrected separately for their number.
        """
        width = [index for index, item in enumerate(self._arms) if item.name == "width" and item.kind == "control"]
        to_width = [(index, width[0]) for index in self._variants if width]
        mutual = [(one, other) for number, one in enumerate(self._variants) for other in self._variants[number + 1 :]]
        return [pair for family in (to_width, mutual) for pair in self._family(family)]

    def _family(self, family: Sequence[tuple[int, int]]) -> list[PairResult]:
        found, main = [], self._metrics[0]
        for index, reference in family:
            difference = pair_difference(self._sources[index], self._sources[reference])
            comparable = any_learnt((*self._learnt(index), *self._learnt(reference))) is not False
            judged, verdict = self._judge(index, reference, {main: difference}, len(family), comparable)
            record = judged[main]
            if record is not None:
                found.append(PairResult(self._arms[index].name, self._arms[reference].name, record, verdict))
        return found

    def _learnt(self, index: int) -> Iterable[bool | None]:
        """Return whether each run of an arm has learned."""
        return self._estimates[index].learnt.values()

    def noises(self) -> dict[str, Noise]:
        """Return the noise of the variants' differences in each metric in which it is known."""
        variants = [self._estimates[index] for index in self._variants]
        return {name: found for name in self._metrics if (found := noise(variants, name))}

    def summarize_noise(self, found: Noise) -> NoiseSummary:
        """Return the noise in the main metric, with the parts of seeds and bases separated."""
        return summarize_noise([self._estimates[index] for index in self._variants], found)

    def detectable(self, found: Noise) -> tuple[float, float] | None:
        """Return the smallest true difference of a variant that is found with 80 % power at some noise: an interval."""
        return self._rules.detectable(found, self._units, len(self._variants))

    @property
    def _units(self) -> int:
        """The seeds of the design, or its bases: the largest number of seeds if undecided arms get more.

        An arm with too few seeds for a verdict has been added and is being trained.
        """
        found = [self._estimates[index].differences or {} for index in self._variants]
        units = [main.units for differences in found if (main := differences.get(self._metrics[0]))]
        return self._rules.max_seeds or min((number for number in units if number >= MIN_SEEDS), default=0)


def _untested(differences: Mapping[str, Difference | None], *, interval: bool = True) -> dict[str, Difference | None]:
    """Return differences without p-values.

    Args:
        differences: The differences.
        interval: Whether to keep their intervals.
    """
    return {
        name: found
        and replace(
            found,
            p=None,
            p_adjusted=None,
            p_better=None,
            interval=None,
            level=None,
            ci95=found.ci95 if interval else None,
        )
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
        group_count=found.groups if found else None,
        sequences=found.sequences if found else None,
        most_objects=found.most_objects if found else None,
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


def _base_summary(folder: Path, info: StudyInfo, base: TrainedBase, *, keep: bool) -> BaseSummary:
    run, measured, main = base.run, base.run.measurements, None
    if run.status == "done":
        main = float(cached_metrics(_source(folder, run, info, keep=keep)).values[0])  # the main metric
    return BaseSummary(
        seed=run.seed,
        status=run.status,
        epochs=measured.epochs,
        seconds=measured.seconds,
        metric=main if main is not None and math.isfinite(main) else None,
        error=run.error and plain(run.error),
        folder=run.folder,
        arm=base.arm,
    )


def _run_summary(run: RunState, found: ArmEstimates) -> RunSummary:
    measured, environment = run.measurements, run.measurements.environment or {}
    gpu = as_text(environment.get("gpu"))
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
        base=run.base,
        norm_lag=measured.norm_lag,
        gpu=gpu and plain(gpu),
        amp=as_boolean(environment.get("amp")),
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
