"""Execution of runs: a runner is kept busy until all runs that wait have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from yolo_attn.study.files import LOG
from yolo_attn.study.running.progress import Progress
from yolo_attn.study.running.run import Run
from yolo_attn.study.running.runner import Handle, Runner
from yolo_attn.study.states import RunStates
from yolo_attn.study.store import Store

if TYPE_CHECKING:
    from yolo_attn.study.planning import Plan

__all__ = ["Executor"]

_POLL_SECONDS = 0.25


class Executor:
    """Executes runs of a study.

    Args:
        plan: The plan.
        store: The store, opened.
        states: The states of the runs.
        runner: Executes the runs.
        progress: The output.
        allows: Decides whether a run is started, given the run and all waiting ones; without it all are.
        changed: Called after a run has started or ended, with whether it has ended and more runs follow.
        tick: Called several times a second.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        states: RunStates,
        runner: Runner,
        progress: Progress,
        *,
        allows: Callable[[Run, Sequence[Run]], bool] = lambda run, waiting: True,
        changed: Callable[[bool], None] = lambda ended: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._plan, self._store, self._states, self._runner, self._progress = plan, store, states, runner, progress
        self._allows, self._changed, self._tick = allows, changed, tick
        self._active: dict[str, tuple[Run, Handle]] = {}

    def execute(self, waiting: list[Run], due: Sequence[Run]) -> None:
        """Keep the runner busy until all runs have ended.

        Args:
            waiting: The runs, those that train bases first.
            due: All runs that are due, some of which may start from a base that cannot be trained.
        """
        active = self._active
        self._progress.waiting = waiting
        try:
            while waiting or active:
                self._start_runs(waiting)
                time.sleep(_POLL_SECONDS if active else 0)
                self._finish_runs(waiting, due)
                self._progress.tick(self._store.path)
                self._tick()
        finally:
            for _, handle in active.values():
                handle.stop()
            active.clear()

    def _start_runs(self, waiting: list[Run]) -> None:
        """Start waiting runs, bases first, while the runner has room; drop all when one is not allowed any more."""
        while (ready := self._states.ready(waiting)) and self._runner.has_room(
            len(self._active), self._states.memory()
        ):
            run = ready[0]
            if not self._allows(run, waiting):
                waiting.clear()
                break
            self._states.start(run)
            waiting.remove(run)
            self._changed(False)
            self._progress.start(run)
            handle = self._runner.start(self._store.path(run), self._plan.platform.threads)
            self._active[run.key] = (run, handle)

    def _finish_runs(self, waiting: list[Run], due: Sequence[Run]) -> None:
        """Store the ends of runs; the runs that start from a base that could not be trained end with it."""
        for run, handle in list(self._active.values()):
            outcome = handle.poll()
            if outcome is None:
                continue
            del self._active[run.key]
            self._states.finish(run, outcome)
            self._progress.finish(run, self._states[run], self._store.path(run) / LOG)
            self._states.end_baseless(due)
            waiting[:] = filter(self._states.is_waiting, waiting)
            self._changed(bool(waiting or self._active))
