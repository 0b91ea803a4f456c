"""Estimates of the time of runs."""

from __future__ import annotations

from yolo_attn.study.times import RunTimes


def test_the_time_of_a_run_is_the_mean_of_its_arm() -> None:
    times = RunTimes()
    for arm, epochs, seconds in (("a", 3, 10), ("a", 3, 20), ("b", 3, 30), ("base", 40, 500)):
        times.add(arm, epochs, seconds)
    assert [times.expected(arm, 3) for arm in "abc"] == [15, 30, 20]
    assert times.expected("c", 40) == 500
    assert times.expected("a", 5) is None
