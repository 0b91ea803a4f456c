"""What a run does: train through Ultralytics' ordinary calls, then measure what came out."""

from __future__ import annotations

import contextlib
import csv
import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import yolo_attn  # noqa: F401  (registers the layers in Ultralytics' parser)
from yolo_attn.analysis.flops import count_flops
from yolo_attn.analysis.gallery import record_maps
from yolo_attn.analysis.models import fitting_side, input_channels
from yolo_attn.host.checkpoint import read_checkpoint
from yolo_attn.host.installation import switch_off_integrations
from yolo_attn.host.model_kind import is_rtdetr, model_class
from yolo_attn.host.recorder import Recorder
from yolo_attn.host.repeatable import check_state, find_trainer
from yolo_attn.host.transfer import align_every_model
from yolo_attn.stats.ap import evaluate
from yolo_attn.stats.matches import Matches
from yolo_attn.study.files import BEST_WEIGHTS, LAST_WEIGHTS, MAPS, MATCHES, MODEL, TRAIN, TRAIN_TABLE
from yolo_attn.study.results.measured import measure

__all__ = ["train_and_measure"]

# What evaluation takes over from the recipe, beside image size and batch.
_SHARED = ("imgsz", "batch", "split", "workers", "iou", "conf", "max_det", "single_cls", "agnostic_nms", "classes")
_MAPPED_IMAGES = 3
_INTEGRATIONS = ("clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "tensorboard", "wandb", "sync")


def train_and_measure(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Train and evaluate one run; cut short before, it goes on from the last whole state.

    Args:
        folder: Its folder, with `model.yaml`.
        order: Its `run.json`.

    Returns:
        What a result holds, beside its status and key.
    """
    inputs = order["inputs"]
    recipe, seed, threads = inputs["recipe"], int(inputs["seed"]), int(inputs["threads"])
    document: dict[str, Any] = inputs["model"]
    _keep_to_itself()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)  # the first build; Ultralytics seeds again for the one that it trains

    model = _model_class(document)(str(folder / MODEL), task=order["task"])
    pretrained = {"pretrained": False}
    if order["weights"]:
        with align_every_model():
            model.load(order["weights"])
        pretrained = {}
    # Ultralytics resets the thread count when it chooses a device.
    model.add_callback("on_pretrain_routine_end", lambda trainer: torch.set_num_threads(threads))
    shared = {"data": order["data"], "device": order["device"], "project": str(folder), "exist_ok": True}
    trainer = find_trainer(order["task"], rtdetr=is_rtdetr(document))
    before = check_state(folder)
    if not before:  # what is left of an attempt that there is no state of would be mixed with this one's
        shutil.rmtree(folder / TRAIN, ignore_errors=True)
    began = time.perf_counter()
    model.train(trainer=trainer, **recipe, **pretrained, **shared, seed=seed, name=TRAIN)
    seconds = before + time.perf_counter() - began
    # Multi-GPU training is done by other processes, of which nothing is known here.
    memory = {"process": None, "cuda": None} if "," in str(order["device"]) else _peak_memory()
    return {
        "seconds": seconds,
        "epochs": _count_epochs(folder / TRAIN_TABLE),
        **_measure(folder, order, shared),
        "memory_mib": memory,
        "environment": _environment(threads),
    }


def _measure(folder: Path, order: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Evaluate the checkpoints: last.pt is the result, since best.pt was chosen on the images that it is told of."""
    inputs = order["inputs"]
    recipe, threads = inputs["recipe"], int(inputs["threads"])
    device = shared["device"]
    one_device = {"device": str(device).split(",")[0]} if device else {}
    settings = {key: recipe[key] for key in _SHARED if key in recipe} | shared | one_device
    last = _evaluate(folder / LAST_WEIGHTS, inputs["model"], settings, "val-last", threads)
    last.matches.save(folder / MATCHES)
    measured = measure(folder)  # the bootstrap, here and not in the one process that reports
    numbers = evaluate(last.matches)
    best = numbers["metrics"]
    if recipe.get("val", True):  # otherwise only the last epoch was ever validated, and best.pt is last.pt
        other = _evaluate(folder / BEST_WEIGHTS, inputs["model"], settings, "val-best", threads)
        best = evaluate(other.matches)["metrics"]
    module, imgsz = read_checkpoint(folder / LAST_WEIGHTS).cpu().eval(), int(recipe.get("imgsz", 640))
    pictures = [Path(last.image_root) / name for name in last.matches.images[:_MAPPED_IMAGES]]
    record_maps(module, pictures, folder / MAPS, imgsz=imgsz)
    return {
        "metrics": numbers["metrics"],
        "metrics_best": best,
        "metrics_ultralytics": last.stock,
        "per_class": numbers["per_class"],
        "learnt": measured.learnt,
        "images": len(last.matches.images),
        "instances": len(last.matches.gt_class),
        **_cost(module, imgsz),
    }


def _model_class(document: dict[str, Any]) -> Any:
    """Return the Ultralytics class for a model YAML: the file is always `model.yaml`, so its name cannot tell."""
    cls = model_class(document)
    return _without_task(cls) if is_rtdetr(document) else cls


def _without_task(kind: Any) -> Any:
    """RTDETR takes no task, since it has only one."""
    return lambda path, task=None: kind(path)


def _keep_to_itself() -> None:
    """Switch off, in this process only, integrations that would report the run elsewhere or slow it down."""
    switch_off_integrations(_INTEGRATIONS)


@dataclass(frozen=True)
class _Evaluation:
    """What the validation of one checkpoint gave."""

    matches: Matches
    stock: dict[str, float]
    image_root: str


def _evaluate(
    weights: Path, document: dict[str, Any], settings: dict[str, Any], name: str, threads: int
) -> _Evaluation:
    """Validate a checkpoint through Ultralytics, and record what it found on each image."""
    model = _model_class(document)(str(weights))
    recorder = Recorder()
    model.add_callback("on_val_start", lambda validator: torch.set_num_threads(threads))
    model.add_callback("on_val_start", recorder.attach)
    result = model.val(**settings, name=name, plots=False)
    with contextlib.suppress(OSError):  # the validator makes a folder and, without plots, leaves it empty
        (Path(settings["project"]) / name).rmdir()
    scored = next((getattr(result, kind) for kind in ("seg", "pose") if hasattr(result, kind)), result.box)
    names = ("mAP50-95", "mAP50", "mAP75", "precision", "recall")
    values = (scored.map, scored.map50, scored.map75, scored.mp, scored.mr)
    stock = {key: float(value) for key, value in zip(names, values, strict=True)}
    return _Evaluation(recorder.matches(), stock, recorder.image_root)


def _cost(module: nn.Module, imgsz: int) -> dict[str, Any]:
    """Return parameters and GFLOPs (a multiplication and an addition count two) of one image."""
    side = fitting_side(module, imgsz)
    image = torch.zeros(1, input_channels(module), side, side)
    return {
        "params": sum(parameter.numel() for parameter in module.parameters()),
        "gflops": count_flops(module, image) / 1e9,
    }


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
