"""Latency of a study's arms, timed beside each other when the runs are done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from yolo_attn.errors import UserError
from yolo_attn.study.files import LAST_WEIGHTS, LATENCY
from yolo_attn.study.specification.study import Run
from yolo_attn.study.store import Store
from yolo_attn.system.files import read_json, write_atomically

__all__ = ["measure"]

_ROUNDS = 100
_VERSION = 2  # of what is kept


def measure(
    store: Store, runs: Mapping[str, Run], *, imgsz: int, threads: int, device: str, say: Callable[[str], None]
) -> None:
    """Time one checkpoint of each arm, in turns, and keep the figures; what was timed already is left as it is.

    Each figure tells the run whose checkpoint it is of: in a folder whose recipe has changed it is no longer the arm's.

    Args:
        store: The study's store.
        runs: A done run of each arm, by the arm's name.
        imgsz: Height and width of the image.
        threads: CPU threads.
        device: Where, as torch names it; where the runs were trained elsewhere and it is not here, the CPU.
        say: Where to tell.

    Raises:
        UserError: A checkpoint is damaged, or the disk is full.
        RuntimeError: The device has no memory for it.
    """
    where = device if _is_here(device) else "cpu"
    key = _key(runs, imgsz, threads, where)
    path = store.folder / LATENCY
    if path.exists():
        try:
            if read_json(path).get("key") == key:
                return
        except UserError:
            pass  # damaged: it is only a measurement, and is made again
    say(f"latency: {len(runs)} arms in turns, batch 1 ...")
    figures = _time(store, runs, imgsz, threads, where)
    write_atomically(path, json.dumps({"key": key, "imgsz": imgsz, "arms": figures}, indent=2) + "\n")


def _is_here(device: str) -> bool:
    import torch

    kind, _, number = device.partition(":")
    return kind != "cuda" or int(number or 0) < torch.cuda.device_count()


def _key(runs: Mapping[str, Run], imgsz: int, threads: int, device: str) -> str:
    text = json.dumps([_VERSION, sorted((name, run.key) for name, run in runs.items()), imgsz, threads, device])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _time(store: Store, runs: Mapping[str, Run], imgsz: int, threads: int, device: str) -> dict[str, Any]:
    from yolo_attn.analysis.models import input_channels
    from yolo_attn.analysis.profile import measure_latency
    from yolo_attn.host.checkpoint import read_checkpoint
    from yolo_attn.host.timing import torch_threads

    models: dict[str, Any] = {}
    for name, run in runs.items():
        weights = store.path(run) / LAST_WEIGHTS
        if weights.is_file():
            models[name] = read_checkpoint(weights)
    if not models:
        return {}
    channels = input_channels(next(iter(models.values())))
    with torch_threads(threads):
        found = measure_latency(models, (channels, imgsz, imgsz), rounds=_ROUNDS, device=device)
    folders = {name: store.path(run).relative_to(store.folder).as_posix() for name, run in runs.items()}
    return {name: {**figures, "run": folders[name]} for name, figures in found.items()}
