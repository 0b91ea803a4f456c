"""The reports of a study while it runs: its results from the states of its runs, the page, and what they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from yolo_attn.errors import UserError, first_line
from yolo_attn.study.comparison import Results
from yolo_attn.study.files import MODEL
from yolo_attn.study.job import RunState
from yolo_attn.study.planning import Plan
from yolo_attn.study.preview import SharedCounts
from yolo_attn.study.report.live import RELOAD_SECONDS
from yolo_attn.study.results.build import ArmRuns, TrainedBase, make_results
from yolo_attn.study.results.looks import keep_looks, read_looks
from yolo_attn.study.results.records import Look, StudyResults
from yolo_attn.study.running.initialization import count_shared_tensors
from yolo_attn.study.schedule import Schedule
from yolo_attn.study.specification.arms import Arm
from yolo_attn.study.specification.device import first_device
from yolo_attn.study.specification.recipe import recipe_integer
from yolo_attn.study.states import RunStates
from yolo_attn.study.store import Store

__all__ = ["Reporter"]


class Reporter:
    """Writes the results of a study.

    Args:
        plan: The plan.
        store: The store, opened.
        states: The states of its runs.
        command: The command line.
    """

    def __init__(self, plan: Plan, store: Store, states: RunStates, command: str) -> None:
        self._plan, self._store, self._states, self._command = plan, store, states, command
        self._looks: Sequence[Look] = read_looks(store.folder)  # at all studies of the folder
        self._shared: SharedCounts = {}

    def count_shared(self, known: SharedCounts, *, again: bool) -> SharedCounts:
        """Return the base tensors that every arm shares at initialization, which the results list from now on.

        Args:
            known: Counts from earlier results.
            again: Whether to build the arms in any case, and not only if a count is missing.
        """
        plan, classes, arms = self._plan, self._plan.classes, self._plan.trainable_arms
        if again or not {arm.name for arm in arms} <= known.keys():
            known = {
                arm.name: count_shared_tensors(
                    arm, plan.baseline, plan.settings.task, classes, pretrained=bool(plan.bases)
                )
                for arm in arms
            }
        self._shared = {arm.name: known[arm.name] for arm in arms}
        return self._shared

    def report(self, schedule: Schedule, *, html: bool) -> Results:
        """Write the current results and return them.

        Args:
            schedule: The runs that are due, which are listed.
            html: Whether to write the page with the plots, which is otherwise left to `LivePage`.
        """
        plan, folder = self._plan, self._store.folder
        study = make_results(
            folder,
            plan.info(schedule.most_seeds, self._command),
            [self._arm_runs(arm, schedule) for arm in plan.arms],
            bases=[TrainedBase(arm, self._states[run]) for arm, runs in plan.bases.items() for run in runs],
            looks=self._looks,
        )
        self._looks = keep_looks(folder, self._looks, study)
        results = Results(folder, study)
        results.write(html=html)
        return results

    def _arm_runs(self, arm: Arm, schedule: Schedule) -> ArmRuns:
        if arm.error:
            seeds = self._plan.study.seeds[: schedule.seeds[arm.name]]
            states = [RunState(seed, "failed", error=arm.error) for seed in seeds]
            return ArmRuns(arm.name, arm.kind, None, states, None)
        runs = schedule.runs_of(arm)
        states = [replace(self._states[run], seed=run.seed) for run in runs]
        model = f"{self._store.relative_path(runs[0])}/{MODEL}"
        return ArmRuns(arm.name, arm.kind, model, states, self._shared.get(arm.name))

    def write_interim_page(self, study: StudyResults) -> None:
        """Write the page of results so far."""
        from yolo_attn.study.report import write_interim_page

        write_interim_page(self._store.folder, study, RELOAD_SECONDS)

    def measure_latency(self, log: Callable[[str], None]) -> None:
        """Measure the latency of the arms unless it is stored; the results are complete without it.

        Args:
            log: Prints a line.
        """
        from yolo_attn.study.running.latency import measure

        done = {run.key for run in self._states.done}
        first = {run.arm.name: run for run in reversed(self._plan.runs) if run.key in done}
        if not first:
            return
        try:
            measure(
                self._store,
                first,
                imgsz=recipe_integer(self._plan.study.train, "imgsz"),
                threads=self._plan.platform.threads,
                device=first_device(self._plan.study.device),
                log=log,
            )
        except (UserError, RuntimeError) as error:
            log(f"latency: not measured ({first_line(error)})")
