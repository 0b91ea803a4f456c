"""Estimates of the time of runs before training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

from yolo_attn.study.specification.recipe import recipe_integer

__all__ = ["SETUP_SECONDS", "RunTimes", "guess_epoch_seconds"]

_OVERHEAD = 1.5  # time of a training step with loss, optimizer, data and evaluation, relative to one without them
SETUP_SECONDS = 15.0
"""Time of a run before training: imports, building the model, reading the dataset."""


class RunTimes:
    """Times of finished runs, from which those of others are estimated.

    Runs of different numbers of epochs, such as those that train a base, say nothing about each other.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, dict[str, list[float]]] = {}

    def add(self, arm: str, epochs: int, seconds: float) -> None:
        """Add a finished run."""
        self._seconds.setdefault(epochs, {}).setdefault(arm, []).append(seconds)

    def expected(self, arm: str, epochs: int) -> float | None:
        """Return the mean seconds of an arm's runs, or of all runs of as many epochs; None if there are none."""
        known = self._seconds.get(epochs, {})
        every = known.get(arm) or [seconds for times in known.values() for seconds in times]
        return fmean(every) if every else None


def guess_epoch_seconds(
    model: Mapping[str, object],
    task: str,
    classes: int,
    *,
    train_images: int,
    recipe: Mapping[str, object],
    device: str,
    threads: int,
) -> float | None:
    """Estimate the seconds of one epoch from a few training steps; None if they fail.

    Args:
        model: The base's model YAML.
        task: Its task.
        classes: Number of classes.
        train_images: Images of the training split.
        recipe: The recipe.
        device: The device, as torch names it.
        threads: CPU threads of a run.
    """
    from yolo_attn.host.timing import step_seconds

    batch, imgsz = recipe_integer(recipe, "batch"), recipe_integer(recipe, "imgsz")
    try:
        step = step_seconds(model, task, classes, batch=batch, imgsz=imgsz, device=device, threads=threads)
    except Exception:  # the runs report the problem
        return None
    return _OVERHEAD * step * math.ceil(train_images / batch)
