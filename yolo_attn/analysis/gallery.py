"""A model's attention maps for pictures, as files and as a table of what its gates do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from yolo_attn.analysis.letterbox import find_pictures
from yolo_attn.analysis.mapfile import save_maps
from yolo_attn.analysis.maps import AttentionMap, Look, NoMap, Statistics, find_layers, look_at
from yolo_attn.analysis.models import network_of
from yolo_attn.analysis.tables import align
from yolo_attn.errors import UserError, counted
from yolo_attn.files import make_folder, write_atomically

__all__ = ["Gallery", "as_dict", "as_text", "make_gallery", "new_folder", "record_maps"]


@dataclass(frozen=True)
class Gallery:
    """What the attention layers of a model do on some pictures.

    Args:
        folder: Where the pictures with their maps are.
        files: Their names.
        layers: Each reading of each layer, by row: the map of the first picture, and the statistics of all.
        without: The layers that have nothing to look at.
        images: How many pictures were looked at.
        skipped: The files of a folder that could not be read, each with the reason.
    """

    folder: Path
    files: tuple[str, ...]
    layers: tuple[tuple[AttentionMap, Statistics], ...]
    without: tuple[NoMap, ...]
    images: int
    skipped: tuple[str, ...] = ()


def make_gallery(
    model: str | Path | nn.Module,
    source: str | Path,
    folder: Path,
    *,
    imgsz: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gallery:
    """Write one PNG for each picture, with the maps of every layer over it.

    A picture of a folder that cannot be read is left out, as long as there is another.

    Args:
        model: A checkpoint, a model YAML or a network.
        source: A picture or a folder of them.
        folder: Where to write; it is made.
        imgsz: Pixels of the longer side; as in training where the model tells.
        progress: Is told (pictures done, pictures).

    Raises:
        UserError: No such model or picture, none that can be read, a model without attention layers, or a folder that
            cannot be written.
    """
    from yolo_attn.analysis.overlay import draw

    network = network_of(model)
    if next(find_layers(network), None) is None:
        raise UserError("the model has no attention layers of yolo-attn, so there are no maps")
    pictures = find_pictures(source)
    first: Look | None = None
    files: list[str] = []
    skipped: list[str] = []
    totals: dict[tuple[int, str, str], Statistics] = {}
    for n, path in enumerate(pictures):
        look = _look(network, path, imgsz, skipped)  # before the folder is made, so that a mistake leaves none
        first = first or look
        for found in look.maps if look else ():
            totals[found.key] = totals[found.key] + found.statistics if found.key in totals else found.statistics
        if look and look.maps:
            make_folder(folder)
            files.append(f"{path.stem if _is_single(path, pictures) else path.name}.png")
            write_atomically(folder / files[-1], draw(look))
        if progress is not None:
            progress(n + 1, len(pictures))
    if first is None:
        others = f" (and of {counted(len(skipped) - 1, 'more picture')} none can be used)" if len(skipped) > 1 else ""
        raise UserError(f"{skipped[0]}{others}")
    layers = tuple((found, totals[found.key]) for found in first.maps)
    return Gallery(folder, tuple(files), layers, first.without, len(pictures) - len(skipped), tuple(skipped))


def _look(network: nn.Module, path: Path, imgsz: int | None, skipped: list[str]) -> Look | None:
    """Return what a network makes of a picture; None, and the reason noted, when it cannot be read."""
    try:
        return look_at(network, path, imgsz=imgsz)
    except UserError as error:
        skipped.append(str(error))
        return None


def new_folder(folder: Path, *, exist_ok: bool) -> Path:
    """Return a folder that is not there yet, runs/maps or runs/maps-2 ..., or with `exist_ok` this one as it is.

    The numbers are set as the installed Ultralytics sets them behind its own folders.
    """
    from ultralytics.utils.files import increment_path

    return Path(increment_path(folder, exist_ok=exist_ok))


def _is_single(path: Path, pictures: Sequence[Path]) -> bool:
    """Whether no other picture has the same name but for its ending."""
    return sum(other.stem == path.stem for other in pictures) == 1


def record_maps(
    model: str | Path | nn.Module, pictures: Sequence[Path], path: Path, *, imgsz: int | None = None
) -> int:
    """Store the maps of a few pictures in a small file (see `mapfile`); where there are none, no file.

    A picture that cannot be read, or not for a model of so many channels, is left out: a training has worked without.

    Args:
        model: A checkpoint, a model YAML or a network.
        pictures: The pictures.
        path: The file.
        imgsz: Pixels of the longer side; as in training where the model tells.

    Returns:
        How many maps a picture has.

    Raises:
        UserError: No such model, or a file that cannot be written.
    """
    network = network_of(model)
    if next(find_layers(network), None) is None:
        return 0
    looks = [look for picture in pictures if (look := _look(network, picture, imgsz, []))]
    if not looks or not looks[0].maps:
        return 0
    save_maps(path, looks)
    return len(looks[0].maps)


# --- shown ------------------------------------------------------------------------------------------------------


def as_dict(gallery: Gallery) -> dict[str, Any]:
    """Return a gallery as plain data, for programs."""
    return {
        "folder": str(gallery.folder) if gallery.files else None,
        "files": list(gallery.files),
        "images": gallery.images,
        "skipped": list(gallery.skipped),
        "layers": [
            {
                "row": found.row,
                "name": found.name,
                "layer": found.layer,
                "part": found.part,
                "level": found.level,
                "stride": found.stride,
                "unit": found.unit,
                "kind": found.kind,
                **statistics.as_dict(),
            }
            for found, statistics in gallery.layers
        ],
        "without": [dataclasses.asdict(layer) for layer in gallery.without],
    }


def as_text(gallery: Gallery) -> str:
    """Return a gallery's statistics as lines to read, with what does not attend named."""
    lines = [_table(gallery), _LEGEND] if gallery.layers else []
    lines += [f"dead: {found.title}: {s.mean:.3g} everywhere" for found, s in gallery.layers if s.dead]
    lines += [f"no map: row {layer.row} {layer.name}: {layer.reason}" for layer in gallery.without]
    lines += [f"skipped: {reason}" for reason in gallery.skipped]
    if gallery.files:
        left_out = f", {len(gallery.skipped)} skipped" if gallery.skipped else ""
        lines.append(f"{counted(len(gallery.files), 'picture')} in {gallery.folder}{left_out}")
    return "\n".join(lines)


_LEGEND = (
    "gate: what the features are multiplied by; weight: attention, 1 is even; near 0, near 1: share of the values "
    "that are within 0.01"
)


def _table(gallery: Gallery) -> str:
    header = ("row", "layer", "level", "what", "mean", "sd", "least", "most", "near 0", "near 1")
    body = [
        (
            str(found.row),
            f"{found.name} {found.part}".strip(),
            found.level,
            f"{found.unit}{', channels' if found.kind == 'channels' else ''}",
            *(f"{value:.3f}" for value in (s.mean, s.sd, s.low, s.high)),
            *(f"{100 * share / s.count:.1f} %" for share in (s.zeros, s.ones)),
        )
        for found, s in gallery.layers
    ]
    return align([header, *body], left=(1, 2, 3))
