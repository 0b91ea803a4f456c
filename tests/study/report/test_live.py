"""The page of a running study: it is written in a thread, rarely enough, and its errors affect no run."""

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
    """Return results that differ in their number of notes."""
    return StudyResults(StudyInfo(), [ArmSummary("a", "baseline")], notes=["note"] * number)


class Writer:
    """Records the pages; writing one lasts until it is released."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.go = threading.Event()
        self.began = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(self, study: StudyResults) -> None:
        self.written.append(len(study.notes))
        self.began.release()
        assert self.go.wait(30)
        if self.error:
            raise self.error


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the page reads."""
    now = [100.0]
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def begun(writer: Writer) -> bool:
    """Wait until writing another page has begun, which happens in a thread."""
    return writer.began.acquire(timeout=30)


def finish(page: LivePage, writer: Writer) -> None:
    """Release the page that is being written."""
    writer.go.set()
    thread = page._thread
    assert thread is not None
    thread.join(30)
    writer.go.clear()
    page.tick()


def test_offers_do_not_wait_and_only_the_newest_is_written_next(clock: list[float]) -> None:
    writer, printed = Writer(), []
    page = LivePage(Path("s"), writer, printed.append)
    page.offer(numbered(1))
    for number in (2, 3):
        page.offer(numbered(number))  # returns immediately, although the first is still being written
    assert begun(writer) and writer.written == [1] and printed == []
    finish(page, writer)
    assert begun(writer) and writer.written == [1, 3]
    assert printed == [f"results so far: {Path('s/report.html')}"]
    finish(page, writer)
    writer.go.set()
    page.close()
    assert writer.written == [1, 3] and len(printed) == 1


def test_writing_takes_at_most_a_hundredth_of_the_time(clock: list[float]) -> None:
    writer = Writer()
    page = LivePage(Path("s"), writer, lambda _: None)
    page.offer(numbered(1))
    assert begun(writer)
    clock[0] += 2.0  # the time of writing
    finish(page, writer)
    page.offer(numbered(2))
    clock[0] += 197.9
    page.tick()
    assert writer.written == [1]
    clock[0] += 0.2
    writer.go.set()
    page.tick()
    page.close()
    assert writer.written == [1, 2]


def test_an_error_is_printed_once_and_writing_continues(clock: list[float]) -> None:
    writer, printed = Writer(), []
    writer.error = RuntimeError("no font\nfound")
    writer.go.set()
    page = LivePage(Path("s"), writer, printed.append)
    page.offer(numbered(1))
    page.close()
    writer.error = None
    page.offer(numbered(2))
    page.close()
    assert writer.written == [1, 2]
    assert printed == [f"{Path('s/report.html')}: not written (RuntimeError: no font found)"]


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


def test_the_page_exists_from_the_first_finished_run_on(fake: Fake, interim: list[list[str]]) -> None:
    fake.compare(variants="A,B", seeds=1)
    pages = [statuses.count("done") for statuses in interim]
    assert pages in ([1], [1, 2])  # a run may end before the page of the one before; the finished study has another
    assert fake.output().count("results so far:") == 1
    assert fake.output().index("[1/3]") < fake.output().index("results so far:") < fake.output().index("[3/3]")
    fake.compare(variants="A,B", seeds=1)
    assert len(interim) == len(pages)  # nothing is trained
    fake.compare(variants="A,B", seeds=2, exist_ok=True)
    assert interim[len(pages)].count("done") == 3  # runs done before are included immediately


def test_a_page_that_cannot_be_written_does_not_stop_the_study(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space for a page")

    monkeypatch.setattr(report, "write_interim_page", fail)
    assert fake.compare(variants="A", seeds=2).exit_status == 0
    assert "report.html: not written (OSError: no space for a page)" in fake.output()


def test_a_slow_page_does_not_delay_runs(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing the first run's page lasts until the last run is started."""
    started = []

    def write(*_: object) -> None:
        wait = threading.Event()
        while len(fake.starts()) < 3 and not wait.wait(0.02):
            pass
        started.append(len(fake.starts()))

    monkeypatch.setattr(report, "write_interim_page", write)
    assert fake.compare(variants="A,B", seeds=1).exit_status == 0
    assert started == [3]


def test_an_interrupted_study_leaves_a_complete_page(
    fake: Fake, interim: list[list[str]], monkeypatch: pytest.MonkeyPatch, wait_for: Callable[..., None]
) -> None:
    final = []
    write = report.write_reports

    def note(folder: Path, study: StudyResults, **how: Any) -> None:
        if how.get("html", True):
            final.append([run.status for arm in study.arms for run in arm.runs])
        write(folder, study, **how)

    monkeypatch.setattr(report, "write_reports", note)
    monkeypatch.setattr("yolo_attn.study.execution.Executor._start_runs", interrupted_after(1))
    with pytest.raises(KeyboardInterrupt, match="stopped with 1 of 2 runs done"):
        fake.compare(variants="A", seeds=1)
    assert final == [["done", "waiting"]]


def interrupted_after(runs: int) -> Callable[..., None]:
    """Start runs, and interrupt before another one would be started."""
    from yolo_attn.study.execution import Executor

    start, started = Executor._start_runs, []

    def start_or_stop(self: Any, waiting: list[Any]) -> None:
        if not self._active and len(started) == runs:
            raise KeyboardInterrupt
        if not self._active:
            started.append(waiting[0])
        start(self, waiting)

    return start_or_stop
