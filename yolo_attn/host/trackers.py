"""Experiment trackers that receive what a trained model is, each as Ultralytics' own callbacks drive it.

A function here adds to the run that Ultralytics' callback has begun and does nothing without one. It imports no
tracker: Ultralytics' module of the tracker has imported it already.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["TRACKERS", "Provenance"]


@dataclass(frozen=True)
class Provenance:
    """What a model is and where it comes from.

    Args:
        files: The files of the training, `attention.yaml` and, if it was written, `model.yaml`.
        content: The content of the first.
    """

    files: tuple[Path, ...]
    content: dict[str, Any]


def _from_ultralytics(module: str, name: str) -> Any:
    """Return an attribute of Ultralytics' module of a tracker; None if the tracker is not installed."""
    return getattr(importlib.import_module(f"ultralytics.utils.callbacks.{module}"), name, None)


def _tensorboard(given: Provenance) -> None:
    if writer := _from_ultralytics("tensorboard", "WRITER"):
        for file in given.files:
            writer.add_text(file.name, f"```yaml\n{file.read_text(encoding='utf-8')}```")


def _mlflow(given: Provenance) -> None:
    mlflow = _from_ultralytics("mlflow", "mlflow")
    if mlflow and mlflow.active_run():
        mlflow.set_tags({f"attention.{key}": str(value)[:_LONGEST_TAG] for key, value in given.content.items()})
        for file in given.files:
            mlflow.log_artifact(str(file))


def _wandb(given: Provenance) -> None:
    wandb = _from_ultralytics("wb", "wb")
    if wandb and wandb.run:
        wandb.run.config.update({"attention": given.content}, allow_val_change=True)  # for a resumed run
        for file in given.files:
            shutil.copy(file, wandb.run.dir)  # whose files belong to the run


def _clearml(given: Provenance) -> None:
    clearml = _from_ultralytics("clearml", "clearml")
    if clearml and (task := clearml.Task.current_task()):
        for file in given.files:
            text = file.read_text(encoding="utf-8")
            task.set_configuration_object(file.name, config_text=text, config_type="yaml")


def _comet(given: Provenance) -> None:
    comet = _from_ultralytics("comet", "comet_ml")
    if comet and (experiment := getattr(comet, "get_running_experiment", comet.get_global_experiment)()):
        for file in given.files:
            experiment.log_asset(str(file), file_name=file.name, overwrite=True)


def _dvc(given: Provenance) -> None:
    if live := _from_ultralytics("dvc", "live"):
        live.log_params({"attention": given.content})


_LONGEST_TAG = 5000  # characters; MLflow's servers refuse longer ones

TRACKERS: dict[str, Callable[[Provenance], None]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
    "clearml": _clearml,
    "comet": _comet,
    "dvc": _dvc,
}
"""The trackers by their names in Ultralytics' settings."""
