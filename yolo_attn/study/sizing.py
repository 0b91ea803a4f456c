"""Sizes of a study: its runs and their time, and what it can show, for any number of seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from yolo_attn.stats.power import Requirement, requirement
from yolo_attn.stats.verdicts import simultaneous_alpha
from yolo_attn.study.earlier import MeasuredNoise
from yolo_attn.study.planning import Plan
from yolo_attn.study.results.judging import Rules
from yolo_attn.study.results.size import Size
from yolo_attn.study.running.run import Run
from yolo_attn.study.times import RunSeconds

__all__ = ["Sizing"]

_LONGEST_PLAN = 24  # seeds above which the factor for looks changes by less than 1 %, and takes seconds to compute


class Sizing:
    """Computes sizes of a study.

    The unit in which a study grows is a seed, or a base with its seeds in a study with several bases.

    Args:
        plan: The plan of the study.
        noise: Noise of a difference; None if unknown.
        run_seconds: Expected seconds of runs.
        at_once: Runs that are trained at once.
    """

    def __init__(self, plan: Plan, noise: MeasuredNoise | None, run_seconds: RunSeconds, at_once: int) -> None:
        self._plan, self._run_seconds, self._at_once = plan, run_seconds, at_once
        self._noise = noise.noise if noise else None
        self._images = noise.images if noise else None
        design = plan.study.design
        self._rules = Rules(design.margin / 100, design.no_worse, design.max_seeds)

    @property
    def planned(self) -> int:
        """The units of the study as it is specified."""
        return len(self._plan.study.seeds) // (self._plan.seeds_per_base or 1)

    def size(self, units: int) -> Size:
        """Return the size of the study with a number of units."""
        each = self._plan.seeds_per_base
        runs = self._runs(units)
        return Size(
            seeds=units * (each or 1),
            bases=None if each is None else units,
            runs=len(runs),
            seconds=self.seconds(runs),
            detectable=self.detectable(units),
            equivalent=self._equivalent(units),
        )

    def detectable(self, units: int) -> tuple[float, float] | None:
        """Return the range of the smallest detectable difference, None if unknown."""
        return None if self._noise is None else self._rules.detectable(self._noise, units, self._plan.tested)

    def requirement(self, difference: float) -> Requirement | None:
        """Return the units and images that a difference requires, None if unknown."""
        if self._noise is None or not self._images:
            return None
        alpha = simultaneous_alpha(self._plan.tested)

        def factor_of_last(units: int) -> float:
            """Return the factor that accounts for looks if this is the largest number of seeds."""
            most = self._rules.max_seeds and min(units, _LONGEST_PLAN)
            return replace(self._rules, max_seeds=most).look_factor(alpha, most or units)

        return requirement(difference, self._noise, self._images, alpha, factor_of_last)

    def seconds(self, runs: Sequence[Run]) -> float | None:
        """Return the time of runs, None if unknown."""
        times = [self._run_seconds(run) for run in runs]
        known = [seconds for seconds in times if seconds is not None]
        if len(known) < len(times):
            return None
        return math.fsum(known) / max(1, min(self._at_once, len(runs)))

    def _runs(self, units: int) -> list[Run]:
        """Return as many runs as the study has with a number of units; those of the first seed stand for the others.

        Arms with the same model share their runs.
        """
        plan = self._plan
        bases = units if plan.seeds_per_base else 1
        seeds = units * (plan.seeds_per_base or 1)
        first = {run.key: run for run in plan.runs if run.seed == plan.study.seeds[0]}
        pretraining = [runs[0] for runs in plan.bases.values() for _ in range(bases)]
        return pretraining + [run for run in first.values() for _ in range(seeds)]

    def _equivalent(self, units: int) -> float | None:
        return None if self._noise is None else self._rules.chance_of_equivalent(self._noise, units, self._plan.tested)
