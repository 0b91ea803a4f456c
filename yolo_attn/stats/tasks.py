"""The kind of evaluation of each task."""

from __future__ import annotations

from collections.abc import Mapping

from yolo_attn.stats.evaluation import Evaluation
from yolo_attn.stats.matches import Matches
from yolo_attn.stats.overlaps import Overlaps
from yolo_attn.stats.predictions import Predictions

__all__ = ["EVALUATIONS", "evaluation_of"]

EVALUATIONS: Mapping[str, type[Evaluation]] = {
    **dict.fromkeys(("detect", "segment", "pose", "obb"), Matches),
    "classify": Predictions,
    "semantic": Overlaps,
}
"""By task, as Ultralytics names it; `compare` supports these."""


def evaluation_of(task: str | None) -> type[Evaluation]:
    """Return the kind of evaluation of a task; that of detection for an unknown one, which forged results may name."""
    return EVALUATIONS.get(task or "", Matches)
