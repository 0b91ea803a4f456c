"""Seeds begin only if they end in time, by the times of finished runs."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.study.conftest import PLATFORM, fake_arm
from yolo_attn.errors import UserError
from yolo_attn.study import deadline
from yolo_attn.study.deadline import Deadline
from yolo_attn.study.job import Inputs
from yolo_attn.study.running.progress import Progress
from yolo_attn.study.running.run import Run
from yolo_attn.study.times import RunTimes

EPOCHS = 4


def run(name: str, seed: int) -> Run:
    arm = fake_arm(name)
    return Run(arm, Inputs("d", {"epochs": EPOCHS}, PLATFORM, arm.model, None, seed), f"{name}{seed}")


RUNS = [run(name, seed) for seed in range(3) for name in "AB"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which a test may change."""
    now = [0.0]
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def of(hours: float | None) -> Deadline:
    return Deadline(cast(Any, SimpleNamespace(study=SimpleNamespace(hours=hours))))


def progress(**seconds: float) -> Progress:
    """Return the progress of a study in which runs have taken some time."""
    times = RunTimes()
    for name, taken in seconds.items():
        times.add(name, EPOCHS, taken)
    return Progress(len(RUNS), times, StringIO())


@pytest.mark.parametrize(("workers", "last"), [(1, 33.9), (2, 42.9)])
def test_a_seed_begins_if_all_its_runs_end_in_time(clock: list[float], workers: int, last: float) -> None:
    """They take 26 s one after another, and 17 s at the same time."""
    found, known = of(60 / 3600), progress(A=9.0, B=17.0)
    assert found.allows(RUNS[0], RUNS, known, workers)
    clock[0] = last
    assert found.allows(RUNS[2], RUNS[1:], known, workers)
    clock[0] = last + 1
    assert found.allows(RUNS[3], RUNS[3:], known, workers)  # its seed has begun
    assert not found.allows(RUNS[4], RUNS[4:], known, workers)
    assert found.is_over


def test_hours_that_are_too_short_for_the_first_seed_are_an_error(clock: list[float]) -> None:
    with pytest.raises(
        UserError, match=r"hours=0\.005: too short for one seed of all arms, which takes about 0:26; give"
    ):
        of(0.005).allows(RUNS[0], RUNS, progress(A=9.0, B=17.0), 1)


def test_without_hours_every_seed_begins(clock: list[float]) -> None:
    assert of(None).allows(RUNS[4], RUNS, progress(), 1)
