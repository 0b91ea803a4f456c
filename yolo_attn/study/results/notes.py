"""Notes needed to interpret the numbers of a study, for terminal and page."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.errors import plain
from yolo_attn.stats.compare import MIN_IMAGES
from yolo_attn.stats.tasks import evaluation_of
from yolo_attn.study.results.estimates import ArmEstimates
from yolo_attn.study.results.records import StudyInfo
from yolo_attn.study.specification.recipe import recipe_max_det

__all__ = ["crowded_images", "frames_hint", "notes_of", "too_few_images"]

_FEW_SEEDS = 2
_FEW_GROUPS = 5  # of a class
_MAX_CLASSES = 5  # that are named


def notes_of(info: StudyInfo, estimates: Sequence[ArmEstimates]) -> list[str]:
    """Return the notes about a study.

    Args:
        info: Its setup.
        estimates: Statistics of each arm.
    """
    values = [value for arm in estimates for run in arm.runs.values() for value in run.values() if value is not None]
    if not values:
        return []
    return [*_seeds(estimates), *_images(info), *_rare_classes(info, estimates), *_precision(values)]


def _seeds(estimates: Sequence[ArmEstimates]) -> list[str]:
    differences = [found for arm in estimates for found in (arm.differences or {}).values() if found]
    if all(found.seeds != _FEW_SEEDS for found in differences):
        return []
    return ["Intervals from two seeds are wide and unreliable, since two runs barely sample training noise."]


def too_few_images(count: int, *, grouped: bool) -> str | None:
    """Return why there is no verdict with so many images or groups of images, None if they suffice."""
    if count >= MIN_IMAGES:
        return None
    one, several = ("group of test images", "groups of test images") if grouped else ("test image", "test images")
    enough = f"evaluate at least {MIN_IMAGES}"
    if count == 1:
        return f"There are no intervals and no verdicts, because there is only one {one}; {enough}."
    return (
        f"There are no verdicts, because {count} {several} do not show how much the results depend on the choice of "
        f"images; {enough}."
    )


def _images(info: StudyInfo) -> list[str]:
    """Return notes about the number of images and groups."""
    found = []
    few = too_few_images(info.group_count or 0, grouped=info.groups is not None)
    if few:
        found.append(few)
    if info.groups is not None and info.group_count == info.images:
        found.append(
            f"groups={plain(info.groups)} makes every image a group of its own, so images count as independent."
        )
    if info.groups is None and info.sequences is not None:
        found.append(frames_hint(info.sequences))
    crowded = crowded_images(info.most_objects or 0, recipe_max_det(info.recipe))
    return [*found, crowded] if crowded else found


def crowded_images(objects: int, most: int) -> str | None:
    """Return that some objects cannot be found because too few detections count; None if all can be found.

    Args:
        objects: Largest number of objects of one class in an image.
        most: Largest number of detections of a class in an image that are evaluated.
    """
    if objects <= most:
        return None
    return (
        f"An image has {objects} objects of one class, but only {most} detections of a class in an image are "
        f"evaluated, so even a perfect detector misses objects. Give max_det={objects} or more."
    )


def frames_hint(rule: str) -> str:
    """Return that images look like frames of videos, which a rule groups."""
    return (
        "The names of the test images look like frames of several videos, which are not independent: intervals are "
        f"then too narrow, and verdicts may be wrong. Resample whole videos with groups='{rule}'."
    )


def _rare_classes(info: StudyInfo, estimates: Sequence[ArmEstimates]) -> list[str]:
    """Return which classes rest on few images, if they matter to the main metric and the number of images suffices."""
    if not evaluation_of(info.task).class_mean or (info.group_count or 0) < MIN_IMAGES:
        return []
    per_class = next(arm.per_class for arm in estimates if arm.per_class)
    rare = [(found.groups, name) for name, found in per_class.items() if found.groups and found.groups < _FEW_GROUPS]
    if not rare:
        return []
    named = ", ".join(f"{plain(name)} ({groups})" for groups, name in sorted(rare)[:_MAX_CLASSES])
    more = f" and {len(rare) - _MAX_CLASSES} more" if len(rare) > _MAX_CLASSES else ""
    things = "groups of images" if info.groups else "images"
    return [
        f"{len(rare)} of {len(per_class)} classes {'rests' if len(rare) == 1 else 'rest'} on fewer than {_FEW_GROUPS} "
        f"{things}: {named}{more}. Each "
        f"counts as much as any other in {info.metrics[0]}, so intervals are wider than the number of images suggests. "
        "Evaluate more images of these classes."
    ]


def _precision(values: Sequence[float]) -> list[str]:
    return [] if any(values) else ["All metrics are 0 in all runs. Train longer or check the recipe."]
