"""Estimates that a study prints before training."""

from __future__ import annotations

from typing import Any

from tests.study.conftest import Fake
from yolo_attn.stats.compare import Noise, minimum_detectable, minimum_detectable_range
from yolo_attn.study.earlier import measured_noise
from yolo_attn.study.results.records import ArmSummary, Difference, StudyInfo, StudyResults
from yolo_attn.study.specification.estimate import RunTimes, detectable_line


def results(**noise: Any) -> StudyResults:
    delta = {"mAP50-95": Difference(**{"sd_training": 0.03, "se_images": 0.01, "seeds": 3, **noise})}
    return StudyResults(StudyInfo(), [ArmSummary("a", "baseline"), ArmSummary("b", "variant", delta=delta)])


def points(size: float) -> str:
    return f"{100 * size:.1f} points"


def test_the_detectable_difference_is_a_range_from_measured_noise() -> None:
    noise = measured_noise(results())
    assert noise == Noise(0.03, 0.01, 2.0)
    low, high = minimum_detectable_range(3, noise)
    assert low < minimum_detectable(3, 0.03, 0.01) < high
    line = detectable_line(3, 1, noise)
    assert f"{100 * low:.1f} to {100 * high:.1f} points" in line
    assert "measured in earlier runs" in line
    assert "unknown" in detectable_line(3, 1, None)
    assert "no verdict" in detectable_line(2, 3, noise)


def test_noise_is_unknown_without_enough_results() -> None:
    assert measured_noise(results(seeds=2)) is None
    assert measured_noise(results(se_images=None)) is None
    assert measured_noise(results(sd_training=0.0, se_images=0.0)) is None
    arms = [ArmSummary("a", "baseline"), ArmSummary("b", "variant")]
    assert measured_noise(StudyResults(StudyInfo(), arms)) is None


def test_results_of_another_recipe_are_not_used(fake: Fake) -> None:
    fake.compare(seeds=3, variants="A,B")
    fake.stream.truncate(0)
    fake.compare(seeds=4, variants="A,B", exist_ok=True)
    assert "measured in earlier runs" in fake.output()
    fake.stream.truncate(0)
    fake.compare(seeds=4, variants="A,B", epochs=9, exist_ok=True)
    assert "unknown" in fake.output()


def test_the_time_of_a_run_is_the_mean_of_its_arm() -> None:
    times = RunTimes()
    for arm, epochs, seconds in (("a", 3, 10), ("a", 3, 20), ("b", 3, 30), ("base", 40, 500)):
        times.add(arm, epochs, seconds)
    assert [times.expected(arm, 3) for arm in "abc"] == [15, 30, 20]
    assert times.expected("c", 40) == 500
    assert times.expected("a", 5) is None
