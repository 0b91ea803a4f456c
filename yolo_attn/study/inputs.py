"""What decides a run's result, and its hash: two runs with the same key give the same numbers."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError
from yolo_attn.graph.shorthand import base_of, stem_of
from yolo_attn.study.plan import Arm, Run, Study

__all__ = [
    "Dataset",
    "build_arms",
    "device_kind",
    "free_gpus",
    "make_run",
    "read_dataset",
    "shared_start",
    "study_task",
    "versions",
    "weights_fingerprint",
]


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    import torch
    import ultralytics

    import yolo_attn

    return {
        "yolo-attn": yolo_attn.__version__,
        "ultralytics": str(ultralytics.__version__),
        "torch": str(torch.__version__),
    }


def device_kind(device: str | None) -> str:
    """Return the kind of device that Ultralytics will take: "cpu", "cuda", "mps", …."""
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.split(":")[0]
    return kind if kind.isalpha() else "cuda"


def study_task(model: Mapping[str, Any]) -> str:
    """Return the task of a model YAML."""
    from yolo_attn.host.checkpoint import task_of

    return task_of(model)


def build_arms(study: Study) -> list[Arm]:
    """Return the baseline, the variants and the controls of a study, in the order of the report.

    A placement that is misspelt stops here, before anything is trained. A model file that cannot be read as a model
    becomes an arm with an error: it is shown with it, and the others run.

    Raises:
        UserError: A base or a placement that does not exist, or two arms with one name.
    """
    from yolo_attn.host.names import find_model_yaml
    from yolo_attn.host.variant import YAML_SUFFIXES, base_yaml, make_variant

    weights = _checkpoint(base_of(study.base)) if study.is_checkpoint else None
    arms = [Arm(stem_of(study.base), "baseline", _plain(base_yaml(study.base)), weights)]
    for text in study.variants:
        try:
            variant = make_variant(study.base, text)
        except UserError as error:
            if Path(text).suffix not in YAML_SUFFIXES:
                raise
            find_model_yaml(text)  # a file that is not there is a slip of the pen as well
            arms.append(Arm(Path(text).stem, "variant", weights=weights, error=str(error)))
        else:
            arms.append(Arm(variant.name, "variant", _plain(variant.yaml), weights))
    arms += [_control(name, arms, weights) for name in study.controls]
    _refuse_equal_names(arms)
    return arms


def _control(name: str, arms: Sequence[Arm], weights: Path | None) -> Arm:
    """Return a control arm; one that cannot be made is shown with its error."""
    from yolo_attn.host.geometry import model_cost
    from yolo_attn.study.controls import null_model, widened_model

    variants = [arm.model for arm in arms[1:] if arm.model]
    try:
        if name == "null":
            return Arm(name, "control", null_model(arms[0].model, variants), weights)
        largest = max((model_cost(dict(model)).params for model in variants), default=0)
        return Arm(name, "control", widened_model(arms[0].model, largest), weights)
    except UserError as error:
        return Arm(name, "control", weights=weights, error=str(error))


def _refuse_equal_names(arms: list[Arm]) -> None:
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"variants: two arms have the name {name}; rename one of the files")


def _plain(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model YAML without the note of where it was read, which would make equal models differ."""
    return {key: value for key, value in model.items() if key != "yaml_file"}


def _checkpoint(base: str) -> Path:
    """Return the path of a checkpoint; Ultralytics downloads its own."""
    from ultralytics.utils.downloads import attempt_download_asset

    return Path(attempt_download_asset(base)).resolve()


def weights_fingerprint(path: Path | None) -> str | None:
    """Return the hash of a checkpoint's content."""
    if path is None:
        return None
    state = path.stat()
    return _hash_file(path, state.st_mtime_ns, state.st_size)


@dataclass(frozen=True)
class Dataset:
    """What a study needs to know of its dataset.

    Args:
        digest: Hash of classes, images and labels; it does not change with place or dates.
        names: Names of the classes.
        images: Images of the split that is evaluated.
        instances: Objects in them.
        train_images: Images of the training split.
    """

    digest: str
    names: Mapping[int, str]
    images: int | None = None
    instances: int | None = None
    train_images: int | None = None


def read_dataset(data: str, task: str, split: str = "val") -> Dataset:
    """Check a dataset and return what a study needs of it.

    Args:
        data: Resolved dataset; Ultralytics downloads it when it is not there.
        task: What its labels are for.
        split: The split that is evaluated.

    Raises:
        UserError: The dataset cannot be had, or has a fault.
    """
    from yolo_attn.data import check_data

    splits = tuple(dict.fromkeys(["train", split]))
    summary = check_data(data, task, splits)
    if not summary.present:
        _download(data)
        summary = check_data(data, task, splits)
    trained, evaluated = summary.splits.get("train"), summary.splits.get(split)
    return Dataset(
        summary.digest or data,  # an archive or a URL is not looked into
        summary.names,
        evaluated.images if evaluated else None,
        evaluated.instances if evaluated else None,
        trained.images if trained else None,
    )


def shared_start(arm: Arm, baseline: Arm, task: str, classes: int) -> list[int] | None:
    """Return how many of the base's tensors an arm starts with, and of how many; None when it cannot be built."""
    from yolo_attn.host.start import shared_tensors

    try:
        return list(shared_tensors(baseline.model, arm.model, task, classes, arm.weights))
    except (UserError, ValueError, TypeError, RuntimeError, KeyError, IndexError):
        return None  # its run will fail, with the same error, and show it


def free_gpus() -> list[str]:
    """Return the CUDA devices that this process sees, by the numbers that its children may use."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [name for name in (visible or "").split(",") if name]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def _download(data: str) -> None:
    from ultralytics.data.utils import check_det_dataset

    try:
        check_det_dataset(data)
    except (OSError, SyntaxError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"data={data}: could not be downloaded ({' '.join(str(error).split())})") from None


@functools.lru_cache(maxsize=8)
def _hash_file(path: Path, changed: int, size: int) -> str:
    """Return a file's hash, computed once for all runs that start from it, as long as it does not change."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_run(arm: Arm, seed: int, common: Mapping[str, Any]) -> Run:
    """Return a run with its key.

    Args:
        arm: Its arm.
        seed: Its seed.
        common: What all runs of the study share: data, recipe, versions, device and threads.
    """
    inputs = {**common, "model": arm.model, "weights": weights_fingerprint(arm.weights), "seed": seed}
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Run(arm, seed, inputs, hashlib.sha256(text.encode()).hexdigest())
