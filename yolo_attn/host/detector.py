"""Detections of a network on images, with Ultralytics' own predictor, and its class activation map."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn
from ultralytics.models import rtdetr, yolo
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER, plotting

from yolo_attn.errors import UserError
from yolo_attn.host.installation import ultralytics_version

__all__ = ["Detection", "Detector", "Prediction", "detects"]

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
        UserError: The network has another task, or the installed Ultralytics has no class activation map.
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
        self._predictor = _predictor_class(network)(overrides=overrides)

    def __call__(self, image: Image) -> Prediction:
        """Predict on an image (H, W, 3), BGR."""
        with _quiet():
            (result,) = self._predictor(image, model=self._network)
        boxes = result.boxes if result.boxes is not None else result.obb
        values = zip(boxes.xyxy.tolist(), boxes.cls.tolist(), boxes.conf.tolist(), strict=True)
        detections = [Detection(tuple(box), str(result.names[int(kind)]), score) for box, kind, score in values]
        detections.sort(key=lambda found: -found.score)
        return Prediction(tuple(detections), self._read_activation() if self._activation else None)

    def _read_activation(self) -> Image | None:
        """Return the picture that Ultralytics wrote, and remove it."""
        (file,) = Path(self._folder.name).rglob("*_cam*.jpg")
        picture = cv2.imread(str(file))
        file.unlink()
        return None if picture is None else np.asarray(picture, np.uint8)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log of Ultralytics."""
    level = LOGGER.level
    LOGGER.setLevel("ERROR")
    try:
        yield
    finally:
        LOGGER.setLevel(level)


def detects(network: nn.Module) -> bool:
    """Return whether a network's task has detections."""
    return isinstance(network, tasks.RTDETRDetectionModel) or tasks.guess_model_task(network) in _MODULES


def _predictor_class(network: nn.Module) -> Any:
    """Return Ultralytics' predictor for a network.

    Raises:
        UserError: The network detects nothing.
    """
    if isinstance(network, tasks.RTDETRDetectionModel):
        return rtdetr.RTDETRPredictor
    task = tasks.guess_model_task(network)
    if task not in _MODULES:
        raise UserError(f"the model's task is {task or 'unknown'}, which has no detections; give points as point=x,y")
    return getattr(getattr(yolo, task), f"{_MODULES[task]}Predictor")
