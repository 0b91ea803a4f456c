"""One run in a process of its own, on this machine.

The child's standard input is a pipe whose other end only this process holds: when this process ends, however it ends,
the system closes it, and the child, which waits for that, ends too (`end_with_parent` in worker.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.files import disk_error
from yolo_attn.study.store import RESULT

__all__ = ["DISK_FULL_STATUS", "LOG", "WORKER", "Outcome", "run_in_child"]

WORKER = (sys.executable, "-m", "yolo_attn.study.worker")
LOG = "train.log"
DISK_FULL_STATUS = 74  # EX_IOERR of sysexits.h
_POLL_SECONDS = 0.5
# Loggers of Ultralytics' integrations must not report a study's runs somewhere.
_QUIET = {"WANDB_MODE": "disabled", "COMET_MODE": "disabled", "CLEARML_OFFLINE_MODE": "1"}
_SECRETS = ("ULTRALYTICS_API_KEY",)


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Args:
        finished: It left a result, of whatever status.
        reason: Why not, otherwise.
    """

    finished: bool
    reason: str | None = None


def run_in_child(
    folder: Path,
    threads: int,
    tick: Callable[[], None] = lambda: None,
    command: Sequence[str] = WORKER,
    poll: float = _POLL_SECONDS,
) -> Outcome:
    """Run what a run folder asks for and wait for it.

    Args:
        folder: A prepared run folder.
        threads: CPU threads of the run.
        tick: Called a few times a second while it runs.
        command: What to start; the folder is added to it.
        poll: Seconds between ticks.

    Raises:
        UserError: No room on the disk.
        KeyboardInterrupt: Passed on, after the child was stopped.
    """
    try:
        log = (folder / LOG).open("ab")
    except OSError as error:
        raise disk_error(error, folder / LOG) from error
    with log:
        child = subprocess.Popen(
            [*command, str(folder), "--end-with-parent"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(threads),
            start_new_session=os.name == "posix",  # its own group: Ctrl-C is ours to pass on, and no grandchild is left
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        try:
            while child.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=poll)
                tick()
        finally:
            _end(child)
    return _outcome(folder, child.returncode)


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


def _end(child: subprocess.Popen[bytes]) -> None:
    """Make sure that neither the child nor anything it started is left."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    elif child.poll() is None:
        child.kill()
    if child.stdin is not None:
        child.stdin.close()
    child.wait()


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
