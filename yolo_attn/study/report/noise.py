"""The noise budget in words."""

from __future__ import annotations

from yolo_attn.errors import counted
from yolo_attn.study.report.formats import duration, points, points_range
from yolo_attn.study.results.budget import Budget, noise_budget
from yolo_attn.study.results.records import StudyResults
from yolo_attn.study.results.size import Size

__all__ = ["noise_lines", "size_name"]


def noise_lines(study: StudyResults) -> list[str]:
    """Return the noise budget as lines for the terminal."""
    budget = noise_budget(study)
    if budget is None or not any(arm.verdict for arm in study.variants):
        return []
    known = ", ".join(f"{name} {share:.0%}" for name, share in budget.shares.items())
    changes = "; with ".join(f"{size_name(size)} {_detects(budget, size)}" for size in budget.sizes[1:])
    return [
        f"Noise of a difference (standard error {points(budget.error)} points), shares of its variance: {known}.",
        f"Detectable with {changes}.",
    ]


def size_name(size: Size) -> str:
    """Return the design of a size: "10 seeds", "4 bases and 8 seeds", "twice the test images"."""
    if size.images > 1:
        return "twice the test images"
    bases = f"{size.bases} bases and " if size.bases else ""
    return f"{bases}{counted(size.seeds, 'seed')}"


def _detects(budget: Budget, size: Size) -> str:
    seconds = budget.added_seconds(size)
    cost = f" (+{duration(seconds)} of training)" if seconds else ""
    ends, now = ("unknown" if it.detectable is None else points_range(it.detectable) for it in (size, budget.sizes[0]))
    return f"{'no less than now' if ends == now else ends}{cost}"
