"""One rung: a study of its candidates on the carved split, and its measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TextIO

import numpy as np

from yolo_attn.errors import UserError
from yolo_attn.selection.racing import Measured
from yolo_attn.stats.compare import PairedDifference, difference, estimate
from yolo_attn.stats.tasks import evaluation_of
from yolo_attn.study.execution import Executor
from yolo_attn.study.files import LOG
from yolo_attn.study.job import RunState, lags
from yolo_attn.study.planning import make_plan
from yolo_attn.study.results.metrics import RunMetrics, run_metrics
from yolo_attn.study.running.progress import Progress
from yolo_attn.study.running.run import Run
from yolo_attn.study.running.runner import Runner
from yolo_attn.study.specification.arms import Arm
from yolo_attn.study.specification.study import Study
from yolo_attn.study.states import RunStates
from yolo_attn.study.store import Store

__all__ = ["RungResults", "RungStudy"]


@dataclass(frozen=True)
class RungResults:
    """The measurements of a finished rung.

    Args:
        names: The candidates whose runs are all done, in the order of the columns.
        measured: Their measurements.
        differences: Their differences to the base.
        base: Mean of the base's main metric.
        errors: Why others have no result, by name.
        lagging: Those whose batch norms lag in some run (`study.job.lags`), so that they seem worse than they are.
    """

    names: tuple[str, ...]
    measured: Measured
    differences: tuple[PairedDifference, ...]
    base: float
    errors: dict[str, str]
    lagging: frozenset[str]


class RungStudy:
    """The study of a rung.

    Args:
        study: Its specification.
        stream: Output for messages.

    Raises:
        UserError: An argument is invalid, or the folder is damaged, locked, or of other package versions.
    """

    def __init__(self, study: Study, stream: TextIO) -> None:
        self._store = Store(study.folder.path)
        self.plan = make_plan(study, self._store, stream, added=False)
        self._states = RunStates(self.plan, self._store)
        self._stream = stream

    @property
    def runs(self) -> list[Run]:
        """All runs, those that train bases included; arms with the same model share theirs."""
        return list({run.key: run for run in self.plan.every_run}.values())

    def execute(self, runner: Runner, changed: Callable[[int], None]) -> None:
        """Execute the runs that have no result here or in another rung, interrupted ones twice.

        Args:
            runner: Executes them.
            changed: Called with the number of ended runs after a run has started or ended.

        Raises:
            UserError: The base cannot be trained, another process works in the folder, or the disk is full.
        """
        states, runs = self._states, self.runs
        with self._store.opened(self.plan.study, self.plan.platform, self.plan.sources):
            states.prepare(runs)
            states.adopt(self.plan.runs)
            states.prepare_bases(self.plan.runs)
            progress = Progress(len(runs), states.times(), self._stream)
            try:
                self._execute(runner, progress, changed)
                if states.release_interrupted():
                    self._execute(runner, progress, changed)
            finally:
                progress.close()
        self._check_base()

    def _execute(self, runner: Runner, progress: Progress, changed: Callable[[int], None]) -> None:
        """Execute the runs that wait."""
        states, runs = self._states, self.plan.runs
        executor = Executor(
            self.plan, self._store, states, runner, progress, changed=lambda more: changed(len(states.ended))
        )
        executor.execute(states.waiting(list({run.key: run for run in runs}.values())), runs)

    def _check_base(self) -> None:
        """Raise UserError if the base has no result: without it there are no differences."""
        for run in self.plan.runs_of(self.plan.baseline):
            if self._states[run].status == "done":
                if self._is_undefined(self._states[run]):
                    raise UserError(
                        f"the {self._metric} of the base is undefined: no object that counts is in the images that the "
                        "search evaluates; give a larger share=, or other classes="
                    )
                continue
            cause = run.base if run.base and self._states[run.base].status != "done" else run
            raise UserError(
                f"the training of the base itself {_problem(self._states[cause])}; log: {self._store.path(cause) / LOG}"
            )

    def mean_seconds(self, runs: Sequence[Run]) -> float | None:
        """Return the mean time of those of some runs that are done; None without any."""
        done = (state.result for run in runs if (state := self._states[run]).status == "done")
        times = [seconds for result in done if result is not None and (seconds := result.total_seconds)]
        return fmean(times) if times else None

    def results(self) -> RungResults:
        """Return the measurements of the finished rung.

        Raises:
            UserError: Stored matches are missing or damaged.
        """
        arms = self.plan.arms
        errors = {arm.name: error for arm in arms[1:] if (error := self._error(arm)) is not None}
        tried = [arm for arm in arms[1:] if arm.name not in errors]
        base = self._metrics(self.plan.baseline)
        found = [_subtract(self._metrics(arm), base) for arm in tried]
        values = np.array([[values for values, _ in one] for one in found]).reshape(len(found), len(base)).T
        replicates = np.array([[replicates for _, replicates in one] for one in found])
        support = base[0].support.first
        measured = Measured(values, np.moveaxis(replicates, 0, -1) if found else np.empty((len(base), 1, 0)), support)
        return RungResults(
            names=tuple(arm.name for arm in tried),
            measured=measured,
            differences=tuple(_difference(measured, column) for column in range(len(tried))),
            base=float(np.mean([run.values[0] for run in base])),
            errors=errors,
            lagging=frozenset(arm.name for arm in tried if self._lags(arm)),
        )

    def _lags(self, arm: Arm) -> bool:
        return any(lags(self._states[run].measurements.norm_lag) for run in self.plan.runs_of(arm))

    def _error(self, arm: Arm) -> str | None:
        """Return why an arm has no result with some seed, None if it has all."""
        if arm.error:
            return arm.error
        for run in self.plan.runs_of(arm):
            state = self._states[run]
            if state.status != "done":
                return _problem(state)
            if self._is_undefined(state):
                return f"its {self._metric} is undefined, seed {state.seed}"
        return None

    @property
    def _metric(self) -> str:
        """The main metric of the task."""
        return evaluation_of(self.plan.settings.task).metrics[0]

    def _is_undefined(self, state: RunState) -> bool:
        """Whether a run that is done has no value of the main metric, such as without objects of the chosen classes."""
        return (state.measurements.metrics or {}).get(self._metric) is None

    def _metrics(self, arm: Arm) -> list[RunMetrics]:
        settings = self.plan.settings
        return [
            run_metrics(self._store.path(run), settings.task, groups=settings.groups) for run in self.plan.runs_of(arm)
        ]


def _problem(state: RunState) -> str:
    """Return why a run has no result, as the end of a sentence."""
    problem = "was interrupted twice" if state.status == "interrupted" else state.status
    return f"{problem}, seed {state.seed}: {state.error}"


def _subtract(arm: Sequence[RunMetrics], base: Sequence[RunMetrics]) -> list[tuple[float, np.ndarray]]:
    """Return the differences in the main metric, and in its replicates, by seed."""
    return [
        (
            float(one.values[0] - other.values[0]),
            one.replicates[:, 0].astype(np.float64) - other.replicates[:, 0],
        )
        for one, other in zip(arm, base, strict=True)
    ]


def _difference(measured: Measured, column: int) -> PairedDifference:
    """Return the difference of a candidate to the base."""
    return difference(estimate(measured.values[:, [column]], measured.replicates[:, :, [column]], measured.support))
