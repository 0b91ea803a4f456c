"""Attention maps that runs have stored, over their images, in colour scales that show what varies."""

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
from yolo_attn.study.report.view import Arm, StudyView

if TYPE_CHECKING:
    from yolo_attn.analysis.mapfile import StoredLayer, StoredMaps

__all__ = ["ArmMaps", "LayerMaps", "Tile", "colour_bar", "read_maps"]

_MOST_LAYERS = 9
_MOST_IMAGES = 4
_UNITS = {"gate": "multiplies the features by", "weight": "weighs by, 1 is even"}
_Scale = tuple[float, float]


@dataclass(frozen=True)
class Tile:
    """One map, or the values of the channels for one image.

    Args:
        image: Name of the image.
        photo: The image; None where its file was not found.
        width: Of the map, in its own pixels.
        height: Of the map.
        uri: The map's colours as a data URI; "" for values of channels.
        line: The values of channels, sorted, as points of a line in a box of 100 by 100; "" for a map.
        low: The lowest value.
        mean: The mean.
        high: The highest value.
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
        title: Its row, name and level.
        level: Such as "P3"; "" when unknown.
        vector: Whether it has a value for each channel and none for positions.
        unit: What the values are, in words.
        mean: Over all images; None when unknown.
        sd: Standard deviation over positions, channels and images; None when unknown.
        dead: Whether it is the same everywhere.
        low: What the first colour stands for, or the lower edge of the lines.
        high: What the last colour stands for, or the upper edge.
        tiles: One for each image.
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
        layers: Those that are shown, some of every level.
        stored: How many the run has stored.
    """

    arm: Arm
    seed: int
    layers: Sequence[LayerMaps]
    stored: int

    @property
    def share(self) -> str:
        """How many of the layers are shown; "" where all are."""
        if len(self.layers) == self.stored:
            return ""
        shown = f"{len(self.layers)} of {self.stored} layers"
        return f"{shown}, some of every level" if all(layer.level for layer in self.layers) else f"the first {shown}"

    @property
    def photos(self) -> list[Photo | None]:
        """The images that the maps are drawn over."""
        return [tile.photo for layer in self.layers for tile in layer.tiles if tile.uri]


def read_maps(folder: Path, study: StudyView, album: Album) -> list[ArmMaps]:
    """Return the maps of each arm's first run that stored any.

    Args:
        folder: The study's folder.
        study: Its results.
        album: Takes the images.
    """
    found = [_read_arm(folder, arm, album) for arm in study.arms]
    return [maps for maps in found if maps is not None]


def _read_arm(folder: Path, arm: Arm, album: Album) -> ArmMaps | None:
    for seed, run in sorted(arm.by_seed.items()):
        if run.folder and (maps := _read(folder / run.folder, arm, seed, album)):
            return maps
    return None


def _read(run: Path, arm: Arm, seed: int, album: Album) -> ArmMaps | None:
    """Return the maps of a run, None where it has none or their file is damaged."""
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
    photos = [album.photo(name) if name else None for name in _evaluated(run / MATCHES, stored)]
    layers = [_layer(layer, stored.images, photos, scales[_group(layer)]) for layer in chosen]
    return ArmMaps(arm, seed, layers, len(stored.layers))


def _evaluated(path: Path, stored: StoredMaps) -> list[str | None]:
    """Return which of the evaluated images those of the maps are, which are stored by the names of their files."""
    from yolo_attn.stats.matches import Matches

    names = [Path(name).name for name in stored.images[:_MOST_IMAGES]]
    try:
        free = list(Matches.load(path).images)
    except UserError:
        return [None] * len(names)
    found: list[str | None] = []
    for name in names:
        own = next((image for image in free if Path(image).name == name), None)
        if own is not None:
            free.remove(own)
        found.append(own)
    return found


def _chosen(layers: Sequence[StoredLayer]) -> list[StoredLayer]:
    """Return as many layers as are shown, by row: the levels in turns, so that each has its share."""
    turns: dict[str, int] = {}
    order: list[tuple[int, int]] = []
    for place, layer in enumerate(layers):
        order.append((turns.setdefault(layer.level, 0), place))
        turns[layer.level] += 1
    return [layers[place] for place in sorted(place for _, place in sorted(order)[:_MOST_LAYERS])]


def _group(layer: StoredLayer) -> tuple[str, str, str]:
    return layer.group, layer.unit, layer.kind


def _scales(layers: Sequence[StoredLayer]) -> dict[tuple[str, str, str], _Scale]:
    """Return the scale of each kind of layer: the same at all rows, so that they can be compared."""
    from yolo_attn.analysis.overlay import color_limits

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
    """Return sorted values as the points of a line, at most a hundred."""
    ordered = np.quantile(shares, np.linspace(0.0, 1.0, min(100, max(2, len(shares)))))
    across = np.linspace(0.0, 100.0, len(ordered))
    return " ".join(f"{x:.4g},{100 - 100 * y:.4g}" for x, y in zip(across, ordered, strict=True))


def _png(shares: npt.NDArray[Any]) -> str:
    """Return values of 0 to 1 as a picture, in colours that any colour vision puts in order."""
    import cv2
    from matplotlib import colormaps

    from yolo_attn.analysis.overlay import COLORS

    rgba = colormaps[COLORS](shares, bytes=True)
    _, data = cv2.imencode(".png", np.ascontiguousarray(rgba[..., 2::-1]))
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def colour_bar() -> str:
    """Return the scale as a picture."""
    return _png(np.linspace(0.0, 1.0, 64)[None])
