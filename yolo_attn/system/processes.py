"""Processes that end together with all that they started, and the processes of a multi-GPU run.

Multi-GPU training has a chain of processes: the run's worker, the launcher that Ultralytics starts (torchrun), and one
rank for each GPU. The launcher gives every rank a process group of its own, so ending the worker's group leaves the
ranks training. A rank therefore watches the worker (`join_run`), and the run's next worker waits until no rank of an
earlier one is left (`ranks_ended`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil

from yolo_attn.system.locks import FolderLock

__all__ = ["end_all", "join_run", "kill", "largest_memory", "ranks_ended", "started_by"]

_WATCH_SECONDS = 0.5
_KILL_SECONDS = 5.0  # a killed process has to give its memory back first
_RANK_SECONDS = 60.0  # how long the data loaders of an earlier rank may take to notice that it is gone
_MEBIBYTE = 2**20


def started_by(pid: int) -> list[Any]:
    """Return what a process started and what that started in turn, as `psutil.Process`; [] when it has ended."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def kill(processes: Sequence[Any], wait: float = _KILL_SECONDS) -> None:
    """End processes at once.

    Args:
        processes: From `started_by`.
        wait: Seconds after which one that is not gone yet is left to the system.
    """
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + wait
    while any(map(_lives, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)


def end_all() -> NoReturn:
    """End this process and all that it started, at once."""
    kill(started_by(os.getpid()), wait=0)
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)  # those too whose parent has ended before
    os._exit(1)


def largest_memory(pid: int) -> float:
    """Return what the largest of a process and all that it started holds in memory, in MiB; 0 when it has ended."""
    most = 0.0
    with contextlib.suppress(psutil.Error):
        for process in [psutil.Process(pid), *started_by(pid)]:
            with contextlib.suppress(psutil.Error):
                most = max(most, process.memory_info().rss / _MEBIBYTE)
    return most


def join_run(folder: str, worker: int) -> None:
    """Bind this process, a rank of a multi-GPU run, to the run: it holds a lock there and ends with the worker.

    Args:
        folder: The run's folder.
        worker: Process id of the run's worker, from which this process descends.
    """
    # The lock comes first: whoever finds it free later knows that this rank will find its worker gone.
    lock = FolderLock(Path(folder), f".rank{os.environ.get('LOCAL_RANK', '0')}.lock")
    if not lock.acquire(_RANK_SECONDS):
        raise RuntimeError(f"{lock.path}: process {lock.owner()} of an earlier training still runs")
    # Found among the ancestors, since another process may have the number by now.
    found = next((process for process in psutil.Process().parents() if process.pid == worker), None)
    if found is None or not _lives(found):
        end_all()
    threading.Thread(target=_end_with, args=[found], daemon=True).start()


def ranks_ended(folder: Path, timeout: float) -> bool:
    """Wait until no rank of a run is left.

    Args:
        folder: The run's folder, whose lock the caller holds.
        timeout: Seconds to wait for each.

    Returns:
        False when one is still there.
    """
    for path in folder.glob(".rank*.lock"):
        lock = FolderLock(folder, path.name)
        if not lock.acquire(timeout):
            return False
        lock.release()
    return True


def _end_with(process: Any) -> None:
    while _lives(process):
        time.sleep(_WATCH_SECONDS)
    end_all()


def _lives(process: Any) -> bool:
    """Return True until a process has ended, whether or not its parent has taken note."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
