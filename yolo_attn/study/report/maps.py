"""Attention maps that runs have stored, as small pictures with one colour scale for all layers of an arm."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from yolo_attn.errors import UserError
from yolo_attn.study.report.view import Arm, StudyView
from yolo_attn.study.store import MAPS

if TYPE_CHECKING:
    from yolo_attn.analysis.mapfile import StoredLayer

__all__ = ["ArmMaps", "LayerMaps", "Tile", "colour_bar", "read_maps"]

_MOST_LAYERS = 9
_MOST_IMAGES = 4


@dataclass(frozen=True)
class Tile:
    """One map.

    Args:
        image: Name of the image.
        uri: The map as a data URI.
        low: Its lowest value.
        high: Its highest value.
    """

    image: str
    uri: str
    low: float
    high: float


@dataclass(frozen=True)
class LayerMaps:
    """The maps of one layer.

    Args:
        title: Its row, name and level.
        level: Such as "P3"; "" when unknown.
        vector: Whether it has a value for each channel and none for places.
        mean: Over all images; None when unknown.
        dead: Whether it is the same everywhere.
        tiles: One for each image.
    """

    title: str
    level: str
    vector: bool
    mean: float | None
    dead: bool
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class ArmMaps:
    """The maps of one run of an arm.

    Args:
        low: What the first colour stands for.
        high: What the last colour stands for.
        layers: Those that are shown, some of every level.
        stored: How many the run has stored.
    """

    arm: Arm
    seed: int
    low: float
    high: float
    layers: Sequence[LayerMaps]
    stored: int

    @property
    def share(self) -> str:
        """How many of the layers are shown; "" where all are."""
        if len(self.layers) == self.stored:
            return ""
        shown = f"{len(self.layers)} of {self.stored} layers"
        return f"{shown}, some of every level" if all(layer.level for layer in self.layers) else f"the first {shown}"


def read_maps(folder: Path, study: StudyView) -> list[ArmMaps]:
    """Return the maps of each arm's first run that stored any.

    Args:
        folder: The study's folder.
        study: Its results.
    """
    found = [_read_arm(folder, arm) for arm in study.arms]
    return [maps for maps in found if maps is not None]


def _read_arm(folder: Path, arm: Arm) -> ArmMaps | None:
    for seed, run in sorted(arm.by_seed.items()):
        path = folder / (run.folder or "") / MAPS
        if run.folder and path.is_file() and (maps := _read(path, arm, seed)):
            return maps
    return None


def _read(path: Path, arm: Arm, seed: int) -> ArmMaps | None:
    """Return the maps of a file, None when it is damaged or has none."""
    from yolo_attn.analysis.mapfile import load_maps

    try:
        stored = load_maps(path)
    except UserError:
        return None
    if not stored.layers or not stored.images:
        return None
    low = min(0.0, *(float(values.min()) for layer in stored.layers for values in layer.maps))
    high = max(1.0, *(float(values.max()) for layer in stored.layers for values in layer.maps))
    layers = [_layer(layer, stored.images, low, high) for layer in _chosen(stored.layers)]
    return ArmMaps(arm, seed, low, high, layers, len(stored.layers))


def _chosen(layers: Sequence[StoredLayer]) -> list[StoredLayer]:
    """Return as many layers as are shown, by row: the levels in turns, so that each has its share."""
    turns: dict[str, int] = {}
    order: list[tuple[int, int]] = []
    for place, layer in enumerate(layers):
        order.append((turns.setdefault(layer.level, 0), place))
        turns[layer.level] += 1
    return [layers[place] for place in sorted(place for _, place in sorted(order)[:_MOST_LAYERS])]


def _layer(layer: StoredLayer, images: Sequence[str], low: float, high: float) -> LayerMaps:
    pairs = list(zip(images, layer.maps, strict=True))[:_MOST_IMAGES]
    tiles = [
        Tile(Path(image).name, _png((values - low) / (high - low)), float(values.min()), float(values.max()))
        for image, values in pairs
    ]
    mean, dead = layer.statistics.get("mean"), bool(layer.statistics.get("dead"))
    title = f"row {layer.row} {layer.name}" + (f" ({layer.level})" if layer.level else "")
    return LayerMaps(title, layer.level, layer.kind != "map", mean, dead, tiles)


def _png(values: npt.NDArray[Any]) -> str:
    """Return values of 0 to 1 as a picture, in colours that any colour vision puts in order."""
    import cv2
    from matplotlib import colormaps

    rgba = colormaps["cividis"](np.clip(np.nan_to_num(values.astype(np.float64)), 0.0, 1.0), bytes=True)
    _, data = cv2.imencode(".png", np.ascontiguousarray(rgba[..., 2::-1]))
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def colour_bar() -> str:
    """Return the scale as a picture."""
    return _png(np.linspace(0.0, 1.0, 64)[None])
