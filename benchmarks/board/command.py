"""The command line of benchmarks/leaderboard.py: measures part by part, and writes the documents."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TextIO

from benchmarks.board.part import Part
from benchmarks.board.placements import list_placements
from benchmarks.board.record import check_setup, due, store
from benchmarks.board.table import DOCUMENT, with_tables
from yolo_attn import cards
from yolo_attn.cli.words import parse_keys, without_dashes
from yolo_attn.errors import UserError, counted
from yolo_attn.host.restricted import restricted
from yolo_attn.leaderboard import RECORD, Board, Row, Setup, read_boards, stored_boards
from yolo_attn.registry import get_layer, in_any_case
from yolo_attn.security.trust import trusting
from yolo_attn.selection.candidates import Candidate
from yolo_attn.study.running.runner import Runner
from yolo_attn.study.specification.arguments import is_auto, parse_count, parse_flag, parse_positive, split_list
from yolo_attn.system.files import write_atomically

__all__ = ["Options", "main", "measure", "write_documents"]

PART = 12
SEEDS = 3
PROJECT = "runs/leaderboard"
_OWN_KEYS = ("only", "part", "hours", "again", "record", "docs", "html")
_RESERVE = 1.15  # of the estimated time of a part
_INTERRUPTED = 130
_PATIENCE = 30.0  # seconds in which an interrupted study stops


@dataclass(frozen=True)
class Options:
    """The keys of this command.

    Args:
        only: Layers to measure; empty for all.
        part: Placements in a part.
        hours: Time after which it ends; None without a limit.
        again: Whether to measure also what the record has.
        record: The record.
        study: The keys of `compare`.
    """

    only: tuple[str, ...]
    part: int
    hours: float | None
    again: bool
    record: Path
    study: Mapping[str, object]

    @classmethod
    def read(cls, given: Mapping[str, object]) -> Options:
        """Read the keys.

        Raises:
            UserError: A value is invalid.
        """
        names = [str(name) for name in split_list(str(given.get("only") or ""))]
        study = {key: value for key, value in given.items() if key not in _OWN_KEYS}
        for key in {"variants", "name", "plan"} & study.keys():
            raise UserError(f"{key}={study[key]}: not a key of the leaderboard, which chooses it")
        if is_auto(study.get("seeds")):
            raise UserError("seeds=auto: all placements of the leaderboard have the same seeds; give their number")
        return cls(
            only=tuple(get_layer(in_any_case(name)).name for name in names if name),
            part=parse_count(given, "part") or PART,
            hours=parse_positive(given, "hours"),
            again=parse_flag(given, "again"),
            record=Path(str(given.get("record") or RECORD)),
            study={"seeds": SEEDS, "project": PROJECT, **study},
        )


def main(words: Sequence[str]) -> int:
    """Run the command, and return its exit status."""
    try:
        given = parse_keys(without_dashes(words))
        options = Options.read(given)
        try:
            if not parse_flag(given, "docs") and "html" not in given:
                measure(options)
        finally:
            write_documents(options.record, docs=options.record == RECORD, html=given.get("html"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print(f"{str(stopped) or 'stopped'}; finished parts are stored", file=sys.stderr)
        return _INTERRUPTED
    return 0


def write_documents(record: Path, *, docs: bool, html: object = None) -> None:
    """Write docs/leaderboard.md, docs/layers.md and, if it is asked for, the page that sorts.

    Args:
        record: The record.
        docs: Whether to write the pages of docs/, which show the record of the package.
        html: File of the page.
    """
    boards = stored_boards(record)
    if docs:
        read_boards.cache_clear()
        write_atomically(DOCUMENT, with_tables(DOCUMENT.read_text(encoding="utf-8"), boards))
        write_atomically(DOCUMENT.with_name("layers.md"), cards.as_markdown())
        print(f"{DOCUMENT}: {', '.join(boards) or 'nothing measured'}")
    if html:
        from benchmarks.board.page import as_html

        write_atomically(Path(str(html)), as_html(boards), key="html=FILE")
        print(html)


def measure(options: Options, runner: Runner | None = None, stream: TextIO | None = None) -> None:
    """Measure what the record lacks, part by part, until everything is measured or the time is over.

    Args:
        options: The keys.
        runner: Executes the runs; by default the one that `runner=` names.
        stream: Output; standard output by default.

    Raises:
        UserError: An argument is invalid, the record has rows of another setup, or the base cannot be trained.
        KeyboardInterrupt: It was stopped.
    """
    trust = parse_flag(options.study, "trust") if "trust" in options.study else None
    with trusting(trust), restricted():
        _Measurement(options, runner, stream or sys.stdout).run()


class _Measurement:
    """The parts of one command.

    Args:
        options: The keys.
        runner: Executes the runs.
        stream: Output.
    """

    def __init__(self, options: Options, runner: Runner | None, stream: TextIO) -> None:
        self._options, self._runner, self._stream = options, runner, stream
        self._ends = None if options.hours is None else time.monotonic() + 3600 * options.hours
        self._workers = 1
        self._setup, self._waiting = self._find_due()

    def run(self) -> None:
        """Measure."""
        total = len(self._waiting)
        self._log(f"{self._setup.data}: {counted(total, 'placement')} to measure, {self._options.part} in a part")
        while self._waiting:
            names = self._next()
            if not names:
                self._log(f"{counted(len(self._waiting), 'placement')} left: no part fits the remaining time")
                return
            if not self._measure(names):
                return
        self._log(f"{self._setup.data}: all placements have a row")

    def _find_due(self) -> tuple[Setup, list[Candidate]]:
        """Return the setup and the placements without a row; a changed setup is an error unless `again` is given."""
        options = self._options
        base = Part(options.study, _PROBE, self._stream, self._runner).study.base
        placements = [one for one in list_placements(base) if not options.only or one.layers[0] in options.only]
        if not placements:
            raise UserError(f"only={','.join(options.only)}: no layer that the leaderboard measures")
        probe = Part(options.study, placements[:1], self._stream, self._runner)
        setup, self._workers = probe.setup, probe.workers
        board = self._board(setup)
        for line in check_setup(board, setup, again=options.again):
            self._log(line)
        waiting, lines = due(board, setup, placements, again=options.again)
        for line in lines:
            self._log(line)
        return setup, waiting

    def _board(self, setup: Setup) -> Board | None:
        return stored_boards(self._options.record).get(setup.data)

    def _next(self) -> list[Candidate]:
        """Return the next part, smaller if the remaining time demands it; empty if not even one placement fits."""
        part = self._waiting[: self._options.part]
        each = self._seconds_of_a_run()
        if self._ends is None or each is None:
            return part
        remaining = self._ends - time.monotonic()
        runs = int(remaining * self._workers / (_RESERVE * each))
        return part[: max(0, runs // len(self._setup.seeds) - 1)]  # one arm is the base

    def _seconds_of_a_run(self) -> float | None:
        """Return the mean time of a run in the record; None before any is finished."""
        board = self._board(self._setup)
        known = [row.seconds for row in board.rows if row.seconds] if board else []
        return fmean(known) if known else None

    def _measure(self, placements: Sequence[Candidate]) -> bool:
        """Measure one part and store its rows, and return whether to continue."""
        part = Part(self._options.study, placements, self._stream, self._runner, self._replaced(placements))
        self._log(f"part: {', '.join(one.label for one in placements)}")
        over = threading.Event()
        try:
            with _deadline(self._ends, over):
                rows, images = part.execute()
        except KeyboardInterrupt:
            if not over.is_set():
                raise
            hours = f"hours={self._options.hours:g}"
            self._log(
                f"{hours}: the time is over; the same command resumes this part if {part.study.folder.path} remains"
            )
            return False
        board = store(self._options.record, replace(self._setup, images=images), rows)
        measured = {row.key for row in rows}
        self._log(
            f"{self._options.record}: {counted(len(rows), 'row')} stored, {len(board.rows)} of {self._setup.data}"
        )
        left = [one for one in placements if (one.layers[0], one.sites[0]) not in measured]
        if left:
            raise UserError(f"{', '.join(one.label for one in left)}: interrupted; run the same command again")
        self._waiting = self._waiting[len(placements) :]
        return True

    def _replaced(self, placements: Sequence[Candidate]) -> list[Row]:
        """Return the rows that `again=True` measures again."""
        board = self._board(self._setup) if self._options.again else None
        found = [board.find(one.layers[0], one.sites[0]) for one in placements] if board else []
        return [row for row in found if row]

    def _log(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


_PROBE = [Candidate("SE[init=identity]@neck", "SE@neck", ("SE",), ("neck",))]
"""A placement for a study whose base and data are asked for before the placements are known."""


@contextmanager
def _deadline(ends: float | None, over: threading.Event) -> Iterator[None]:
    """Interrupt the main thread when the time is over.

    The signal is not that of Ctrl-C, which a process that a shell has started in the background ignores.
    """
    ended = threading.Event()

    def stop() -> None:
        over.set()
        while not ended.is_set():
            _thread.interrupt_main(signal.SIGTERM)
            ended.wait(_PATIENCE)  # where Python ignores exceptions, such as right after a fork, it needs another one

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if ends is None:
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    timer = threading.Timer(max(0.0, ends - time.monotonic()), stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        ended.set()
        timer.cancel()
        signal.signal(signal.SIGTERM, before)
