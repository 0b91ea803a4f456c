"""What a study tells before anything is trained."""

from __future__ import annotations

from typing import Any

from tests.study.conftest import Fake
from yolo_attn.stats.compare import minimum_detectable
from yolo_attn.study.specification.estimate import detectable_line, study_seconds


def results(**noise: Any) -> dict[str, Any]:
    delta = {"mAP50-95": {"sd_training": 0.03, "se_images": 0.01, "seeds": 3, **noise}}
    return {"arms": [{"kind": "baseline", "delta": None}, {"kind": "variant", "delta": delta}]}


def told(size: float) -> str:
    return f"{100 * size:.1f} points"


def test_the_detectable_difference_goes_by_seeds_images_and_variants() -> None:
    assert told(minimum_detectable(4, 0.02, 0.0116, variants=3)) in detectable_line(4, 300, 3, {})
    assert told(minimum_detectable(4, 0.02, 0.0058)) in detectable_line(4, 1200, 1, {})
    assert "no verdict" in detectable_line(2, 300, 3, {})


def test_what_was_measured_goes_before_what_is_usual() -> None:
    line = detectable_line(3, 300, 1, results())
    assert told(minimum_detectable(3, 0.03, 0.01)) in line
    assert "measured here" in line
    assert "usual" in detectable_line(3, 300, 1, results(seeds=2))
    assert "usual" in detectable_line(3, 300, 1, results(se_images=None))
    assert "usual" in detectable_line(3, 300, 1, results(sd_training=0.0, se_images=0.0))
    assert "usual" in detectable_line(3, 300, 1, {"arms": [{"kind": "variant", "delta": {"mAP50-95": None}}]})


def test_results_of_another_recipe_tell_nothing(fake: Fake) -> None:
    fake.compare(seeds=3, variants="A,B")
    fake.stream.truncate(0)
    fake.compare(seeds=4, variants="A,B", exist_ok=True)
    assert "measured here" in fake.said()
    fake.stream.truncate(0)
    fake.compare(seeds=4, variants="A,B", epochs=9, exist_ok=True)
    assert "usual" in fake.said()


def test_the_time_is_that_of_each_arms_own_runs() -> None:
    assert study_seconds(["a", "b", "c"], {"a": [10.0, 20.0], "b": [30.0]}, None) == 15 + 30 + 20
    assert study_seconds(["a", "b"], {}, 7.0) == 14
    assert study_seconds(["a"], {}, None) is None
