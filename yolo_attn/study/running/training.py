"""Training and evaluation of one run through Ultralytics' public calls."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import yolo_attn  # noqa: F401  (registers the layers in Ultralytics' parser)
from yolo_attn.analysis.flops import count_flops
from yolo_attn.analysis.models import fitting_side, input_channels
from yolo_attn.analysis.norm_lag import norm_lag
from yolo_attn.analysis.viewer import record_maps
from yolo_attn.errors import UserError
from yolo_attn.host.checkpoint import read_checkpoint, weights_hash
from yolo_attn.host.installation import LOGGER, switch_off_integrations
from yolo_attn.host.model_kind import is_rtdetr, load_yolo
from yolo_attn.host.recorder import make_recorder
from yolo_attn.host.repeatable import check_state, find_trainer
from yolo_attn.host.transfer import align_every_model
from yolo_attn.stats.evaluation import Evaluation, evaluate
from yolo_attn.study.files import BEST_WEIGHTS, LAST_WEIGHTS, MAPS, MATCHES, MODEL, TRAIN
from yolo_attn.study.job import Job, Measurements
from yolo_attn.study.results.metrics import run_metrics
from yolo_attn.study.running.progress import count_epochs
from yolo_attn.study.specification.recipe import recipe_integer, recipe_max_det
from yolo_attn.system.processes import MEBIBYTE

__all__ = ["train_and_measure"]

# Keys of the recipe that evaluation uses.
_SHARED = (
    *("imgsz", "batch", "split", "workers", "iou", "max_det", "single_cls", "agnostic_nms", "classes"),
    *("nms", "overlap_mask", "mask_ratio"),
)
_MAPPED_IMAGES = 3
_NORMALIZED_IMAGES = 4  # on which the lag of batch norms is measured
_INTEGRATIONS = ("clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "tensorboard", "wandb", "sync")


@dataclass(frozen=True)
class _Evaluation:
    """The validation of one checkpoint.

    Args:
        found: Its predictions on every image.
        ultralytics: Metrics of Ultralytics' validator.
        image_root: The folder of the images.
    """

    found: Evaluation
    ultralytics: dict[str, float]
    image_root: str


def train_and_measure(folder: Path, job: Job) -> Measurements:
    """Train and evaluate one run; an interrupted one resumes from its last complete state.

    Args:
        folder: Its folder, with `model.yaml`.
        job: Its job.
    """
    inputs, threads = job.inputs, job.inputs.platform.threads
    # is_available() would initialize CUDA, after which earlier releases of Ultralytics cannot select another device.
    if inputs.platform.device == "cuda" and not torch.cuda.device_count():
        raise UserError("this run needs a GPU, and PyTorch finds none here; check CUDA_VISIBLE_DEVICES")
    switch_off_integrations(_INTEGRATIONS)
    torch.set_num_threads(threads)
    torch.manual_seed(job.seed)  # for this build; Ultralytics seeds again before it builds the model that it trains

    model = load_yolo(folder / MODEL, inputs.model, job.task)
    pretrained = {"pretrained": False}
    if job.weights:
        with align_every_model():
            model.load(job.weights)
        pretrained = {}
    # Ultralytics resets the number of threads when it selects a device.
    model.add_callback("on_pretrain_routine_end", lambda trainer: torch.set_num_threads(threads))
    trainer = find_trainer(job.task, rtdetr=is_rtdetr(inputs.model))
    earlier_seconds = check_state(folder)
    if not earlier_seconds:  # the output of an attempt without a state must not be mixed with the new one
        shutil.rmtree(folder / TRAIN, ignore_errors=True)
    began = time.perf_counter()
    rate = {} if inputs.lr_attention == 1 else {"lr_attention": inputs.lr_attention}
    location = _location(folder, job)
    model.train(trainer=trainer, **inputs.recipe, **rate, **pretrained, **location, seed=job.seed, name=TRAIN)
    seconds = earlier_seconds + time.perf_counter() - began
    trained, environment = _allocated_cuda(model.trainer.device), _environment(threads, model.trainer)
    start = weights_hash(job.weights) if job.weights else None
    measured = replace(_evaluate_run(folder, job, seconds), start=start, environment=environment)
    # Multi-GPU training runs in other processes, whose memory is unknown here.
    unknown = {"process": None, "cuda": None}
    return replace(measured, memory_mib=unknown if "," in str(job.device) else _peak_memory(trained))


def _location(folder: Path, job: Job) -> dict[str, object]:
    """Return the arguments of training and validation that are not part of the recipe."""
    return {"data": job.data, "device": job.device, "project": str(folder), "exist_ok": True}


def _evaluate_run(folder: Path, job: Job, seconds: float) -> Measurements:
    """Evaluate the checkpoints: last.pt is the result, since best.pt was chosen on the evaluated images."""
    recipe = job.inputs.recipe
    settings = {key: recipe[key] for key in _SHARED if key in recipe} | _location(folder, job)
    if job.device:
        settings["device"] = job.device.split(",")[0]
    last = _evaluate(folder / LAST_WEIGHTS, job, settings, "val-last")
    last.found.save(folder / MATCHES)
    learnt = _bootstrap(folder, job)
    numbers = evaluate(last.found)
    best = numbers["metrics"]
    if recipe.get("val", True):  # otherwise no epoch was validated, and best.pt is last.pt
        best = evaluate(_evaluate(folder / BEST_WEIGHTS, job, settings, "val-best").found)["metrics"]
    module, imgsz = read_checkpoint(folder / LAST_WEIGHTS).cpu().eval(), recipe_integer(recipe, "imgsz")
    images = [Path(last.image_root) / name for name in last.found.images[:_NORMALIZED_IMAGES]]
    record_maps(module, images[:_MAPPED_IMAGES], folder / MAPS, imgsz=imgsz)
    return Measurements(
        seconds=seconds,
        epochs=count_epochs(folder),
        metrics=numbers["metrics"],
        metrics_best=best,
        metrics_ultralytics=last.ultralytics,
        per_class=numbers["per_class"],
        learnt=learnt,
        images=len(last.found.images),
        instances=sum(last.found.counts()),
        params=sum(parameter.numel() for parameter in module.parameters()),
        gflops=_count_gflops(module, imgsz),
        norm_lag=norm_lag(module, images, imgsz=imgsz),
    )


def _bootstrap(folder: Path, job: Job) -> bool | None:
    """Compute the bootstrap here, and not in the one process that reports; return whether the run has learned.

    No finished run fails for it, as the time limit for a pattern of groups can be too short on a busy machine: the
    report computes what is missing.
    """
    try:
        return run_metrics(folder, job.task, groups=job.groups).learnt
    except UserError as error:
        LOGGER.warning(f"yolo-attn: left to the report: {error}")
        return None


def _evaluate(weights: Path, job: Job, settings: dict[str, object], name: str) -> _Evaluation:
    """Validate a checkpoint through Ultralytics and record its predictions on every image."""
    model = load_yolo(weights, job.inputs.model)
    recorder, threads = make_recorder(job.task, recipe_max_det(job.inputs.recipe)), job.inputs.platform.threads
    model.add_callback("on_val_start", lambda validator: torch.set_num_threads(threads))
    model.add_callback("on_val_start", recorder.attach)
    result = model.val(**settings, name=name, plots=False)
    with contextlib.suppress(OSError):  # the validator creates a folder, which is empty without plots
        (Path(str(settings["project"])) / name).rmdir()
    return _Evaluation(recorder.evaluation(), recorder.reported(result), recorder.image_root)


def _count_gflops(module: nn.Module, imgsz: int) -> float:
    """Return the GFLOPs of one image; a multiplication and an addition count as two operations."""
    side = fitting_side(module, imgsz)
    image = torch.zeros(1, input_channels(module), side, side)
    return count_flops(module, image) / 1e9


def _allocated_cuda(device: torch.device) -> float | None:
    """Return the peak memory of this process's tensors on a CUDA device, in MiB; None for another device."""
    return torch.cuda.max_memory_allocated(device) / MEBIBYTE if device.type == "cuda" else None


def _peak_memory(trained: float | None) -> dict[str, float | None]:
    """Return the peak memory of this process so far, in MiB.

    "process" is its resident memory. "cuda" is that of the tensors in training. "cuda_reserved" is what PyTorch has
    taken from the CUDA device, in the evaluation too, which other processes cannot use.

    Args:
        trained: That of the tensors in training; None without a GPU.
    """
    resident = None
    if sys.platform != "win32":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        resident = peak / (MEBIBYTE if sys.platform == "darwin" else 2**10)
    reserved = None if trained is None else torch.cuda.max_memory_reserved() / MEBIBYTE
    return {"process": resident, "cuda": trained, "cuda_reserved": reserved}


def _environment(threads: int, trainer: Any) -> dict[str, object]:
    """Return what a run was trained with.

    Args:
        threads: CPU threads of the run.
        trainer: Ultralytics' trainer, after the training.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name(trainer.device) if trainer.device.type == "cuda" else None,
        # Ultralytics switches mixed precision off where its check fails. Multi-GPU training decides in other processes.
        "amp": getattr(trainer, "amp", None),
    }
