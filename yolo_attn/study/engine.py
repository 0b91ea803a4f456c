"""Run a study: plan it, do what is not done yet, and keep the report up to date."""

from __future__ import annotations

import functools
import operator
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from yolo_attn.errors import UserError
from yolo_attn.security.trust import trusting, trusts_files
from yolo_attn.study.files import LAYERS, LOG, MODEL, RESULTS
from yolo_attn.study.report.live import RELOAD_SECONDS, LivePage
from yolo_attn.study.results.results import ArmRuns, Results, make_results
from yolo_attn.study.running import inputs
from yolo_attn.study.running.local import Handle, LocalRunner, Outcome, Runner
from yolo_attn.study.running.progress import Progress, clock
from yolo_attn.study.specification import estimate
from yolo_attn.study.specification.device import count_devices, device_kind, first_device
from yolo_attn.study.specification.study import Arm, Run, Study
from yolo_attn.study.store import Store, choose_folder, read_plan
from yolo_attn.system.files import read_json

if TYPE_CHECKING:
    from yolo_attn.layer_files import Sources

__all__ = ["compare"]

_POLL_SECONDS = 0.25


def compare(
    arguments: Mapping[str, object], runner: Runner | None = None, stream: TextIO | None = None, command: str = ""
) -> Results:
    """Train a base, its variants and controls with common seeds, and report.

    Called again with the same arguments it goes on where it was: no run is done twice. Prints progress and a table, and
    keeps the results in the study's folder up to date after every run.

    Args:
        arguments: `base`, `data`, `variants`, `controls`, `seeds`, or `study` (a file); `project`, `name`, `exist_ok`,
            `device`, `threads`, `workers`, `runner`, `address`, `retry`, `layers`, `trust`; and Ultralytics' training
            keys. None of them is needed.
        runner: What carries the runs out; by default what `runner=` asks for.
        stream: Where progress and table go; standard output by default.
        command: The command line, for the report.

    Raises:
        UserError: A mistake in the arguments, a folder that another process holds, a full disk. What was done is kept.
        KeyboardInterrupt: After the runs in progress were stopped; its message says how to go on.
    """
    from yolo_attn.host.restricted import restricted

    study = Study.from_arguments(arguments)
    with trusting(study.trust), restricted():
        return _compare(study, runner, stream, command)


def _compare(study: Study, runner: Runner | None, stream: TextIO | None, command: str) -> Results:
    store = Store(choose_folder(study))
    engine = _plan(study, store, stream or sys.stdout, command)
    carrier = runner or _make_runner(engine.study, engine.state, stream or sys.stdout)
    try:
        with store.opened(engine.study, engine.state, engine.sources):
            engine.prepare()
            return engine.run(carrier)
    finally:
        carrier.close()


def _plan(study: Study, store: Store, stream: TextIO, command: str) -> _Engine:
    """Work out everything that can be wrong before anything is written."""
    from yolo_attn.layer_files import sources_of

    versions = inputs.versions()
    stored: dict[str, Any] = {}
    if store.exists:
        store.check_free()
        stored = store.state(versions)
        study = study.added_to(read_plan(store.folder))
    from yolo_attn.data import resolve_data

    given = _load_layers(study, store)
    arms = _build_arms(study, store)
    for arm in arms:
        inputs.layer_sources(arm.model)  # one that no other process can import stops here, before data are downloaded
    task = inputs.study_task(arms[0].model)
    if task not in {"detect", "segment", "pose", "obb"}:
        raise UserError(f"base={study.base}: a {task} model; compare works with detect, segment, pose and obb")
    data = resolve_data(study.data)
    device = device_kind(study.device)
    threads = study.threads or stored.get("threads") or study.usual_threads or _share_of_cores(study, device)
    devices = count_devices(study.device)
    several = {"devices": devices} if devices > 1 else {}
    if "device" in stored:
        _tell_of_devices(store, stored, f"{devices} {device}", stream)
    split = str(study.train.get("split", "val"))
    dataset = inputs.read_dataset(data, task, split)
    common = {
        "schema": 1,
        "data": dataset.digest,
        "recipe": dict(study.train),
        "versions": versions,
        "device": device,
        "threads": threads,
        **several,
    }
    order = {
        "task": task,
        "data": data,
        "device": study.device or ("cpu" if device == "cpu" else None),
        "weights": str(arms[0].weights) if arms[0].weights else None,
        **({"trust": True} if trusts_files() else {}),
    }
    state = {"versions": versions, "threads": threads, "device": device, **several}
    # Seed by seed: a study that is stopped early has whole comparisons, of fewer seeds.
    runs = [inputs.make_run(arm, seed, common) for seed in study.seeds for arm in arms if not arm.error]
    sources = functools.reduce(operator.or_, (run.sources for run in runs if run.sources), sources_of(given))
    return _Engine(study, store, arms, runs, order, state, dataset, stream, command, sources)


def _load_layers(study: Study, store: Store) -> list[str]:
    """Import the files of layers that a study names or its folder keeps, and return their modules.

    Raises:
        UserError: The command names none, those there are not imported yet, and files are not trusted: a study's file
            and folder may come from someone else.
    """
    from yolo_attn.layer_files import load_layers, module_of

    kept = read_plan(store.folder).get(LAYERS) if store.exists and not study.layers else None
    files = [*study.layers, *(str(store.folder / file) for file in kept or ())]
    if not study.layers_asked:
        files = [file for file in files if module_of(Path(file))[0] not in sys.modules]
        if files and not trusts_files():
            named = ",".join(files)
            raise UserError(f"the study's layers are Python files, which are not run unasked; add layers={named}")
    return load_layers(files)


def _build_arms(study: Study, store: Store) -> list[Arm]:
    """Return the arms of a study.

    Raises:
        UserError: As `inputs.build_arms`, also of layers that the study began with and that are not given this time.
    """
    from yolo_attn.layer_files import module_of

    try:
        return inputs.build_arms(study)
    except UserError as error:
        kept = [store.folder / file for file in read_plan(store.folder).get(LAYERS) or ()] if store.exists else []
        missing = [str(file) for file in kept if file.is_file() and module_of(file)[0] not in sys.modules]
        if not missing:
            raise
        files = ",".join([*study.layers, *missing])
        raise UserError(f"{error}; {store.folder} keeps layers that are not run unasked: give layers={files}") from None


def _tell_of_devices(store: Store, stored: Mapping[str, Any], now: str, stream: TextIO) -> None:
    """Tell that a study goes on on other devices than before, where none of its runs can be used."""
    before = f"{stored.get('devices', 1)} {stored.get('device')}"
    if now != before:
        print(
            f"{store.folder}: last trained on {before}, now on {now}; runs of the two are not mixed, so what was not "
            f"trained on {now} yet is trained",
            file=stream,
            flush=True,
        )


def _share_of_cores(study: Study, device: str) -> int:
    """Return the CPU threads of a run when a study begins: the cores, shared out to the runs that go at once.

    Another number of threads sums in another order and gives other results, so that it is part of every run's key. The
    store keeps the number that a study began with; how many runs go at once later changes no result.
    """
    if study.runner == "ray":
        return _cores()
    return max(1, _cores() // (study.workers or max(1, len(_own_gpus(study, device)))))


def _own_gpus(study: Study, device: str) -> list[str]:
    """Return the GPUs in which runs take turns, one each; none when the user chose the device."""
    return inputs.free_gpus() if study.device is None and device == "cuda" else []


def _make_runner(study: Study, state: Mapping[str, Any], stream: TextIO) -> Runner:
    """Return what carries the runs out."""
    threads, device = int(state["threads"]), str(state["device"])
    if study.runner == "ray":
        from yolo_attn.study.running.ray import RayRunner

        return RayRunner(study.address, study.device or ("0" if device == "cuda" else "cpu"), threads, study.data)
    gpus = _own_gpus(study, device)
    fitting = max(1, _cores() // threads)
    workers = study.workers or (fitting if device == "cpu" else max(1, len(gpus)))
    # Who gives both numbers gets both.
    if device == "cpu" and study.threads is None and threads > 1 and workers > fitting:
        print(
            f"workers={workers}: at most {fitting} at once, since the runs of this study take {threads} threads each "
            f"of {_cores()} cores; threads= sets another number, with which every run is trained again",
            file=stream,
            flush=True,
        )
        workers = fitting
    return LocalRunner(workers, gpus if len(gpus) > 1 else (), study.device or device)


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
        arms: Baseline, variants and controls.
        runs: Their runs, in the order in which they are started.
        order: What every worker needs beside its inputs.
        state: What the store records about itself.
        dataset: The dataset's digest and sizes.
        stream: Where progress and table go.
        command: The command line.
        sources: The files of the layers that are the user's own.
    """

    study: Study
    store: Store
    arms: Sequence[Arm]
    runs: Sequence[Run]
    order: Mapping[str, Any]
    state: Mapping[str, Any]
    dataset: inputs.Dataset
    stream: TextIO
    command: str
    sources: Sources
    _states: dict[str, dict[str, Any]] = field(default_factory=dict)
    _shared: dict[str, list[int] | None] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make every run's folder and read the results that are there."""
        from yolo_attn.study.report.sources import remember_dataset

        remember_dataset(self.store.folder, str(self.order["data"]), str(self.study.train.get("split", "val")))
        for run in self.runs:
            self.store.prepare(run, self.order)
            result = self.store.result(run)
            if result and result["status"] == "failed" and self.study.retry:
                self.store.forget(run)
                result = None
            self._states[run.key] = result or {"status": "waiting"}

    def run(self, runner: Runner) -> Results:
        """Do every run that has no result yet, and return the results."""
        # Two arms that are the same model share their runs.
        runs = {run.key: run for run in reversed(self.runs)}
        waiting = [run for run in self.runs if runs[run.key] is run and self._states[run.key]["status"] == "waiting"]
        self._shared = self._count_shared() if waiting else self._known_shared()
        progress = Progress(len(runs), int(self.study.train.get("epochs", 100)), self._known_times(), self.stream)
        self._announce(progress, len(runs), waiting, runner)
        live = LivePage(self.store.folder, self._write_interim_page, progress.say)
        results = self._report(pictures=False)
        if waiting and results.of_status("done"):
            live.offer(results.data)
        try:
            self._do_all(waiting, runner, progress, live)
        except KeyboardInterrupt:
            progress.close()
            live.close()
            self._states = {
                key: {"status": "waiting"} if state["status"] == "running" else state
                for key, state in self._states.items()
            }
            any_done = any(state["status"] == "done" for state in self._states.values())
            done = len(self._report(pictures=any_done).of_status("done"))
            raise KeyboardInterrupt(
                f"stopped with {done} of {len(self.runs)} runs done; the same command goes on there"
            ) from None
        finally:
            progress.close()
            live.close()
        return self._conclude(progress)

    def _write_interim_page(self, data: Mapping[str, Any]) -> None:
        from yolo_attn.study.report import write_interim_page

        write_interim_page(self.store.folder, data, RELOAD_SECONDS)

    def _count_shared(self) -> dict[str, list[int] | None]:
        """Build every arm and count the base's tensors in it."""
        task, classes = str(self.order["task"]), len(self.dataset.names)
        return {arm.name: inputs.shared_start(arm, self.arms[0], task, classes) for arm in self.arms if not arm.error}

    def _known_shared(self) -> dict[str, list[int] | None]:
        """Return what was counted when the runs were done."""
        path = self.store.folder / RESULTS
        try:
            known = {arm["name"]: arm["transferred"] for arm in read_json(path)["arms"]}
        except (UserError, KeyError, TypeError):
            return self._count_shared()
        return known if {arm.name for arm in self.arms} <= known.keys() else self._count_shared()

    def _do_all(self, waiting: list[Run], runner: Runner, progress: Progress, live: LivePage) -> None:
        """Keep the runner busy until no run is left."""
        active: dict[str, tuple[Run, Handle]] = {}
        progress.waiting = waiting
        try:
            while waiting or active:
                self._start_what_fits(waiting, active, runner, progress)
                time.sleep(_POLL_SECONDS if active else 0)
                for run, handle in list(active.values()):
                    outcome = handle.poll()
                    if outcome is not None:
                        del active[run.key]
                        results = self._finish(run, outcome, progress)
                        if waiting or active:  # otherwise the page of the finished study comes now
                            live.offer(results.data)
                progress.tick(self.store.path)
                live.tick()
        finally:
            for _, handle in active.values():
                handle.stop()

    def _start_what_fits(
        self, waiting: list[Run], active: dict[str, tuple[Run, Handle]], runner: Runner, progress: Progress
    ) -> None:
        while waiting and runner.has_room(len(active), self._memory()):
            run = waiting.pop(0)
            self._states[run.key] = {"status": "running"}
            self._report(pictures=False)
            progress.start(run)
            active[run.key] = (run, runner.start(self.store.path(run), int(self.state["threads"])))

    def _finish(self, run: Run, outcome: Outcome, progress: Progress) -> Results:
        result = self.store.result(run) if outcome.finished else None
        self._states[run.key] = result or {"status": "interrupted", "error": outcome.reason}
        progress.finish(run, self._states[run.key], self.store.path(run) / LOG)
        return self._report(pictures=False)

    def _memory(self) -> dict[str, float]:
        """Return the most that a finished run needed, in MiB, by kind."""
        most: dict[str, float] = {}
        for state in self._states.values():
            for kind, amount in (state.get("memory_mib") or {}).items():
                if amount is not None:
                    most[kind] = max(most.get(kind, 0.0), float(amount))
        return most

    def _report(self, *, pictures: bool = True) -> Results:
        """Write the report as of now; without pictures, the page with the plots is left to `LivePage`."""
        study = {
            "data": self.study.data,
            "data_digest": self.dataset.digest,
            "images": self.dataset.images,
            "instances": self.dataset.instances,
            "task": self.order["task"],
            "weights": Path(self.order["weights"]).name if self.order["weights"] else None,
            "recipe": dict(self.study.train),
            "versions": self.state["versions"],
            "seeds": list(self.study.seeds),
            "device": self.state["device"],
            "threads": self.state["threads"],
            "command": self.command,
        }
        results = make_results(self.store.folder, study, [self._arm_runs(arm) for arm in self.arms])
        results.write(pictures=pictures)
        return results

    def _arm_runs(self, arm: Arm) -> ArmRuns:
        if arm.error:
            runs = [{"seed": seed, "status": "failed", "error": arm.error} for seed in self.study.seeds]
            return ArmRuns(arm, None, runs, None)
        mine = [run for run in self.runs if run.arm is arm]
        states = [
            {**self._states[run.key], "seed": run.seed, "folder": self._relative(self.store.path(run))} for run in mine
        ]
        return ArmRuns(arm, self._relative(self.store.path(mine[0]) / MODEL), states, self._shared.get(arm.name))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.store.folder).as_posix()

    def _known_times(self) -> dict[str, list[float]]:
        times: dict[str, list[float]] = {}
        for run in self.runs:
            state = self._states[run.key]
            if state["status"] == "done":
                times.setdefault(run.arm.name, []).append(float(state["wall_seconds"]))
        return times

    def _announce(self, progress: Progress, total: int, waiting: Sequence[Run], runner: Runner) -> None:
        """Tell, before anything is trained, what is going to be, from which starts, and what it can show."""
        study = self.study
        progress.say(
            f"compare: arms {len(self.arms)}, seeds {len(study.seeds)}, runs {total}, of them done before "
            f"{total - len(waiting)}; folder {self.store.folder}"
        )
        for arm in self.arms:
            if arm.error:
                progress.say(f"{arm.name}: left out: {arm.error}")
        progress.say(self.dataset.account)
        start = "the checkpoint" if self.order["weights"] else "the base, seed by seed"
        counts = [f"{name} {counted[0]}/{counted[1]}" for name, counted in self._shared.items() if counted]
        progress.say(f"tensors that start as in {start}: {', '.join(counts)}")
        progress.say(self._detectable_line())
        seconds = self._expected_seconds(waiting)
        if seconds:
            at_once = min(getattr(runner, "workers", 1), len(waiting))
            side = f", {at_once} runs at a time" if at_once > 1 else ""
            progress.say(f"expected time: {clock(seconds / at_once)}{side}")
        unused = self.store.unused(self.runs)
        if unused:
            progress.say(f"{unused} earlier runs in the folder are of other inputs (recipe, data, model) and not used")

    def _detectable_line(self) -> str:
        variants = sum(arm.kind == "variant" and not arm.error for arm in self.arms)
        return estimate.detectable_line(len(self.study.seeds), self.dataset.images, variants, self._earlier_results())

    def _earlier_results(self) -> Mapping[str, Any]:
        """Return the folder's results when they are of this base, data and recipe; {} when there are none."""
        study = {"baseline": self.arms[0].name, "data_digest": self.dataset.digest, "recipe": dict(self.study.train)}
        try:
            known = read_json(self.store.folder / RESULTS)
        except UserError:
            return {}
        return known if all(known.get(key) == value for key, value in study.items()) else {}

    def _expected_seconds(self, waiting: Sequence[Run]) -> float | None:
        if not waiting:
            return None
        known, guess = self._known_times(), None
        if not known and self.dataset.train_images:
            guess = estimate.guess_run_seconds(
                self.arms[0].model,
                str(self.order["task"]),
                len(self.dataset.names),
                train_images=self.dataset.train_images,
                recipe=self.study.train,
                where=first_device(self.study.device),
                threads=int(self.state["threads"]),
            )
        return estimate.study_seconds([run.arm.name for run in waiting], known, guess)

    def _conclude(self, progress: Progress) -> Results:
        if {state["status"] for state in self._states.values()} <= {"done", "failed"}:
            self._measure_latency(progress)
        results = self._report()
        progress.say("\n" + results.table())
        failed = [(name, run) for name, run in results.of_status("failed") if run["folder"]]
        for name, run in failed:
            progress.say(f"log of {name} seed {run['seed']}: {self.store.folder / run['folder'] / LOG}")
        if failed:
            progress.say("Failed runs are not run again, unless with retry=True.")
        if results.of_status("interrupted"):
            progress.say("The same command runs again what was interrupted.")
        progress.say(f"Results: {self.store.folder / 'report.html'}, results.json, .csv, .md, .tex")
        return results

    def _measure_latency(self, progress: Progress) -> None:
        """Time the arms beside each other, when that was not done yet; the results stand without it, too."""
        from yolo_attn.study.running.latency import measure

        done = [run for run in reversed(self.runs) if self._states[run.key]["status"] == "done"]
        first = {run.arm.name: run for run in done}
        if not first:
            return
        imgsz, threads = int(self.study.train.get("imgsz", 640)), int(self.state["threads"])
        device = first_device(self.study.device)
        try:
            measure(self.store, first, imgsz=imgsz, threads=threads, device=device, say=progress.say)
        except (UserError, RuntimeError) as error:
            reason = str(error).strip().splitlines()
            progress.say(f"latency: not measured ({reason[0] if reason else type(error).__name__})")
