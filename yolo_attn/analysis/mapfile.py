"""Attention maps of a few images in one small file.

`maps.npz` contains, without pickle: `map_<key>_<image>` (float16, 2-D, 0 to 1), `name_<key>`, `range_<key>` (the values
at 0 and 1), `image_<image>` (the image's name), and a header with the statistics. The key is the row; further maps of a
row are `<row>.1`, `<row>.2`, ... Maps over positions are aligned with the image. Values that all positions share are
one line with a value per channel.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.analysis.letterbox import FloatMap
from yolo_attn.analysis.maps import AttentionMap, ImageMaps, total_statistics
from yolo_attn.stats import npz

__all__ = ["LARGEST", "StoredLayer", "StoredMaps", "load_maps", "save_maps"]

LARGEST = 300_000
"""Upper limit of a file's bytes."""
VERSION = 1
_SIDES = (80, 56, 40, 28, 20, 14, 10, 7, 5)  # positions of a map's longer side; the first that fits is used
_MAP_RANK = 2


@dataclass(frozen=True)
class StoredLayer:
    """One map of one layer, for all images of a file.

    Args:
        row: Index of its row.
        name: The row's module and the path to the layer in it, with the part.
        level: Its stride as a level, such as "P3"; "" in files of a version without it.
        unit: "gate" or "weight".
        kind: "map" or "channels".
        statistics: mean, sd, zeros, ones (shares), low, high, dead.
        maps: By image, (h, w) or (1, C), in the unit.
        group: The layer and its part, which share a color scale; the name in files without the layer.
    """

    row: int
    name: str
    level: str
    unit: str
    kind: str
    statistics: dict[str, Any]
    maps: tuple[FloatMap, ...]
    group: str = ""


@dataclass(frozen=True)
class StoredMaps:
    """The content of a file of maps.

    Args:
        images: Names of the images.
        layers: The maps, by row.
    """

    images: tuple[str, ...]
    layers: tuple[StoredLayer, ...]


def save_maps(path: Path, images: Sequence[ImageMaps]) -> None:
    """Write the maps of a model for some images, as fine as fits in `LARGEST` bytes.

    Args:
        path: The file, usually `maps.npz`.
        images: The maps of one model for each image.

    Raises:
        UserError: The file cannot be written.
    """
    header, names = _header(images), {f"image_{n}": np.array(image.name) for n, image in enumerate(images)}
    for side in _SIDES:
        arrays = names | _arrays(images, header["layers"], side)
        if _size(arrays) < LARGEST:
            break
    npz.save(path, header, arrays)


def _size(arrays: dict[str, NDArray[Any]]) -> int:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.tell() + 4096


def _header(images: Sequence[ImageMaps]) -> dict[str, Any]:
    """Return the header, with maps before vectors in each row."""
    statistics = total_statistics(images)
    first = {found.key: found for image in reversed(images) for found in image.maps}
    layers: list[dict[str, Any]] = []
    for found in sorted(first.values(), key=lambda found: (found.row, found.kind != "map")):
        before = sum(layer["row"] == found.row for layer in layers)
        layers.append(
            {
                "key": f"{found.row}.{before}" if before else f"{found.row}",
                "row": found.row,
                "name": found.name,
                "layer": found.layer,
                "part": found.part,
                "level": found.level,
                "unit": found.unit,
                "kind": found.kind,
                "statistics": statistics[found.key].as_dict(),
            }
        )
    without = [dataclasses.asdict(layer) for layer in (images[0].without if images else ())]
    return {"version": VERSION, "images": len(images), "layers": layers, "without": without}


def _arrays(images: Sequence[ImageMaps], layers: Sequence[dict[str, Any]], side: int) -> dict[str, NDArray[Any]]:
    found = {(n, m.key): m for n, image in enumerate(images) for m in image.maps}
    ranges = _ranges(images)
    arrays: dict[str, NDArray[Any]] = {}
    for layer in layers:
        key, of = layer["key"], (layer["row"], layer["name"], layer["part"])
        maps = {n: found[n, of] for n in range(len(images)) if (n, of) in found}
        low, high = ranges[next(iter(maps.values())).scale_group]
        arrays[f"name_{key}"] = np.array(f"{layer['name']} {layer['part']}".strip())
        arrays[f"range_{key}"] = np.array([low, high], np.float32)
        for n, each in maps.items():
            arrays[f"map_{key}_{n}"] = np.clip((_small(each, side) - low) / (high - low), 0, 1).astype(np.float16)
    return arrays


def _ranges(images: Sequence[ImageMaps]) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Return the values at 0 and 1: 0 and 1 if no value is outside, else the least and greatest value."""
    ranges: dict[tuple[str, str, str], tuple[float, float]] = {}
    for found in (m for image in images for m in image.maps):
        low, high = ranges.get(found.scale_group, (0.0, 1.0))
        values = found.array
        ranges[found.scale_group] = (min(low, float(values.min())), max(high, float(values.max())))
    return ranges


def _small(found: AttentionMap, side: int) -> FloatMap:
    """Return a map on its image with the longer side at most `side` positions; a vector as one line."""
    if found.kind != "map":
        return found.array[None]
    size = np.array([found.frame.inner_height, found.frame.inner_width]) / found.stride
    height, width = np.maximum(1, np.round(size * min(1.0, side / size.max()))).astype(int)
    return found.on_image(int(height), int(width))


def load_maps(path: Path) -> StoredMaps:
    """Read a file of maps.

    Raises:
        UserError: The file is missing, damaged or of another version.
    """
    header, arrays = npz.load(path, VERSION)
    try:
        images = tuple(str(arrays[f"image_{n}"]) for n in range(int(header["images"])))
        layers = tuple(_stored(layer, arrays, len(images)) for layer in header["layers"])
    except (KeyError, TypeError, ValueError) as error:
        raise npz.damaged(path, f"{type(error).__name__}: {error}") from None
    return StoredMaps(images, layers)


def _stored(layer: dict[str, Any], arrays: dict[str, NDArray[Any]], images: int) -> StoredLayer:
    key = layer["key"]
    low, high = (float(end) for end in arrays[f"range_{key}"])
    maps = [arrays[f"map_{key}_{n}"].astype(np.float32) for n in range(images)]
    if any(values.ndim != _MAP_RANK for values in maps):
        raise ValueError("a map is not 2-D")
    return StoredLayer(
        row=int(layer["row"]),
        name=str(arrays[f"name_{key}"]),
        group=f"{layer.get('layer') or arrays[f'name_{key}']} {layer.get('part', '')}".strip(),
        level=str(layer.get("level", "")),
        unit=str(layer["unit"]),
        kind=str(layer["kind"]),
        statistics=dict(layer["statistics"]),
        maps=tuple(low + values * (high - low) for values in maps),
    )
