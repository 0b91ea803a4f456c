"""Earlier results in a study's folder: shared tensors and measured noise, reused when the study continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.stats.compare import MIN_SEEDS, Noise, pooled_noise
from yolo_attn.study.planning import Plan
from yolo_attn.study.results.records import StudyResults
from yolo_attn.study.results.storage import read_results

__all__ = ["EarlierResults", "measured_noise", "read_earlier_results"]


@dataclass(frozen=True)
class EarlierResults:
    """Contents of a stored `results.json` that are reused when the study continues.

    Args:
        shared: By arm, the base tensors that it shares at initialization and all base tensors; None if unknown.
        noise: Noise of the variants' differences; None if unknown, or if base, data or recipe are different now.
    """

    shared: Mapping[str, tuple[int, int] | None] = field(default_factory=dict)
    noise: Noise | None = None


def read_earlier_results(folder: Path, plan: Plan) -> EarlierResults:
    """Read the results in a study's folder; a missing or damaged file is the same as no results.

    Args:
        folder: The study's folder.
        plan: The plan that continues the study.
    """
    try:
        study = read_results(folder)
    except UserError:
        return EarlierResults()
    shared = {arm.name: arm.transferred for arm in study.arms}
    before = (study.baseline.name, study.info.data_digest, study.info.recipe, study.info.pretraining)
    same = before == (plan.baseline.name, plan.dataset.digest, dict(plan.study.train), dict(plan.study.pretraining))
    return EarlierResults(shared, measured_noise(study) if same else None)


def measured_noise(study: StudyResults) -> Noise | None:
    """Return the noise of the variants' differences in earlier results, None if it is unknown."""
    differences = [arm.difference() for arm in study.variants if arm.learnt is not False]
    return pooled_noise(
        (found.sd_training, found.se_images, found.seeds)
        for found in differences
        if found.seeds is not None and found.seeds >= MIN_SEEDS
    )
