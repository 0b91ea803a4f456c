"""The page of a running study, updated in the background as runs finish."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from yolo_attn.errors import one_line
from yolo_attn.study.files import REPORT
from yolo_attn.study.results.records import StudyResults

__all__ = ["RELOAD_SECONDS", "LivePage"]

RELOAD_SECONDS = 30  # interval at which an open page reloads itself
_MAX_SHARE = 0.01  # of the time is spent on rendering
_NICENESS = 10  # training has priority


class LivePage:
    """Renders the page in a thread with low priority; an error does not affect the study.

    Args:
        folder: The study's folder.
        write: Writes the page.
        log: Prints a line for the user.
    """

    def __init__(self, folder: Path, write: Callable[[StudyResults], None], log: Callable[[str], None]) -> None:
        self._folder, self._write, self._log = folder, write, log
        self._newest: StudyResults | None = None
        self._thread: threading.Thread | None = None
        self._not_before = 0.0
        self._error = ""
        self._announced = False

    def offer(self, study: StudyResults) -> None:
        """Take newer results, which are rendered now or when the next page is due.

        Args:
            study: The results.
        """
        self._newest = study
        self.tick()

    def tick(self) -> None:
        """Start rendering if there are newer results and a page is due; once, print where the page is."""
        if self._thread is not None and not self._thread.is_alive():
            self._end()
        if self._thread is None and self._newest is not None and time.monotonic() >= self._not_before:
            study, self._newest = self._newest, None
            self._thread = threading.Thread(target=self._render, args=(study,), name="report", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait for the page in progress, and start no other."""
        self._newest = None
        if self._thread is not None:
            self._thread.join()
            self._end()

    def _end(self) -> None:
        self._thread = None
        if not self._announced:
            self._announced = True
            page = self._folder / REPORT
            self._log(f"{page}: not written ({self._error})" if self._error else f"results so far: {page}")

    def _render(self, study: StudyResults) -> None:
        began = time.monotonic()
        if sys.platform == "linux":  # where threads have their own priority
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            self._write(study)
            self._error = ""
        except Exception as error:  # the runs continue; a lasting error is raised by the final page
            self._error = one_line(error)
        took = time.monotonic() - began
        self._not_before = time.monotonic() + took * (1 / _MAX_SHARE - 1)
