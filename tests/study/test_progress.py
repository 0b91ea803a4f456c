from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest

from tests.study.conftest import fake_arm
from yolo_attn.study.plan import Run
from yolo_attn.study.progress import Progress, clock, epochs_done


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def run(name: str = "A", seed: int = 0) -> Run:
    return Run(fake_arm(name), seed, {}, f"{name}{seed}")


DONE = {"status": "done", "metrics": {"mAP50-95": 0.5, "mAP50": None}}


def trained(folder: Path, epochs: int) -> Path:
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train" / "results.csv").write_text("epoch\n" + "1\n" * epochs)
    return folder


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (125.4, "2:05"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_epochs_are_counted_from_the_table(tmp_path: Path) -> None:
    assert epochs_done(tmp_path) == 0
    assert epochs_done(trained(tmp_path, 3)) == 3


def test_a_pipe_gets_one_line_for_each_run(tmp_path: Path) -> None:
    stream = StringIO()
    progress = Progress(2, 3, {}, stream)
    progress.start(run(), [run(seed=1)])
    progress.tick(run(), trained(tmp_path, 1))
    progress.finish(run(), DONE, tmp_path / "train.log")
    progress.start(run(seed=1), [])
    progress.finish(run(seed=1), {"status": "failed", "error": "ValueError: no"}, tmp_path / "train.log")
    first, second = stream.getvalue().splitlines()
    assert first.startswith("[1/2] A seed 0: mAP50-95 50.00, mAP50 -, 0:00")
    assert second.startswith("[2/2] A seed 1: failed: ValueError: no (see ")
    assert second.endswith("train.log)")


def test_a_terminal_gets_a_live_line_with_the_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("yolo_attn.study.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "yolo_attn.study.progress.shutil.get_terminal_size", lambda: __import__("os").terminal_size((120, 9))
    )
    stream = Terminal()
    progress = Progress(3, 4, {}, stream)
    progress.start(run(), [run(seed=1), run(seed=2)])
    now[0] += 10
    progress.tick(run(), trained(tmp_path, 1))
    # 1 of 4 epochs in 10 s: 30 s more for this run, 40 s for each of the two others.
    assert "[1/3] A seed 0: epoch 2/4, 0:10, whole study 0:10, about 1:50 left" in stream.getvalue()
    now[0] += 20
    progress.finish(run(), DONE, tmp_path)
    assert "about 1:00 left" in stream.getvalue()


def test_time_left_uses_what_earlier_runs_took(tmp_path: Path) -> None:
    stream = StringIO()
    progress = Progress(3, 4, {"A": [100.0], "B": [300.0]}, stream)
    progress.start(run("C"), [run("A"), run("D")])
    progress.finish(run("C"), {"status": "interrupted", "error": "killed"}, tmp_path)
    assert "about 5:00 left" in stream.getvalue()  # A as A did: 100 s; D as the mean of all: 200 s
