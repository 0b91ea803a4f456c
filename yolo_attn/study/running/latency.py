"""Latency of a study's arms, measured in turns when the runs are done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from yolo_attn.errors import UserError
from yolo_attn.study.files import LATENCY
from yolo_attn.study.running.run import Run
from yolo_attn.study.store import Store
from yolo_attn.system.files import read_json, write_atomically

if TYPE_CHECKING:
    from torch import nn

__all__ = ["available_device", "measure"]

_ROUNDS = 100
_VERSION = 2  # of the stored file


def measure(
    store: Store, runs: Mapping[str, Run], *, imgsz: int, threads: int, device: str, log: Callable[[str], None]
) -> None:
    """Measure the latency of one checkpoint per arm, in turns, and store it; a stored measurement is not repeated.

    Every entry names the run of its checkpoint, because the recipe of the study in a folder can change.

    Args:
        store: The study's store.
        runs: A done run of each arm, by the arm's name.
        imgsz: Height and width of the image.
        threads: CPU threads.
        device: The device, as torch names it; the CPU if this machine does not have it.
        log: Prints a line.

    Raises:
        UserError: A checkpoint is damaged, or the disk is full.
        RuntimeError: The device has not enough memory.
    """
    device = available_device(device)
    key = _key(runs, imgsz, threads, device)
    path = store.folder / LATENCY
    if path.exists():
        try:
            if read_json(path).get("key") == key:
                return
        except UserError:
            pass  # damaged: the measurement is repeated
    log(f"latency: {len(runs)} arms in turns, batch 1 ...")
    figures = _time(store, runs, imgsz, threads, device)
    write_atomically(path, json.dumps({"key": key, "imgsz": imgsz, "arms": figures}, indent=2) + "\n")


def available_device(device: str) -> str:
    """Return a device as torch names it, or "cpu" if this machine does not have it: a cluster may."""
    import torch

    kind, _, number = device.partition(":")
    return device if kind != "cuda" or int(number or 0) < torch.cuda.device_count() else "cpu"


def _key(runs: Mapping[str, Run], imgsz: int, threads: int, device: str) -> str:
    text = json.dumps([_VERSION, sorted((name, run.key) for name, run in runs.items()), imgsz, threads, device])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _time(store: Store, runs: Mapping[str, Run], imgsz: int, threads: int, device: str) -> dict[str, dict[str, object]]:
    from yolo_attn.analysis.models import input_channels
    from yolo_attn.analysis.profile import measure_latency
    from yolo_attn.host.checkpoint import read_checkpoint
    from yolo_attn.host.timing import torch_threads

    models: dict[str, nn.Module] = {}
    for name, run in runs.items():
        weights = store.weights(run)
        if weights.is_file():
            models[name] = read_checkpoint(weights)
    if not models:
        return {}
    channels = input_channels(next(iter(models.values())))
    with torch_threads(threads):
        found = measure_latency(models, (channels, imgsz, imgsz), rounds=_ROUNDS, device=device)
    return {name: {**figures, "run": store.relative_path(runs[name])} for name, figures in found.items()}
