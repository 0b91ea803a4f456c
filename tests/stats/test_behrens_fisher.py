"""The Behrens-Fisher distribution, against its special cases, its own tails and random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from yolo_attn.stats.behrens_fisher import tail_probability, upper_quantile


@pytest.mark.parametrize("df", [1, 2, 5, 1e6])
@pytest.mark.parametrize("tail", [0.3, 0.025, 1e-4])
def test_with_one_component_it_is_student_t(df: float, tail: float) -> None:
    expected = -special.stdtrit(df, tail)
    assert upper_quantile(tail, 1.0, df, 7) == pytest.approx(expected, rel=1e-6)
    assert upper_quantile(tail, 0.0, 7, df) == pytest.approx(expected, rel=1e-6)
    assert tail_probability(expected, 1.0, df, 7) == pytest.approx(tail, rel=1e-6)


def test_two_cauchy_variables_add_up() -> None:
    """sqrt(w) C1 + sqrt(1 - w) C2 is a Cauchy variable of the scale sqrt(w) + sqrt(1 - w)."""
    share = np.array([0.1, 0.5, 0.8])
    scale = np.sqrt(share) + np.sqrt(1 - share)
    assert upper_quantile(0.025, share, 1, 1) == pytest.approx(scale / math.tan(math.pi * 0.025), rel=1e-4)


@pytest.mark.parametrize(("df1", "df2"), [(2, 30), (4, 200), (2, 1e6), (11, 3)])
@pytest.mark.parametrize("tail", [0.025, 0.05 / 70, 1e-6])
def test_a_quantile_is_exceeded_with_its_probability(df1: float, df2: float, tail: float) -> None:
    share = np.linspace(0, 1, 41)
    distance = upper_quantile(tail, share, df1, df2)
    assert tail_probability(distance, share, df1, df2) == pytest.approx(tail, rel=0.02)  # interpolated


def test_tails_are_those_of_random_numbers() -> None:
    dice = np.random.default_rng(0)
    first, second = dice.standard_t(2, 400_000), dice.standard_t(9, 400_000)
    for share in (0.2, 0.7):
        x = math.sqrt(share) * first + math.sqrt(1 - share) * second
        assert tail_probability(2.5, share, 2, 9) == pytest.approx(np.mean(x > 2.5), rel=0.03)


@given(st.floats(0, 6), st.floats(0, 1), st.sampled_from([1, 2, 4, 11]), st.sampled_from([2, 20, 1e6]))
def test_tails_are_symmetric_and_fall_with_distance(distance: float, share: float, df1: float, df2: float) -> None:
    tail = tail_probability(distance, share, df1, df2)
    assert tail + tail_probability(-distance, share, df1, df2) == pytest.approx(1)
    assert tail_probability(distance + 0.1, share, df1, df2) < tail <= 0.5 + 1e-9
    assert tail == pytest.approx(tail_probability(distance, 1 - share, df2, df1), rel=1e-5)  # the order is arbitrary


@pytest.mark.parametrize(("df1", "df2"), [(2, 19), (4, 1e6)])
def test_quantiles_are_between_those_of_the_components_and_smooth(df1: float, df2: float) -> None:
    """The sum of two variables with heavy tails has lighter ones, so the quantile may be below both ends."""
    distance = upper_quantile(0.025, np.linspace(0, 1, 200), df1, df2)
    assert distance.max() == pytest.approx(-special.stdtrit(df1, 0.025))
    assert distance.min() > -special.ndtri(0.025)
    assert np.abs(np.diff(distance)).max() < 0.05
