"""The noise budget in words."""

from __future__ import annotations

from yolo_attn.errors import counted
from yolo_attn.study.report.formats import duration, points, points_range
from yolo_attn.study.results.budget import Scenario, noise_budget
from yolo_attn.study.results.records import StudyResults

__all__ = ["noise_lines", "scenario_name"]


def noise_lines(study: StudyResults) -> list[str]:
    """Return the noise budget as lines for the terminal."""
    budget = noise_budget(study)
    if budget is None or not any(arm.verdict for arm in study.variants):
        return []
    shares = [("training", budget.training), ("bases", budget.bases), ("test images", budget.images)]
    known = ", ".join(f"{name} {share:.0%}" for name, share in shares if share is not None)
    now, *others = budget.scenarios
    changes = "; with ".join(f"{scenario_name(it)} {_detects(it, now)}" for it in others)
    return [
        f"Noise of a difference (standard error {points(budget.error)} points), shares of its variance: {known}.",
        f"Detectable with {changes}.",
    ]


def scenario_name(scenario: Scenario) -> str:
    """Return the design of a scenario: "10 seeds", "4 bases and 8 seeds", "twice the test images"."""
    if scenario.images > 1:
        return "twice the test images"
    bases = f"{scenario.bases} bases and " if scenario.bases > 1 else ""
    return f"{bases}{counted(scenario.seeds, 'seed')}"


def _detects(scenario: Scenario, now: Scenario) -> str:
    cost = f" (+{duration(scenario.seconds)} of training)" if scenario.seconds else ""
    ends, before = points_range(scenario.detectable), points_range(now.detectable)
    return f"{'no less than now' if ends == before else ends}{cost}"
