"""Detections of a network on images, with Ultralytics' own predictor, and its class activation map."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn
from ultralytics.models import rtdetr, yolo
from ultralytics.nn import tasks
from ultralytics.utils import plotting

from yolo_attn.errors import UserError
from yolo_attn.host.installation import quiet_log, ultralytics_version

__all__ = ["Detection", "Detector", "Prediction", "classifies", "detects", "stretches"]

Image = NDArray[np.uint8]

_MODULES = {"detect": "Detection", "segment": "Segmentation", "pose": "Pose", "obb": "OBB"}  # with detections, by task


@dataclass(frozen=True)
class Detection:
    """One detection.

    Args:
        box: x and y of the upper left and the lower right corner, in pixels of the image.
        label: The class.
        score: Its confidence.
    """

    box: tuple[float, float, float, float]
    label: str
    score: float

    @property
    def center(self) -> tuple[float, float]:
        """The center of the box, x and y."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True)
class Prediction:
    """What a network predicts on an image.

    Args:
        detections: The detections, the most confident first.
        activation: Ultralytics' class activation map over the letterboxed image, BGR; None if it was not requested.
    """

    detections: tuple[Detection, ...]
    activation: Image | None = None


class Detector:
    """Predicts with a copy of a network, which Ultralytics would change by fusing its batch norms.

    Args:
        network: The network.
        imgsz: Pixels of the longer side.
        conf: Least confidence of a detection.
        activation: Whether Ultralytics' class activation map (LayerCAM) is computed, too.

    Raises:
        UserError: The network is none of Ultralytics' or has another task, or the installed Ultralytics has no class
            activation map.
    """

    def __init__(self, network: nn.Module, *, imgsz: int, conf: float, activation: bool = False) -> None:
        if activation and not hasattr(plotting, "class_activation_map"):
            raise UserError(
                f"cam=True: Ultralytics {ultralytics_version()} has no class activation map; install a newer release: "
                "pip install -U ultralytics"
            )
        self._network = copy.deepcopy(network)
        self._activation = activation
        self._folder = tempfile.TemporaryDirectory()
        overrides: dict[str, Any] = {"imgsz": imgsz, "conf": conf, "visualize": activation}
        overrides |= {"mode": "predict", "batch": 1, "rect": True, "verbose": False, "save": False}  # as `YOLO.predict`
        overrides |= {"project": self._folder.name, "name": "activation", "exist_ok": True}
        self._predictor = _predictor_class(network, activation=activation)(overrides=overrides)

    def __call__(self, image: Image) -> Prediction:
        """Predict on an image (H, W, 3), BGR."""
        with quiet_log():
            (result,) = self._predictor(image, model=self._network)
        boxes = result.boxes if result.boxes is not None else result.obb
        values = zip(boxes.xyxy.tolist(), boxes.cls.tolist(), boxes.conf.tolist(), strict=True)
        detections = [Detection(tuple(box), str(result.names[int(kind)]), score) for box, kind, score in values]
        detections.sort(key=lambda found: -found.score)
        return Prediction(tuple(detections), self._read_activation() if self._activation else None)

    def _read_activation(self) -> Image | None:
        """Return the image that Ultralytics wrote, and remove it."""
        file = next(Path(self._folder.name).rglob("*_cam*.jpg"), None)
        if file is None:
            raise UserError("cam=True: Ultralytics wrote no class activation map; leave out cam=True")
        image = cv2.imread(str(file))
        file.unlink()
        return None if image is None else np.asarray(image, np.uint8)


def detects(network: nn.Module) -> bool:
    """Return whether a network is one of Ultralytics', with a task that has detections."""
    return _task_of(network) in _MODULES


def classifies(network: nn.Module) -> bool:
    """Return whether Ultralytics crops the images of a network to their central square."""
    return isinstance(network, tasks.ClassificationModel)


def stretches(network: nn.Module) -> bool:
    """Return whether Ultralytics stretches the images of a network to a square, instead of letterboxing them."""
    return isinstance(network, tasks.RTDETRDetectionModel)


def _predictor_class(network: nn.Module, *, activation: bool) -> Any:
    """Return Ultralytics' predictor for a network.

    Raises:
        UserError: The network detects nothing.
    """
    if not detects(network):
        instead = "leave out cam=True" if activation else "give points as point=x,y"
        raise UserError(f"the model's task is {_task_of(network) or 'unknown'}, which has no detections; {instead}")
    if isinstance(network, tasks.RTDETRDetectionModel):
        return rtdetr.RTDETRPredictor
    task = _task_of(network)
    return getattr(getattr(yolo, task), f"{_MODULES[task]}Predictor")


def _task_of(network: nn.Module) -> str:
    """Return the task of a network of Ultralytics; "" for others, which its predictors cannot run."""
    if not isinstance(network, tasks.BaseModel):
        return ""
    return "detect" if isinstance(network, tasks.RTDETRDetectionModel) else str(tasks.guess_model_task(network) or "")
