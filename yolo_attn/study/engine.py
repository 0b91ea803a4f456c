"""Execution of a study: run what has no result yet, and keep the reports up to date."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TextIO

from yolo_attn.errors import UserError, first_line
from yolo_attn.security.trust import trusting
from yolo_attn.study.comparison import Results
from yolo_attn.study.earlier import read_earlier_results
from yolo_attn.study.files import LOG, MODEL, REPORT
from yolo_attn.study.forecast import Forecast, make_forecast
from yolo_attn.study.job import RunState
from yolo_attn.study.planning import Plan, make_plan
from yolo_attn.study.preview import SharedCounts, preview_lines
from yolo_attn.study.report.live import RELOAD_SECONDS, LivePage
from yolo_attn.study.results.build import ArmRuns, TrainedBase, make_results
from yolo_attn.study.results.looks import all_looks, list_seeds, read_looks, write_looks
from yolo_attn.study.results.records import Look, StudyResults
from yolo_attn.study.running.initialization import count_shared_tensors
from yolo_attn.study.running.progress import Progress, clock
from yolo_attn.study.running.run import Run
from yolo_attn.study.running.runner import Handle, Outcome, Runner, make_runner
from yolo_attn.study.schedule import Schedule, describe_look
from yolo_attn.study.sizing import Sizing
from yolo_attn.study.specification.arms import Arm
from yolo_attn.study.specification.device import first_device
from yolo_attn.study.specification.recipe import recipe_integer, recipe_split
from yolo_attn.study.specification.study import Study
from yolo_attn.study.store import Store, choose_folder
from yolo_attn.study.times import RunSeconds, RunTimes, times_of

__all__ = ["compare"]

_POLL_SECONDS = 0.25
_UNDONE = ("failed", "interrupted")


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
            with store.opened(plan.study, plan.platform, plan.sources):
                engine = _Engine(plan, store, stream, command)
                engine.prepare()
                return engine.run(runner)
        finally:
            runner.close()


class _Engine:
    """Executes a planned study.

    Args:
        plan: The plan.
        store: The store, opened.
        stream: Output for progress and table.
        command: The command line.
    """

    def __init__(self, plan: Plan, store: Store, stream: TextIO, command: str) -> None:
        self._plan = plan
        self._store = store
        self._stream = stream
        self._command = command
        self._states: dict[str, RunState] = {}  # by the runs' keys
        self._shared: SharedCounts = {}
        self._adopted: list[str] = []  # lines about runs of other studies that were copied or not
        self._schedule = Schedule.at_start(plan, ())
        self._looks: Sequence[Look] = ()  # at all studies of the folder
        self._decided: set[str] = set()  # arms that were decided at the last look
        self._checked: set[str] = set()  # keys of bases whose weights are those that finished runs started from
        self._begun: set[int] = set()  # seeds of which this command has started a run
        self._too_late = False  # whether another seed would not end in time
        self._ends = math.inf if plan.study.hours is None else time.monotonic() + 3600 * plan.study.hours

    def prepare(self) -> None:
        """Create the folders of the runs that are due, and read the stored results."""
        from yolo_attn.study.report.sources import remember_dataset

        remember_dataset(self._store.folder, self._plan.settings.data, recipe_split(self._plan.study.train))
        self._looks = read_looks(self._store.folder)
        due = {run.key for run in self._schedule.runs}
        self._prepare(self._plan.base_runs)
        self._prepare(run for run in self._plan.runs if run.key in due or self._store.contains(run))
        self._schedule = Schedule.at_start(self._plan, self._ended)
        self._prepare(self._schedule.runs)
        self._prepare_bases()

    def _prepare(self, runs: Iterable[Run]) -> None:
        """Create the folders of runs and read their results."""
        for run in runs:
            if run.key in self._states:
                continue
            self._store.prepare(run, self._plan.settings)
            result = self._store.result(run)
            if result is not None and result.status == "failed" and self._plan.study.retry:
                self._store.remove_result(run)
            self._states[run.key] = self._stored_state(run) or self._state(run, "waiting")

    def _prepare_bases(self) -> None:
        """Find the bases that waiting runs start from, here or in other studies."""
        for base in self._needed_bases("done"):
            if not self._store.has_weights(base):  # they were deleted, and now more runs start from them
                self._store.remove_result(base)
                self._states[base.key] = self._state(base, "waiting")
        for base in self._needed_bases():
            name = f"{base.arm.name} seed {base.seed}"
            if other := self._store.adopt(base):
                self._adopted.append(f"{name}: copied from {other}")
            elif other := self._store.find_foreign(base):
                self._adopted.append(f"{name}: not copied from {other}, which this user has not trained here")
            self._states[base.key] = self._stored_state(base) or self._state(base, "waiting")
        self._end_baseless()

    def _needed_bases(self, status: str = "waiting") -> list[Run]:
        """Return the bases with a status that waiting runs start from."""
        starts = {run.base.key for run in self._schedule.runs if run.base and self._is_waiting(run)}
        return [base for base in self._plan.base_runs if base.key in starts and self._states[base.key].status == status]

    def _end_baseless(self) -> None:
        """Set the state of the waiting runs whose base could not be trained."""
        for run in self._schedule.runs:
            base = self._states[run.base.key] if run.base else None
            if base and base.status in _UNDONE and self._is_waiting(run):
                problem = "failed" if base.status == "failed" else "was interrupted"
                error = f"the base's training {problem}: {base.error}"
                self._states[run.key] = replace(self._state(run, base.status, error), folder=None)

    def run(self, runner: Runner) -> Results:
        """Execute every run that is due and has no result yet, and return the results."""
        waiting = self._waiting()
        progress = Progress(len(self._due), self._known_times(), self._stream)
        self._announce(waiting, runner, progress)
        live = LivePage(self._store.folder, self._write_interim_page, progress.print)
        results = self._report(html=False)
        if waiting and results.of_status("done"):
            live.offer(results.study)
        if results.study.looks and (waiting or self._later()):
            progress.print(f"earlier looks count: at {list_seeds(results.study.looks)} seeds")
        try:
            self._execute(waiting, runner, progress, live)
            while self._advance(runner, progress):
                self._execute(self._waiting(), runner, progress, live)
        except KeyboardInterrupt:
            progress.close()
            live.close()
            raise KeyboardInterrupt(self._interrupted()) from None
        finally:
            progress.close()
            live.close()
        return self._conclude(progress)

    def _announce(self, waiting: list[Run], runner: Runner, progress: Progress) -> None:
        """Print what is going to be trained, and what it can be expected to show."""
        earlier = read_earlier_results(self._store.folder, self._plan)
        arms = self._plan.trainable_arms
        if waiting or not {arm.name for arm in arms} <= earlier.shared.keys():
            self._shared = self._count_shared()
        else:
            self._shared = {arm.name: earlier.shared[arm.name] for arm in arms}
        lines = preview_lines(
            self._plan,
            waiting,
            self._later(),
            folder=str(self._store.folder),
            shared=self._shared,
            noise=earlier.noise,
            times=self._known_times(),
            at_once=max(1, min(runner.workers, len(waiting))),
        )
        for line in (*lines, *self._adopted):
            progress.print(line)
        unused = self._store.count_unused(self._prepared)
        if unused:
            progress.print(f"{unused} earlier runs in the folder have other inputs (recipe, data, model): not used")

    def _later(self) -> list[Run]:
        """Return the runs that become due if arms remain undecided."""
        known = self._ended | {run.key for run in self._due}
        return list({run.key: run for run in self._plan.runs if run.key not in known}.values())

    def _count_shared(self) -> SharedCounts:
        """Build every arm and count the base tensors that it shares at initialization."""
        plan, classes = self._plan, len(self._plan.dataset.names)
        return {
            arm.name: count_shared_tensors(arm, plan.baseline, plan.settings.task, classes, pretrained=bool(plan.bases))
            for arm in plan.trainable_arms
        }

    # --- execution --------------------------------------------------------------------------------------------------

    @property
    def _due(self) -> list[Run]:
        """The runs of the schedule and those that train bases."""
        return list({run.key: run for run in (*self._plan.base_runs, *self._schedule.runs)}.values())

    def _is_waiting(self, run: Run) -> bool:
        return self._states[run.key].status == "waiting"

    def _waiting(self) -> list[Run]:
        """Return the runs that are due and have no result, those that train bases first."""
        return [*self._needed_bases(), *filter(self._is_waiting, self._schedule.runs)]

    def _advance(self, runner: Runner, progress: Progress) -> bool:
        """Look at the study, and return whether undecided arms get more seeds."""
        hours, adaptive = self._plan.study.hours, self._plan.study.design.max_seeds is not None
        if self._too_late:
            self._schedule = self._schedule.without_later(self._ended)
        study = self._report(html=False).study
        if adaptive and study.looks:
            progress.print(describe_look(study, self._decided))
            self._decided = {arm.name for arm in study.others if arm.decided}
        if self._too_late:
            progress.print(f"hours={hours:g}: no time for another seed; the same command adds seeds in further hours")
            return False
        following = self._schedule.after_look(study, runner.workers)
        grown, self._schedule = following != self._schedule, following
        self._prepare(following.runs)
        self._prepare_bases()
        progress.total = len(self._due)
        return grown

    def _execute(self, waiting: list[Run], runner: Runner, progress: Progress, live: LivePage) -> None:
        """Keep the runner busy until all runs have ended."""
        active: dict[str, tuple[Run, Handle]] = {}
        progress.waiting = waiting
        try:
            while waiting or active:
                self._start_runs(waiting, active, runner, progress)
                time.sleep(_POLL_SECONDS if active else 0)
                for run, handle in list(active.values()):
                    outcome = handle.poll()
                    if outcome is not None:
                        del active[run.key]
                        results = self._finish(run, outcome, waiting, progress)
                        if waiting or active:  # the page of the finished study is written right after the last run
                            live.offer(results.study)
                progress.tick(self._store.path)
                live.tick()
        finally:
            for _, handle in active.values():
                handle.stop()

    def _start_runs(
        self, waiting: list[Run], active: dict[str, tuple[Run, Handle]], runner: Runner, progress: Progress
    ) -> None:
        """Start waiting runs, bases first, while the runner has room; drop them if their seed would not end in time."""
        while (ready := self._ready(waiting)) and runner.has_room(len(active), self._known_memory()):
            run = ready[0]
            if not self._ends_in_time(run, waiting, runner, progress):
                self._too_late = True
                waiting.clear()
                break
            self._check_base(run)
            waiting.remove(run)
            self._begun.add(run.seed)
            self._states[run.key] = self._state(run, "running")
            self._report(html=False)
            progress.start(run)
            active[run.key] = (run, runner.start(self._store.path(run), self._plan.platform.threads))

    def _check_base(self, run: Run) -> None:
        """Check that a run starts from the same weights as the finished runs of its base.

        A base whose weights were deleted is trained again, and only on a CPU with exactly the same result.

        Raises:
            UserError: The weights are others.
        """
        from yolo_attn.host.checkpoint import weights_hash

        base = run.base
        if base is None or base.key in self._checked:
            return
        states = [self._states.get(other.key) for other in self._plan.runs if other.base and other.base.key == base.key]
        starts = {state.measurements.start for state in states if state and state.measurements.start}
        if starts and starts != {weights_hash(self._store.weights(base))}:
            raise UserError(
                f"{self._store.weights(base)}: other weights than those that the finished runs started from, because "
                "the base was trained again and this training is not repeatable on this device; give another name= "
                "to train all arms from the new weights"
            )
        self._checked.add(base.key)

    def _ready(self, waiting: list[Run]) -> list[Run]:
        """Return the waiting runs that start from nothing or from a trained base."""
        return [run for run in waiting if not run.base or self._states[run.base.key].status == "done"]

    def _ends_in_time(self, run: Run, waiting: Sequence[Run], runner: Runner, progress: Progress) -> bool:
        """Whether the seed of a run has begun, or would end within the hours of the study.

        Raises:
            UserError: Not even the first seed would.
        """
        hours = self._plan.study.hours
        if hours is None or run.seed in self._begun:
            return True
        of_seed = [other for other in waiting if other.seed == run.seed]
        needed = progress.forecast(of_seed, runner.workers)
        if needed is None:  # no such run has ended yet
            needed = Sizing(self._plan, None, self._guess, runner.workers).seconds(of_seed)
        if time.monotonic() + (needed or 0.0) <= self._ends:
            return True
        if not self._begun:
            duration = f", which takes about {clock(needed)}" if needed else ""
            raise UserError(f"hours={hours:g}: too short for one seed of all arms{duration}; give more hours")
        return False

    @cached_property
    def _guess(self) -> RunSeconds:
        """Expected seconds of runs before any of their kind has ended; a few training steps are timed only once."""
        return RunSeconds(self._plan, RunTimes())

    def _finish(self, run: Run, outcome: Outcome, waiting: list[Run], progress: Progress) -> Results:
        """Store the end of a run; the runs that start from a base that could not be trained end with it."""
        state = self._stored_state(run) if outcome.finished else None
        state = state or self._state(run, "interrupted", outcome.reason)
        self._states[run.key] = state
        progress.finish(run, state, self._store.path(run) / LOG)
        self._end_baseless()
        waiting[:] = filter(self._is_waiting, waiting)
        return self._report(html=False)

    def _interrupted(self) -> str:
        """Write the reports of an interrupted study, and return a message."""
        self._states = {
            key: replace(state, status="waiting") if state.status == "running" else state
            for key, state in self._states.items()
        }
        any_done = any(state.status == "done" for state in self._states.values())
        self._report(html=any_done)
        done = sum(self._states[run.key].status == "done" for run in self._due)
        return f"stopped with {done} of {len(self._due)} runs done; give the same command again to resume"

    def _conclude(self, progress: Progress) -> Results:
        """Measure latency, write the reports and print the table."""
        if {run.key for run in self._schedule.runs} <= self._ended:
            self._measure_latency(progress)
        results = self._report(html=True)
        progress.print("\n" + results.table())
        failed = [run for run in self._due if self._has_failed(run)]
        for run in failed:
            progress.print(f"log of {run.arm.name} seed {run.seed}: {self._store.path(run) / LOG}")
        if failed:
            progress.print("Failed runs are run again only with retry=True.")
        if results.of_status("interrupted"):
            progress.print("Give the same command again to resume the interrupted runs.")
        progress.print(f"Results: {self._store.folder / REPORT}, results.json, .csv, .md, .tex")
        return results

    def _has_failed(self, run: Run) -> bool:
        """Whether a run was executed and has failed."""
        state = self._states[run.key]
        return state.status == "failed" and state.result is not None

    def _measure_latency(self, progress: Progress) -> None:
        """Measure the latency of the arms unless it is stored; the results are complete without it."""
        from yolo_attn.study.running.latency import measure

        done = {key for key, state in self._states.items() if state.status == "done"}
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
                log=progress.print,
            )
        except (UserError, RuntimeError) as error:
            progress.print(f"latency: not measured ({first_line(error)})")

    # --- state and reports ------------------------------------------------------------------------------------------

    def _state(self, run: Run, status: str, error: str | None = None) -> RunState:
        return RunState(run.seed, status, self._store.relative_path(run), error, base=run.base_number)

    def _stored_state(self, run: Run) -> RunState | None:
        """Return the state of a run that has a stored result, None without one."""
        result = self._store.result(run)
        if result is None:
            return None
        return replace(self._state(run, result.status, result.error), result=result)

    @property
    def _prepared(self) -> list[Run]:
        """The runs that have a folder."""
        return [run for run in self._plan.every_run if run.key in self._states]

    @property
    def _ended(self) -> set[str]:
        """The keys of the runs that are done or have failed."""
        return {key for key, state in self._states.items() if state.status in {"done", "failed"}}

    def _known_times(self) -> RunTimes:
        """Return the times of the done runs."""
        return times_of(self._prepared, {key: state.result for key, state in self._states.items()})

    def _known_memory(self) -> dict[str, float]:
        """Return the largest memory of a finished run in MiB, by kind."""
        largest: dict[str, float] = {}
        for state in self._states.values():
            for kind, amount in (state.measurements.memory_mib or {}).items():
                if amount is not None:
                    largest[kind] = max(largest.get(kind, 0.0), amount)
        return largest

    def _report(self, *, html: bool) -> Results:
        """Write the current results; without `html`, the page with the plots is left to `LivePage`."""
        plan = self._plan
        info = plan.info(self._schedule.most_seeds, self._command)
        folder = self._store.folder
        arms = [self._arm_runs(arm) for arm in plan.arms]
        bases = [TrainedBase(arm, self._states[run.key]) for arm, runs in plan.bases.items() for run in runs]
        study = make_results(folder, info, arms, bases=bases, looks=self._looks)
        self._keep_looks(study)
        results = Results(folder, study)
        results.write(html=html)
        return results

    def _keep_looks(self, study: StudyResults) -> None:
        """Store the looks at a study before anyone can read its verdicts."""
        looks = all_looks(self._looks, study)
        if looks != self._looks:
            write_looks(self._store.folder, looks)
            self._looks = looks

    def _arm_runs(self, arm: Arm) -> ArmRuns:
        if arm.error:
            seeds = self._plan.study.seeds[: self._schedule.seeds[arm.name]]
            states = [RunState(seed, "failed", error=arm.error) for seed in seeds]
            return ArmRuns(arm.name, arm.kind, None, states, None)
        runs = self._schedule.runs_of(arm)
        states = [replace(self._states[run.key], seed=run.seed) for run in runs]
        model = f"{self._store.relative_path(runs[0])}/{MODEL}"
        return ArmRuns(arm.name, arm.kind, model, states, self._shared.get(arm.name))

    def _write_interim_page(self, study: StudyResults) -> None:
        from yolo_attn.study.report import write_interim_page

        write_interim_page(self._store.folder, study, RELOAD_SECONDS)
