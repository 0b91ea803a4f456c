"""Stored attention maps of the runs, over their images, with color scales that cover their range."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from yolo_attn.errors import UserError
from yolo_attn.study.files import MAPS, MATCHES
from yolo_attn.study.report.images import Album, Photo
from yolo_attn.study.results.records import ArmSummary, StudyResults

if TYPE_CHECKING:
    from yolo_attn.analysis.mapfile import StoredLayer, StoredMaps
    from yolo_attn.stats.evaluation import Evaluation

__all__ = ["ArmMaps", "LayerMaps", "Tile", "color_bar", "read_maps"]

_MAX_LAYERS = 9
_MAX_IMAGES = 4
_UNITS = {"gate": "factor applied to the features", "weight": "attention weight relative to uniform"}
_Scale = tuple[float, float]


@dataclass(frozen=True)
class Tile:
    """One map, or the channel values, for one image.

    Args:
        image: Name of the image.
        photo: The image; None if its file was not found.
        width: Width of the map, in its own pixels.
        height: Height of the map.
        uri: The colored map as a data URI; "" for channel values.
        line: The sorted channel values as points of a polyline in a box of 100 by 100; "" for a map.
        low: Minimum.
        mean: Mean.
        high: Maximum.
    """

    image: str
    photo: Photo | None
    width: int
    height: int
    uri: str
    line: str
    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class LayerMaps:
    """The maps of one layer.

    Args:
        title: Row, name and level of the layer.
        level: Level, such as "P3"; "" when unknown.
        vector: Whether it has one value per channel instead of one per position.
        unit: Meaning of the values.
        mean: Mean over all images; None when unknown.
        sd: Standard deviation over positions, channels and images; None when unknown.
        dead: Whether the values are constant.
        low: Value of the first color, or of the lower edge of the polylines.
        high: Value of the last color, or of the upper edge.
        tiles: One tile per image.
    """

    title: str
    level: str
    vector: bool
    unit: str
    mean: float | None
    sd: float | None
    dead: bool
    low: float
    high: float
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class ArmMaps:
    """The maps of one run of an arm.

    Args:
        arm: The arm.
        seed: Seed of the run.
        layers: The displayed layers, including some of every level.
        stored: Number of layers that the run has stored.
    """

    arm: ArmSummary
    seed: int
    layers: Sequence[LayerMaps]
    stored: int

    @property
    def share(self) -> str:
        """Number of displayed layers; "" if all are displayed."""
        if len(self.layers) == self.stored:
            return ""
        shown = f"{len(self.layers)} of {self.stored} layers"
        return f"{shown}, including every level" if all(layer.level for layer in self.layers) else f"the first {shown}"

    @property
    def photos(self) -> list[Photo | None]:
        """The images under the maps."""
        return [tile.photo for layer in self.layers for tile in layer.tiles if tile.uri]


def read_maps(folder: Path, study: StudyResults, album: Album) -> list[ArmMaps]:
    """Return the maps of each arm's first run that has stored maps.

    Args:
        folder: The study's folder.
        study: The results.
        album: The embedded images.
    """
    found = [_read_arm(folder, arm, study.info.evaluation, album) for arm in study.arms]
    return [maps for maps in found if maps is not None]


def _read_arm(folder: Path, arm: ArmSummary, kind: type[Evaluation], album: Album) -> ArmMaps | None:
    for seed, run in sorted(arm.by_seed.items()):
        if run.folder and (maps := _read(folder / run.folder, arm, seed, kind, album)):
            return maps
    return None


def _read(run: Path, arm: ArmSummary, seed: int, kind: type[Evaluation], album: Album) -> ArmMaps | None:
    """Return the maps of a run; None if they are missing or damaged."""
    from yolo_attn.analysis.mapfile import load_maps

    if not (run / MAPS).is_file():
        return None
    try:
        stored = load_maps(run / MAPS)
    except UserError:
        return None
    if not stored.layers or not stored.images:
        return None
    chosen, scales = _chosen(stored.layers), _scales(stored.layers)
    photos = [album.photo(name) if name else None for name in _full_names(run / MATCHES, kind, stored)]
    layers = [_layer(layer, stored.images, photos, scales[_group(layer)]) for layer in chosen]
    return ArmMaps(arm, seed, layers, len(stored.layers))


def _full_names(path: Path, kind: type[Evaluation], stored: StoredMaps) -> list[str | None]:
    """Return the names in the matches of a map file's images, which it stores without folders."""
    names = [Path(name).name for name in stored.images[:_MAX_IMAGES]]
    try:
        free = list(kind.load(path).images)
    except UserError:
        return [None] * len(names)
    found: list[str | None] = []
    for name in names:
        full = next((image for image in free if Path(image).name == name), None)
        if full is not None:
            free.remove(full)
        found.append(full)
    return found


def _chosen(layers: Sequence[StoredLayer]) -> list[StoredLayer]:
    """Return the layers to display, by row, taken from the levels in turns."""
    turns: dict[str, int] = {}
    order: list[tuple[int, int]] = []
    for index, layer in enumerate(layers):
        order.append((turns.setdefault(layer.level, 0), index))
        turns[layer.level] += 1
    return [layers[index] for index in sorted(index for _, index in sorted(order)[:_MAX_LAYERS])]


def _group(layer: StoredLayer) -> tuple[str, str, str]:
    return layer.group, layer.unit, layer.kind


def _scales(layers: Sequence[StoredLayer]) -> dict[tuple[str, str, str], _Scale]:
    """Return the color scale of each kind of layer, common to all rows so that they can be compared."""
    from yolo_attn.analysis.panels import color_limits

    values: dict[tuple[str, str, str], list[npt.NDArray[Any]]] = {}
    for layer in layers:
        values.setdefault(_group(layer), []).extend(map(np.nan_to_num, layer.maps))
    return {group: color_limits(maps) for group, maps in values.items()}


def _layer(layer: StoredLayer, images: Sequence[str], photos: Sequence[Photo | None], scale: _Scale) -> LayerMaps:
    vector = layer.kind != "map"
    tiles = [
        _tile(Path(image).name, photo, values, scale, vector=vector)
        for image, photo, values in zip(images, photos, layer.maps, strict=False)
    ]
    mean, sd = (layer.statistics.get(key) for key in ("mean", "sd"))
    title = f"row {layer.row} {layer.name}" + (f" ({layer.level})" if layer.level else "")
    unit, dead = _UNITS.get(layer.unit, layer.unit), bool(layer.statistics.get("dead"))
    return LayerMaps(title, layer.level, vector, unit, mean, sd, dead, *scale, tiles)


def _tile(image: str, photo: Photo | None, values: npt.NDArray[Any], scale: _Scale, *, vector: bool) -> Tile:
    values = np.nan_to_num(values.astype(np.float64))
    shares = np.clip((values - scale[0]) / (scale[1] - scale[0]), 0.0, 1.0)
    height, width = values.shape
    numbers = float(values.min()), float(values.mean()), float(values.max())
    if vector:
        return Tile(image, None, width, height, "", _line(shares.ravel()), *numbers)
    return Tile(image, photo, width, height, _png(shares), "", *numbers)


def _line(shares: npt.NDArray[Any]) -> str:
    """Return sorted values as at most 100 points of a polyline."""
    ordered = np.quantile(shares, np.linspace(0.0, 1.0, min(100, max(2, len(shares)))))
    across = np.linspace(0.0, 100.0, len(ordered))
    return " ".join(f"{x:.4g},{100 - 100 * y:.4g}" for x, y in zip(across, ordered, strict=True))


def _png(shares: npt.NDArray[Any]) -> str:
    """Return values from 0 to 1 as a PNG data URI, in a perceptually ordered color map."""
    import cv2
    from matplotlib import colormaps

    from yolo_attn.analysis.panels import COLORS

    rgba = colormaps[COLORS](shares, bytes=True)
    _, data = cv2.imencode(".png", np.ascontiguousarray(rgba[..., 2::-1]))
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def color_bar() -> str:
    """Return the color scale as a PNG data URI."""
    return _png(np.linspace(0.0, 1.0, 64)[None])
