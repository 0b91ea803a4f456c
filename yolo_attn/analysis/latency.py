"""Latency of models, measured in turn so that other load on the machine affects all of them equally."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from yolo_attn.analysis.models import deploy, fitting_side, processor_name

__all__ = ["measure_latency", "synchronize", "take_turns"]

ROUNDS = 30
WARM_UP = 5


def measure_latency(
    models: Mapping[str, nn.Module],
    shape: Sequence[int],
    *,
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure the forward pass of one image through each model, in milliseconds.

    The models take turns, round by round (ABC, BCA, CAB, ...), in one process. Other load, a falling clock rate or
    the position after a large model affects all of them. Reading, letterboxing and non-maximum suppression are
    excluded.

    Args:
        models: The models by name. Copies are measured, fused as in deployment.
        shape: (C, H, W) of an image, rounded up to the models' stride.
        rounds: Measured passes of each model.
        warm_up: Passes of each model before the measurement.
        device: Where to measure.
        progress: Called with (rounds done, rounds) after each.

    Returns:
        For each name "median", "p10", "p90" (milliseconds), "device", "processor", "threads" and "rounds".
    """
    device = torch.device(device)
    ready = {name: deploy(model, device) for name, model in models.items()}
    channels, *sides = shape
    size = [max(fitting_side(model, side) for model in ready.values()) for side in sides]
    image = torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        for model in ready.values():
            for _ in range(warm_up):
                model(image)
    times = take_turns(ready, image, rounds, progress=progress)
    about = {"device": str(device), "processor": processor_name(device), "threads": torch.get_num_threads()}
    return {name: {**_summary(times[name]), **about, "rounds": rounds} for name in ready}


def take_turns(
    models: Mapping[str, nn.Module],
    image: torch.Tensor,
    rounds: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[float]]:
    """Return the milliseconds of each model's forward pass in each round; every round has another random order.

    A model is slower after one that has filled the caches, so none may always follow the same one.

    Args:
        models: The models by name, as `deploy` returns them, after a few passes.
        image: (1, C, H, W) on their device.
        rounds: Number of rounds.
        progress: Called with (rounds done, rounds) after each.
    """
    names, order = list(models), random.Random(0)  # noqa: S311 (an order of measurements)
    times: dict[str, list[float]] = {name: [] for name in names}
    with torch.no_grad():
        for turn in range(rounds):
            order.shuffle(names)
            for name in names:
                times[name].append(_milliseconds(models[name], image))
            if progress is not None:
                progress(turn + 1, rounds)
    return times


def _milliseconds(model: nn.Module, image: torch.Tensor) -> float:
    if image.device.type == "cuda":
        return _milliseconds_on_gpu(model, image)
    synchronize(image.device)
    began = time.perf_counter()
    model(image)
    synchronize(image.device)
    return 1000 * (time.perf_counter() - began)


def _milliseconds_on_gpu(model: nn.Module, image: torch.Tensor) -> float:
    """Return the time between two marks in the GPU's queue, which excludes that of the host's waking up at its end."""
    with torch.cuda.device(image.device):  # events belong to the current device
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()  # the queue is empty: what the host needs to fill it is part of the latency
        began.record()
        model(image)
        ended.record()
        ended.synchronize()
    return float(began.elapsed_time(ended))


def _summary(times: list[float]) -> dict[str, float]:
    median, low, high = np.percentile(times, (50, 10, 90))
    return {"median": float(median), "p10": float(low), "p90": float(high)}


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished all queued work; a CPU has no queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
