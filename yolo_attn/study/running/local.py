"""Execution of runs in child processes on this machine.

A child's standard input is a pipe from this process. When this process ends, for whatever reason, the system closes the
pipe, and the child ends too (`end_with_parent` in worker.py). The processes of a multi-GPU run watch the child
(processes.py).
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
from typing import IO

from yolo_attn.errors import UserError, plain
from yolo_attn.study.files import LOG, RESULT
from yolo_attn.study.running.runner import Outcome
from yolo_attn.study.specification.device import device_kind
from yolo_attn.system.container import free_memory
from yolo_attn.system.failures import disk_error
from yolo_attn.system.paths import child_paths
from yolo_attn.system.processes import MEBIBYTE, descendants, kill, largest_memory

__all__ = ["DISK_FULL_STATUS", "WORKER", "LocalRunner", "child_environment"]

WORKER = (sys.executable, "-m", "yolo_attn.study.running.worker")
DISK_FULL_STATUS = 74  # EX_IOERR of sysexits.h
# Ultralytics' integrations must not upload the runs of a study.
_NO_UPLOADS = {"WANDB_MODE": "disabled", "COMET_MODE": "disabled", "CLEARML_OFFLINE_MODE": "1"}
_SECRETS = ("ULTRALYTICS_API_KEY",)
_USUAL_MEMORY = 1500.0  # MiB assumed for a run before one is finished; torch and Ultralytics need about half of it
_MARGIN = 1.2  # runs differ in their memory
_CUDA_CONTEXT = 600.0  # MiB of a process on a GPU in addition to the memory that torch counts


@dataclass
class LocalRunner:
    """Executes runs in child processes.

    Args:
        workers: Runs at once.
        gpus: CUDA devices to which runs are assigned in turn; empty if the runs' `device` determines them.
        device: The runs' `device`, if all runs share it.
        command: The command of a child, to which the folder is added.
    """

    workers: int = 1
    gpus: Sequence[str] = ()
    device: str = "cpu"
    command: Sequence[str] = WORKER
    _children: list[Child] = field(default_factory=list)
    _idle_cuda: float = 0.0

    def has_room(self, running: int, memory: Mapping[str, float]) -> bool:
        """Whether there is a free worker, and memory for a run like those so far.

        A run that was just started has allocated almost nothing yet, so the memory that it will need is reserved.
        """
        if running == 0:
            self._idle_cuda = self._free_cuda() if self._shares_cuda() else 0.0
            return True
        if running >= self.workers or not self._fits_cuda(running, memory):
            return False
        needed = memory.get("process", _USUAL_MEMORY)
        return _free_memory() - self._reserved(needed) > _MARGIN * needed

    def _reserved(self, needed: float) -> float:
        """Return the memory that the running children are expected to allocate in addition, in MiB."""
        return sum(max(0.0, needed - child.memory) for child in self._running())

    def _running(self) -> list[Child]:
        """Return the running children, and forget those that have ended."""
        self._children = [child for child in self._children if child.is_running]
        return self._children

    def _shares_cuda(self) -> bool:
        """Whether several runs can be on one GPU."""
        return self.workers > max(1, len(self.gpus)) and bool(self.gpus or _cuda_numbers(self.device))

    def _fits_cuda(self, running: int, memory: Mapping[str, float]) -> bool:
        """Whether another run has a GPU of its own, or fits on one next to others.

        The memory of a run on a GPU is unknown until the first one is finished, which therefore runs alone. The memory
        that the running ones have allocated so far is unknown too, so all of them must fit into the memory that was
        free when none was running.
        """
        if not self._shares_cuda() or running < len(self.gpus):
            return True
        peak = memory.get("cuda_reserved") or memory.get("cuda")
        if peak is None:
            return False
        needed = _MARGIN * peak + _CUDA_CONTEXT
        together = running // max(1, len(self.gpus)) + 1
        return together * needed <= self._idle_cuda and needed <= self._free_cuda()

    def _free_cuda(self) -> float:
        """Return the free memory of the shared GPU with the least, in MiB."""
        import torch

        if not torch.cuda.is_available():
            return 0.0
        numbers = list(range(len(self.gpus))) or _cuda_numbers(self.device)
        available = [number for number in numbers if number < torch.cuda.device_count()] or [0]
        return float(min(torch.cuda.mem_get_info(number)[0] for number in available) / MEBIBYTE)

    def start(self, folder: Path, threads: int) -> Child:
        """Start a child, on the GPU with the fewest children.

        Raises:
            UserError: The disk is full.
        """
        used = [child.gpu for child in self._running()]
        gpu = min(self.gpus, key=used.count, default=None)
        environment = child_environment(threads) | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
        child = Child(folder, [*self.command, str(folder), "--end-with-parent"], environment, gpu)
        self._children.append(child)
        return child

    def close(self) -> None:
        """Do nothing: the engine stops all children."""


class Child:
    """One run in a child process.

    Args:
        folder: Its run folder.
        command: Its command.
        environment: Its environment.
        gpu: The CUDA device assigned to it, if any.
    """

    def __init__(
        self, folder: Path, command: Sequence[str], environment: Mapping[str, str], gpu: str | None = None
    ) -> None:
        self.folder, self.gpu = folder, gpu
        try:
            self._log: IO[bytes] = (folder / LOG).open("ab")
        except OSError as error:
            raise disk_error(error, folder / LOG) from error
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=os.name == "posix",  # its own group: it gets no Ctrl-C, and descendants can be killed
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            self._log.close()
            raise UserError(
                f"{folder}: its process cannot be started ({error.strerror or error}); give a smaller workers="
            ) from error

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def memory(self) -> float:
        """Its current memory in MiB, measured like that of its result: of its largest process."""
        return largest_memory(self._process.pid)

    def poll(self) -> Outcome | None:
        """Return its outcome, None while it is running.

        Raises:
            UserError: The disk is full.
        """
        if self.is_running:
            return None
        self.stop()
        return _outcome(self.folder, self._process.returncode)

    def stop(self) -> None:
        """End the child and all its descendants."""
        # Its group is not sufficient: the ranks of multi-GPU training have their own groups, and Windows has no groups.
        children = descendants(self._process.pid) if self.is_running else []
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        elif self.is_running:
            self._process.kill()
        kill(children)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._log.close()


def child_environment(threads: int, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a run: a fixed number of threads, no uploads, and the same package as here."""
    kept = {key: value for key, value in environment.items() if key not in _SECRETS}
    count = str(threads)
    return {
        **kept,
        **_NO_UPLOADS,
        **child_paths(environment),
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONIOENCODING": "utf-8",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
    }


def _free_memory() -> float:
    """Return the memory that is available to new processes, in MiB."""
    import psutil

    available = psutil.virtual_memory().available
    limited = free_memory()
    return float((available if limited is None else min(available, limited)) / MEBIBYTE)


def _cuda_numbers(device: str) -> list[int]:
    """Return the CUDA devices of a `device=`; [] for another kind of device."""
    if device_kind(device) != "cuda":
        return []
    return [int(number) for number in re.findall(r"\d+", device)] or [0]


def _outcome(folder: Path, status: int) -> Outcome:
    if status == DISK_FULL_STATUS:
        raise UserError(f"{folder}: no space left on the disk; free some and run the same command again to resume")
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
