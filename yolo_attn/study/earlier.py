"""What earlier results in a study's folder contribute to its next start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError
from yolo_attn.study.files import RESULTS
from yolo_attn.study.planning import Plan
from yolo_attn.study.specification.estimate import Noise
from yolo_attn.system.files import read_json

__all__ = ["EarlierResults", "measured_noise", "read_earlier_results"]


@dataclass(frozen=True)
class EarlierResults:
    """Contents of a stored `results.json` that the next start uses.

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
        plan: The plan of the next start.
    """
    try:
        content = read_json(folder / RESULTS)
        shared = {str(arm["name"]): _pair(arm["transferred"]) for arm in content["arms"]}
    except (UserError, KeyError, TypeError):
        return EarlierResults()
    expected = {
        "baseline": plan.baseline.name,
        "data_digest": plan.dataset.digest,
        "recipe": dict(plan.study.train),
    }
    same = all(content.get(key) == value for key, value in expected.items())
    return EarlierResults(shared, measured_noise(content) if same else None)


def _pair(value: Sequence[int] | None) -> tuple[int, int] | None:
    return None if value is None else (int(value[0]), int(value[1]))


def measured_noise(results: Mapping[str, Any]) -> Noise | None:
    """Return the noise of the variants' differences in the content of a `results.json`, None if it is unknown."""
    from yolo_attn.stats.compare import MIN_SEEDS, pooled_noise

    variants = [arm for arm in results["arms"] if arm.get("kind") == "variant" and arm.get("learnt") is not False]
    deltas = [(arm.get("delta") or {}).get("mAP50-95") or {} for arm in variants]
    known = [delta for delta in deltas if delta.get("seeds", 0) >= MIN_SEEDS and delta.get("se_images") is not None]
    noise = pooled_noise((delta["sd_training"], delta["se_images"]) for delta in known)
    return Noise(*noise) if noise else None
