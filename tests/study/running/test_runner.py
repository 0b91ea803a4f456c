"""The runner of this machine: when it starts runs, and that no process remains."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import yolo_attn
from yolo_attn.errors import UserError
from yolo_attn.study.job import Platform
from yolo_attn.study.running import local as module
from yolo_attn.study.running import resources
from yolo_attn.study.running.local import LocalRunner, child_environment
from yolo_attn.study.running.runner import make_runner

# Starts a process in its own group, like the launcher of multi-GPU training, and waits for it.
STARTS_ANOTHER = """
import subprocess, sys
from pathlib import Path
process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
Path(sys.argv[1], "pid").write_text(str(process.pid))
process.wait()
"""


class Machine:
    """A machine with a given memory in MiB, and runs whose memory the tests set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, memory: float, cuda: float = 0.0) -> None:
        self.memory, self.cuda = memory, cuda
        self.runs: list[SimpleNamespace] = []
        monkeypatch.setattr(module, "_free_memory", lambda: self.memory - sum(run.memory for run in self.runs))
        monkeypatch.setattr(LocalRunner, "_free_cuda", lambda _: self.cuda - sum(run.cuda for run in self.runs))
        monkeypatch.setattr(module, "Child", self.child)

    def child(self, folder: Path, command: Any, environment: dict[str, str], gpu: str | None) -> SimpleNamespace:
        self.runs.append(SimpleNamespace(is_running=True, memory=0.0, cuda=0.0, gpu=gpu))
        return self.runs[-1]

    def fill(self, runner: LocalRunner, known: dict[str, float]) -> int:
        """Start the runs that fit, and return the number of running ones."""
        running = [run for run in self.runs if run.is_running]
        for count in range(len(running), 100):
            if not runner.has_room(count, known):
                return count
            runner.start(Path(), 1)
        return 100

    def finish(self, run: SimpleNamespace) -> None:
        run.is_running, run.memory, run.cuda = False, 0.0, 0.0


def test_memory_is_reserved_for_runs_that_have_not_allocated_it_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, runner = Machine(monkeypatch, 4000), LocalRunner(workers=16)
    assert machine.fill(runner, {}) == 2  # 1500 each until one is finished
    for run in machine.runs:
        run.memory = 400.0
    assert machine.fill(runner, {}) == 2
    assert machine.fill(runner, {"process": 500.0}) == 7  # 3200 are free, 2 x 100 and 5 x 500 reserved
    machine.finish(machine.runs[0])
    assert machine.fill(runner, {"process": 500.0}) == 7


def test_nothing_is_reserved_for_a_run_that_exceeds_its_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, runner = Machine(monkeypatch, 4000), LocalRunner(workers=2)
    runner.start(Path(), 1)
    machine.runs[0].memory = 2100.0
    assert machine.fill(runner, {}) == 2


def test_the_first_run_can_always_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine(monkeypatch, 100).fill(LocalRunner(workers=4), {}) == 1
    assert Machine(monkeypatch, 100, 10).fill(LocalRunner(workers=4, device="cuda"), {"cuda": 5e4}) == 1


def test_the_first_run_on_a_shared_gpu_runs_alone_until_its_memory_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, runner = Machine(monkeypatch, 1e6, 10_000), LocalRunner(workers=9, device="0")
    assert machine.fill(runner, {}) == 1
    machine.finish(machine.runs[0])
    # 1000 and a fifth more, and 600 for CUDA itself: five runs, whatever they have allocated so far.
    known = {"process": 100.0, "cuda": 1000.0}
    assert machine.fill(runner, known) == 5
    for run in machine.runs[1:]:
        run.cuda = 1500.0
    assert machine.fill(runner, known) == 5
    machine.finish(machine.runs[1])
    machine.cuda -= 3000  # used by another user
    assert machine.fill(runner, known) == 4


def test_gpus_are_shared_only_by_more_runs_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, runner = Machine(monkeypatch, 1e6, 10_000), LocalRunner(workers=2, gpus=("4", "5"), device="cuda")
    assert machine.fill(runner, {}) == 2
    assert [run.gpu for run in machine.runs] == ["4", "5"]
    machine.finish(machine.runs[0])
    assert machine.fill(runner, {}) == 2
    assert machine.runs[-1].gpu == "4"
    machine, runner = Machine(monkeypatch, 1e6, 10_000), LocalRunner(workers=5, gpus=("4", "5"), device="cuda")
    assert machine.fill(runner, {}) == 2
    machine = Machine(monkeypatch, 1e6, 10_000)
    assert machine.fill(LocalRunner(workers=5, gpus=("4", "5"), device="cuda"), {"cuda": 3000.0}) == 4
    assert [run.gpu for run in machine.runs] == ["4", "5", "4", "5"]


@pytest.mark.parametrize(
    ("device", "numbers"),
    [("cpu", []), ("mps", []), ("cuda", [0]), ("cuda:1", [1]), ("0", [0]), ("0,2", [0, 2]), ("npu:0", [])],
)
def test_the_gpus_of_a_device(device: str, numbers: list[int]) -> None:
    assert module._cuda_numbers(device) == numbers


@pytest.mark.parametrize(("device", "kind", "shared"), [("cpu", "cpu", []), (None, "cpu", []), ("1", "cuda", [1])])
def test_the_runner_has_the_device_of_the_study(device: str | None, kind: str, shared: list[int]) -> None:
    study: Any = SimpleNamespace(runner="local", device=device, workers=2, threads=None, address=None, data="digits")
    made = make_runner(study, Platform({}, kind, 1), io.StringIO())
    assert isinstance(made, LocalRunner)
    assert module._cuda_numbers(made.device) == shared


@pytest.mark.parametrize(
    ("cores", "given", "stored", "expected"),
    [  # given: workers= and threads=; expected: threads of a run, and runs at once
        (2, (None, None), None, (2, 1)),
        (2, (2, None), None, (1, 2)),  # two runs of two threads each would compete for the two cores
        (8, (3, None), None, (2, 3)),
        (2, (4, None), None, (1, 4)),
        (2, (2, 2), None, (2, 2)),  # both were given
        (8, (None, 3), None, (3, 2)),
        (2, (2, None), 2, (2, 1)),  # the study began with two threads and keeps them
        (8, (8, None), 2, (2, 4)),
        (2, (1, None), 1, (1, 1)),
        (2, (2, 1), 2, (1, 2)),
    ],
)
def test_parallel_runs_share_the_cores(
    cores: int, given: tuple[Any, Any], stored: int | None, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "cpu_cores", lambda: cores)
    (workers, threads_given), (threads, at_once) = given, expected
    study: Any = SimpleNamespace(
        runner="local", device="cpu", workers=workers, threads=threads_given, address=None, data="digits"
    )
    assert (threads_given or stored or resources.threads_per_run(study, "cpu")) == threads
    stream = io.StringIO()
    made = make_runner(study, Platform({}, "cpu", threads), stream)
    assert isinstance(made, LocalRunner)
    assert made.workers == at_once
    assert (f"workers={workers}: at most {at_once} at once" in stream.getvalue()) == (at_once < (workers or 0))


def test_runs_on_several_gpus_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "cpu_cores", lambda: 32)
    monkeypatch.setattr(resources, "visible_gpus", lambda: ["0", "1", "2", "3"])
    study: Any = SimpleNamespace(runner="local", device=None, workers=None, threads=None, address=None, data="digits")
    assert resources.threads_per_run(study, "cuda") == 8
    study.workers = 8
    assert resources.threads_per_run(study, "cuda") == 4
    study.device, study.workers = "0", None
    assert resources.threads_per_run(study, "cuda") == 32


@pytest.mark.parametrize(
    ("visible", "count", "names"),
    [
        (None, 2, ["0", "1"]),
        ("", 0, []),
        ("3,1", 2, ["3", "1"]),
        ("0, 1,7,2", 2, ["0", "1"]),  # CUDA sees those before the first that does not exist
        ("0,-1", 1, ["0"]),
        ("GPU-a,GPU-b", 2, ["GPU-a", "GPU-b"]),
        ("MIG-a,MIG-b", 1, ["MIG-a", "MIG-b"]),
    ],
)
def test_visible_gpus_are_those_that_exist(
    visible: str | None, count: int, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert resources.visible_gpus() == names


def test_runs_on_several_gpus_each_come_one_after_another() -> None:
    study: Any = SimpleNamespace(runner="local", device="0,1", workers=2, threads=2, address=None, data="digits")
    stream = io.StringIO()
    made = make_runner(study, Platform({}, "cuda", 2, 2), stream)
    assert isinstance(made, LocalRunner) and made.workers == 1
    assert "workers=2: one run at a time, because the memory of a run on several GPUs is unknown" in stream.getvalue()


def test_a_run_needs_the_memory_that_pytorch_reserves(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = LocalRunner(2, device="0")
    monkeypatch.setattr(runner, "_free_cuda", lambda: 8000.0)
    monkeypatch.setattr(module, "_free_memory", lambda: 64000.0)
    assert runner.has_room(0, {})
    assert not runner.has_room(1, {})
    assert runner.has_room(1, {"cuda": 2000.0, "cuda_reserved": 2500.0})
    assert not runner.has_room(1, {"cuda": 2000.0, "cuda_reserved": 3000.0})
    assert not runner.has_room(1, {"cuda": 3000.0})  # a run of an earlier version


def test_a_stopped_run_leaves_no_descendants(tmp_path: Path, wait_for: Callable[[Callable[[], bool]], None]) -> None:
    child = LocalRunner(command=(sys.executable, "-c", STARTS_ANOTHER)).start(tmp_path, 1)
    pid = tmp_path / "pid"
    wait_for(lambda: pid.exists() and pid.read_text() != "")
    (started,) = psutil.Process(child._process.pid).children()
    assert started.pid == int(pid.read_text())
    assert child.memory > 1
    child.stop()
    assert not started.is_running() or started.status() == psutil.STATUS_ZOMBIE


END_WITH_PARENT = f"""
import sys, threading
from yolo_attn.study.running.worker import end_with_parent
threading.Thread(target=end_with_parent, daemon=True).start()
exec({STARTS_ANOTHER!r})
"""


def test_a_child_ends_with_its_parent_and_with_all_descendants(
    tmp_path: Path, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    process = subprocess.Popen([sys.executable, "-c", END_WITH_PARENT, str(tmp_path)], stdin=subprocess.PIPE)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    started = psutil.Process(int((tmp_path / "pid").read_text()))
    assert process.stdin is not None
    process.stdin.close()  # like the system does for an ended parent
    process.wait()
    wait_for(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE)


def test_a_run_imports_the_package_of_its_parent() -> None:
    root = Path(child_environment(1)["PYTHONPATH"].split(os.pathsep)[0])
    assert root == Path(yolo_attn.__file__).resolve().parents[1]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="earlier Pythons always look into the working folder")
def test_a_run_imports_nothing_from_the_working_folder(tmp_path: Path) -> None:
    """It can be a study from someone else, and `python -m` looks there before the standard library."""
    (tmp_path / "random.py").write_text("open('ran-code', 'w').close()")
    command = [sys.executable, "-m", "yolo_attn.study.running.worker", str(tmp_path / "nowhere")]
    subprocess.run(command, cwd=tmp_path, env=child_environment(1), capture_output=True, check=False)
    assert not (tmp_path / "ran-code").exists()


def test_a_process_that_cannot_be_started_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(module.subprocess, "Popen", refuse)
    with pytest.raises(
        UserError, match=r"its process cannot be started \(Too many open files\); give a smaller workers="
    ):
        module.Child(tmp_path, ["worker"], {})


def test_memory_and_cores_are_those_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory", lambda: 3 * 2**20)
    assert module._free_memory() == 3
    monkeypatch.setattr(module, "free_memory", lambda: None)
    assert module._free_memory() > 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for limit, cores in ((1.5, 2), (0.2, 1), (100.0, 64), (None, 64)):
        monkeypatch.setattr(resources, "cpu_limit", lambda: limit)  # noqa: B023 (called at once)
        assert resources.cpu_cores() == cores
