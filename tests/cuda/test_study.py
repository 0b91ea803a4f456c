"""A study whose runs share a GPU: killed and resumed; on Ray; maps of a network on a GPU."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from tests.cuda.test_training import run
from yolo_attn.host.repeatable import STATE_SECONDS

pytestmark = pytest.mark.cuda

STUDY = [
    *("base=yolo11n.yaml", "variants=SE@neck", "controls=null", "seeds=2", "name=s", "threads=1"),
    *("epochs=3", "fraction=0.05", "imgsz=64", "batch=4", "val=False"),
]
RUNS = 6
WORKERS = 3


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, although nobody may have asked for its status, as in many containers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def test_study_that_is_killed_and_resumed(tmp_path: Path, record_property: Any) -> None:
    command = ["compare", *STUDY, "device=0", f"workers={WORKERS}", f"project={tmp_path}"]
    with (tmp_path / "log").open("wb") as log:
        study = subprocess.Popen(
            [sys.executable, "-m", "yolo_attn", *command],
            cwd=tmp_path,
            env={**os.environ, STATE_SECONDS: "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    most, deadline = 0, time.monotonic() + 150
    try:
        # The first run is alone until its memory is known; then several must be there at once.
        while len(results(tmp_path)) < 1 or most < 2:
            assert study.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()[-4000:]
            found = workers(study.pid)
            assert results(tmp_path) or len(found) <= 1, "a second run began before the memory of the first was known"
            most = max(most, len(found))
            time.sleep(0.05)
        children = psutil.Process(study.pid).children(recursive=True)
    finally:
        study.send_signal(signal.SIGKILL)
        study.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert [child for child in alive if not has_ended(child)] == [], "a run outlives its study"
    before = results(tmp_path)

    run(*command, folder=tmp_path, seconds=120)
    after = results(tmp_path)
    assert len(after) == RUNS
    assert {name: after[name] for name in before} == before, "a finished run was executed again"
    memory = [json.loads(text)["memory_mib"]["cuda"] for text in after.values()]
    assert all(amount > 0 for amount in memory)
    environments = [json.loads(text)["environment"] for text in after.values()]
    assert {found["gpu"] for found in environments} == {torch.cuda.get_device_name(0)}
    assert all(isinstance(found["amp"], bool) for found in environments)
    latency = json.loads((tmp_path / "s" / "latency.json").read_text())["arms"]
    assert {figures["device"] for figures in latency.values()} == {"cuda:0"}
    record_property("runs_at_once", most)
    record_property("memory_mib", max(memory))
    record_property("latency_ms", {name: figures["median"] for name, figures in latency.items()})


def test_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    run(
        "compare",
        *STUDY,
        "device=0",
        "gpus=0.25",
        "runner=ray",
        f"project={tmp_path}",
        folder=tmp_path,
        RAY_AUTH_MODE="disabled",
    )
    assert len(results(tmp_path)) == RUNS


def test_maps_of_a_network_on_a_gpu(device: torch.device) -> None:
    from yolo_attn.analysis.maps import attention_maps
    from yolo_attn.analysis.models import open_model

    network, image = open_model("yolo11n-cbam.yaml"), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    here = attention_maps(network, image, imgsz=64)
    there = attention_maps(network.to(device), image, imgsz=64)
    assert len(here) == len(there) > 0
    for one, other in zip(here, there, strict=True):
        assert abs(one.array - other.array).max() < 1e-3


def results(project: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in (project / "s").glob("runs/*/result.json")}


def workers(pid: int) -> list[int]:
    """Return the processes of a study's runs."""
    found = []
    for child in psutil.Process(pid).children():
        try:
            found += [child.pid] * ("yolo_attn.study.running.worker" in child.cmdline())
        except psutil.Error:
            continue  # it has ended meanwhile
    return found
