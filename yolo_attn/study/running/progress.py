"""What a study tells while it runs: a line for each finished run, and a live line where the output is a terminal."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from yolo_attn.study.files import TRAIN_TABLE
from yolo_attn.study.specification.estimate import study_seconds
from yolo_attn.study.specification.study import Run

__all__ = ["Progress", "clock"]

_LIVE_SECONDS = 1.0


class Progress:
    """Tells how far a study is, and about how long it still takes.

    Args:
        total: Runs of the whole study.
        epochs: Epochs of each run.
        known: Seconds that the finished runs took, by name of their arm; more are added as runs finish.
        stream: Where to write.
    """

    def __init__(self, total: int, epochs: int, known: Mapping[str, list[float]], stream: TextIO) -> None:
        self.total = total
        self.epochs = epochs
        self.stream = stream
        self.waiting: list[Run] = []
        self._known = {name: list(seconds) for name, seconds in known.items()}
        self._running: dict[str, tuple[Run, float]] = {}
        self._most = 1  # how many have run at once
        self._live = stream.isatty()
        self._drawn = 0
        self._began = time.monotonic()
        self._last_drawing = 0.0

    def say(self, text: str) -> None:
        """Print lines, the live line out of the way."""
        self._erase()
        print(text, file=self.stream, flush=True)

    def start(self, run: Run) -> None:
        """Tell that a run starts."""
        self._running[run.key] = (run, time.monotonic())
        self._most = max(self._most, len(self._running))
        self._last_drawing = 0.0

    def tick(self, folder_of: Callable[[Run], Path]) -> None:
        """Draw the live line."""
        now = time.monotonic()
        if not self._live or not self._running or now - self._last_drawing < _LIVE_SECONDS:
            return
        self._last_drawing = now
        shown, left, guesses = [], [], []
        for run, began in self._running.values():
            epoch, passed = epochs_done(folder_of(run)), now - began
            guess = passed * self.epochs / epoch if epoch and self.epochs else self._expected(run)
            guesses.append(guess)
            left.append(None if guess is None else max(guess - passed, 0.0))
            shown.append(f"{run.arm.name} seed {run.seed} {min(epoch + 1, self.epochs)}/{self.epochs}")
        usual = next((guess for guess in guesses if guess is not None), None)
        self._draw(
            f"[{self.total - len(self.waiting) - len(self._running)}/{self.total} done] {', '.join(shown)}, "
            f"{clock(now - self._began)}{_left(self._rest(left, usual))}"
        )

    def finish(self, run: Run, state: Mapping[str, Any], log: Path) -> None:
        """Tell how a run ended."""
        _, began = self._running.pop(run.key)
        seconds = time.monotonic() - began
        if state["status"] == "done":
            self._known.setdefault(run.arm.name, []).append(seconds)
            metrics = state["metrics"]
            main, loose = (_points(metrics[name]) for name in ("mAP50-95", "mAP50"))
            nothing = " (not learnt: no better than chance)" if state.get("learnt") is False else ""
            text = f"mAP50-95 {main}, mAP50 {loose}{nothing}, {clock(seconds)}"
        else:
            text = f"{state['status']}: {state['error']} (see {log})"
        now = time.monotonic()
        left = [
            None if (guess := self._expected(other)) is None else max(guess - (now - since), 0.0)
            for other, since in self._running.values()
        ]
        place = f"[{self.total - len(self.waiting) - len(self._running)}/{self.total}]"
        self.say(f"{place} {run.arm.name} seed {run.seed}: {text}{_left(self._rest(left))}")

    def close(self) -> None:
        """Take the live line away."""
        self._erase()

    def _expected(self, run: Run) -> float | None:
        """Return the seconds that a run will take: as its arm's others did, or as all did."""
        return study_seconds([run.arm.name], self._known, None)

    def _rest(self, left: Sequence[float | None], otherwise: float | None = None) -> float | None:
        """Return the seconds until the last run ends, when as many run at once as have so far.

        Args:
            left: Seconds that the running ones still take.
            otherwise: What a run takes of which nothing is known.
        """
        times = [*left, *(self._expected(run) or otherwise for run in self.waiting)]
        if None in times:
            return None
        known = [seconds for seconds in times if seconds is not None]
        return max([sum(known) / self._most, *(seconds for seconds in left if seconds is not None)], default=0.0)

    def _draw(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        self.stream.write("\r" + text.ljust(self._drawn))
        self.stream.flush()
        self._drawn = len(text)

    def _erase(self) -> None:
        if self._drawn:
            self.stream.write("\r" + " " * self._drawn + "\r")
            self.stream.flush()
            self._drawn = 0


def epochs_done(folder: Path) -> int:
    """Return how many epochs a run has finished, from the table that Ultralytics writes."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        lines = (folder / TRAIN_TABLE).read_text(encoding="utf-8").splitlines()
        return max(0, sum(bool(line.strip()) for line in lines) - 1)
    return 0


def clock(seconds: float) -> str:
    """Return a duration as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _left(seconds: float | None) -> str:
    return f", about {clock(seconds)} left" if seconds else ""


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
