from __future__ import annotations

import os
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from tests.study.conftest import PLATFORM, fake_arm
from yolo_attn.study.job import MAX_LAG, Inputs, Measurements, RunResult, RunState
from yolo_attn.study.running.progress import Progress, clock, count_epochs
from yolo_attn.study.running.run import Run
from yolo_attn.study.times import RunTimes


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def run(name: str = "A", seed: int = 0, epochs: int = 4) -> Run:
    arm = fake_arm(name)
    return Run(arm, Inputs("d", {"epochs": epochs}, PLATFORM, arm.model, None, seed), f"{name}{seed}")


def times(**arms: float) -> RunTimes:
    """Return the times of finished runs of four epochs."""
    known = RunTimes()
    for name, seconds in arms.items():
        known.add(name, 4, seconds)
    return known


MEASURED = Measurements(metrics={"mAP50-95": 0.5, "mAP50": None})
DONE = RunState(0, "done", result=RunResult("k", 0, "done", measurements=MEASURED))


def trained(folder: Path, epochs: int) -> Path:
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train" / "results.csv").write_text("epoch\n" + "1\n" * epochs)
    return folder


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (125.4, "2:05"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_epochs_are_counted_from_the_table(tmp_path: Path) -> None:
    assert count_epochs(tmp_path) == 0
    assert count_epochs(trained(tmp_path, 3)) == 3


@pytest.mark.parametrize(
    ("learnt", "norm_lag", "hint"),
    [
        (True, MAX_LAG, ""),
        (None, MAX_LAG + 0.1, " (batch norms lag)"),
        (False, 50.0, " (not learned: no better than chance)"),
    ],
)
def test_the_line_of_a_run_says_why_its_metrics_may_be_low(
    tmp_path: Path, learnt: bool | None, norm_lag: float, hint: str
) -> None:
    stream = StringIO()
    progress = Progress(1, times(), stream)
    progress.start(run())
    measured = replace(MEASURED, learnt=learnt, norm_lag=norm_lag)
    progress.finish(run(), replace(DONE, result=RunResult("k", 0, "done", measurements=measured)), tmp_path / "log")
    assert stream.getvalue().startswith(f"[1/1] A seed 0: mAP50-95 50.00, mAP50 -{hint}, 0:00")


def test_a_pipe_receives_one_line_per_run(tmp_path: Path) -> None:
    stream = StringIO()
    progress = Progress(2, times(), stream)
    progress.waiting = [run(seed=1)]
    progress.start(run())
    progress.tick(lambda _: trained(tmp_path, 1))
    progress.finish(run(), DONE, tmp_path / "train.log")
    progress.waiting = []
    progress.start(run(seed=1))
    progress.finish(run(seed=1), RunState(1, "failed", error="ValueError: no"), tmp_path / "train.log")
    first, second = stream.getvalue().splitlines()
    assert first.startswith("[1/2] A seed 0: mAP50-95 50.00, mAP50 -, 0:00")
    assert second.startswith("[2/2] A seed 1: failed: ValueError: no (see ")
    assert second.endswith("train.log)")


@pytest.fixture
def clock_hand(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("yolo_attn.study.running.progress.time.monotonic", lambda: now[0])
    size = "yolo_attn.study.running.progress.shutil.get_terminal_size"
    monkeypatch.setattr(size, lambda fallback=(80, 24): os.terminal_size((120, 9)))  # pytest -v calls it too
    return now


def test_a_terminal_receives_a_live_line_with_the_time_left(tmp_path: Path, clock_hand: list[float]) -> None:
    stream = Terminal()
    progress = Progress(3, times(), stream)
    progress.waiting = [run(seed=1), run(seed=2)]
    progress.start(run())
    clock_hand[0] += 10
    progress.tick(lambda _: trained(tmp_path, 1))
    # 1 of 4 epochs in 10 s: 30 s more for this run, 40 s for each of the two others.
    assert "[0/3 done] A seed 0 2/4, 0:10, about 1:50 left" in stream.getvalue()
    clock_hand[0] += 20
    progress.finish(run(), DONE, tmp_path)
    assert "about 1:00 left" in stream.getvalue()


def test_parallel_runs_share_the_remaining_time(tmp_path: Path, clock_hand: list[float]) -> None:
    stream = Terminal()
    progress = Progress(4, times(A=100, B=100), stream)
    progress.waiting = [run("A", 1), run("B", 1)]
    progress.start(run("A"))
    progress.start(run("B"))
    clock_hand[0] += 40
    progress.tick(lambda _: tmp_path)
    # Two have 60 s left and two wait for 100 s each, two at a time.
    assert "A seed 0 1/4, B seed 0 1/4, 0:40, about 2:40 left" in stream.getvalue()
    progress.finish(run("A"), DONE, tmp_path)
    assert "[1/4] A seed 0: " in stream.getvalue()


def test_the_time_left_is_estimated_from_earlier_runs(tmp_path: Path) -> None:
    stream = StringIO()
    progress = Progress(3, times(A=100, B=300), stream)
    progress.waiting = [run("A"), run("D")]
    progress.start(run("C"))
    progress.finish(run("C"), RunState(0, "interrupted", error="killed"), tmp_path)
    assert "about 5:00 left" in stream.getvalue()  # A as A did: 100 s; D as the mean of all: 200 s


def test_the_time_of_a_base_is_not_that_of_its_fine_tuning(tmp_path: Path, clock_hand: list[float]) -> None:
    stream = Terminal()
    progress = Progress(2, times(), stream)
    progress.waiting = [run("A")]
    progress.start(run("base", epochs=40))
    clock_hand[0] += 100
    progress.tick(lambda _: trained(tmp_path, 20))
    # 100 s more for the other 20 epochs, 20 s for the 4 epochs of A.
    assert "base seed 0 21/40, 1:40, about 2:00 left" in stream.getvalue()


def test_a_resumed_run_is_expected_to_take_the_time_of_all_its_attempts(tmp_path: Path) -> None:
    known = RunTimes()
    progress = Progress(2, known, StringIO())
    progress.start(run())
    measured = replace(MEASURED, seconds=3600.0)
    result = RunResult("k", 0, "done", measurements=measured, wall_seconds=20.0)
    progress.finish(run(), RunState(0, "done", result=result), tmp_path / "train.log")
    assert known.expected("A", 4) == 3600


def test_a_closed_terminal_does_not_hide_how_a_study_ended(tmp_path: Path) -> None:
    class Closed(Terminal):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    progress = Progress(1, times(), Closed())
    progress._live_width = 10
    progress.close()
