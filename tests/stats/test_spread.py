"""Whether many arms differ: simulated arms with equal and unequal noise."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_attn.stats.spread import measure_spread


@pytest.mark.parametrize(("gain", "differ"), [(0.0, False), (0.003, True)])
def test_arms_that_differ_are_found(gain: float, differ: bool) -> None:
    """Beside the noise of each arm: that of the base, which is in all differences, and a gain of some arms."""
    random = np.random.default_rng(3)
    noise, shared = random.normal(0, 0.001, (40, 3)), random.normal(0, 0.005, 3)
    found = measure_spread(noise + shared + gain * (np.arange(40) % 4 == 0)[:, None])
    assert found.arms == 40 and found.p is not None
    assert (found.p < 0.01) == differ
    assert found.expected == pytest.approx(0.001 / 3**0.5, rel=0.2)
    assert (found.found > 2 * found.expected) == differ


def test_one_noisy_arm_is_no_difference() -> None:
    """An F distribution gives p < 1e-8 here: the noise of all arms is estimated as if that of one were no larger."""
    values = np.random.default_rng(0).normal(0, 0.001, (40, 3))
    values[0] = 0.02, 0.025, 0.003
    found = measure_spread(values)
    assert found.p is not None and found.p > 0.05


def test_arms_without_noise() -> None:
    assert measure_spread(np.zeros((12, 3))).p is None
    equal = measure_spread(np.tile([0.001, 0.002, -0.001], (12, 1)))
    assert equal.p is None and equal.found == pytest.approx(0, abs=1e-12)


def test_the_same_arms_have_the_same_p_value() -> None:
    values = np.random.default_rng(1).normal(size=(20, 3))
    assert measure_spread(values) == measure_spread(values)
