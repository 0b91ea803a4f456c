"""Runs on a Ray cluster of two nodes on this machine, with one loopback address each."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.study.conftest import FAKE_WORKER, Fake
from yolo_attn.errors import UserError
from yolo_attn.study.engine import compare
from yolo_attn.study.running.ray import RayRunner, _clean_up, _scratch
from yolo_attn.system.locks import FolderLock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs yolo-attn[ray]"),
]

HEAD, OTHER, PORT = "127.0.0.1", "127.0.0.2", 6391


class Cluster:
    """Two nodes of one processor each, without a dashboard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        self._start("--head", f"--node-ip-address={HEAD}", f"--port={PORT}", "--include-dashboard=false",
                    f"--temp-dir={self.folder}")  # fmt: skip
        self._start(f"--address={HEAD}:{PORT}", f"--node-ip-address={OTHER}")

    def _start(self, *arguments: str) -> None:
        command = [str(Path(sys.executable).with_name("ray")), "start", *arguments, "--num-cpus=1",
                   "--disable-usage-stats", "--object-store-memory=80000000"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def processes(self, *words: str) -> list[int]:
        """Return the processes of this cluster whose command contains all words."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if all(word in command for word in words):
                    found.append(int(entry.name))
        return found

    def kill_other(self) -> None:
        """Kill the raylet of the other node and with it all its processes, like a power failure."""
        import ray

        own = ray.get_runtime_context().get_node_id()
        (address,) = [node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] != own and node["Alive"]]
        for pid in self.processes("raylet/raylet", f"--node_ip_address={address} "):
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the processes of this cluster, whose commands name its folder."""
        for pid in self.processes(str(self.folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    # Newer releases require a token, which the first start would have to create.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    # One at a time: tests look for Ray's processes by name.
    shared = Path(tempfile.gettempdir()) / "yolo-attn-ray-tests"
    shared.mkdir(exist_ok=True)
    lock = FolderLock(shared)
    assert lock.acquire(timeout=1800)
    with lock:
        folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # sockets need a short path
        running = Cluster(folder)
        try:
            running.start()
            yield running
        finally:
            import ray

            ray.shutdown()
            running.stop()
            shutil.rmtree(folder, ignore_errors=True)


def on(cluster: Cluster, fake: Fake, **arguments: Any) -> Any:
    given = {"base": "yolo11n.yaml", "variants": "slow.1,slow.2", "seeds": 2, "name": "s"}
    given |= {"epochs": 3, "threads": 1, "device": "cpu"}
    runner = RayRunner(f"{HEAD}:{PORT}", "cpu", 1, "digits", (sys.executable, str(FAKE_WORKER)))
    try:
        return compare({**given, **arguments}, runner, fake.stream)
    finally:
        runner.close()


def nodes(fake: Fake) -> set[str]:
    import json

    return {json.loads(text)["node"] for text in fake.stored().values()}


def test_runs_are_distributed_and_give_the_same_results_as_here(fake: Fake, cluster: Cluster) -> None:
    far = on(cluster, fake, variants="slow.1,slow.2,fail.x", seeds=3, name="s")
    assert len(nodes(fake)) == 2
    assert far.exit_status == 1
    statuses = [{run["status"] for run in arm["runs"]} for arm in far.to_dict()["arms"]]
    assert statuses == [{"done"}, {"done"}, {"done"}, {"failed"}]
    assert "ValueError: it broke in two lines" in fake.output()
    (log,) = fake.folder.glob("runs/slow.1-s0-*/train.log")
    assert "training slow.1 1" in log.read_text()
    started = len(fake.starts())
    assert on(cluster, fake, variants="slow.1,slow.2,fail.x", seeds=3, name="s").to_dict() == far.to_dict()
    assert len(fake.starts()) == started
    here = fake.compare(variants="slow.1,slow.2", seeds=3, name="here")
    assert [arm["metrics"] for arm in here.to_dict()["arms"]] == [arm["metrics"] for arm in far.to_dict()["arms"][:3]]


def test_a_killed_worker_and_a_killed_node_lose_nothing(
    fake: Fake, cluster: Cluster, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    killed: list[str] = []
    kept: dict[str, str] = {}

    def destroy() -> None:
        wait_for(lambda: ("sleepy.1", "0") in fake.starts())
        (worker,) = cluster.processes("ray::sleepy.1-s0-")  # Ray names the process after its task
        os.kill(worker, signal.SIGKILL)
        killed.append("worker")
        wait_for(lambda: len(fake.stored()) >= 2)
        kept.update(fake.stored())
        cluster.kill_other()
        killed.append("node")

    thread = threading.Thread(target=destroy)
    thread.start()
    results = on(cluster, fake, variants="sleepy.1,sleepy.2,sleepy.3", seeds=3)
    thread.join()
    assert killed == ["worker", "node"]
    assert results.exit_status == 0
    assert len(fake.stored()) == 12
    assert {name: fake.stored()[name] for name in kept} == kept, "a run in the store was executed again"


def test_a_trained_base_travels_to_the_nodes(fake: Fake, cluster: Cluster) -> None:
    results = on(cluster, fake, variants="A", pretrain=7, seeds=2)
    assert results.exit_status == 0  # the fake worker compares the weights with those of the base
    assert fake.starts()[0] == ("yolo11n-pretraining", "0")
    assert len(fake.starts()) == 5


@pytest.mark.parametrize(("status", "left"), [("failed", ["state.pt"]), ("done", None)])
def test_a_node_keeps_the_state_of_a_failed_run(tmp_path: Path, status: str, left: list[str] | None) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("state.pt", "result.json"):
        (run / name).touch()
    _clean_up(run, status)
    assert (sorted(path.name for path in run.iterdir()) if run.exists() else None) == left


def test_an_address_without_a_cluster_is_an_error() -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"address=127\.0\.0\.1:1: no Ray cluster"):
        RayRunner("127.0.0.1:1", "cpu", 1, "digits")
    assert time.monotonic() - began < 120


def test_a_run_that_no_node_can_execute_is_reported(cluster: Cluster) -> None:
    found = {}
    for threads, device in ((1, "cpu"), (2, "cpu"), (2, "0,1")):
        runner = RayRunner(f"{HEAD}:{PORT}", device, threads, "digits")
        try:
            found[threads, device] = runner.shortage
        finally:
            runner.close()
    assert found[1, "cpu"] is None
    assert "a run needs 2 CPUs of one node, and the largest has 1" in str(found[2, "cpu"])
    assert "a run needs 2 GPUs of one node, and the largest has 0" in str(found[2, "0,1"])


def test_the_folder_of_a_node_belongs_to_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = _scratch()
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    folder.parent.rmdir()
    (tmp_path / "other").mkdir()
    folder.parent.symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="belongs to another user; set TMPDIR"):
        _scratch()
