"""A study without training: fake arms, and a worker whose behavior is the name of its arm."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.study import forked
from tests.study.forked import FAKE_WORKER
from yolo_attn.host.installation import settings_folder
from yolo_attn.stats import chance
from yolo_attn.study import execution, planning, report, reporting
from yolo_attn.study.engine import compare
from yolo_attn.study.job import Inputs, Job, Platform
from yolo_attn.study.running import local
from yolo_attn.study.running.local import LocalRunner
from yolo_attn.study.specification.arms import Arm
from yolo_attn.study.specification.controls import CONTROLS
from yolo_attn.study.specification.study import Study


def fake_arm(name: str, kind: str = "variant") -> Arm:
    return Arm(name, kind, {"name": name, "backbone": [[-1, 1, "Conv", [8]]], "head": [[[0], 1, "Detect", [1]]]})


def fake_control(name: str) -> Arm:
    control = CONTROLS[name]
    return replace(fake_arm(name, "control"), seed_offset=control.seed_offset, own_base=control.own_base)


PLATFORM = Platform({"yolo-attn": "1", "ultralytics": "2", "torch": "3"}, "cpu", 1)


def make_job(**changes: Any) -> Job:
    """Return a job; `changes` are fields of it."""
    inputs = Inputs("d", {"epochs": 1}, PLATFORM, fake_arm("A").model, None, seed=3)
    given = {"key": "k", "arm": "A", "inputs": inputs, "task": "detect", "data": "digits", "device": "cpu", **changes}
    return Job(**given)


@pytest.fixture
def fake_study(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fake arms, and a dataset that always exists; returns an empty working folder."""

    def build(study: Study) -> list[Arm]:
        baseline, controls = fake_arm(Path(study.base).stem, "baseline"), map(fake_control, study.controls)
        return [baseline, *(fake_arm(name) for name in study.variants), *controls]

    monkeypatch.setattr(planning, "build_arms", build)
    monkeypatch.setattr(planning, "resolve_data", lambda data: data)
    monkeypatch.setattr(
        "yolo_attn.data.check_data",
        lambda data, *_, **__: SimpleNamespace(
            data=data, present=True, digest=f"of {data}", names={0: "one"}, splits={}
        ),
    )
    monkeypatch.setattr(execution, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(reporting, "count_shared_tensors", lambda *_, **__: (499, 499))
    write = report.write_reports
    monkeypatch.setattr(report, "write_reports", lambda *given, **how: write(*given, **{**how, "html": False}))
    monkeypatch.setattr(report, "write_interim_page", lambda *given: None)  # tests/study/report/test_live.py writes it
    monkeypatch.setattr(chance, "SHUFFLES", 4)  # the fake images are all alike
    monkeypatch.setattr(chance, "_IMAGES", 8)
    monkeypatch.setattr(local, "subprocess", forked.SUBPROCESS)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # these studies do not have to survive a power failure
    monkeypatch.setenv("FAKE_JOURNAL", str(fresh_folder / "journal"))
    monkeypatch.setenv("FAKE_SETTINGS", str(settings_folder()))
    return fresh_folder


class Fake:
    """Runs studies with the fake worker.

    Args:
        home: The working folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "runs" / "compare" / "s"
        self.stream = StringIO()
        self.workers = 1

    def compare(self, **arguments: Any) -> Any:
        given = {"base": "yolo11n.yaml", "variants": "A,B", "seeds": 2, "epochs": 3, "threads": 1, "device": "cpu"}
        given |= {"name": "s", **arguments}
        runner = LocalRunner(self.workers, command=(sys.executable, str(FAKE_WORKER)))
        return compare({key: value for key, value in given.items() if value is not None}, runner, self.stream)

    def output(self) -> str:
        return self.stream.getvalue()

    def journal(self) -> list[list[str]]:
        return read_journal(self.home)

    def starts(self) -> list[tuple[str, str]]:
        return [(arm, seed) for event, arm, seed, _ in self.journal() if event == "start"]

    def results(self) -> dict[str, Any]:
        return json.loads((self.folder / "results.json").read_text(encoding="utf-8"))

    def stored(self) -> dict[str, str]:
        """Return every stored result by the name of its run's folder."""
        return {path.parent.name: path.read_text() for path in self.folder.glob("runs/*/result.json")}

    def in_background(self, **arguments: Any) -> multiprocessing.process.BaseProcess:
        return in_background(self.compare, **arguments)


def read_journal(home: Path) -> list[list[str]]:
    """Return the events that the workers recorded: event, arm, seed, process id."""
    path = home / "journal"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def in_background(run: Callable[..., Any], **arguments: Any) -> multiprocessing.process.BaseProcess:
    """Call a function in a forked process, which has the same patches and can be killed."""

    def quietly() -> None:
        # A process that a shell starts in the background ignores SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            run(**arguments)
        except KeyboardInterrupt:
            os._exit(130)

    process = multiprocessing.get_context("fork").Process(target=quietly)
    process.start()
    return process


@pytest.fixture
def fake(fake_study: Path) -> Iterator[Fake]:
    yield Fake(fake_study)


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], None]:
    """Wait until a condition is true, or fail."""
    import time

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 180
        while not condition():
            assert time.monotonic() < deadline, "the condition is still false"
            time.sleep(0.02)

    return wait
