"""A real study on `digits` that is killed at random moments ends like an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.study.running.test_ray import HEAD, PORT, Cluster, cluster
from yolo_attn.host.repeatable import STATE_SECONDS
from yolo_attn.stats.matches import Matches

__all__ = ["cluster"]  # a fixture, used by name

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")]

STUDY = [
    *(
        "base=yolo11n.yaml",
        "variants=SE@neck,CBAM@neck",
        "controls=null",
        "seeds=3",
        "name=s",
        "device=cpu",
        "threads=1",
    ),
    *("epochs=5", "fraction=0.05", "imgsz=64", "batch=4", "val=False"),
]
RUNS = 12
KILLS_HERE, KILLS_ON_RAY = 15, 5
VOLATILE = {"seconds", "memory_mib", "latency_ms", "made", "command"}


def start(project: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, STATE_SECONDS: "0", "OMP_NUM_THREADS": "1"}
    log = (project.parent / f"{project.name}.log").open("ab")
    command = [sys.executable, "-m", "yolo_attn", "compare", *STUDY, f"project={project}", *more]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def run_to_the_end(project: Path) -> None:
    """Run the same command until the study is finished."""
    for _ in range(5):
        if start(project, "workers=2").wait(timeout=600) == 0:
            return
    pytest.fail((project.parent / f"{project.name}.log").read_text()[-3000:])


def results(project: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in (project / "s").glob("runs/*/result.json")}


def content(value: Any) -> Any:
    """Return what must be equal: everything except times and memory."""
    if isinstance(value, dict):
        return {key: content(item) for key, item in value.items() if key not in VOLATILE}
    return [content(item) for item in value] if isinstance(value, list) else value


def victims(study: subprocess.Popen[bytes]) -> list[int]:
    children = psutil.Process(study.pid).children(recursive=True)
    return [child.pid for child in children if "yolo_attn.study.running.worker" in command_line(child)]


def command_line(process: psutil.Process) -> str:
    """Return the command line of a process; "" for one that has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_study_killed_twenty_times_ends_like_a_calm_one(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    run_to_the_end(calm)
    assert len(results(calm)) == RUNS

    chance, killed = random.Random(7), Counter[str]()
    kept: dict[str, str] = {}
    nodes: Cluster | None = None
    while killed.total() < KILLS_HERE + KILLS_ON_RAY:
        on_ray = killed.total() >= KILLS_HERE
        if on_ray and nodes is None:
            nodes = request.getfixturevalue("cluster")
        study = start(wild, *(["runner=ray", f"address={HEAD}:{PORT}"] if on_ray else ["workers=2"]))
        while study.poll() is None and killed.total() < KILLS_HERE + (KILLS_ON_RAY if on_ray else 0):
            # Usually too short for a run to end; sometimes long enough for one or two.
            time.sleep(10 if killed.total() % 5 == 4 else chance.uniform(0.5, 3))
            before = results(wild)
            assert {name: before[name] for name in kept} == kept, "a finished run was executed again"
            kept = before
            killed.update([strike(study, nodes, chance)])
            killed.pop("nobody", None)
            assert len(kept) < RUNS, "the study was over before it was killed often enough"
        study.kill()
        study.wait()
    run_to_the_end(wild)

    assert killed["parent"] >= 3, killed
    assert killed["child"] >= 3, killed
    assert killed["ray worker"] >= 3, killed
    after = results(wild)
    assert len(after) == RUNS
    assert {name: after[name] for name in kept} == kept, "a finished run was executed again"
    one, other = (json.loads((project / "s" / "results.json").read_text()) for project in (calm, wild))
    assert content(one) == content(other)
    for name in after:
        first, second = (Matches.load(project / "s" / "runs" / name / "matches.npz") for project in (calm, wild))
        assert len(first.det_score) > 0
        assert np.array_equal(first.det_score, second.det_score)


def strike(study: subprocess.Popen[bytes], nodes: Cluster | None, chance: random.Random) -> str:
    """Kill one of a study's processes, and return its kind."""
    if nodes is not None:
        found, kind = nodes.processes("ray::", "-s"), "ray worker"
    elif chance.random() < 0.5:
        found, kind = victims(study), "child"
    else:
        found, kind = [study.pid], "parent"
    if not found or study.poll() is not None:
        return "nobody"
    try:
        os.kill(chance.choice(found), signal.SIGKILL)
    except ProcessLookupError:
        return "nobody"
    return kind
