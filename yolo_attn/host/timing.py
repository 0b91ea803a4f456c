"""Time of a training step on this machine, with a given number of threads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

from yolo_attn.host.initialization import build_model
from yolo_attn.host.model_kind import input_channels

__all__ = ["step_seconds", "torch_threads"]

_STEPS = 3
_AT_MOST = 20.0  # seconds for all steps together


def step_seconds(
    document: Mapping[str, Any],
    task: str,
    classes: int,
    *,
    batch: int,
    imgsz: int,
    device: str,
    threads: int,
    amp: bool = False,
) -> float:
    """Return the seconds of one forward and backward pass of a batch, without loss and data loading.

    Args:
        document: The model YAML.
        task: Its task.
        classes: Number of classes.
        batch: Images in the batch.
        imgsz: Height and width of the images in pixels.
        device: A torch device.
        threads: CPU threads.
        amp: Whether the forward pass is in mixed precision.
    """
    with torch_threads(threads), torch.random.fork_rng(devices=[]):
        model = build_model(document, task, classes).to(device).train()
        images = torch.rand(batch, input_channels(document), imgsz, imgsz, device=device)
        seconds: list[float] = []
        while len(seconds) <= _STEPS and sum(seconds) < _AT_MOST:
            began = time.perf_counter()
            with torch.autocast(images.device.type, torch.float16, enabled=amp):
                outputs = _tensors(model(images))
            sum(output.float().mean() for output in outputs).backward()  # type: ignore[union-attr]
            if images.is_cuda:
                torch.cuda.synchronize(images.device)
            seconds.append(time.perf_counter() - began)
        return median(seconds[1:] or seconds)  # the first step is a warm-up


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Set the number of torch's CPU threads temporarily."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tensors(outputs: Any) -> list[torch.Tensor]:
    """Return the output tensors of a model in training that require a gradient."""
    if isinstance(outputs, torch.Tensor):
        return [outputs] if outputs.requires_grad else []
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs if isinstance(outputs, (list, tuple)) else []
    return [tensor for part in parts for tensor in _tensors(part)]
