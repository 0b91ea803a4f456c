"""Ending of process trees, and the processes of a multi-GPU run.

Multi-GPU training has a chain of processes: the run's worker, the launcher that Ultralytics starts (torchrun), and one
rank for each GPU. The launcher gives every rank its own process group, so ending the worker's group does not end the
ranks. A rank therefore watches the worker (`join_run`), and the run's next worker waits for earlier ranks to end
(`ranks_ended`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import psutil

from yolo_attn.system.locks import FolderLock

__all__ = ["MEBIBYTE", "descendants", "end_all", "join_run", "kill", "largest_memory", "ranks_ended"]

_WATCH_SECONDS = 0.5
_KILL_SECONDS = 5.0  # a killed process releases its memory first
_RANK_SECONDS = 60.0  # the data loaders of an earlier rank take time to notice its end
MEBIBYTE = 2**20


def descendants(pid: int) -> list[psutil.Process]:
    """Return all descendants of a process, or [] if it has ended."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def kill(processes: Sequence[psutil.Process], wait: float = _KILL_SECONDS) -> None:
    """End processes at once.

    Args:
        processes: From `descendants`.
        wait: Seconds to wait for the processes to end.
    """
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + wait
    while any(map(_is_running, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)


def end_all() -> NoReturn:
    """End this process and all its descendants at once."""
    kill(descendants(os.getpid()), wait=0)
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)  # including processes whose parent has ended
    os._exit(1)


def largest_memory(pid: int) -> float:
    """Return the memory of the largest among a process and its descendants in MiB, or 0 if it has ended."""
    most = 0.0
    with contextlib.suppress(psutil.Error):
        for process in [psutil.Process(pid), *descendants(pid)]:
            with contextlib.suppress(psutil.Error):
                most = max(most, process.memory_info().rss / MEBIBYTE)
    return most


def join_run(folder: str, worker: int) -> None:
    """Make this process, a rank of a multi-GPU run, lock the run's folder and end with the worker.

    Args:
        folder: The run's folder.
        worker: Process id of the run's worker, an ancestor of this process.
    """
    # The lock comes first: if it is free later, this rank has ended or is about to find its worker gone.
    lock = FolderLock(Path(folder), f".rank{os.environ.get('LOCAL_RANK', '0')}.lock")
    if not lock.acquire(_RANK_SECONDS):
        raise RuntimeError(f"{lock.path}: process {lock.owner()} of an earlier training is still running")
    # Search the ancestors, because another process may have the number by now.
    found = next((process for process in psutil.Process().parents() if process.pid == worker), None)
    if found is None or not _is_running(found):
        end_all()
    threading.Thread(target=_end_with, args=[found], daemon=True).start()


def ranks_ended(folder: Path, timeout: float) -> bool:
    """Wait until all ranks of a run have ended.

    Args:
        folder: The run's folder, locked by the caller.
        timeout: Seconds to wait for each.

    Returns:
        False if one is still running.
    """
    for path in folder.glob(".rank*.lock"):
        lock = FolderLock(folder, path.name)
        if not lock.acquire(timeout):
            return False
        lock.release()
    return True


def _end_with(process: psutil.Process) -> None:
    while _is_running(process):
        time.sleep(_WATCH_SECONDS)
    end_all()


def _is_running(process: psutil.Process) -> bool:
    """Return True until a process has ended; a zombie counts as ended."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
