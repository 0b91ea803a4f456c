"""What decides a run's result, and its hash: two runs with the same key give the same numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError
from yolo_attn.study.plan import Arm, Run, Study

__all__ = ["build_arms", "data_fingerprint", "device_kind", "make_run", "study_task", "versions", "weights_fingerprint"]


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
    from ultralytics.nn.tasks import guess_model_task

    return str(guess_model_task(dict(model)))


def build_arms(study: Study) -> list[Arm]:
    """Return the baseline and the variants of a study, in the order of the report.

    A placement that is misspelt stops here, before anything is trained. A model file that cannot be read as a model
    becomes an arm with an error: it is shown with it, and the others run.

    Raises:
        UserError: A base or a placement that does not exist, or two arms that are the same model.
    """
    from yolo_attn.host.names import find_model_yaml
    from yolo_attn.host.variant import YAML_SUFFIXES, base_yaml, make_variant

    weights = _checkpoint(study.base) if study.is_checkpoint else None
    arms = [Arm(Path(study.base).stem, "baseline", _plain(base_yaml(study.base)), weights)]
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
    _refuse_equal(arms)
    return arms


def _refuse_equal(arms: list[Arm]) -> None:
    for place, arm in enumerate(arms):
        for other in arms[:place]:
            if arm.name == other.name:
                raise UserError(f"variants: two arms have the name {arm.name}; rename one of the files")
            if arm.model and arm.model == other.model:
                raise UserError(f"variants: {arm.name} and {other.name} are the same model; drop one")


def _plain(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model YAML without the note of where it was read, which would make equal models differ."""
    return {key: value for key, value in model.items() if key != "yaml_file"}


def _checkpoint(base: str) -> Path:
    """Return the path of a checkpoint; Ultralytics downloads its own."""
    from ultralytics.utils.downloads import attempt_download_asset

    return Path(attempt_download_asset(base)).resolve()


def weights_fingerprint(path: Path | None) -> str | None:
    """Return the hash of a checkpoint's content."""
    return None if path is None else _hash_file(path)


def data_fingerprint(data: str, task: str, split: str = "val") -> str:
    """Check a dataset and return a hash of its classes, images and labels; it does not change with place or dates.

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
    return summary.digest or data  # an archive or a URL is not looked into


def _download(data: str) -> None:
    from ultralytics.data.utils import check_det_dataset

    try:
        check_det_dataset(data)
    except (OSError, SyntaxError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"data={data}: could not be downloaded ({' '.join(str(error).split())})") from None


def _hash_file(path: Path) -> str:
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
