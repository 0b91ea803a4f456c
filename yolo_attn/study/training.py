"""What a run does: train through Ultralytics' ordinary calls, then measure what came out."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

import yolo_attn  # noqa: F401  (registers the layers in Ultralytics' parser)
from yolo_attn.study.store import MODEL, TRAIN

__all__ = ["count_flops", "count_transferred", "train_and_measure"]

# What evaluation takes over from the recipe, beside image size and batch.
_SHARED = ("imgsz", "batch", "split", "workers", "iou", "conf", "max_det", "single_cls", "agnostic_nms", "classes")
# The constant by which Ultralytics seeds its data loaders; up to 8.4.100 without the seed (see _seed_loader).
_LOADER_SEED = 6148914691236517205
_INTEGRATIONS = ("clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "tensorboard", "wandb", "sync")


def train_and_measure(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Train and evaluate one run.

    Args:
        folder: Its folder, with `model.yaml`.
        order: Its `run.json`.

    Returns:
        What a result holds, beside its status and key.
    """
    inputs = order["inputs"]
    recipe, seed, threads = inputs["recipe"], int(inputs["seed"]), int(inputs["threads"])
    _keep_to_itself()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)  # the first build; Ultralytics seeds again for the one that it trains

    model = _model_class(inputs["model"])(str(folder / MODEL), task=order["task"])
    start: dict[str, Any] = {"transferred": None}
    pretrained = {"pretrained": False}
    if order["weights"]:
        model.load(order["weights"])
        pretrained = {}

    def on_start(trainer: Any) -> None:
        """Ultralytics resets the thread count and, in older versions, ignores the seed for the data order."""
        torch.set_num_threads(threads)
        _seed_loader(trainer.train_loader, seed)
        if order["weights"]:
            start["transferred"] = count_transferred(Path(order["weights"]), trainer.model)

    model.add_callback("on_pretrain_routine_end", on_start)
    shared = {"data": order["data"], "device": order["device"], "project": str(folder), "exist_ok": True}
    began = time.perf_counter()
    model.train(**recipe, **pretrained, **shared, seed=seed, name=TRAIN)
    seconds = time.perf_counter() - began

    memory = _peak_memory()
    weights = folder / TRAIN / "weights"
    settings = {key: recipe[key] for key in _SHARED if key in recipe} | shared
    # last.pt is the main result: best.pt was chosen on the very images that the result reports.
    last, per_class = _evaluate(weights / "last.pt", inputs["model"], settings, "val-last", threads)
    best, _ = _evaluate(weights / "best.pt", inputs["model"], settings, "val-best", threads)
    return {
        "seconds": seconds,
        "epochs": _count_epochs(folder / TRAIN / "results.csv"),
        "metrics": last,
        "metrics_best": best,
        "per_class": per_class,
        **_cost(weights / "last.pt", inputs["model"], int(recipe.get("imgsz", 640))),
        "memory_mib": memory,
        **start,
        "environment": _environment(threads),
    }


def _model_class(document: dict[str, Any]) -> Any:
    """Return the Ultralytics class for a model YAML: the file is always `model.yaml`, so its name cannot tell."""
    from ultralytics import RTDETR, YOLO

    return _without_task(RTDETR) if document["head"][-1][2] == "RTDETRDecoder" else YOLO


def _without_task(kind: Any) -> Any:
    """RTDETR takes no task, since it has only one."""
    return lambda path, task=None: kind(path)


def _keep_to_itself() -> None:
    """Switch off, in this process only, integrations that would report the run elsewhere or slow it down."""
    from ultralytics.utils import SETTINGS

    # dict.update: the settings' own update would write the user's file.
    dict.update(SETTINGS, {key: False for key in _INTEGRATIONS if key in SETTINGS} | {"api_key": ""})


def _seed_loader(loader: Any, seed: int) -> None:
    """Let the seed decide data order and augmentation in every Ultralytics version, as the later ones do it."""
    wanted = (_LOADER_SEED - 1 + seed) % 2**64  # -1: the rank of a process that trains alone
    generator = getattr(loader, "generator", None)
    if generator is not None and generator.initial_seed() != wanted:
        generator.manual_seed(wanted)
        loader.reset()


def count_transferred(source: Path, target: nn.Module) -> list[int]:
    """Return how many of a checkpoint's tensors are in a model, by value, and how many it has.

    Args:
        source: The checkpoint.
        target: A model before its first training step.
    """
    from yolo_attn.host.checkpoint import read_checkpoint

    offered = Counter(_digest(tensor) for tensor in read_checkpoint(source).state_dict().values())
    present = Counter(_digest(tensor) for tensor in target.state_dict().values())
    return [(offered & present).total(), offered.total()]


def _digest(tensor: torch.Tensor) -> str:
    data = tensor.detach().cpu().float().contiguous().numpy()
    return hashlib.blake2b(data.tobytes(), digest_size=16).hexdigest() + str(tuple(tensor.shape))


def _evaluate(
    weights: Path, document: dict[str, Any], settings: dict[str, Any], name: str, threads: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of a checkpoint, over all classes and mAP50-95 of each."""
    model = _model_class(document)(str(weights))
    model.add_callback("on_val_start", lambda validator: torch.set_num_threads(threads))
    result = model.val(**settings, name=name, plots=False)
    with contextlib.suppress(OSError):  # the validator makes a folder and, without plots, leaves it empty
        (Path(settings["project"]) / name).rmdir()
    box = result.box
    metrics = {"mAP50-95": box.map, "mAP50": box.map50, "mAP75": box.map75, "precision": box.mp, "recall": box.mr}
    per_class = {str(result.names[int(index)]): float(ap) for index, ap in zip(box.ap_class_index, box.ap, strict=True)}
    return {key: float(value) for key, value in metrics.items()}, per_class


def _cost(weights: Path, document: dict[str, Any], imgsz: int) -> dict[str, Any]:
    """Return parameters and GFLOPs (a multiplication and an addition count two) of one image."""
    module = _model_class(document)(str(weights)).model.float().cpu().eval()
    channels = int(document.get("channels", document.get("ch", 3)))
    return {
        "params": sum(parameter.numel() for parameter in module.parameters()),
        "gflops": count_flops(module, torch.zeros(1, channels, imgsz, imgsz)) / 1e9,
    }


def count_flops(module: nn.Module, image: torch.Tensor) -> int:
    """Return the floating-point operations of a forward pass, counted while it runs (2 per multiply-accumulate)."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(image)
    return int(counter.get_total_flops())


def _peak_memory() -> dict[str, float | None]:
    """Return the peak memory of this process so far, in MiB: its own, and on the CUDA device."""
    own = None
    if sys.platform != "win32":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        own = peak / (2**20 if sys.platform == "darwin" else 2**10)
    cuda = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    return {"process": own, "cuda": cuda}


def _count_epochs(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as stream:
        return max(0, sum(1 for row in csv.reader(stream) if row) - 1)


def _environment(threads: int) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
