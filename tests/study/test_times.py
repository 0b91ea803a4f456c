"""Estimates of the time of runs."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from yolo_attn.host.documents import model_yaml
from yolo_attn.study.job import Measurements, RunResult
from yolo_attn.study.running import step_timer
from yolo_attn.study.times import RunTimes, guess_epoch_seconds, times_of


def test_the_time_of_a_run_is_the_mean_of_its_arm() -> None:
    times = RunTimes()
    for arm, epochs, seconds in (("a", 3, 10), ("a", 3, 20), ("b", 3, 30), ("base", 40, 500)):
        times.add(arm, epochs, seconds)
    assert [times.expected(arm, 3) for arm in "abc"] == [15, 30, 20]
    assert times.expected("c", 40) == 500
    assert times.expected("a", 5) is None


def test_the_time_of_a_resumed_run_is_that_of_all_attempts() -> None:
    run: Any = SimpleNamespace(arm=SimpleNamespace(name="a"), key="k", epochs=3)
    resumed = RunResult("k", 0, "done", measurements=Measurements(seconds=3600.0), wall_seconds=120.0)
    assert times_of([run], {"k": resumed}).expected("a", 3) == 3600


def test_a_step_on_a_gpu_is_timed_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process would keep the memory of the GPU, which the runs need."""
    found = []

    def elsewhere(layers: list[str], threads: int, arguments: dict[str, Any]) -> float:
        found.append((threads, arguments["device"], arguments["amp"]))
        return 2.0

    monkeypatch.setattr(step_timer, "step_seconds_elsewhere", elsewhere)
    given: dict[str, Any] = {"train_images": 20, "device": "cuda:0", "threads": 3}
    one = guess_epoch_seconds({}, "detect", 3, recipe={"batch": 10, "imgsz": 64}, **given)
    two = guess_epoch_seconds({}, "detect", 3, recipe={"batch": 5, "imgsz": 64, "amp": False}, **given)
    assert found == [(3, "cuda:0", True), (3, "cuda:0", False)]
    assert one and two == 2 * one


@pytest.mark.slow
def test_a_step_is_timed_in_another_process() -> None:
    arguments = {
        **{"document": model_yaml("yolo11n.yaml"), "task": "detect", "classes": 3},
        **{"batch": 2, "imgsz": 64, "device": "cpu"},
    }
    assert step_timer.step_seconds_elsewhere([], 1, arguments) > 0
    with pytest.raises(subprocess.CalledProcessError):
        step_timer.step_seconds_elsewhere([], 1, {**arguments, "device": "nonsense"})
