"""Boards of the leaderboard: many arms with a few seeds, all compared with one base, none different from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from yolo_attn.stats.moderation import moderate_differences
from yolo_attn.stats.spread import measure_spread
from yolo_attn.stats.verdicts import simultaneous_alpha

from .reference import Floats


@dataclass(frozen=True)
class Noise:
    """How the noise of runs differs between arms.

    Args:
        df: Degrees of freedom of the distribution of the variances (d0); infinite if all are equal.
        base: Standard deviation of the base's runs, relative to an arm's.
    """

    df: float
    base: float = 1.0


def simulate_board(rng: np.random.Generator, arms: int, seeds: int, noise: Noise) -> Floats:
    """Return the differences of arms to the base, (arms, seeds)."""
    variances = np.ones(arms + 1) if np.isinf(noise.df) else noise.df / rng.chisquare(noise.df, arms + 1)
    variances[0] *= noise.base**2
    runs = rng.normal(size=(arms + 1, seeds)) * np.sqrt(variances)[:, None]
    return np.asarray(runs[1:] - runs[0])


def half_widths(values: Floats) -> tuple[Floats, Floats]:
    """Return half the widths of all intervals, which hold together with 95 %: moderated, and of each arm alone."""
    arms, seeds = values.shape
    level = 1 - simultaneous_alpha(arms) / 2
    alone = stats.t.ppf(level, seeds - 1) * np.sqrt(values.var(axis=1, ddof=1) / seeds)
    moderated = moderate_differences(values)
    if moderated is None:
        raise ValueError(f"{arms} arms are too few")
    return stats.t.ppf(level, moderated.df) * np.sqrt(moderated.differences / seeds), alone


def p_values(values: Floats) -> tuple[float, float]:
    """Return the p-values that arms differ from each other: of the sign-flip test, and of the F distribution."""
    found = measure_spread(values)
    between, within = found.arms - 1, (found.arms - 1) * (values.shape[1] - 1)
    return float(found.p or 0.0), float(special.fdtrc(between, within, (found.found / found.expected) ** 2))
