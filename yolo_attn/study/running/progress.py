"""The output of a study while it runs: a line for each finished run, and a live line in a terminal."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from yolo_attn.study.files import TRAIN_TABLE
from yolo_attn.study.job import Measurements, RunState, lags
from yolo_attn.study.running.run import Run
from yolo_attn.study.times import RunTimes

__all__ = ["Progress", "clock", "count_epochs"]

_LIVE_SECONDS = 1.0
_METRICS = 2  # of a finished run: the main metric and the next one


class Progress:
    """Prints the progress of a study and the estimated time left.

    Args:
        total: Runs of the whole study.
        times: Times of the finished runs, to which runs are added as they finish.
        stream: The output.
    """

    def __init__(self, total: int, times: RunTimes, stream: TextIO) -> None:
        self.total = total
        self.stream = stream
        self.waiting: list[Run] = []
        self._times = times
        self._running: dict[str, tuple[Run, float]] = {}
        self._most_at_once = 1
        self._is_terminal = stream.isatty()
        self._live_width = 0
        self._began = time.monotonic()
        self._last_update = 0.0

    @property
    def _done(self) -> int:
        return self.total - len(self.waiting) - len(self._running)

    def print(self, text: str) -> None:
        """Print lines above the live line."""
        self._erase()
        print(text, file=self.stream, flush=True)

    def start(self, run: Run) -> None:
        """Note that a run starts."""
        self._running[run.key] = (run, time.monotonic())
        self._most_at_once = max(self._most_at_once, len(self._running))
        self._last_update = 0.0

    def tick(self, folder_of: Callable[[Run], Path]) -> None:
        """Update the live line.

        Args:
            folder_of: Returns the folder of a run.
        """
        now = time.monotonic()
        if not self._is_terminal or not self._running or now - self._last_update < _LIVE_SECONDS:
            return
        self._last_update = now
        shown, left, guesses = [], [], []
        running = list(self._running.values())
        for run, began in running:
            epoch, passed = count_epochs(folder_of(run)), now - began
            guess = passed * run.epochs / epoch if epoch else self._expected(run)
            guesses.append(guess)
            left.append(None if guess is None else max(guess - passed, 0.0))
            shown.append(f"{run.arm.name} seed {run.seed} {min(epoch + 1, run.epochs)}/{run.epochs}")
        per_epoch = next((guess / run.epochs for guess, (run, _) in zip(guesses, running, strict=True) if guess), None)
        self._show(
            f"[{self._done}/{self.total} done] {', '.join(shown)}, "
            f"{clock(now - self._began)}{_left(self._rest(left, per_epoch))}"
        )

    def finish(self, run: Run, state: RunState, log: Path) -> None:
        """Print the outcome of a run.

        Args:
            run: The run.
            state: Its state.
            log: Its log file.
        """
        _, began = self._running.pop(run.key)
        seconds = time.monotonic() - began
        if state.status == "done":
            known = state.result.total_seconds if state.result else None
            self._times.add(run.arm.name, run.epochs, seconds if known is None else known)
            metrics = state.measurements.metrics or {}
            shown = ", ".join(f"{name} {_points(metrics[name])}" for name in list(metrics)[:_METRICS])
            text = f"{shown}{_hint(state.measurements)}, {clock(seconds)}"
        else:
            text = f"{state.status}: {state.error} (see {log})"
        left = _left(self._rest(self._remaining()))
        self.print(f"[{self._done}/{self.total}] {run.arm.name} seed {run.seed}: {text}{left}")

    def seconds_until_done(self, runs: Sequence[Run], workers: int) -> float | None:
        """Return the seconds until the running runs and some others will have ended; None if unknown.

        Args:
            runs: The other runs.
            workers: Runs that are executed at once.
        """
        times = [*self._remaining(), *map(self._expected, runs)]
        known = [seconds for seconds in times if seconds is not None]
        return max(sum(known) / max(workers, 1), *known, 0.0) if len(known) == len(times) else None

    def close(self) -> None:
        """Remove the live line, unless the terminal is closed."""
        with contextlib.suppress(OSError):
            self._erase()

    def _expected(self, run: Run) -> float | None:
        return self._times.expected(run.arm.name, run.epochs)

    def _remaining(self) -> list[float | None]:
        """Return the expected seconds until each running run ends."""
        now = time.monotonic()
        return [
            None if (guess := self._expected(run)) is None else max(guess - (now - began), 0.0)
            for run, began in self._running.values()
        ]

    def _rest(self, left: Sequence[float | None], per_epoch: float | None = None) -> float | None:
        """Return the seconds until the last run ends, if as many run at once as so far.

        Args:
            left: Remaining seconds of the running runs.
            per_epoch: Seconds of an epoch of a run whose time is unknown.
        """
        unknown = [None if per_epoch is None else per_epoch * run.epochs for run in self.waiting]
        times = [*left, *(self._expected(run) or guess for run, guess in zip(self.waiting, unknown, strict=True))]
        if None in times:
            return None
        known = [seconds for seconds in times if seconds is not None]
        return max(sum(known) / self._most_at_once, *(seconds for seconds in left if seconds is not None), 0.0)

    def _show(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        self.stream.write("\r" + text.ljust(self._live_width))
        self.stream.flush()
        self._live_width = len(text)

    def _erase(self) -> None:
        if self._live_width:
            self.stream.write("\r" + " " * self._live_width + "\r")
            self.stream.flush()
            self._live_width = 0


def count_epochs(folder: Path) -> int:
    """Count the finished epochs of a run in the table that Ultralytics writes."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        lines = (folder / TRAIN_TABLE).read_text(encoding="utf-8").splitlines()
        return max(0, sum(bool(line.strip()) for line in lines) - 1)
    return 0


def clock(seconds: float) -> str:
    """Return a duration as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _hint(measured: Measurements) -> str:
    """Return why the metrics of a run may be low, as an addition to them."""
    if measured.learnt is False:
        return " (not learned: no better than chance)"
    return " (batch norms lag)" if lags(measured.norm_lag) else ""


def _left(seconds: float | None) -> str:
    return f", about {clock(seconds)} left" if seconds else ""


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
