"""A whole study: run what has no result yet, and keep the reports up to date."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import TextIO

from yolo_attn.errors import UserError
from yolo_attn.security.trust import trusting
from yolo_attn.study.comparison import Results
from yolo_attn.study.deadline import Deadline
from yolo_attn.study.earlier import read_earlier_results
from yolo_attn.study.execution import Executor
from yolo_attn.study.files import LOG, REPORT
from yolo_attn.study.forecast import Forecast, make_forecast
from yolo_attn.study.planning import Plan, make_plan
from yolo_attn.study.preview import preview_lines
from yolo_attn.study.report.live import LivePage
from yolo_attn.study.reporting import Reporter
from yolo_attn.study.results.looks import list_seeds
from yolo_attn.study.running.progress import Progress
from yolo_attn.study.running.run import Run
from yolo_attn.study.running.runner import Runner, make_runner
from yolo_attn.study.schedule import Schedule, describe_look
from yolo_attn.study.specification.recipe import recipe_split
from yolo_attn.study.specification.study import Study
from yolo_attn.study.states import RunStates
from yolo_attn.study.store import Store, choose_folder

__all__ = ["compare", "run_plan"]


def compare(
    arguments: Mapping[str, object], runner: Runner | None = None, stream: TextIO | None = None, command: str = ""
) -> Results | Forecast:
    """Train a base, its variants and controls with common seeds, and report.

    The same arguments resume the study: no run is executed twice. Progress and a table are printed, and the results in
    the study's folder are updated after every run. With `plan=True` nothing is trained and the forecast is returned.

    Args:
        arguments: The keys of `yolo-attn compare` with their values, as `yolo-attn help compare` lists them, and
            Ultralytics' training keys. All are optional.
        runner: Executes the runs; by default the one that `runner=` names.
        stream: Output for progress and table; standard output by default.
        command: The command line, for the report.

    Raises:
        UserError: An argument is invalid, another process works in the folder, or the disk is full. Results are kept.
        KeyboardInterrupt: After the running runs were stopped; its message explains how to resume.
    """
    from yolo_attn.host.restricted import restricted

    study = Study.from_arguments(arguments)
    stream = stream or sys.stdout
    with trusting(study.trust), restricted():
        store = Store(choose_folder(study))
        plan = make_plan(study, store, stream)
        runner = runner or make_runner(plan.study, plan.platform, stream)
        try:
            if study.plan_only:
                forecast = make_forecast(plan, store, runner.workers)
                print(forecast, file=stream, flush=True)
                return forecast
            return run_plan(plan, store, runner, stream, command)
        finally:
            runner.close()


def run_plan(plan: Plan, store: Store, runner: Runner, stream: TextIO, command: str = "") -> Results:
    """Execute a planned study, as `compare` does.

    Args:
        plan: The plan.
        store: Its store.
        runner: Executes the runs.
        stream: Output for progress and table.
        command: The command line, for the report.

    Raises:
        UserError: As `compare`.
        KeyboardInterrupt: As `compare`.
    """
    with store.opened(plan.study, plan.platform, plan.sources):
        return _Engine(plan, store, runner, stream, command).run()


class _Engine:
    """Executes a planned study; its creation creates the folders of the runs that are due.

    Args:
        plan: The plan.
        store: The store, opened.
        runner: Executes the runs.
        stream: Output for progress and table.
        command: The command line.
    """

    def __init__(self, plan: Plan, store: Store, runner: Runner, stream: TextIO, command: str) -> None:
        self._plan, self._store, self._runner = plan, store, runner
        self._deadline = Deadline(plan)
        self._states = RunStates(plan, store)
        self._reporter = Reporter(plan, store, self._states, command)
        self._schedule, self._notices = _prepare(plan, store, self._states)
        self._progress = Progress(len(self._due), self._states.times(), stream)
        self._live = LivePage(store.folder, self._reporter.write_interim_page, self._progress.print)
        self._decided: set[str] = set()  # arms that were decided at the last look

    def run(self) -> Results:
        """Execute every run that is due and has no result yet, and return the results."""
        try:
            try:
                self._train()
            finally:
                self._progress.close()
                self._live.close()
            return self._conclude()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted()) from None
        except UserError:
            with contextlib.suppress(UserError):  # such as a full disk
                self._interrupted()
            raise

    def _train(self) -> None:
        """Execute every run that is due and has no result yet."""
        waiting = self._waiting()
        self._announce(waiting)
        results = self._report(html=False)
        if waiting and results.of_status("done"):
            self._live.offer(results.study)
        if results.study.looks and (waiting or self._later()):
            self._progress.print(f"earlier looks count: at {list_seeds(results.study.looks)} seeds")
        self._execute(waiting)
        while self._advance():
            self._execute(self._waiting())

    def _announce(self, waiting: list[Run]) -> None:
        """Print what is going to be trained, and what it can be expected to show."""
        earlier = read_earlier_results(self._store.folder, self._plan)
        lines = preview_lines(
            self._plan,
            waiting,
            self._later(),
            folder=str(self._store.folder),
            shared=self._reporter.count_shared(earlier.shared, again=bool(waiting)),
            noise=earlier.noise,
            times=self._states.times(),
            at_once=max(1, min(self._runner.workers, len(waiting))),
        )
        for line in (*lines, *self._notices):
            self._progress.print(line)
        unused = self._store.count_unused(self._states.prepared)
        if unused:
            self._progress.print(
                f"{unused} earlier runs in the folder have other inputs (recipe, data, model): not used"
            )

    @property
    def _due(self) -> list[Run]:
        """The runs of the schedule and those that train bases."""
        return list({run.key: run for run in (*self._plan.base_runs, *self._schedule.runs)}.values())

    def _waiting(self) -> list[Run]:
        """Return the runs that are due and have no result, those that train bases first."""
        return self._states.waiting(self._schedule.runs)

    def _later(self) -> list[Run]:
        """Return the runs that become due if arms remain undecided."""
        known = self._states.ended | {run.key for run in self._due}
        return list({run.key: run for run in self._plan.runs if run.key not in known}.values())

    # --- execution --------------------------------------------------------------------------------------------------

    def _advance(self) -> bool:
        """Look at the study, and return whether undecided arms get more seeds."""
        hours, adaptive = self._plan.study.hours, self._plan.study.design.max_seeds is not None
        if self._deadline.is_over:
            self._schedule = self._schedule.without_later(self._states.ended)
        study = self._report(html=False).study
        if adaptive and study.looks:
            self._progress.print(describe_look(study, self._decided))
            self._decided = {arm.name for arm in study.others if arm.decided}
        if self._deadline.is_over:
            self._progress.print(
                f"hours={hours:g}: no time for another seed; the same command adds seeds for as long again"
            )
            return False
        following = self._schedule.after_look(study, self._runner.workers)
        grown, self._schedule = following != self._schedule, following
        self._states.prepare(following.runs)
        for line in self._states.prepare_bases(following.runs):
            self._progress.print(line)
        self._progress.total = len(self._due)
        return grown

    def _execute(self, waiting: list[Run]) -> None:
        """Execute runs until all have ended, and keep the results up to date."""
        executor = Executor(
            self._plan,
            self._store,
            self._states,
            self._runner,
            self._progress,
            allows=lambda run, others: self._deadline.allows(run, others, self._progress, self._runner.workers),
            changed=self._update,
            tick=self._live.tick,
        )
        executor.execute(waiting, self._schedule.runs)

    def _update(self, more: bool) -> None:
        """Write the results after a run has started or ended; the page of a finished study is left to the end."""
        results = self._report(html=False)
        if more:
            self._live.offer(results.study)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _report(self, *, html: bool) -> Results:
        return self._reporter.report(self._schedule, html=html)

    def _interrupted(self) -> str:
        """Write the reports of an interrupted study, and return a message."""
        self._states.stop()
        self._report(html=bool(self._states.done))
        done = sum(self._states[run].status == "done" for run in self._due)
        return f"stopped with {done} of {len(self._due)} runs done; run the same command again to resume"

    def _conclude(self) -> Results:
        """Measure latency, write the reports and print the table."""
        log = self._progress.print
        if {run.key for run in self._schedule.runs} <= self._states.ended:
            self._reporter.measure_latency(log)
        results = self._report(html=True)
        log("\n" + results.table())
        failed = [run for run in self._due if self._states.has_failed(run)]
        for run in failed:
            log(f"log of {run.arm.name} seed {run.seed}: {self._store.path(run) / LOG}")
        if failed:
            log("Failed runs are run again only with retry=True.")
        if results.of_status("interrupted"):
            log("Run the same command again to resume the interrupted runs.")
        log(f"Results: {self._store.folder / REPORT}, results.json, .csv, .md, .tex")
        return results


def _prepare(plan: Plan, store: Store, states: RunStates) -> tuple[Schedule, list[str]]:
    """Create the folders of the runs that are due, and read the stored results.

    Returns:
        The runs that are due, and lines about bases of other studies.
    """
    from yolo_attn.study.report.sources import remember_dataset

    remember_dataset(store.folder, plan.settings.data, recipe_split(plan.study.train))
    first = {run.key for run in Schedule.at_start(plan, ()).runs}
    states.prepare(plan.base_runs)
    states.prepare(run for run in plan.runs if run.key in first or store.contains(run))
    schedule = Schedule.at_start(plan, states.ended)
    states.prepare(schedule.runs)
    return schedule, states.prepare_bases(schedule.runs)
