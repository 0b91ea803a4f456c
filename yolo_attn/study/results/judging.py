"""Verdicts about the differences of a study: the rules that its specification sets, and what they detect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from yolo_attn.stats.compare import MIN_IMAGES, MIN_SEEDS, PairedDifference
from yolo_attn.stats.power import Noise, minimum_detectable_range, probability_equivalent
from yolo_attn.stats.sequential import look_factor, look_levels
from yolo_attn.stats.verdicts import Verdict, adjusted_p, read_verdict, simultaneous_alpha
from yolo_attn.study.results.records import ArmSummary, Difference, StudyInfo

__all__ = ["Rules", "arms_of_one_own_base", "is_overruled", "judge", "more_failures"]

# A failed run is worse than any other. If an arm has more of them than its reference, nothing good can be concluded
# from the remaining seeds, and if the reference has more, nothing bad.
_NOT_WITH_MORE_FAILURES = ("better", "equivalent", "no worse")
_NOT_WITH_FEWER_FAILURES = ("worse", "equivalent")


@dataclass(frozen=True)
class Rules:
    """The rules of all verdicts in a study.

    Args:
        margin: Smallest difference that matters, a fraction of 1.
        no_worse: Whether "no worse" is a verdict.
        max_seeds: Largest number of seeds if there is a look after each one; None if the number is fixed.
    """

    margin: float
    no_worse: bool = False
    max_seeds: int | None = None

    @classmethod
    def of(cls, info: StudyInfo) -> Rules:
        """Return the rules of a study."""
        return cls(info.margin, info.no_worse, info.max_seeds)

    def alpha(self, comparisons: int, seeds: int) -> float:
        """Return the error level of one verdict, at one look if there are several.

        Args:
            comparisons: Number of differences that are tested together.
            seeds: Number of common seeds.
        """
        alpha = simultaneous_alpha(comparisons)
        if self.max_seeds is None or seeds < MIN_SEEDS:
            return alpha
        return look_levels(alpha, MIN_SEEDS, max(self.max_seeds, seeds))[seeds]

    def look_factor(self, alpha: float, seeds: int) -> float:
        """Return the factor of the standard error due to training that accounts for looks.

        Args:
            alpha: Error level of the interval.
            seeds: Number of common seeds.
        """
        if self.max_seeds is None or seeds < MIN_SEEDS:
            return 1.0
        return look_factor(alpha, seeds, MIN_SEEDS, max(self.max_seeds, seeds))

    def detectable(self, noise: Noise, units: int, comparisons: int) -> tuple[float, float] | None:
        """Return the smallest true difference of one arm that is found with a probability of 80 %: a 90 % interval.

        Args:
            noise: The noise of a difference.
            units: Number of common seeds, or of bases in a study with several.
            comparisons: Number of differences that are tested together.

        Returns:
            None if there are too few units for a verdict.
        """
        if units < MIN_SEEDS:
            return None
        alpha = simultaneous_alpha(comparisons)
        return minimum_detectable_range(units, noise, alpha=alpha, look_factor=self.look_factor(alpha, units))

    def chance_of_equivalent(self, noise: Noise, units: int, comparisons: int) -> float | None:
        """Return the probability of "equivalent" for an arm that does not differ, with the same arguments."""
        if units < MIN_SEEDS:
            return None
        alpha = simultaneous_alpha(comparisons)
        return probability_equivalent(units, noise, self.margin, alpha, self.look_factor(alpha, units))


class _Run(Protocol):
    """A run with its seed and status."""

    @property
    def seed(self) -> int: ...
    @property
    def status(self) -> str: ...


def arms_of_one_own_base(bases: Iterable[str | None]) -> list[str]:
    """Return the arms that have a base of their own where each base is trained once.

    A difference to such an arm contains the luck of two trainings of bases, and nothing shows how large it is.

    Args:
        bases: The arm that each trained base is of; None if it is of all others.
    """
    known = list(bases)
    return [arm for arm in dict.fromkeys(known) if arm is not None and known.count(arm) == 1]


def more_failures(runs: Sequence[_Run], reference: Sequence[_Run]) -> int:
    """Return the number of failed runs of an arm minus that of its reference, over the seeds of both.

    With `seeds=auto` arms have different numbers of seeds, and a later failure of one says nothing about the other.
    """
    own, others = ({run.seed: run.status == "failed" for run in each} for each in (runs, reference))
    return sum(failed - others[seed] for seed, failed in own.items() if seed in others)


def is_overruled(arm: ArmSummary, info: StudyInfo) -> bool:
    """Whether an arm is inconclusive because of failed runs, and not because of its interval."""
    interval = arm.difference().interval
    if arm.verdict != "inconclusive" or interval is None:
        return False
    return read_verdict(interval, info.margin, no_worse=info.no_worse) != "inconclusive"


def judge(
    differences: Mapping[str, PairedDifference | None],
    rules: Rules,
    *,
    comparisons: int,
    images: int,
    failures: int = 0,
) -> tuple[dict[str, Difference | None], Verdict | None]:
    """Return differences with the interval of their verdict, and the verdict in the main metric.

    Args:
        differences: Difference in each metric, the main one first.
        rules: The rules.
        comparisons: Number of differences that are tested together.
        images: Number of images, or of groups of images.
        failures: Number of failed runs of the arm, minus that of its reference (`more_failures`).
    """
    judged = {
        name: None if found is None else _record(found, rules, comparisons) for name, found in differences.items()
    }
    main, found = next(iter(judged.values())), next(iter(differences.values()))
    if main is None or main.interval is None or found is None:
        return judged, None
    if found.units < MIN_SEEDS or images < MIN_IMAGES:
        return judged, None
    verdict = read_verdict(main.interval, rules.margin, no_worse=rules.no_worse)
    unsupported = _NOT_WITH_MORE_FAILURES if failures > 0 else _NOT_WITH_FEWER_FAILURES if failures < 0 else ()
    return judged, "inconclusive" if verdict in unsupported else verdict


def _record(found: PairedDifference, rules: Rules, comparisons: int) -> Difference:
    alpha = simultaneous_alpha(comparisons)
    return Difference(
        mean=found.mean,
        ci95=found.ci95,
        interval=found.interval(1 - alpha, rules.look_factor(alpha, found.seeds)),
        level=1 - alpha,
        p=found.p,
        p_adjusted=None if rules.max_seeds else adjusted_p(found.p, comparisons),
        p_better=found.p_better,
        sd_training=found.sd_training,
        sd_bases=found.sd_bases,
        se_images=found.se_images,
        seeds=found.seeds,
    )
