"""The end of the time in which a study adds seeds (`hours=`)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cached_property

from yolo_attn.errors import UserError
from yolo_attn.study.planning import Plan
from yolo_attn.study.running.progress import Progress, clock
from yolo_attn.study.running.run import Run
from yolo_attn.study.sizing import Sizing
from yolo_attn.study.times import RunSeconds, RunTimes

__all__ = ["Deadline"]


class Deadline:
    """Decides whether a seed is started: only if it can be expected to end in time.

    Args:
        plan: The plan, whose hours begin now; without hours there is no end.

    Attributes:
        is_over: Whether a seed was not started.
    """

    def __init__(self, plan: Plan) -> None:
        hours = plan.study.hours
        self._plan = plan
        self._ends = math.inf if hours is None else time.monotonic() + 3600 * hours
        self._begun: set[int] = set()  # seeds of which this command has started a run
        self.is_over = False

    def allows(self, run: Run, waiting: Sequence[Run], progress: Progress, workers: int) -> bool:
        """Whether the seed of a run has begun, or would end in time; it begins then.

        Args:
            run: The run.
            waiting: All waiting runs.
            progress: The progress of the running ones.
            workers: Runs that are executed at once.

        Raises:
            UserError: Not even the first seed would end in time.
        """
        hours = self._plan.study.hours
        if hours is not None and run.seed not in self._begun:
            of_seed = [other for other in waiting if other.seed == run.seed]
            needed = progress.seconds_until_done(of_seed, workers)
            if needed is None:  # no such run has ended yet
                needed = Sizing(self._plan, None, self._guess, workers).seconds(of_seed)
            self.is_over = time.monotonic() + (needed or 0.0) > self._ends
            if self.is_over and not self._begun:
                duration = f", which takes about {clock(needed)}" if needed else ""
                raise UserError(f"hours={hours:g}: too short for one seed of all arms{duration}; give more hours")
        if not self.is_over:
            self._begun.add(run.seed)
        return not self.is_over

    @cached_property
    def _guess(self) -> RunSeconds:
        """Expected seconds of runs before any of their kind has ended; a few training steps are timed only once."""
        return RunSeconds(self._plan, RunTimes())
