"""Recording of the labels and predictions of Ultralytics' validators, image by image.

A validator keeps hits per detection, ranked classes, or a confusion matrix of pixels, but not the images.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ultralytics.data import build_dataloader
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.utils import ops

from yolo_attn.stats.evaluation import Evaluation
from yolo_attn.stats.matches import MAX_DETECTIONS, Matches, MatchesBuilder
from yolo_attn.stats.overlaps import Overlaps, OverlapsBuilder
from yolo_attn.stats.predictions import Predictions

__all__ = ["ClassificationRecorder", "DetectionRecorder", "Recorder", "SegmentationRecorder", "make_recorder"]

_PLAIN_BOX = 4  # x, y, x, y; a fifth number is an angle


class Recorder(ABC):
    """Records one validation.

    Add `recorder.attach` as a callback on "on_val_start", validate, and call `evaluation()`.

    Attributes:
        image_root: The folder that the names of the images are relative to.
    """

    def __init__(self) -> None:
        self.image_root = ""

    @abstractmethod
    def attach(self, validator: Any) -> None:
        """Record a validator that is about to start."""

    @abstractmethod
    def evaluation(self) -> Evaluation:
        """Return what was recorded."""

    @abstractmethod
    def reported(self, result: Any) -> dict[str, float]:
        """Return the metrics that the validator computed itself, by their names in a study.

        Args:
            result: The return value of `model.val()`.
        """

    def _locate(self, files: Sequence[str]) -> None:
        """Set the folder that contains all images."""
        self.image_root = os.path.commonpath([os.path.dirname(file) for file in files])  # noqa: PTH120

    def _name(self, file: str) -> str:
        return os.path.relpath(file, self.image_root).replace(os.sep, "/")


def make_recorder(task: str, max_detections: int = MAX_DETECTIONS) -> Recorder:
    """Return a recorder for the validators of a task.

    Args:
        task: The task.
        max_detections: Largest number of detections per image and class that are matched.
    """
    kinds: Mapping[str, type[Recorder]] = {"classify": ClassificationRecorder, "semantic": SegmentationRecorder}
    return kinds[task]() if task in kinds else DetectionRecorder(max_detections)


# --- classification and semantic segmentation -----------------------------------------------------------------------


class ClassificationRecorder(Recorder):
    """Records the class of each image and the classes predicted for it."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._images: list[str] = []
        self._true: list[int] = []
        self._ranked: list[list[int]] = []

    def attach(self, validator: Any) -> None:
        """Record a validator that is about to start."""
        dataset = validator.dataloader.dataset
        files = [str(sample[0]) for sample in dataset.samples]
        self._locate(files)
        self._images = [self._name(file) for file in files]
        # The stock loader shuffles, and a batch does not name its images.
        validator.dataloader = build_dataloader(
            dataset, validator.args.batch, validator.args.workers, shuffle=False, rank=-1
        )
        validator.update_metrics = self._on_batch(validator, validator.update_metrics)

    def _on_batch(self, validator: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        def update_metrics(preds: Any, batch: dict[str, Any]) -> None:
            original(preds, batch)
            self._names = [str(name) for _, name in sorted(validator.names.items())]
            self._true += validator.targets[-1].tolist()
            self._ranked += validator.pred[-1].tolist()

        return update_metrics

    def evaluation(self) -> Predictions:
        """Return the recorded predictions."""
        return Predictions.of(self._names, zip(self._images, self._true, self._ranked, strict=True))

    def reported(self, result: Any) -> dict[str, float]:
        """Return the validator's accuracies."""
        return {"top-1": float(result.top1), "top-5": float(result.top5)}


class SegmentationRecorder(Recorder):
    """Records the pixels of each class, at the size at which the validator compares labels and predictions."""

    def __init__(self) -> None:
        super().__init__()
        self._images: list[str] = []
        self._builder: OverlapsBuilder | None = None

    def attach(self, validator: Any) -> None:
        """Record a validator that is about to start."""
        files = [str(file) for file in validator.dataloader.dataset.im_files]
        self._locate(files)
        self._images = [self._name(file) for file in files]
        validator.update_metrics = self._on_batch(validator, validator.update_metrics)

    def _on_batch(self, validator: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        def update_metrics(preds: Any, batch: dict[str, Any]) -> None:
            original(preds, batch)
            names = [str(name) for _, name in sorted(validator.metrics.names.items())]
            builder = self._builder = self._builder or OverlapsBuilder(names, self._images)
            for file, true, predicted in zip(batch["im_file"], batch["semantic_mask"], preds, strict=True):
                builder.add_image(self._name(file), true.cpu().numpy(), predicted.cpu().numpy())

        return update_metrics

    def evaluation(self) -> Overlaps:
        """Return the recorded pixels."""
        if self._builder is None:
            raise RuntimeError("nothing was recorded: the validator processed no image")
        return self._builder.build()

    def reported(self, result: Any) -> dict[str, float]:
        """Return the validator's mean IoU and pixel accuracy."""
        return {"mIoU": float(result.miou), "pixel-accuracy": float(result.pixel_accuracy)}


# --- detection ------------------------------------------------------------------------------------------------------


_Detections = tuple[torch.Tensor, np.ndarray, np.ndarray]  # boxes in pixels of the input, scores, classes


@dataclass(frozen=True)
class _Boxes:
    """Boxes in pixels of the original image: corners (N, 4) of their axis-aligned frames, and areas (N)."""

    corners: np.ndarray
    areas: np.ndarray


class DetectionRecorder(Recorder):
    """Records objects and detections, after non-maximum suppression, in pixels of the original image.

    Each pair has the similarity that the task is scored by: box IoU, mask IoU, keypoint similarity or probabilistic
    IoU.

    Args:
        max_detections: Largest number of detections per image and class that are matched.
    """

    def __init__(self, max_detections: int = MAX_DETECTIONS) -> None:
        super().__init__()
        self._max_detections = max_detections
        self._builder: MatchesBuilder | None = None
        self._similarity: dict[int, np.ndarray] = {}
        self._image = -1

    def attach(self, validator: Any) -> None:
        """Record a validator that is about to start."""
        self._locate([str(file) for file in validator.dataloader.dataset.im_files])
        validator.update_metrics = self._on_batch(validator, validator.update_metrics)
        validator._prepare_batch = self._on_image(validator._prepare_batch)
        validator.match_predictions = self._on_match(validator.match_predictions)

    def evaluation(self) -> Matches:
        """Return the recorded matches."""
        if self._builder is None:
            raise RuntimeError("nothing was recorded: the validator processed no image")
        return self._builder.build()

    def reported(self, result: Any) -> dict[str, float]:
        """Return the validator's average precision, precision and recall."""
        scored = next((getattr(result, kind) for kind in ("seg", "pose") if hasattr(result, kind)), result.box)
        values = (scored.map, scored.map50, scored.map75, scored.mp, scored.mr)
        return dict(zip(Matches.reported, map(float, values), strict=True))

    def _on_batch(self, validator: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        def update_metrics(preds: Any, batch: dict[str, Any]) -> None:
            builder = self._builder = self._builder or MatchesBuilder(
                [str(name) for _, name in sorted(validator.data["names"].items())], self._max_detections
            )
            found = [_detections(preds, i) for i in range(len(batch["im_file"]))]
            self._similarity.clear()
            original(preds, batch)
            for i, detections in enumerate(found):
                self._add(builder, validator, batch, i, detections)

        return update_metrics

    def _on_image(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def prepare_batch(image: int, *args: Any, **kwargs: Any) -> Any:
            self._image = image
            return original(image, *args, **kwargs)

        return prepare_batch

    def _on_match(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def match_predictions(pred: Any, true: Any, iou: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            # Masks and keypoints are matched after boxes; the task is scored by the last.
            self._similarity[self._image] = iou.detach().cpu().numpy().astype(np.float64)
            return original(pred, true, iou, *args, **kwargs)

        return match_predictions

    def _add(
        self, builder: MatchesBuilder, validator: Any, batch: dict[str, Any], image: int, detections: _Detections
    ) -> None:
        boxes, scores, classes = detections
        mine = batch["batch_idx"] == image
        to_original = _Geometry(validator, batch, image)
        true = batch["bboxes"][mine].float().clone()
        true[:, :_PLAIN_BOX] *= true.new_tensor(batch["img"].shape[2:])[[1, 0, 1, 0]]
        objects = to_original(true if true.shape[1] > _PLAIN_BOX else ops.xywh2xyxy(true), clip=False)
        found = to_original(boxes, clip=True)
        true_classes = batch["cls"][mine].reshape(-1).cpu().numpy().astype(np.int64)
        if validator.args.single_cls:
            classes, true_classes = np.zeros_like(classes), np.zeros_like(true_classes)
        similarity = self._similarity.get(image)
        if similarity is None or (boxes.shape[1] == _PLAIN_BOX and not _has_shapes(batch)):
            similarity = _box_iou(objects.corners, found.corners)
        builder.add_image(
            self._name(batch["im_file"][image]),
            gt_class=true_classes,
            gt_area=objects.areas,
            gt_box=objects.corners,
            det_class=classes,
            det_score=scores,
            det_area=found.areas,
            det_box=found.corners,
            similarity=similarity,
        )


class _Geometry:
    """Conversion from pixels of the network's input to pixels of the original image."""

    def __init__(self, validator: Any, batch: dict[str, Any], image: int) -> None:
        self.size = tuple(batch["img"].shape[2:])
        self.original = tuple(batch["ori_shape"][image])
        self.ratio_pad = batch["ratio_pad"][image]
        self.stretched = isinstance(validator, RTDETRValidator)

    def __call__(self, boxes: torch.Tensor, *, clip: bool) -> _Boxes:
        boxes = boxes.detach().cpu().double()
        if boxes.shape[1] > _PLAIN_BOX:  # center, sizes, angle
            frames = ops.xywhr2xyxyxyxy(boxes)
            corners = self._move(torch.cat([frames.amin(1), frames.amax(1)], 1) if len(boxes) else boxes[:, :4])
            sizes = self._move(torch.cat([torch.zeros_like(boxes[:, 2:4]), boxes[:, 2:4]], 1), shift=False)
            return _Boxes(corners.numpy(), (sizes[:, 2] * sizes[:, 3]).numpy())
        corners = self._move(boxes)
        if clip:
            height, width = self.original
            corners = torch.minimum(corners.clamp(min=0), corners.new_tensor([width, height, width, height]))
        sides = (corners[:, 2:] - corners[:, :2]).clamp(min=0)
        return _Boxes(corners.numpy(), sides.prod(1).numpy())

    def _move(self, corners: torch.Tensor, *, shift: bool = True) -> torch.Tensor:
        if self.stretched:
            scale = [self.original[1] / self.size[1], self.original[0] / self.size[0]]
            return corners * torch.tensor(scale * 2, dtype=corners.dtype)
        # The gains differ, because the resized sides are whole pixels; stock code uses the first for both.
        (down, across), pad = self.ratio_pad
        moved = corners - corners.new_tensor([*pad, *pad]) if shift else corners
        return moved / torch.tensor([across, down] * 2, dtype=corners.dtype)


def _has_shapes(batch: dict[str, Any]) -> bool:
    """Return whether objects are scored by masks or keypoints in addition to boxes."""
    return any(key in batch for key in ("masks", "keypoints"))


def _detections(preds: Any, image: int) -> _Detections:
    """Return boxes, scores and classes of an image from the predictions of any supported release."""
    if isinstance(preds, tuple):  # segmentation in early releases: (detections, mask prototypes)
        preds = preds[0]
    found = preds[image]
    if isinstance(found, dict):
        boxes, scores, classes = found["bboxes"], found["conf"], found["cls"]
    else:  # early releases: x, y, x, y, score, class, then masks, keypoints or the angle
        boxes, scores, classes = found[:, :4], found[:, 4], found[:, 5]
        if found.shape[1] == _PLAIN_BOX + 3:
            boxes = torch.cat([boxes, found[:, 6:]], 1)
    return boxes.detach().clone(), _array(scores), _array(classes).astype(np.int64)


def _array(values: torch.Tensor) -> np.ndarray:
    array: np.ndarray = np.array(values.detach().float().cpu())
    return array


def _box_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the IoU of axis-aligned boxes, (N, 4) and (M, 4) to (N, M)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    similarity: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return similarity
