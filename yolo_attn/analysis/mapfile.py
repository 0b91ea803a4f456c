"""Attention maps of a few pictures in one small file.

`maps.npz`, without pickle: `map_<key>_<image>` (float16, 2-D, 0 to 1), `name_<key>`, `range_<key>` (what 0 and 1 stand
for), `image_<image>` (the picture's name), and a header with the statistics. The key is the row; further readings of a
row are `<row>.1`, `<row>.2`, ... Maps over positions are aligned with the picture; values that no position tells apart
are one line, a channel each.
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
from yolo_attn.analysis.maps import AttentionMap, Look, total_statistics
from yolo_attn.stats import npz

__all__ = ["LARGEST", "StoredLayer", "StoredMaps", "load_maps", "save_maps"]

LARGEST = 300_000
"""Bytes that a file of maps stays below."""
VERSION = 1
_SIDES = (80, 56, 40, 28, 20, 14, 10, 7, 5)  # cells of a map's longer side, the first that fits
_MAP_RANK = 2


@dataclass(frozen=True)
class StoredLayer:
    """One reading of one layer, for all pictures of a file.

    Args:
        row: Index of its row.
        name: The row's module and the way to the layer inside it, with the part.
        level: Its stride as a level, such as "P3"; "" where the file is of a version that did not keep it.
        unit: "gate" or "weight".
        kind: "map" or "channels".
        statistics: mean, sd, zeros, ones (shares), low, high, dead.
        maps: By picture, (h, w) or (1, C), in the unit.
        group: The layer and its part: what has one colour scale; the name where a file does not keep the layer.
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
        images: Names of the pictures.
        layers: What was looked at, by row.
    """

    images: tuple[str, ...]
    layers: tuple[StoredLayer, ...]


def save_maps(path: Path, looks: Sequence[Look]) -> None:
    """Write the maps of a model for some pictures, in less than `LARGEST` bytes: the maps are as fine as fits.

    Args:
        path: The file, usually `maps.npz`.
        looks: What the same model makes of each picture.

    Raises:
        UserError: The file cannot be written.
    """
    header, names = _header(looks), {f"image_{n}": np.array(look.name) for n, look in enumerate(looks)}
    for side in _SIDES:
        arrays = names | _arrays(looks, header["layers"], side)
        if _size(arrays) < LARGEST:
            break
    npz.save(path, header, arrays)


def _size(arrays: dict[str, NDArray[Any]]) -> int:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.tell() + 4096


def _header(looks: Sequence[Look]) -> dict[str, Any]:
    """Return what is known of each reading, maps before vectors in each row."""
    statistics = total_statistics(looks)
    first = {found.key: found for look in reversed(looks) for found in look.maps}
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
    without = [dataclasses.asdict(layer) for layer in (looks[0].without if looks else ())]
    return {"version": VERSION, "images": len(looks), "layers": layers, "without": without}


def _arrays(looks: Sequence[Look], layers: Sequence[dict[str, Any]], side: int) -> dict[str, NDArray[Any]]:
    found = {(n, m.key): m for n, look in enumerate(looks) for m in look.maps}
    ranges = _ranges(looks)
    arrays: dict[str, NDArray[Any]] = {}
    for layer in layers:
        key, of = layer["key"], (layer["row"], layer["name"], layer["part"])
        maps = {n: found[n, of] for n in range(len(looks)) if (n, of) in found}
        low, high = ranges[next(iter(maps.values())).scale_group]
        arrays[f"name_{key}"] = np.array(f"{layer['name']} {layer['part']}".strip())
        arrays[f"range_{key}"] = np.array([low, high], np.float32)
        for n, each in maps.items():
            arrays[f"map_{key}_{n}"] = np.clip((_small(each, side) - low) / (high - low), 0, 1).astype(np.float16)
    return arrays


def _ranges(looks: Sequence[Look]) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Return what 0 and 1 stand for: themselves where no value is outside, else the least and greatest value."""
    ranges: dict[tuple[str, str, str], tuple[float, float]] = {}
    for found in (m for look in looks for m in look.maps):
        low, high = ranges.get(found.scale_group, (0.0, 1.0))
        values = found.array
        ranges[found.scale_group] = (min(low, float(values.min())), max(high, float(values.max())))
    return ranges


def _small(found: AttentionMap, side: int) -> FloatMap:
    """Return a map on its picture with the longer side at most so many cells; a vector as one line."""
    if found.kind != "map":
        return found.array[None]
    cells = np.array([found.frame.inner_height, found.frame.inner_width]) / found.stride
    height, width = np.maximum(1, np.round(cells * min(1.0, side / cells.max()))).astype(int)
    return found.on_picture(int(height), int(width))


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
        raise ValueError("a map of another shape")
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
