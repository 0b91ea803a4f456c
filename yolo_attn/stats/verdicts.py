"""Verdicts, read off the interval of a difference: interval and verdict can therefore never contradict each other.

An interval that covers the true difference with probability 1 - α gives a wrong verdict with probability α at most,
whatever the true difference is: "better" is wrong only if the interval is above a true difference of at most zero, and
"equivalent" only if it is inside the margin and the true difference is not. The latter are two one-sided tests
(Schuirmann, 1987) at level α / 2 each. With K variants, each interval has the level 1 - α / K, and any verdict is wrong
with probability α at most (Bonferroni). In contrast to step-down procedures, this includes the direction, equivalence,
and intervals that can be printed.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["ALPHA", "VERDICTS", "Verdict", "adjusted_p", "read_verdict", "simultaneous_alpha"]

ALPHA = 0.05  # probability of any wrong verdict in a family of comparisons

Verdict = Literal["better", "worse", "equivalent", "no worse", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = ("better", "worse", "equivalent", "no worse", "inconclusive")


def simultaneous_alpha(comparisons: int, alpha: float = ALPHA) -> float:
    """Return the error level of each interval of several that are to hold together."""
    return alpha / max(comparisons, 1)


def adjusted_p(p: float | None, comparisons: int) -> float | None:
    """Return a p-value corrected for the number of comparisons (Bonferroni)."""
    return None if p is None else min(1.0, p * comparisons)


def read_verdict(interval: tuple[float, float], margin: float, *, no_worse: bool = False) -> Verdict:
    """Return the verdict of an interval.

    A difference that is certainly not zero and certainly smaller than the margin is "equivalent": the margin is the
    smallest difference that matters.

    Args:
        interval: Lower and upper end.
        margin: Smallest difference that matters, above zero.
        no_worse: Whether the verdict is "no worse" if the arm is certainly not worse by the margin and nothing more is
            known.
    """
    low, high = interval
    if -margin < low and high < margin:
        return "equivalent"
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "no worse" if no_worse and low > -margin else "inconclusive"
