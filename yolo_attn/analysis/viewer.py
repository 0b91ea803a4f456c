"""Computes the attention maps of one or more models for images, and writes them as figures and arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from yolo_attn.analysis.found_layers import find_layers, offers_readings
from yolo_attn.analysis.gallery import Gallery
from yolo_attn.analysis.letterbox import Image
from yolo_attn.analysis.mapfile import save_maps
from yolo_attn.analysis.maps import ImageMaps, Statistics, image_maps, trained_side
from yolo_attn.analysis.models import fitting_side, input_channels, network_of
from yolo_attn.analysis.queries import DETECTIONS, Asked, Query
from yolo_attn.analysis.sources import Shown, Source, find_sources
from yolo_attn.errors import UserError, counted
from yolo_attn.host.detector import Detection, Detector, Prediction, detects
from yolo_attn.host.placement import place_layer

if TYPE_CHECKING:
    from yolo_attn.analysis.writer import MapWriter

__all__ = ["Request", "check_attention", "make_gallery", "new_folder", "record_maps"]

_MOST_DETECTIONS = 8  # that are queries, so that a figure stays readable


@dataclass(frozen=True)
class Request:
    """What is computed for each image.

    Args:
        imgsz: Pixels of the longer side; None for that of the training, if known.
        queries: Points for the weights of self-attention, or "detections" for the centers of the detections of the
            first model; None for none.
        conf: Least confidence of a detection.
        cam: Whether Ultralytics' class activation map is computed, too.
        every: Distance of the frames of a video; None for every frame if a video is written, else for one a second.
    """

    imgsz: int | None = None
    queries: Asked | None = None
    conf: float = 0.25
    cam: bool = False
    every: int | None = None


def make_gallery(
    models: Mapping[str, nn.Module],
    source: str | Path | Image | Sequence[Path],
    writer: MapWriter | None = None,
    request: Request | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Gallery:
    """Compute the maps of models for images, and write them as figures and arrays.

    Files of a folder that cannot be used are skipped if at least one can.

    Args:
        models: The networks by their names.
        source: An image, a video, a folder, several files, or an image as an array.
        writer: Which files to write. None writes nothing and keeps the maps in memory.
        request: What to compute.
        progress: Called with (images done, images).

    Raises:
        UserError: The source does not exist, nothing in it can be used, the models take different images, or the folder
            cannot be written.
    """
    request = request or Request()
    channels = _channels(models)
    every = request.every or (1 if writer is not None and writer.makes_videos else None)
    sources = find_sources(source, every)
    if writer is not None:
        writer = writer.for_sources(sources)
    viewers = [
        _Viewer(name if len(models) > 1 else "", network, request, first=n == 0)
        for n, (name, network) in enumerate(models.items())
    ]
    collected = _Collected()
    done, total = 0, sum(len(each) for each in sources)
    try:
        for each in sources:
            for shown, maps in _maps_of(viewers, each, channels, request, collected.skipped):
                collected.add(maps, from_detections=request.queries == DETECTIONS)
                if writer is not None:
                    writer.write(shown, maps, each)
                else:
                    collected.kept += maps
                done += 1
                if progress is not None:
                    progress(min(done, total - 1), total)
    finally:
        if writer is not None:
            writer.close_videos()
    if progress is not None:
        progress(total, total)
    skipped = collected.skipped
    if not collected.images:
        others = f" (and of {counted(len(skipped) - 1, 'more image')} none can be used)" if len(skipped) > 1 else ""
        raise UserError(f"{skipped[0]}{others}")
    unanswered = request.queries is not None and not any(map(_answers_queries, models.values()))
    gallery = replace(collected.gallery(), unanswered=unanswered)
    if writer is not None:
        gallery = replace(gallery, folder=writer.folder, files=tuple(writer.finish(gallery)))
    return gallery


def _channels(models: Mapping[str, nn.Module]) -> int:
    """Return the number of channels of the models' images."""
    channels = {name: input_channels(network) for name, network in models.items()}
    if len(set(channels.values())) > 1:
        given = ", ".join(f"{name}: {number}" for name, number in channels.items())
        raise UserError(f"the models take images of different numbers of channels ({given}); give them separately")
    return next(iter(channels.values()))


def _answers_queries(network: nn.Module) -> bool:
    return any(offers_readings(layer.module) for layer in find_layers(network, offers_readings))


def check_attention(models: Mapping[str, nn.Module], given: object = None) -> None:
    """Raise UserError, with what placing a layer would change, unless a model has attention layers.

    Args:
        models: The networks.
        given: The model's name, if it has one.
    """
    if any(next(find_layers(network), None) is not None for network in models.values()):
        return
    problem = "the model has no attention layers of yolo-attn, so there are no maps"
    name = given if isinstance(given, (str, Path)) and len(models) == 1 else "MODEL"
    command = f"yolo-attn place model={name} layer=CBAM at=neck out=mine.yaml"
    try:
        rows = place_layer(str(name), "CBAM", "neck").rows()
    except UserError:  # not a YOLO model, or only a network in memory
        raise UserError(f"{problem}; {command} would insert some") from None
    inserted = ", ".join(f"row {row['row']} ({row['site']})" for row in rows)
    raise UserError(f"{problem}; {command} would insert CBAM as {inserted}")


class _Viewer:
    """One of the models, with its detector if detections are needed.

    Args:
        name: Name of the model; "" if it is the only one.
        network: The network.
        request: What to compute.
        first: Whether the centers of its detections are the queries, if any are.
    """

    def __init__(self, name: str, network: nn.Module, request: Request, *, first: bool) -> None:
        self.name = name
        self.network = network
        self.side = fitting_side(network, request.imgsz or trained_side(network))
        needed = request.cam or (first and request.queries == DETECTIONS) or (name and detects(network))
        self._detector = (
            Detector(network, imgsz=self.side, conf=request.conf, activation=request.cam) if needed else None
        )

    def predict(self, image: Image) -> Prediction:
        """Return the detections on an image, if they are needed."""
        return Prediction(()) if self._detector is None else self._detector(image)

    def maps(self, shown: Shown, prediction: Prediction, queries: Sequence[Query] | None) -> ImageMaps:
        """Return the maps for an image, with what is predicted on it."""
        maps = image_maps(
            self.network, shown.image, imgsz=self.side, queries=queries, name=shown.name, model_name=self.name
        )
        return replace(maps, detections=prediction.detections, activation=prediction.activation)


def _maps_of(
    viewers: Sequence[_Viewer], source: Source, channels: int, request: Request, skipped: list[str]
) -> Iterator[tuple[Shown, list[ImageMaps]]]:
    """Yield each image of a source with its maps by model; a reason why it cannot be used is appended."""
    try:
        for shown in source.images(channels):
            predictions = [viewer.predict(shown.image) for viewer in viewers]
            queries = request.queries
            if queries == DETECTIONS:
                queries = _centers(predictions[0].detections, shown.image)
            pairs = zip(viewers, predictions, strict=True)
            yield shown, [viewer.maps(shown, prediction, queries) for viewer, prediction in pairs]
    except UserError as error:
        skipped.append(str(error))


def _centers(detections: Sequence[Detection], image: Image) -> tuple[Query, ...]:
    """Return the centers of the most confident detections as queries."""
    height, width = image.shape[:2]
    return tuple(
        Query(min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0), f"{found.label} {found.score:.2f}")
        for found in detections[:_MOST_DETECTIONS]
        for x, y in [np.subtract(found.center, 0.5).tolist()]  # boxes count from the edge of pixel 0
    )


class _Collected:
    """What is kept of each image."""

    def __init__(self) -> None:
        self.images = 0
        self.undetected = 0
        self.kept: list[ImageMaps] = []
        self.skipped: list[str] = []
        self._first: list[ImageMaps] = []
        self._totals: dict[tuple[str, tuple[int, str, str]], Statistics] = {}
        self._focus: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def add(self, maps: Sequence[ImageMaps], *, from_detections: bool) -> None:
        """Add the maps of an image, by model; `from_detections` if queries are the centers of detections."""
        self.images += 1
        self.undetected += from_detections and not maps[0].detections
        self._first = self._first or list(maps)
        for each in maps:
            for found in each.maps:
                key = each.model, found.key
                self._totals[key] = self._totals[key] + found.statistics if key in self._totals else found.statistics
            for query in each.queries:
                self._focus.setdefault((each.model, query.title), []).append((query.focus, query.positions))

    def gallery(self) -> Gallery:
        """Return the statistics of all images, without files."""
        return Gallery(
            folder=None,
            files=(),
            layers=tuple((found, self._totals[each.model, found.key]) for each in self._first for found in each.maps),
            without=tuple(layer for each in self._first for layer in each.without),
            images=self.images,
            skipped=tuple(self.skipped),
            undetected=self.undetected,
            focus=self._focus,
            image_maps=tuple(self.kept),
        )


def new_folder(folder: Path, *, exist_ok: bool) -> Path:
    """Return a folder that does not exist yet (runs/maps, runs/maps-2, ...), or with `exist_ok` the given one.

    The numbers have the format of the installed Ultralytics.
    """
    from yolo_attn.host.installation import numbered_folder

    return numbered_folder(folder, exist_ok=exist_ok)


def record_maps(model: str | Path | nn.Module, images: Sequence[Path], path: Path, *, imgsz: int | None = None) -> int:
    """Store the maps of a few images in a small file (see `mapfile`); without maps, no file is written.

    Images that cannot be read, or not with the model's channels, are skipped.

    Args:
        model: A checkpoint, a model YAML or a network.
        images: The images.
        path: The file.
        imgsz: Pixels of the longer side; None for that of the training, if known.

    Returns:
        Number of maps of an image.

    Raises:
        UserError: The model does not exist, or the file cannot be written.
    """
    network = network_of(model)
    if next(find_layers(network), None) is None:
        return 0
    found = [maps for image in images if (maps := _readable(network, image, imgsz))]
    if not found or not found[0].maps:
        return 0
    save_maps(path, found)
    return len(found[0].maps)


def _readable(network: nn.Module, path: Path, imgsz: int | None) -> ImageMaps | None:
    """Return the maps for an image, or None if it cannot be read."""
    try:
        return image_maps(network, path, imgsz=imgsz)
    except UserError:
        return None
