"""The interface of runners, which execute runs, and the choice of one for a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from yolo_attn.study.job import Platform
from yolo_attn.study.running import resources
from yolo_attn.study.specification.study import Study

__all__ = ["Handle", "Outcome", "Runner", "make_runner"]


@dataclass(frozen=True)
class Outcome:
    """The end of a run's process.

    Args:
        finished: Whether it left a result, done or failed.
        reason: Why it left none.
    """

    finished: bool
    reason: str | None = None


class Handle(Protocol):
    """A run that was started."""

    def poll(self) -> Outcome | None:
        """Return the run's outcome, None while it is running.

        Raises:
            UserError: A problem that stops the whole study, such as a full disk.
        """

    def stop(self) -> None:
        """End the run."""


class Runner(Protocol):
    """Executes runs: `LocalRunner` on this machine, `RayRunner` on a cluster."""

    @property
    def workers(self) -> int:
        """The runs that are executed at once, as an estimate."""

    def has_room(self, running: int, memory: Mapping[str, float]) -> bool:
        """Whether another run can start; the first one always can.

        Args:
            running: Number of running runs.
            memory: Largest memory of a finished run in MiB, by kind ("process", "cuda"); empty if unknown.
        """

    def start(self, folder: Path, threads: int) -> Handle:
        """Start the run of a prepared run folder with a number of CPU threads."""

    def close(self) -> None:
        """Release the runner's resources after the last run."""


def make_runner(study: Study, platform: Platform, stream: TextIO) -> Runner:
    """Return the runner of a study.

    Args:
        study: The study.
        platform: Device and threads of its runs.
        stream: Output for messages.

    Raises:
        UserError: Ray is not installed or its cluster cannot be reached.
    """
    from yolo_attn.study.running.local import LocalRunner

    threads, device = platform.threads, platform.device
    if study.runner == "ray":
        from yolo_attn.study.running.ray import RayRunner

        used = study.device or ("0" if device == "cuda" else "cpu")
        runner = RayRunner(study.address, used, threads, study.data, gpus=study.gpus)
        if shortage := runner.shortage:
            print(f"runner=ray: {shortage}", file=stream, flush=True)
        return runner
    gpus, cores = resources.gpus_to_share(study, device), resources.cpu_cores()
    fitting = max(1, cores // threads)
    workers = study.workers or (fitting if device == "cpu" else max(1, len(gpus)))
    # If the user gives both numbers, they are used as given.
    if device == "cpu" and study.threads is None and threads > 1 and workers > fitting:
        print(
            f"workers={workers}: at most {fitting} at once, because the runs of this study use {threads} threads each "
            f"and there are {cores} cores; with another threads= every run is trained again",
            file=stream,
            flush=True,
        )
        workers = fitting
    if workers > 1 and platform.devices > 1 and device == "cuda":
        print(
            f"workers={workers}: one run at a time, because the memory of a run on several GPUs is unknown",
            file=stream,
            flush=True,
        )
        workers = 1
    return LocalRunner(workers, gpus if len(gpus) > 1 else (), study.device or device)
