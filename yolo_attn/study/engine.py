"""Run a study: plan it, do what is not done yet, and keep the report up to date."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from yolo_attn.errors import UserError
from yolo_attn.study import inputs
from yolo_attn.study.plan import Arm, Run, Study
from yolo_attn.study.progress import Progress
from yolo_attn.study.results import ArmRuns, Results, make_results
from yolo_attn.study.runner import LOG, Outcome, run_in_child
from yolo_attn.study.store import MODEL, Store, choose_folder, read_plan

__all__ = ["Runner", "compare"]


class Runner(Protocol):
    """How one run is carried out; `run_in_child` is the local one."""

    def __call__(self, folder: Path, threads: int, tick: Callable[[], None]) -> Outcome:
        """Do what a run folder asks for and return how it ended."""


def compare(arguments: Mapping[str, object], runner: Runner = run_in_child, stream: TextIO | None = None) -> Results:
    """Train a base and its variants with common seeds, and report.

    Called again with the same arguments it goes on where it was: no run is done twice. Prints progress and a table, and
    writes `results.json`, `results.csv` and `results.md` into the study's folder after every run.

    Args:
        arguments: `base`, `data`, `variants`, `seeds`, or `study` (a file); `project`, `name`, `exist_ok`, `device`,
            `threads`, `retry`; and Ultralytics' training keys. None of them is needed.
        runner: How a run is carried out.
        stream: Where progress and table go; standard output by default.

    Raises:
        UserError: A mistake in the arguments, a folder that another process holds, a full disk. What was done is kept.
        KeyboardInterrupt: After the run in progress was stopped; its message says how to go on.
    """
    study = Study.from_arguments(arguments)
    store = Store(choose_folder(study))
    engine = _plan(study, store, stream or sys.stdout)
    with store.opened(engine.study, engine.state):
        engine.prepare()
        return engine.run(runner)


def _plan(study: Study, store: Store, stream: TextIO) -> _Engine:
    """Work out everything that can be wrong before anything is written."""
    versions = inputs.versions()
    stored: dict[str, Any] = {}
    if store.exists:
        store.check_free()
        stored = store.state(versions)
        study = study.added_to(read_plan(store.folder))
    from yolo_attn.data import resolve_data

    arms = inputs.build_arms(study)
    task = inputs.study_task(arms[0].model)
    if task not in {"detect", "segment", "pose", "obb"}:
        raise UserError(f"base={study.base}: a {task} model; compare works with detect, segment, pose and obb")
    data = resolve_data(study.data)
    threads = study.threads or stored.get("threads") or study.usual_threads or _cores()
    device = inputs.device_kind(study.device)
    common = {
        "schema": 1,
        "data": inputs.data_fingerprint(data, task, str(study.train.get("split", "val"))),
        "recipe": dict(study.train),
        "versions": versions,
        "device": device,
        "threads": threads,
    }
    order = {
        "task": task,
        "data": data,
        "device": study.device or ("cpu" if device == "cpu" else None),
        "weights": str(arms[0].weights) if arms[0].weights else None,
    }
    state = {"versions": versions, "threads": threads, "device": device}
    # Seed by seed: a study that is stopped early has whole comparisons, of fewer seeds.
    runs = [inputs.make_run(arm, seed, common) for seed in study.seeds for arm in arms if not arm.error]
    return _Engine(study, store, arms, runs, order, state, stream)


def _cores() -> int:
    """Return the number of CPU cores that this process may use."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


@dataclass
class _Engine:
    """One study and its store.

    Args:
        study: What is asked.
        store: Where it is kept.
        arms: Baseline and variants.
        runs: Their runs, in the order in which they are done.
        order: What every worker needs beside its inputs.
        state: What the store records about itself.
        stream: Where progress and table go.
    """

    study: Study
    store: Store
    arms: Sequence[Arm]
    runs: Sequence[Run]
    order: Mapping[str, Any]
    state: Mapping[str, Any]
    stream: TextIO
    _states: dict[str, dict[str, Any]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make every run's folder and read the results that are there."""
        for run in self.runs:
            self.store.prepare(run, self.order)
            result = self.store.result(run)
            if result and result["status"] == "failed" and self.study.retry:
                self.store.forget(run)
                result = None
            self._states[run.key] = result or {"status": "waiting"}

    def run(self, runner: Runner) -> Results:
        """Do every run that has no result yet, and return the results."""
        waiting = [run for run in self.runs if self._states[run.key]["status"] == "waiting"]
        progress = Progress(len(self.runs), int(self.study.train.get("epochs", 100)), self._known_times(), self.stream)
        self._announce(progress, len(waiting))
        results = self._report()
        try:
            while waiting:
                run = waiting.pop(0)
                progress.start(run, waiting)
                results = self._do(run, runner, progress)
        except KeyboardInterrupt:
            progress.close()
            self._states = {
                key: {"status": "waiting"} if state["status"] == "running" else state
                for key, state in self._states.items()
            }
            results = self._report()
            done = len(results.of_status("done"))
            raise KeyboardInterrupt(
                f"stopped with {done} of {len(self.runs)} runs done; the same command goes on there"
            ) from None
        finally:
            progress.close()
        self._conclude(progress, results)
        return results

    def _do(self, run: Run, runner: Runner, progress: Progress) -> Results:
        folder = self.store.path(run)
        self._states[run.key] = {"status": "running"}
        self._report()
        outcome = runner(folder, int(self.state["threads"]), lambda: progress.tick(run, folder))
        result = self.store.result(run) if outcome.finished else None
        self._states[run.key] = result or {"status": "interrupted", "error": outcome.reason}
        progress.finish(run, self._states[run.key], folder / LOG)
        return self._report()

    def _report(self) -> Results:
        """Write the report as of now."""
        study = {
            "data": self.study.data,
            "recipe": dict(self.study.train),
            "versions": self.state["versions"],
            "seeds": list(self.study.seeds),
            "device": self.state["device"],
            "threads": self.state["threads"],
        }
        results = make_results(self.store.folder, study, [self._arm_runs(arm) for arm in self.arms])
        results.write()
        return results

    def _arm_runs(self, arm: Arm) -> ArmRuns:
        if arm.error:
            runs = [{"seed": seed, "status": "failed", "error": arm.error} for seed in self.study.seeds]
            return ArmRuns(arm, None, runs)
        mine = [run for run in self.runs if run.arm is arm]
        states = [
            {**self._states[run.key], "seed": run.seed, "folder": self._relative(self.store.path(run))} for run in mine
        ]
        return ArmRuns(arm, self._relative(self.store.path(mine[0]) / MODEL), states)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.store.folder).as_posix()

    def _known_times(self) -> dict[str, list[float]]:
        times: dict[str, list[float]] = {}
        for run in self.runs:
            state = self._states[run.key]
            if state["status"] == "done":
                times.setdefault(run.arm.name, []).append(float(state["wall_seconds"]))
        return times

    def _announce(self, progress: Progress, waiting: int) -> None:
        study, total = self.study, len(self.runs)
        progress.say(
            f"compare: arms {len(self.arms)}, seeds {len(study.seeds)}, runs {total}, of them done before "
            f"{total - waiting}; folder {self.store.folder}"
        )
        for arm in self.arms:
            if arm.error:
                progress.say(f"{arm.name}: left out: {arm.error}")
        unused = self.store.unused(self.runs)
        if unused:
            progress.say(f"{unused} earlier runs in the folder are of other inputs (recipe, data, model) and not used")

    def _conclude(self, progress: Progress, results: Results) -> None:
        progress.say("\n" + results.table())
        for name, run in results.of_status("failed"):
            progress.say(f"failed: {name} seed {run['seed']}: {run['error']}{self._log_of(run)}")
        for name, run in results.of_status("interrupted"):
            progress.say(f"interrupted: {name} seed {run['seed']}: {run['error']}; the same command runs it again")
        if any(run["folder"] for _, run in results.of_status("failed")):
            progress.say("Failed runs are not run again, unless with retry=True.")
        progress.say(f"Results: {self.store.folder / 'results.json'}, .csv, .md")

    def _log_of(self, run: Mapping[str, Any]) -> str:
        return f" (see {self.store.folder / run['folder'] / LOG})" if run["folder"] else ""
