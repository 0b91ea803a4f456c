"""Which runs are due: all of the study, or with `seeds=auto` those of one more seed of each arm until it is decided.

How many seeds are due to an arm follows from the stored results alone, so an interrupted study continues where it was.
A verdict is valid at whatever look it is read off (`stats.sequential`): an arm may stop at its first one, and may get
more seeds when another variant or margin makes it undecided again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from yolo_attn.errors import counted
from yolo_attn.study.planning import Plan
from yolo_attn.study.results.judging import is_overruled
from yolo_attn.study.results.records import ENDED, MIN_SEEDS, ArmSummary, StudyResults
from yolo_attn.study.running.run import Run
from yolo_attn.study.specification.arms import Arm
from yolo_attn.study.specification.controls import CONTROLS

__all__ = ["Schedule", "describe_look", "needs_seed"]


@dataclass(frozen=True)
class Schedule:
    """The runs of a study that are due.

    Args:
        plan: The plan, with all runs that may become due.
        seeds: Number of seeds that are due to each arm, the first ones of the study, by name of the arm.
    """

    plan: Plan
    seeds: Mapping[str, int]

    @classmethod
    def at_start(cls, plan: Plan, ended: Collection[str]) -> Schedule:
        """Return the schedule of a study that starts or continues.

        Args:
            plan: The plan.
            ended: Keys of the runs that are done or have failed.
        """
        every = cls(plan, {arm.name: len(plan.study.seeds) for arm in plan.arms})
        if plan.study.design.max_seeds is None:
            return every
        return every._with({arm.name: max(MIN_SEEDS, _used(plan, arm, ended)) for arm in plan.arms[1:]})

    @property
    def most_seeds(self) -> int:
        """The largest number of seeds that are due to an arm."""
        return max(self.seeds.values())

    @property
    def runs(self) -> list[Run]:
        """The runs that are due, in the order in which they start; arms with the same model share theirs."""
        due = {run.key for arm in self.plan.arms for run in self.runs_of(arm)}
        first = {run.key: run for run in reversed(self.plan.runs)}
        return [run for run in self.plan.runs if run.key in due and first[run.key] is run]

    def runs_of(self, arm: Arm) -> list[Run]:
        """Return the runs of an arm that are due."""
        return self.plan.runs_of(arm)[: self.seeds[arm.name]]

    def after_look(self, study: StudyResults, workers: int = 1) -> Schedule:
        """Return the schedule after all runs that were due have ended: undecided arms get another seed.

        They get several at once if otherwise workers would be idle. With eight workers and four variants this needs a
        third less time and a tenth more runs. An arm whose run was interrupted waits for the command that resumes it.
        The base with other seeds, whose difference is noise alone, gets seeds only together with other arms.

        Args:
            study: The results of the runs that were due.
            workers: Runs that are executed at once.
        """
        if self.plan.study.design.max_seeds is None or _is_incomplete(study.baseline):
            return self
        most = len(self.plan.study.seeds)
        undecided = {arm.name for arm in study.others if needs_seed(arm, study) and len(arm.runs) < most}
        if undecided <= {name for name, control in CONTROLS.items() if control.seed_offset}:
            return self
        step = max(1, workers // (len(undecided) + 1))
        return self._with(
            {name: min(number + step * (name in undecided), most) for name, number in self._numbers_of_others()}
        )

    def without_later(self, ended: Collection[str]) -> Schedule:
        """Return the schedule of a study whose time is over, which has no runs except those that have ended.

        Args:
            ended: Keys of the runs that are done or have failed.
        """
        return replace(self, seeds={arm.name: max(1, _used(self.plan, arm, ended)) for arm in self.plan.arms})

    def _numbers_of_others(self) -> list[tuple[str, int]]:
        return [(arm.name, self.seeds[arm.name]) for arm in self.plan.arms[1:]]

    def _with(self, seeds: Mapping[str, int]) -> Schedule:
        """Return the schedule with other numbers; the baseline needs the seeds of all arms."""
        return replace(self, seeds={self.plan.baseline.name: max(seeds.values()), **seeds})


def _used(plan: Plan, arm: Arm, ended: Collection[str]) -> int:
    """Return the number of first seeds of an arm that include all its runs that have ended."""
    return max((number for number, run in enumerate(plan.runs_of(arm), 1) if run.key in ended), default=0)


def needs_seed(arm: ArmSummary, study: StudyResults) -> bool:
    """Whether another seed can lead to a verdict about an arm.

    An inconclusive arm gets none if only its failed runs stand against a verdict: further seeds do not undo them.
    Without any verdict another seed helps if too few runs are left because others have failed, but not if all of them
    have failed, a run was interrupted, nothing was learned, or there are too few images.
    """
    if arm.verdict is not None:
        return not arm.decided and not is_overruled(arm, study.info)
    if not arm.done or not study.baseline.done or _is_incomplete(arm):
        return False
    return (arm.difference().seeds or 0) < MIN_SEEDS


def _is_incomplete(arm: ArmSummary) -> bool:
    """Whether a run of an arm waits, runs or was interrupted."""
    return any(run.status not in ENDED for run in arm.runs)


def describe_look(study: StudyResults, before: Collection[str]) -> str:
    """Return a line about a look, such as "look after 4 seeds: SE@neck equivalent, 2 of 3 variants undecided".

    Args:
        study: The results.
        before: Names of the arms that were decided before.
    """
    news = [f"{arm.label} {arm.verdict}" for arm in study.others if arm.decided and arm.name not in before]
    undecided = sum(not arm.decided for arm in study.variants)
    return (
        f"look after {counted(len(study.baseline.runs), 'seed')}: {', '.join(news) or 'no new verdict'}, "
        f"{undecided} of {counted(len(study.variants), 'variant')} undecided"
    )
