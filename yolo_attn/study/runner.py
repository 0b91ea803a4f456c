"""Runs in processes of their own, on this machine.

A child's standard input is a pipe whose other end only this process holds: when this process ends, however it ends,
the system closes it, and the child, which waits for that, ends too (`end_with_parent` in worker.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from yolo_attn.errors import UserError
from yolo_attn.files import disk_error
from yolo_attn.study.store import RESULT

__all__ = ["DISK_FULL_STATUS", "LOG", "WORKER", "Handle", "LocalRunner", "Outcome", "Runner", "child_environment"]

WORKER = (sys.executable, "-m", "yolo_attn.study.worker")
LOG = "train.log"
DISK_FULL_STATUS = 74  # EX_IOERR of sysexits.h
# Loggers of Ultralytics' integrations must not report a study's runs somewhere.
_QUIET = {"WANDB_MODE": "disabled", "COMET_MODE": "disabled", "CLEARML_OFFLINE_MODE": "1"}
_SECRETS = ("ULTRALYTICS_API_KEY",)
_MEBIBYTE = 2**20
# What a run is taken to need before one has told: torch and Ultralytics alone take about half of it.
_USUAL_MEMORY = 1500.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        finished: It left a result, of whatever status.
        reason: Why not, otherwise.
    """

    finished: bool
    reason: str | None = None


class Handle(Protocol):
    """One run that was started."""

    def poll(self) -> Outcome | None:
        """Return how it ended, None while it runs.

        Raises:
            UserError: It met something that stops the whole study, such as a full disk.
        """

    def stop(self) -> None:
        """End it now."""


class Runner(Protocol):
    """What carries runs out; `LocalRunner` does it here, `RayRunner` on a cluster."""

    def has_room(self, running: int, memory: Mapping[str, float]) -> bool:
        """Return True when another run may start beside those that run; the first always may.

        Args:
            running: How many run.
            memory: The most that a finished run needed, in MiB, by kind ("process", "cuda"); {} when none tells.
        """

    def start(self, folder: Path, threads: int) -> Handle:
        """Start what a prepared run folder asks for, with a number of CPU threads."""

    def close(self) -> None:
        """Give back what the runner holds, when no run is left."""


@dataclass
class LocalRunner:
    """Runs in child processes.

    Args:
        workers: How many at once.
        gpus: CUDA devices that runs take turns in, one each; none leaves the choice to the recipe's `device`.
        command: What to start; the folder is added to it.
    """

    workers: int = 1
    gpus: Sequence[str] = ()
    command: Sequence[str] = WORKER
    _busy: dict[str, Child] = field(default_factory=dict)

    def has_room(self, running: int, memory: Mapping[str, float]) -> bool:
        """Return True while there are free places, and memory for as much as a run needed so far."""
        if running == 0:
            return True
        return running < self.workers and _fits(memory.get("process", _USUAL_MEMORY)) and self._fits_cuda(memory)

    def _fits_cuda(self, memory: Mapping[str, float]) -> bool:
        """With a GPU for each run nothing is shared; on a shared one the next run must fit as the last did."""
        if len(self.gpus) >= self.workers or "cuda" not in memory:
            return True
        import torch

        if not torch.cuda.is_available():
            return True
        free, _ = torch.cuda.mem_get_info()
        return free / _MEBIBYTE > 1.2 * memory["cuda"]

    def start(self, folder: Path, threads: int) -> Child:
        """Start a child.

        Raises:
            UserError: No room on the disk.
        """
        extra, gpu = {}, next((gpu for gpu in self.gpus if not self._works_on(gpu)), None)
        if gpu is not None:
            extra["CUDA_VISIBLE_DEVICES"] = gpu
        child = Child(folder, [*self.command, str(folder), "--end-with-parent"], child_environment(threads) | extra)
        if gpu is not None:
            self._busy[gpu] = child
        return child

    def _works_on(self, gpu: str) -> bool:
        return gpu in self._busy and self._busy[gpu].runs

    def close(self) -> None:
        """Nothing is held."""


class Child:
    """One run in a child process.

    Args:
        folder: Its run folder.
        command: What to start.
        environment: Its environment.
    """

    def __init__(self, folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.folder = folder
        try:
            self._log: IO[bytes] = (folder / LOG).open("ab")
        except OSError as error:
            raise disk_error(error, folder / LOG) from error
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=os.name == "posix",  # its own group: Ctrl-C is ours to pass on, and no grandchild is left
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    @property
    def runs(self) -> bool:
        """True until it has ended."""
        return self._process.poll() is None

    def poll(self) -> Outcome | None:
        """Return how it ended, None while it runs.

        Raises:
            UserError: No room on the disk.
        """
        if self.runs:
            return None
        self.stop()
        return _outcome(self.folder, self._process.returncode)

    def stop(self) -> None:
        """Make sure that neither the child nor anything it started is left."""
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        elif self.runs:
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._log.close()


def child_environment(threads: int, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a run: fixed threads, no reporting elsewhere, the same package as ours."""
    package_parent = str(Path(__file__).resolve().parents[2])
    paths = [package_parent, *filter(None, [environment.get("PYTHONPATH")])]
    kept = {key: value for key, value in environment.items() if key not in _SECRETS}
    count = str(threads)
    return {
        **kept,
        **_QUIET,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
    }


def _fits(needed: float) -> bool:
    """Return True when the machine has memory for another run, in MiB."""
    import psutil

    return bool(psutil.virtual_memory().available / _MEBIBYTE > 1.2 * needed)


def _outcome(folder: Path, status: int) -> Outcome:
    if status == DISK_FULL_STATUS:
        raise UserError(f"{folder}: no space left on the disk; free some and give the same command again to go on")
    if (folder / RESULT).exists():
        return Outcome(True)
    if status < 0:
        name = signal.Signals(-status).name if -status in {int(item) for item in signal.Signals} else str(-status)
        return Outcome(False, f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else ""))
    return Outcome(False, f"ended with status {status} and no result: {_last_line(folder / LOG)}")


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].strip()[:200] if lines else f"see {log}"
    return f"see {log}"
