"""Runs in processes of their own, on this machine.

A child's standard input is a pipe whose other end only this process holds: when this process ends, however it ends,
the system closes it, and the child, which waits for that, ends too (`end_with_parent` in worker.py). The processes of a
multi-GPU run watch the child in turn (processes.py).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from yolo_attn.errors import UserError, plain
from yolo_attn.study.files import LOG, RESULT
from yolo_attn.study.specification.device import device_kind
from yolo_attn.system.failures import disk_error
from yolo_attn.system.processes import kill, largest_memory, started_by

__all__ = ["DISK_FULL_STATUS", "WORKER", "Handle", "LocalRunner", "Outcome", "Runner", "child_environment"]

WORKER = (sys.executable, "-m", "yolo_attn.study.running.worker")
DISK_FULL_STATUS = 74  # EX_IOERR of sysexits.h
# Loggers of Ultralytics' integrations must not report a study's runs somewhere.
_QUIET = {"WANDB_MODE": "disabled", "COMET_MODE": "disabled", "CLEARML_OFFLINE_MODE": "1"}
_SECRETS = ("ULTRALYTICS_API_KEY",)
_MEBIBYTE = 2**20
# What a run is taken to need before one has told: torch and Ultralytics alone take about half of it.
_USUAL_MEMORY = 1500.0
_SPARE = 1.2  # no run needs quite what another needed
_CUDA_CONTEXT = 600.0  # MiB that a process takes on a GPU beside what torch counts


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
        gpus: CUDA devices that runs take turns in, one each; none leaves the choice to the runs' `device`.
        device: The runs' `device`, where all runs share it.
        command: What to start; the folder is added to it.
    """

    workers: int = 1
    gpus: Sequence[str] = ()
    device: str = "cpu"
    command: Sequence[str] = WORKER
    _children: list[Child] = field(default_factory=list)
    _cuda_at_rest: float = 0.0

    def has_room(self, running: int, memory: Mapping[str, float]) -> bool:
        """Return True while there are free places, and memory for as much as a run needed so far.

        A run that was just started has taken next to nothing yet, so what it will need is set aside for it.
        """
        if running == 0:
            self._cuda_at_rest = self._free_cuda() if self._shares_cuda() else 0.0
            return True
        if running >= self.workers or not self._fits_cuda(running, memory):
            return False
        needed = memory.get("process", _USUAL_MEMORY)
        return _free_memory() - self._set_aside(needed) > _SPARE * needed

    def _set_aside(self, needed: float) -> float:
        """Return the memory that the running children are still going to take, in MiB."""
        return sum(max(0.0, needed - child.memory) for child in self._running())

    def _running(self) -> list[Child]:
        """Return the children that run, and forget the others."""
        self._children = [child for child in self._children if child.runs]
        return self._children

    def _shares_cuda(self) -> bool:
        """Return True when runs may come to share a GPU."""
        return self.workers > max(1, len(self.gpus)) and bool(self.gpus or _cuda_numbers(self.device))

    def _fits_cuda(self, running: int, memory: Mapping[str, float]) -> bool:
        """Return True when another run has a GPU of its own, or fits on one beside others.

        What one run takes on a GPU cannot be foreseen, so the first goes alone until it has told. What those that run
        have taken so far cannot be seen either, so all of them must fit into what was free when none ran.
        """
        if not self._shares_cuda() or running < len(self.gpus):
            return True
        if "cuda" not in memory:
            return False
        needed = _SPARE * memory["cuda"] + _CUDA_CONTEXT
        together = running // max(1, len(self.gpus)) + 1
        return together * needed <= self._cuda_at_rest and needed <= self._free_cuda()

    def _free_cuda(self) -> float:
        """Return the memory that is free on the fullest of the GPUs that runs share, in MiB."""
        import torch

        if not torch.cuda.is_available():
            return 0.0
        numbers = list(range(len(self.gpus))) or _cuda_numbers(self.device)
        there = [number for number in numbers if number < torch.cuda.device_count()] or [0]
        return float(min(torch.cuda.mem_get_info(number)[0] for number in there) / _MEBIBYTE)

    def start(self, folder: Path, threads: int) -> Child:
        """Start a child, on the GPU with the fewest.

        Raises:
            UserError: No room on the disk.
        """
        taken = [child.gpu for child in self._running()]
        gpu = min(self.gpus, key=taken.count, default=None)
        environment = child_environment(threads) | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
        child = Child(folder, [*self.command, str(folder), "--end-with-parent"], environment, gpu)
        self._children.append(child)
        return child

    def close(self) -> None:
        """Nothing is held."""


class Child:
    """One run in a child process.

    Args:
        folder: Its run folder.
        command: What to start.
        environment: Its environment.
        gpu: The CUDA device that it was given, if any.
    """

    def __init__(
        self, folder: Path, command: Sequence[str], environment: Mapping[str, str], gpu: str | None = None
    ) -> None:
        self.folder, self.gpu = folder, gpu
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

    @property
    def memory(self) -> float:
        """What it holds in memory now, in MiB, measured as its result tells it: of one process, the largest."""
        return largest_memory(self._process.pid)

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
        # Its group is not all: the ranks of multi-GPU training have groups of their own, and Windows knows none.
        started = started_by(self._process.pid) if self.runs else []
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        elif self.runs:
            self._process.kill()
        kill(started)
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
        "PYTHONSAFEPATH": "1",  # the working folder may be a study from someone else, with a random.py in it
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
    }


def _free_memory() -> float:
    """Return the memory that the machine can give to new processes, in MiB."""
    import psutil

    return float(psutil.virtual_memory().available / _MEBIBYTE)


def _cuda_numbers(device: str) -> list[int]:
    """Return the CUDA devices that a `device=` names; [] when it names another kind."""
    if device_kind(device) != "cuda":
        return []
    return [int(number) for number in re.findall(r"\d+", device)] or [0]


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
        lines = [plain(line) for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return next((line[:200] for line in reversed(lines) if line), f"see {log}")
    return f"see {log}"
