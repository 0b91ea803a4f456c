"""The page of a study that runs: written again as runs finish, in a small share of the time, and never in their way."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from yolo_attn.errors import one_line
from yolo_attn.study.files import REPORT

__all__ = ["RELOAD_SECONDS", "LivePage"]

RELOAD_SECONDS = 30  # after which an open page loads itself again
_SHARE = 0.05  # of the time, at most, is spent on drawing
_NICENESS = 10  # training goes first


class LivePage:
    """Writes the page in a thread of its own, at low priority; a fault costs the page, not the study.

    Args:
        folder: The study's folder.
        write: Writes the page; takes the content of `results.json`.
        say: Takes a line for the user.
    """

    def __init__(self, folder: Path, write: Callable[[Mapping[str, Any]], None], say: Callable[[str], None]) -> None:
        self._folder, self._write, self._say = folder, write, say
        self._newest: Mapping[str, Any] | None = None
        self._thread: threading.Thread | None = None
        self._not_before = 0.0
        self._fault = ""
        self._said = False

    def offer(self, data: Mapping[str, Any]) -> None:
        """Take newer results: they are drawn now, or when it is time.

        Args:
            data: The content of `results.json`, which is not changed any more.
        """
        self._newest = data
        self.tick()

    def tick(self) -> None:
        """Start to draw when there is something newer and it is time; say once where the page is, or why not."""
        if self._thread is not None and not self._thread.is_alive():
            self._end()
        if self._thread is None and self._newest is not None and time.monotonic() >= self._not_before:
            data, self._newest = self._newest, None
            self._thread = threading.Thread(target=self._draw, args=(data,), name="report", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait for a drawing in progress, and start none any more."""
        self._newest = None
        if self._thread is not None:
            self._thread.join()
            self._end()

    def _end(self) -> None:
        self._thread = None
        if not self._said:
            self._said = True
            page = self._folder / REPORT
            self._say(f"{page}: not written ({self._fault})" if self._fault else f"results so far: {page}")

    def _draw(self, data: Mapping[str, Any]) -> None:
        began = time.monotonic()
        if sys.platform == "linux":  # where a thread has a priority of its own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            self._write(data)
            self._fault = ""
        except Exception as error:  # the runs go on; a fault that lasts is raised by the last page
            self._fault = one_line(error)
        took = time.monotonic() - began
        self._not_before = time.monotonic() + took * (1 / _SHARE - 1)
