"""The rules by which differences become verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_attn.stats.compare import MIN_IMAGES, MIN_SEEDS, PairedDifference, difference, estimate
from yolo_attn.stats.verdicts import VERDICTS
from yolo_attn.study.results.judging import Rules, judge
from yolo_attn.study.results.records import Difference

RULES = Rules(margin=0.005)
DIFFERENCES = {"better": 0.03, "worse": -0.03, "equivalent": 0.0}


def measured(mean: float, sd: float = 0.0005, seeds: int = 5) -> PairedDifference:
    """Return a difference whose mean and standard deviation over seeds are given, and without noise of images."""
    values = np.linspace(-1, 1, seeds)
    values = mean + sd * values / values.std(ddof=1)
    return difference(estimate(values[:, None], np.zeros((seeds, 10, 1))))


def verdict(mean: float, rules: Rules = RULES, *, images: int = 100, seeds: int = 5, failures: int = 0) -> str | None:
    given = {"main": measured(mean, seeds=seeds)}
    return judge(given, rules, comparisons=2, images=images, failures=failures)[1]


def record(rules: Rules, comparisons: int, seeds: int = 5) -> Difference:
    found = judge({"main": measured(0.01, seeds=seeds)}, rules, comparisons=comparisons, images=100)[0]["main"]
    assert found is not None
    return found


def width(found: Difference) -> float:
    assert found.interval is not None
    return found.interval[1] - found.interval[0]


@pytest.mark.parametrize("expected", DIFFERENCES)
def test_verdicts_need_enough_seeds_and_images(expected: str) -> None:
    mean = DIFFERENCES[expected]
    assert verdict(mean) == verdict(mean, images=MIN_IMAGES) == verdict(mean, seeds=MIN_SEEDS) == expected
    assert verdict(mean, images=MIN_IMAGES - 1) is None
    assert verdict(mean, seeds=MIN_SEEDS - 1) is None


@pytest.mark.parametrize(
    ("failures", "kept"),
    [(0, {"better", "worse", "equivalent"}), (1, {"worse"}), (-2, {"better"})],
)
def test_failed_runs_allow_only_what_they_cannot_change(failures: int, kept: set[str]) -> None:
    found = {expected: verdict(mean, failures=failures) for expected, mean in DIFFERENCES.items()}
    assert found == {expected: expected if expected in kept else "inconclusive" for expected in DIFFERENCES}


def test_failed_runs_and_no_worse() -> None:
    rules = Rules(margin=0.005, no_worse=True)
    given = {"main": measured(0.004, sd=0.005)}
    found = {n: judge(given, rules, comparisons=1, images=100, failures=n)[1] for n in (-1, 0, 1)}
    assert found == {-1: "no worse", 0: "no worse", 1: "inconclusive"}


def test_intervals_are_wider_with_more_comparisons_and_looks() -> None:
    one, ten = record(RULES, 1), record(RULES, 10)
    looked = record(Rules(margin=0.005, max_seeds=12), 1)
    assert one.interval == pytest.approx(one.ci95)
    assert width(one) < min(width(looked), width(ten))
    assert (one.level, ten.level) == pytest.approx((0.95, 0.995))
    assert one.p is not None and ten.p_adjusted == pytest.approx(min(1.0, 10 * one.p))
    assert looked.p_adjusted is None  # that of one look would be wrong
    assert width(record(Rules(margin=0.005, max_seeds=5), 1)) < width(looked)  # the last look has most of the level


def test_a_verdict_never_contradicts_the_interval_beside_it() -> None:
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(500):
        rules = Rules(0.005, no_worse=bool(rng.integers(2)), max_seeds=int(rng.choice([0, 8])) or None)
        given = {"main": measured(rng.normal(0, 0.01), rng.exponential(0.004), int(rng.integers(3, 8)))}
        judged, name = judge(given, rules, comparisons=int(rng.integers(1, 5)), images=50)
        main = judged["main"]
        assert main is not None and main.interval is not None and name is not None
        low, high = main.interval
        assert (name in ("better", "worse", "equivalent")) == (low > 0 or high < 0 or (low > -0.005 and high < 0.005))
        assert name != "better" or low > 0
        assert name != "worse" or high < 0
        assert name != "equivalent" or (low > -0.005 and high < 0.005)
        assert name != "no worse" or (rules.no_worse and low > -0.005)
        found.add(name)
    assert found == set(VERDICTS)
