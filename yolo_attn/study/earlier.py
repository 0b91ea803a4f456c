"""What earlier results show: shared tensors of a study that continues, and the noise to expect from a study.

Noise is taken from the study's own folder or from another study of the same project folder. The other study has the
same dataset, groups of images and task, and starts from trained weights if this one does: a model that is fine-tuned
differs far less from seed to seed than one that is trained from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.stats.compare import MIN_SEEDS
from yolo_attn.stats.power import Noise, pooled_noise, sd_of_base
from yolo_attn.study.files import RESULTS
from yolo_attn.study.planning import Plan
from yolo_attn.study.results.records import Difference, StudyInfo, StudyResults
from yolo_attn.study.results.storage import read_results

__all__ = ["EarlierResults", "MeasuredNoise", "measured_noise", "read_earlier_results"]

_NAMED = 4  # differences of two studies that are named one by one
_MOST_NOISE = 2.0  # of differences of fractions; more is in a damaged file


@dataclass(frozen=True)
class MeasuredNoise:
    """Noise of differences that an earlier study has measured.

    Args:
        noise: The noise; its units are seeds, or bases in a study with several.
        source: The study, in words.
        images: Number of its test images; None if unknown.
        changes: How it differs from the planned study, such as "epochs=12"; empty for a study like it.
    """

    noise: Noise
    source: str
    images: int | None = None
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.changes:
            return self.source
        more = f" and {len(self.changes) - _NAMED} more" if len(self.changes) > _NAMED else ""
        return f"{self.source}, which has {', '.join(self.changes[:_NAMED])}{more}"


@dataclass(frozen=True)
class EarlierResults:
    """Results in a study's folder, and what they and others show about its noise.

    Args:
        shared: By arm, the base tensors that it shares at initialization and all base tensors; None if unknown.
        noise: The noise to expect of the variants' differences; None if unknown.
    """

    shared: Mapping[str, tuple[int, int] | None] = field(default_factory=dict)
    noise: MeasuredNoise | None = None


def read_earlier_results(folder: Path, plan: Plan) -> EarlierResults:
    """Read the results in a study's folder and its neighbors; a missing or damaged file is the same as no results.

    Args:
        folder: The study's folder.
        plan: The plan of the study.
    """
    own = _read(folder)
    shared = {arm.name: arm.transferred for arm in own.arms} if own else {}
    found = [] if own is None else [_noise_for(plan, own, "earlier runs of this study")]
    for path in sorted(folder.parent.glob(f"*/{RESULTS}")):
        other = _read(path.parent) if path.parent != folder else None
        found.append(None if other is None else _noise_for(plan, other, str(path.parent)))
    known = [item for item in found if item is not None]
    return EarlierResults(shared, min(known, key=_preference, default=None))


def measured_noise(
    study: StudyResults, names: Collection[str] | None = None, seeds_per_base: int | None = None
) -> Noise | None:
    """Return the noise of the variants' differences in earlier results, None if it is unknown.

    Args:
        study: The results.
        names: The variants that matter, if any of them has a result; None for all.
        seeds_per_base: Seeds of each base in a planned study with several bases, whose noise includes that of the
            bases; None in one with a single base or none.
    """
    arms = [arm for arm in study.variants if arm.learnt is not False]
    arms = [arm for arm in arms if names is None or arm.name in names] or arms
    known = [(arm, arm.difference()) for arm in arms if (arm.difference().seeds or 0) >= MIN_SEEDS]
    if seeds_per_base is None:
        noises = [(found.sd_training, found.se_images, found.seeds or 0) for _, found in known]
    else:
        noises = [(_per_base(found, seeds_per_base), found.se_images, study.units(arm)) for arm, found in known]
    return pooled_noise(noises, (study.noise and study.noise.image_df) or math.inf)


def _per_base(found: Difference, seeds: int) -> float | None:
    """Return the standard deviation over bases of the mean over the seeds of each."""
    if found.sd_bases is None or (found.sd_training is None and seeds > 1):
        return None
    if found.sd_training is None:  # one seed of each base: that over bases has the noise of training
        return found.sd_bases
    return sd_of_base(found.sd_training, found.sd_bases, seeds)


def _read(folder: Path) -> StudyResults | None:
    try:
        return read_results(folder)
    except UserError:
        return None


def _noise_for(plan: Plan, study: StudyResults, source: str) -> MeasuredNoise | None:
    """Return the noise that a study has measured, None if it says nothing about a plan."""
    info = study.info
    ours = (plan.dataset.digest, plan.study.design.groups, plan.settings.task, plan.untrained)
    if (info.data_digest, info.groups, info.task, info.untrained) != ours:
        return None
    variants = [arm.name for arm in plan.arms if arm.kind == "variant"]
    noise = measured_noise(study, variants, plan.seeds_per_base)
    if noise is None or not max(noise.training, noise.images) < _MOST_NOISE:
        return None
    return MeasuredNoise(noise, source, info.images, tuple(_changes(plan, info, study.baseline.name)))


def _changes(plan: Plan, info: StudyInfo, base: str) -> list[str]:
    """Return how a study differs from a plan, as keys with its values."""
    design = plan.study.design
    now = {
        "base": plan.baseline.name,
        "pretrain": design.pretrain,
        "lr_attention": plan.lr_attention,
        **plan.study.train,
        **_prefixed(plan.study.pretraining),
    }
    before = {
        "base": base,
        "pretrain": info.pretrain or 0,
        "lr_attention": info.lr_attention or 1.0,
        **info.recipe,
        **_prefixed(info.pretraining),
    }
    differing = [key for key in {**now, **before} if before.get(key) != now.get(key)]
    return [f"no {key}" if before.get(key) is None else f"{key}={before[key]}" for key in differing]


def _prefixed(pretraining: Mapping[str, object]) -> dict[str, object]:
    """Return the recipe of a base's training with keys of its own; the number of epochs is `pretrain`."""
    return {f"pretraining {key}": value for key, value in pretraining.items() if key != "epochs"}


def _preference(found: MeasuredNoise) -> tuple[int, float]:
    """Return the rank of a source: the most similar study, and of several the one with the most runs."""
    return len(found.changes), -found.noise.df
