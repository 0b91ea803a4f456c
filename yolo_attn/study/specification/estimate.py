"""What a study will take and be able to show, told before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

__all__ = ["detectable_line", "guess_run_seconds", "study_seconds"]

# Assumed until the runs tell: differences of two runs with the same seed on small datasets vary by about two points,
# and 300 images give a difference a standard error of 1.2 points, which falls with their square root.
_USUAL_SPREAD = 0.02
_USUAL_IMAGE_ERROR, _USUAL_IMAGES = 0.0116, 300
# Of a step without loss, optimizer, data and evaluation, to a step with them; found on small and middling models.
_OVERHEAD = 1.5
_START_SECONDS = 15.0  # imports, building, reading the dataset


def study_seconds(arms: Sequence[str], known: Mapping[str, Sequence[float]], guess: float | None) -> float | None:
    """Return the seconds that runs will take, one after another; None when nothing tells.

    Args:
        arms: The name of each run's arm.
        known: Seconds of finished runs, by arm.
        guess: Seconds of a run, where none is finished.
    """
    every = [seconds for own in known.values() for seconds in own]
    usual = fmean(every) if every else guess
    times = [fmean(known[arm]) if known.get(arm) else usual for arm in arms]
    return None if None in times else math.fsum(seconds for seconds in times if seconds is not None)


def guess_run_seconds(
    model: Mapping[str, Any],
    task: str,
    classes: int,
    *,
    train_images: int,
    recipe: Mapping[str, Any],
    where: str,
    threads: int,
) -> float | None:
    """Return about how long one run takes, from a few steps done here; None when they fail.

    Args:
        model: The base's model YAML.
        task: Its task.
        classes: Number of classes.
        train_images: Images of the training split.
        recipe: The recipe.
        where: The device, as torch names it.
        threads: CPU threads of a run.
    """
    from yolo_attn.host.timing import step_seconds

    batch, imgsz = int(recipe.get("batch", 16)), int(recipe.get("imgsz", 640))
    steps = math.ceil(train_images / batch) * int(recipe.get("epochs", 100))
    try:
        step = step_seconds(model, task, classes, batch=batch, imgsz=imgsz, device=where, threads=threads)
    except Exception:  # the runs will tell what is wrong with the base
        return None
    return _START_SECONDS + _OVERHEAD * step * steps


def detectable_line(seeds: int, images: int | None, variants: int, earlier: Mapping[str, Any]) -> str:
    """Return a line that tells the smallest difference which the study can be expected to find.

    Args:
        seeds: Seeds of each arm.
        images: Images that are evaluated.
        variants: Variants that are tested together.
        earlier: Results of the same study so far, as in results.json; what they tell goes before what is usual.
    """
    from yolo_attn.stats.compare import MIN_SEEDS, minimum_detectable

    if seeds < MIN_SEEDS:
        return f"seeds {seeds}: below {MIN_SEEDS} there is no verdict, since chance cannot be told from an effect"
    measured = _measured_noise(earlier)
    spread, error = measured or (_USUAL_SPREAD, _USUAL_IMAGE_ERROR * math.sqrt(_USUAL_IMAGES / max(images or 1, 1)))
    least = 100 * minimum_detectable(seeds, spread, error, variants=max(variants, 1))
    source = "as measured here so far" if measured else "as is usual on small datasets; the runs will tell"
    tests = f", {variants} variants tested" if variants > 1 else ""
    return (
        f"minimum detectable difference: {least:.1f} points of mAP50-95 with {seeds} seeds (found 4 times of 5, if "
        f"runs of one seed differ by {100 * spread:.1f} and the test images allow {100 * error:.1f}, {source}{tests})"
    )


def _measured_noise(results: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return spread over seeds and error of the images, as the variants' differences in earlier results have them."""
    from yolo_attn.stats.compare import MIN_SEEDS, pooled_noise

    arms = results.get("arms", [])
    variants = [arm for arm in arms if arm.get("kind") == "variant" and arm.get("learnt") is not False]
    deltas = [(arm.get("delta") or {}).get("mAP50-95") or {} for arm in variants]
    known = [delta for delta in deltas if delta.get("seeds", 0) >= MIN_SEEDS and delta.get("se_images") is not None]
    return pooled_noise((delta["sd_training"], delta["se_images"]) for delta in known)
