from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.study.conftest import wait_for
from yolo_attn.system.locks import FolderLock
from yolo_attn.system.processes import descendants, kill, largest_memory, ranks_ended

__all__ = ["wait_for"]  # a fixture, used by name

# A worker starts a launcher, which starts a rank in its own group; the rank writes its process id and waits.
RANK = """
import os, sys, time
from pathlib import Path
from yolo_attn.system.processes import join_run
join_run(os.environ["FOLDER"], int(os.environ["WORKER"]))
Path(os.environ["FOLDER"], "rank").write_text(str(os.getpid()))
time.sleep(60)
"""
LAUNCHER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], start_new_session=True)"
WORKER = """
import os, subprocess, sys
os.environ["WORKER"] = str(os.getpid())
subprocess.run([sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""

posix = pytest.mark.skipif(os.name != "posix", reason="process groups")


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def start(folder: Path, worker: str = WORKER) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", worker, LAUNCHER, RANK]
    return subprocess.Popen(command, env={**os.environ, "FOLDER": str(folder)}, stderr=subprocess.DEVNULL)


def rank_of(folder: Path, wait_for: Callable[[Callable[[], bool]], None]) -> int:
    wait_for(lambda: (folder / "rank").exists() and (folder / "rank").read_text() != "")
    return int((folder / "rank").read_text())


@posix
def test_descendants_are_found_and_killed_in_any_group(
    tmp_path: Path, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    worker = start(tmp_path)
    rank = rank_of(tmp_path, wait_for)
    started = descendants(worker.pid)
    assert rank in {process.pid for process in started}
    kill(started)
    assert not is_running(rank)
    worker.wait()
    assert descendants(worker.pid) == []


@pytest.mark.slow
@posix
def test_a_rank_locks_the_run_and_ends_with_its_worker(
    tmp_path: Path, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    worker = start(tmp_path)
    rank = rank_of(tmp_path, wait_for)
    assert not ranks_ended(tmp_path, 0.1)
    worker.kill()  # without a wait, so it remains a zombie
    assert ranks_ended(tmp_path, 30)
    wait_for(lambda: not is_running(rank))
    worker.wait()


@pytest.mark.slow
@posix
def test_a_rank_started_after_its_workers_end_ends_at_once(
    tmp_path: Path, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    late = "import time; time.sleep(0.5)\n" + RANK
    command = [sys.executable, "-c", "import os, subprocess, sys\nos.environ['WORKER'] = str(os.getpid())\n"
               "print(subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=2).pid)", late]  # fmt: skip
    done = subprocess.run(command, env={**os.environ, "FOLDER": str(tmp_path)}, capture_output=True, check=True)
    wait_for(lambda: not is_running(int(done.stdout)))
    assert (tmp_path / ".rank0.lock").exists()
    assert not (tmp_path / "rank").exists()


def test_without_ranks_there_is_no_wait(tmp_path: Path) -> None:
    assert ranks_ended(tmp_path, 0)
    with FolderLock(tmp_path, ".rank0.lock"):
        assert not ranks_ended(tmp_path, 0)
    assert ranks_ended(tmp_path, 0)


def test_the_memory_of_the_largest_process() -> None:
    large = "x = bytearray(60 * 2**20); print(flush=True); import time; time.sleep(60)"
    command = [
        sys.executable,
        "-c",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])",
        large,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert 60 < largest_memory(process.pid) < 120
    kill(descendants(process.pid))
    process.wait()
    process.stdout.close()
    assert largest_memory(process.pid) == 0.0
