"""Times of runs: those of finished runs, and estimates for others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any

from yolo_attn.study.job import RunResult
from yolo_attn.study.running.run import Run
from yolo_attn.study.specification.device import first_device
from yolo_attn.study.specification.recipe import recipe_integer

if TYPE_CHECKING:
    from yolo_attn.study.planning import Plan
    from yolo_attn.study.running.dataset import Dataset

__all__ = ["RunSeconds", "RunTimes", "guess_epoch_seconds", "times_of"]

_OVERHEAD = 1.5  # time of a training step with loss, optimizer, data and evaluation, relative to one without them
_SETUP_SECONDS = 15.0  # time of a run before training: imports, building the model, reading the dataset
_EVALUATION = 0.4  # time of evaluating an image, relative to training with it


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


def times_of(runs: Iterable[Run], results: Mapping[str, RunResult | None]) -> RunTimes:
    """Return the times of the runs that are done.

    Args:
        runs: The runs.
        results: The result of each run that has one, by its key.
    """
    times = RunTimes()
    for run in runs:
        result = results.get(run.key)
        if result is not None and result.status == "done" and result.total_seconds is not None:
            times.add(run.arm.name, run.epochs, result.total_seconds)
    return times


class RunSeconds:
    """Expected seconds of runs, from the times of finished runs or else from a few training steps.

    Args:
        plan: The plan that the runs belong to.
        times: Times of finished runs.
    """

    def __init__(self, plan: Plan, times: RunTimes) -> None:
        self._plan, self._times = plan, times

    def __call__(self, run: Run) -> float | None:
        """Return the seconds of a run, None if unknown."""
        known = self._times.expected(run.arm.name, run.epochs)
        return self.guess(run.epochs, self._plan.dataset) if known is None else known

    def guess(self, epochs: int, data: Dataset) -> float | None:
        """Return the seconds of a run on any dataset from a few training steps, which are timed once; None if unknown.

        Args:
            epochs: Its epochs.
            data: Its dataset.
        """
        if self._epoch is None:
            return None
        images = epochs * (data.train_images or 0) + _EVALUATION * (data.images or 0)
        return _SETUP_SECONDS + self._epoch * images / (self._plan.dataset.train_images or 1)

    @cached_property
    def _epoch(self) -> float | None:
        """The guessed seconds of an epoch of the baseline; measured only if it is needed."""
        plan = self._plan
        if not plan.dataset.train_images:
            return None
        return guess_epoch_seconds(
            plan.baseline.model,
            plan.settings.task,
            plan.classes,
            train_images=plan.dataset.train_images,
            recipe=plan.study.train,
            device=first_device(plan.study.device),
            threads=plan.platform.threads,
        )


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
    batch = recipe_integer(recipe, "batch")
    step = _step_seconds(
        threads,
        {
            "document": model,
            "task": task,
            "classes": classes,
            "batch": batch,
            "imgsz": recipe_integer(recipe, "imgsz"),
            "device": device,
            "amp": device.startswith("cuda") and bool(recipe.get("amp", True)),
        },
    )
    if step is None:
        return None
    return _OVERHEAD * step * math.ceil(train_images / batch)


def _step_seconds(threads: int, arguments: dict[str, Any]) -> float | None:
    """Return the seconds of a training step; None if it fails."""
    from yolo_attn.host.timing import step_seconds
    from yolo_attn.layer_files import loaded_files
    from yolo_attn.study.running.step_timer import step_seconds_elsewhere

    try:
        if arguments["device"].startswith("cuda"):
            return step_seconds_elsewhere(loaded_files(), threads, arguments)
        return step_seconds(**arguments, threads=threads)
    except Exception:  # the runs report the problem
        return None
