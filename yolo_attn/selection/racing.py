"""Racing: the rungs of a search, and which candidates each rung keeps.

All candidates of a rung have the same seeds and the same evaluated images, so they are compared in pairs. With D the
difference of two candidates and S seeds, its variance is A + B as in a study (`stats/compare.py`), except that the
spread over seeds is pooled over the candidates: with two seeds a single difference would have one degree of freedom. It
is that of each candidate around the median of its seed, because all differences to one candidate share its noise. A
candidate that is noisier than the others keeps its own spread.

A candidate is dropped by its interval if it is certainly worse than the last candidate that would be confirmed, at a
nominal level of 95 % for all candidates of the rung together. That one is selected, so its mean is too large: in
simulations one of thirty equal candidates is dropped in up to 9 % of the rungs. Of the others, as many continue as the
next rung has places, those with the largest means. One seed shows nothing about the noise of training, so a rung with
one seed drops by means alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from yolo_attn.stats.compare import PairedDifference, Support, estimate

__all__ = [
    "LEVEL",
    "PAIRED",
    "SHAPES",
    "USUAL",
    "Decision",
    "Measured",
    "Rung",
    "Shape",
    "cost_of",
    "median_half_width",
    "plan_rungs",
    "race",
    "rungs_of",
    "with_more_seeds",
]

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Nominal simultaneous level of the intervals of a rung: they have a selected candidate as their reference."""
PAIRED = 6
"""Number of candidates of which pairs are made."""
_MOST_SEEDS = 12


# --- rungs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rung:
    """One stage of a search.

    Args:
        candidates: Number of candidates that it has places for, pairs that join in it not counted.
        seeds: Seeds of each candidate and of the base, the first ones of the search.
        epochs: Epochs of each run.
        pairs: Number of pairs of the best candidates that join them in it.
    """

    candidates: int
    seeds: int
    epochs: int
    pairs: int = 0


@dataclass(frozen=True)
class Shape:
    """How the rungs of a search follow each other.

    Args:
        share: Share of the candidates that a rung hands on.
        growth: Factor by which the seeds of each candidate grow from rung to rung; the first has one.
        first_epochs: Epochs of the runs of the first rung, relative to those of the others.
    """

    share: float
    growth: float
    first_epochs: float = 1.0


USUAL = Shape(1 / 3, 2)
"""The rungs of a search without a budget."""
SHAPES = (
    *(Shape(1 / 2, 2), Shape(1 / 3, 3), USUAL, Shape(1 / 4, 2), Shape(1 / 8, 2)),
    *(Shape(1 / 4, 2, 1 / 2), Shape(1 / 8, 2, 1 / 2)),
)
"""The rungs of a search with a budget, from the most expensive to the cheapest."""


def cost_of(rungs: Sequence[Rung], price: Callable[[int], float]) -> float:
    """Return the cost of rungs; runs of an earlier rung with as many epochs are not executed again.

    Args:
        rungs: The rungs.
        price: Cost of a run with a number of epochs.
    """
    total, shared = 0.0, {rung.epochs: 0 for rung in rungs}
    for rung in rungs:
        runs = (rung.candidates + 1) * max(rung.seeds - shared[rung.epochs], 0) + rung.pairs * rung.seeds
        total += runs * price(rung.epochs)
        shared[rung.epochs] = max(rung.seeds, shared[rung.epochs])
    return total


def plan_rungs(
    candidates: int,
    epochs: int,
    finalists: int,
    budget: float | None,
    price: Callable[[int], float],
    *,
    pairs: bool = False,
    begun: Sequence[Rung] = (),
) -> list[Rung]:
    """Return the rungs that make the best of a budget.

    The first of `SHAPES` that the budget allows is taken. If it allows none, fewer candidates begin; if it does not
    allow twice the finalists either, or nothing more after the rungs that have begun, only these are returned. What is
    left gives the last rung more seeds.

    Args:
        candidates: Number of candidates; after `begun`, of those that continue.
        epochs: Epochs of a run; only a small budget makes those of the first rung shorter.
        finalists: Number of candidates that are confirmed; the last rung has at most twice as many.
        budget: Largest cost of all rungs; None for `USUAL`.
        price: Cost of a run with a number of epochs.
        pairs: Whether pairs of the best candidates join them before the last rung.
        begun: The rungs that have begun, which remain as they are.
    """
    if budget is None:
        return [*begun, *rungs_of(candidates, epochs, finalists, USUAL, pairs=pairs, begun=begun)]
    least = candidates if begun else min(candidates, 2 * finalists)
    for beginning in range(candidates, least - 1, -1):
        for shape in SHAPES:
            rungs = [*begun, *rungs_of(beginning, epochs, finalists, shape, pairs=pairs, begun=begun)]
            if cost_of(rungs, price) <= budget:
                return with_more_seeds(rungs, budget, price)
    return list(begun)


def rungs_of(
    candidates: int, epochs: int, finalists: int, shape: Shape, *, pairs: bool = False, begun: Sequence[Rung] = ()
) -> list[Rung]:
    """Return rungs of a shape; after some that have begun, those that follow them.

    Args:
        candidates: Number of candidates; after `begun`, of those that continue.
        epochs: Epochs of a run.
        finalists: Number of candidates that are confirmed.
        shape: The shape.
        pairs: Whether pairs of the best candidates join them before the last rung.
        begun: The rungs that have begun.
    """
    sizes = [candidates]
    while sizes[-1] > 2 * finalists:
        sizes.append(max(2 * finalists, math.ceil(sizes[-1] * shape.share)))
    first = begun[-1].seeds * shape.growth if begun else 1
    seeds = [min(_MOST_SEEDS, round(first * shape.growth**number)) for number in range(len(sizes))]
    seeds[-1] = max(2, seeds[-1])  # one seed would not show the noise
    rungs = [Rung(size, of_each, epochs) for size, of_each in zip(sizes, seeds, strict=True)]
    if not begun:
        rungs[0] = replace(rungs[0], epochs=max(1, math.ceil(epochs * shape.first_epochs)))
    if not pairs or any(rung.pairs for rung in begun):
        return rungs
    *before, last = rungs
    singles, earlier = min(PAIRED, before[-1].candidates if before else candidates), [*begun, *before]
    return [
        *before,
        Rung(singles, max(2, earlier[-1].seeds if earlier else 1), epochs, pairs=singles * (singles - 1) // 2),
        last,
    ]


def with_more_seeds(rungs: Sequence[Rung], budget: float, price: Callable[[int], float]) -> list[Rung]:
    """Return rungs with as many seeds in the last one as the budget allows.

    Args:
        rungs: The rungs.
        budget: Their largest cost.
        price: Cost of a run with a number of epochs.
    """
    best = list(rungs)
    for seeds in range(rungs[-1].seeds, _MOST_SEEDS + 1):
        grown = [*rungs[:-1], replace(rungs[-1], seeds=seeds)]
        if cost_of(grown, price) <= budget:
            best = grown
    return best


# --- decisions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """The measurements of K candidates in a rung with S seeds.

    Args:
        values: [S, K] main metric.
        replicates: [S, R, K] the same in the replicates of a bootstrap over images.
        support: The images that the metric rests on, for one column.
    """

    values: Floats
    replicates: Floats
    support: Support


@dataclass(frozen=True)
class Decision:
    """The end of a rung; candidates are given by their index.

    Args:
        kept: Those that continue, the best first.
        worse: Those that are certainly worse than the last candidate that would be confirmed.
        beyond: Those for which there is no place.
        sd_training: Standard deviation over seeds of the difference of two candidates; None with one seed.
    """

    kept: tuple[int, ...]
    worse: tuple[int, ...]
    beyond: tuple[int, ...]
    sd_training: float | None


def race(found: Measured, *, places: int, finalists: int) -> Decision:
    """Decide which candidates of a rung continue.

    Args:
        found: Their measurements.
        places: Number of places in the next rung, or in the confirmation.
        finalists: Number of candidates that are confirmed.
    """
    order = np.argsort(-found.values.mean(axis=0), kind="stable")
    worse, sd = _certainly_worse(found, int(order[min(finalists, len(order)) - 1]))
    left = [int(index) for index in order if not worse[index]]
    dropped = tuple(int(index) for index in order if worse[index])
    return Decision(tuple(left[:places]), dropped, tuple(left[places:]), sd)


def _certainly_worse(found: Measured, reference: int) -> tuple[NDArray[np.bool_], float | None]:
    """Return which candidates are certainly worse than a reference, and the pooled noise of training."""
    seeds, candidates = found.values.shape
    others = np.arange(candidates) != reference
    if seeds < 2 or candidates < 2:  # noqa: PLR2004
        return np.zeros(candidates, bool), None
    support = Support(np.repeat(found.support.factor, candidates), np.repeat(found.support.df, candidates))
    differences = estimate(
        found.values - found.values[:, [reference]], found.replicates - found.replicates[..., [reference]], support
    )
    own = differences.training * seeds  # not zero where counts of few images are equal by chance
    pooled = _pooled_variance(found.values) or float(np.median(own[others]))
    total = np.maximum(own, pooled) / seeds + np.nan_to_num(differences.images)
    df = min((seeds - 1) * others.sum() / 2, float(found.support.df[0]))  # the median is half as good as the mean
    quantile = special.stdtrit(max(df, 1.0), 1 - (1 - LEVEL) / others.sum())
    return others & (differences.mean + quantile * np.sqrt(total) < 0), math.sqrt(pooled)


def _pooled_variance(values: Floats) -> float:
    """Return the variance over seeds of the difference of two candidates, from the values [S, K] of all of them.

    The differences to one candidate would share its noise, so the candidates are compared with the median of each seed.
    """
    seeds, candidates = values.shape
    spread = (values - np.median(values, axis=1, keepdims=True)).var(axis=0, ddof=1)
    spread *= candidates / (candidates - 1)  # a candidate is part of the median itself
    return float(2 * np.median(spread) / _median_of_variance(seeds - 1))


def median_half_width(differences: Sequence[PairedDifference]) -> float | None:
    """Return half the width of the usual 95 % interval; None with one seed."""
    widths = [(found.ci95[1] - found.ci95[0]) / 2 for found in differences if found.ci95]
    return float(np.median(widths)) if widths else None


def _median_of_variance(df: int) -> float:
    """Return the median of a sample variance relative to the true one."""
    return float(special.chdtri(df, 0.5)) / df
