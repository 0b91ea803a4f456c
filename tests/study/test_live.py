"""The page while a study runs: drawn beside it, seldom enough, and a fault in it costs no run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.study.conftest import Fake
from yolo_attn.study import report
from yolo_attn.study.report import live
from yolo_attn.study.report.live import LivePage
from yolo_attn.study.results.records import ArmSummary, StudyInfo, StudyResults


def numbered(number: int) -> StudyResults:
    """Return results that can be told apart by their number of notes."""
    return StudyResults(StudyInfo(), [ArmSummary("a", "baseline")], notes=["note"] * number)


class Drawn:
    """Notes what is drawn; a drawing takes until it is let go."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.go = threading.Event()
        self.began = threading.Semaphore(0)
        self.fault: Exception | None = None

    def __call__(self, study: StudyResults) -> None:
        self.seen.append(len(study.notes))
        self.began.release()
        assert self.go.wait(30)
        if self.fault:
            raise self.fault


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the page goes by."""
    now = [100.0]
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def begun(drawn: Drawn) -> bool:
    """Wait until one more drawing has begun, which happens in a thread of its own."""
    return drawn.began.acquire(timeout=30)


def finish(page: LivePage, drawn: Drawn) -> None:
    """Let the drawing end that has begun."""
    drawn.go.set()
    thread = page._thread
    assert thread is not None
    thread.join(30)
    drawn.go.clear()
    page.tick()


def test_nobody_waits_for_a_drawing_and_only_the_newest_is_drawn_next(clock: list[float]) -> None:
    drawn, said = Drawn(), []
    page = LivePage(Path("s"), drawn, said.append)
    page.offer(numbered(1))
    for number in (2, 3):
        page.offer(numbered(number))  # returns at once, though the first is still being drawn
    assert begun(drawn) and drawn.seen == [1] and said == []
    finish(page, drawn)
    assert begun(drawn) and drawn.seen == [1, 3]
    assert said == [f"results so far: {Path('s/report.html')}"]
    finish(page, drawn)
    drawn.go.set()
    page.close()
    assert drawn.seen == [1, 3] and len(said) == 1


def test_drawing_takes_a_twentieth_of_the_time_at_most(clock: list[float]) -> None:
    drawn = Drawn()
    page = LivePage(Path("s"), drawn, lambda _: None)
    page.offer(numbered(1))
    assert begun(drawn)
    clock[0] += 2.0  # what the drawing takes
    finish(page, drawn)
    page.offer(numbered(2))
    clock[0] += 37.9
    page.tick()
    assert drawn.seen == [1]
    clock[0] += 0.2
    drawn.go.set()
    page.tick()
    page.close()
    assert drawn.seen == [1, 2]


def test_a_fault_is_said_once_and_drawing_goes_on(clock: list[float]) -> None:
    drawn, said = Drawn(), []
    drawn.fault = RuntimeError("no font\nfound")
    drawn.go.set()
    page = LivePage(Path("s"), drawn, said.append)
    page.offer(numbered(1))
    page.close()
    drawn.fault = None
    page.offer(numbered(2))
    page.close()
    assert drawn.seen == [1, 2]
    assert said == [f"{Path('s/report.html')}: not written (RuntimeError: no font found)"]


# --- in a study -----------------------------------------------------------------------------------------------------


@pytest.fixture
def interim(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statuses of all runs, each time that the interim page is written."""
    written: list[list[str]] = []

    def write(folder: Path, study: StudyResults, reload: int) -> None:
        assert folder == fake.folder.relative_to(fake.home) and reload == live.RELOAD_SECONDS
        written.append([run.status for arm in study.arms for run in arm.runs])

    monkeypatch.setattr(report, "write_interim_page", write)
    return written


def test_the_page_is_there_from_the_first_finished_run_on(fake: Fake, interim: list[list[str]]) -> None:
    fake.compare(variants="A,B", seeds=1)
    assert [statuses.count("done") for statuses in interim] == [1, 2]  # the last one is the finished study's page
    assert fake.output().count("results so far:") == 1
    assert fake.output().index("[1/3]") < fake.output().index("results so far:") < fake.output().index("[3/3]")
    fake.compare(variants="A,B", seeds=1)
    assert len(interim) == 2  # nothing is trained, so there is nothing to wait for
    fake.compare(variants="A,B", seeds=2, exist_ok=True)
    assert interim[2].count("done") == 3  # what was done before is there at once


def test_a_page_that_cannot_be_drawn_stops_no_study(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space for a page")

    monkeypatch.setattr(report, "write_interim_page", fail)
    assert fake.compare(variants="A", seeds=2).exit_status == 0
    assert "report.html: not written (OSError: no space for a page)" in fake.output()


def test_a_page_that_takes_long_delays_no_run(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawing of the first run's page lasts until the last run has been started."""
    went_on = []

    def draw(*_: object) -> None:
        wait = threading.Event()
        while len(fake.starts()) < 3 and not wait.wait(0.02):
            pass
        went_on.append(len(fake.starts()))

    monkeypatch.setattr(report, "write_interim_page", draw)
    assert fake.compare(variants="A,B", seeds=1).exit_status == 0
    assert went_on == [3]


def test_an_interrupted_study_leaves_a_page_that_waits_for_nothing(
    fake: Fake, interim: list[list[str]], monkeypatch: pytest.MonkeyPatch, wait_for: Callable[..., None]
) -> None:
    final = []
    write = report.write_reports

    def note(folder: Path, study: StudyResults, **how: Any) -> None:
        if how.get("html", True):
            final.append([run.status for arm in study.arms for run in arm.runs])
        write(folder, study, **how)

    monkeypatch.setattr(report, "write_reports", note)
    monkeypatch.setattr("yolo_attn.study.engine._Engine._start_runs", interrupted_after(1))
    with pytest.raises(KeyboardInterrupt, match="stopped with 1 of 2 runs done"):
        fake.compare(variants="A", seeds=1)
    assert final == [["done", "waiting"]]


def interrupted_after(runs: int) -> Callable[..., None]:
    """Start runs, and press Ctrl-C when one more would be started."""
    from yolo_attn.study.engine import _Engine

    start, started = _Engine._start_runs, []

    def start_or_stop(self: Any, waiting: list[Any], active: dict[str, Any], *rest: Any) -> None:
        if not active and len(started) == runs:
            raise KeyboardInterrupt
        if not active:
            started.append(waiting[0])
        start(self, waiting, active, *rest)

    return start_or_stop
