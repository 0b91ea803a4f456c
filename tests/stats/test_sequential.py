"""Levels of looks, against an independent computation and against simulated sequences of seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import special, stats

from benchmarks.simulation import reference
from yolo_attn.stats.compare import PairedDifference
from yolo_attn.stats.sequential import error_rate, look_factor, look_levels


@pytest.mark.parametrize("alpha", [0.05, *(pytest.param(0.05 / n, marks=pytest.mark.slow) for n in (3, 70))])
def test_levels_equal_those_of_another_algorithm(alpha: float) -> None:
    seeds = range(3, 13)
    found = look_levels(alpha, 3, 12)
    expected = reference.levels(seeds, reference.spent(seeds, 12, alpha, power=2))
    assert list(found) == list(seeds)
    assert list(found.values()) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("looks", [(3,), (3, 5, 8), range(3, 13)])
def test_error_rate_of_unplanned_looks(looks: Sequence[int]) -> None:
    assert error_rate(dict.fromkeys(looks, 0.05)) == pytest.approx(reference.false_alarms(looks, 0.05), rel=0.002)


def test_simulated_sequences_of_seeds() -> None:
    studies, levels = 200_000, look_levels(0.05, 3, 8)
    runs = np.random.default_rng(0).standard_normal((studies, 8))
    wrong = np.zeros(studies, np.bool_)
    for seeds, level in levels.items():
        wrong |= np.asarray(stats.ttest_1samp(runs[:, :seeds], 0.0, axis=1).pvalue < level)
    low, high = stats.binom.interval(0.999, studies, 0.05)
    assert low / studies <= wrong.mean() <= high / studies
    assert error_rate(levels) == pytest.approx(0.05, rel=1e-3)


def half(share: float, level: float, factor: float = 1.0) -> float:
    found = PairedDifference(
        0.0, None, None, None, None, None, None, 5, error=1.0, share=share, training_df=4, image_df=1e6
    )
    interval = found.interval(level, factor)
    assert interval is not None
    return interval[1]


def test_a_look_widens_the_training_part_only() -> None:
    factor = look_factor(0.05, 5, 3, 12)
    assert half(1.0, 0.95, factor) == pytest.approx(-special.stdtrit(4, look_levels(0.05, 3, 12)[5] / 2), rel=1e-3)
    assert half(0.0, 0.95, factor) == pytest.approx(-special.ndtri(0.025), rel=1e-3)
    assert half(0.5, 0.95) < half(0.5, 0.95, factor) < factor * half(0.5, 0.95)
