"""A model's attention maps for images, as files and as a table of statistics."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from yolo_attn.analysis.letterbox import Image, find_images
from yolo_attn.analysis.mapfile import save_maps
from yolo_attn.analysis.maps import AttentionMap, ImageMaps, NoMap, Statistics, find_layers, image_maps
from yolo_attn.analysis.models import network_of
from yolo_attn.errors import UserError, counted
from yolo_attn.system.files import make_folder, write_atomically
from yolo_attn.tables import align, html_table

__all__ = ["Gallery", "as_dict", "as_text", "make_gallery", "new_folder", "record_maps"]

_SHOWN = 4  # images of a gallery in a notebook


@dataclass(frozen=True)
class Gallery:
    """Attention maps of a model for one or more images.

    Args:
        folder: Folder of the images with their maps; None if they were not written.
        files: Names of the written images.
        layers: Each map of each layer, by row: the map of the first image, and the statistics of all images.
        without: The layers without maps.
        images: Number of images.
        skipped: The files of a folder that could not be read, each with the reason.
        image_maps: The maps of each image, if no files were written.
    """

    folder: Path | None
    files: tuple[str, ...]
    layers: tuple[tuple[AttentionMap, Statistics], ...]
    without: tuple[NoMap, ...]
    images: int
    skipped: tuple[str, ...] = ()
    image_maps: tuple[ImageMaps, ...] = field(default=(), repr=False)

    @property
    def maps(self) -> list[AttentionMap]:
        """The maps of all images, if no files were written."""
        return [found for image in self.image_maps for found in image.maps]

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        from yolo_attn.analysis.overlay import draw

        shown = [base64.b64encode(draw(image)).decode() for image in self.image_maps[:_SHOWN] if image.maps]
        images = "".join(f'<img style="max-width:100%" src="data:image/png;base64,{image}">' for image in shown)
        lines = as_text(self, table=False).splitlines()
        return (html_table(_cells(self), (1, 2, 3), lines) if self.layers else html_table([lines], (0,))) + images

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary for each map of each layer, with its statistics over all images."""
        return list(as_dict(self)["layers"])

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the maps themselves."""
        return as_dict(self)


def make_gallery(
    model: str | Path | nn.Module,
    source: str | Path | Image,
    folder: Path | None,
    *,
    imgsz: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gallery:
    """Write one PNG for each image, with the maps of every layer over it.

    Unreadable images of a folder are skipped if at least one can be read.

    Args:
        model: A checkpoint, a model YAML or a network.
        source: An image, a folder of images, or an image as an array.
        folder: Folder to write to, created if missing. None writes nothing and keeps the maps in memory.
        imgsz: Pixels of the longer side; None for that of the training, if known.
        progress: Called with (images done, images).

    Raises:
        UserError: The model or image does not exist, no image can be read, the model has no attention layers, or the
            folder cannot be written.
    """
    from yolo_attn.analysis.overlay import draw

    network = network_of(model)
    if next(find_layers(network), None) is None:
        raise UserError("the model has no attention layers of yolo-attn, so there are no maps")
    sources: Sequence[Path | Image] = find_images(source) if isinstance(source, (str, Path)) else [source]
    first: ImageMaps | None = None
    kept: list[ImageMaps] = []
    files: list[str] = []
    skipped: list[str] = []
    totals: dict[tuple[int, str, str], Statistics] = {}
    for n, path in enumerate(sources):
        image = _maps_of(network, path, imgsz, skipped)  # an error leaves no folder behind
        first = first or image
        for found in image.maps if image else ():
            totals[found.key] = totals[found.key] + found.statistics if found.key in totals else found.statistics
        if image and folder is None:
            kept.append(image)
        elif image and image.maps and folder is not None:
            make_folder(folder)
            files.append(f"{_file_stem(path, sources)}.png")
            write_atomically(folder / files[-1], draw(image))
        if progress is not None:
            progress(n + 1, len(sources))
    if first is None:
        others = f" (and of {counted(len(skipped) - 1, 'more image')} none can be used)" if len(skipped) > 1 else ""
        raise UserError(f"{skipped[0]}{others}")
    layers = tuple((found, totals[found.key]) for found in first.maps)
    images = len(sources) - len(skipped)
    return Gallery(folder, tuple(files), layers, first.without, images, tuple(skipped), tuple(kept))


def _maps_of(network: nn.Module, path: Path | Image, imgsz: int | None, skipped: list[str]) -> ImageMaps | None:
    """Return the maps of a network for an image; None, with the reason appended to `skipped`, if it is unreadable."""
    try:
        return image_maps(network, path, imgsz=imgsz)
    except UserError as error:
        skipped.append(str(error))
        return None


def new_folder(folder: Path, *, exist_ok: bool) -> Path:
    """Return a folder that does not exist yet (runs/maps, runs/maps-2, ...), or with `exist_ok` the given one.

    The numbers have the format of the installed Ultralytics.
    """
    from yolo_attn.host.installation import numbered_folder

    return numbered_folder(folder, exist_ok=exist_ok)


def _file_stem(path: Path | Image, sources: Sequence[Path | Image]) -> str:
    """Return the stem of an image's file, with the suffix of the image if another has the same stem."""
    if not isinstance(path, Path):
        return "image"
    single = sum(isinstance(other, Path) and other.stem == path.stem for other in sources) == 1
    return path.stem if single else path.name


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
    found = [maps for image in images if (maps := _maps_of(network, image, imgsz, []))]
    if not found or not found[0].maps:
        return 0
    save_maps(path, found)
    return len(found[0].maps)


# --- output ------------------------------------------------------------------------------------------------------


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


def as_text(gallery: Gallery, *, table: bool = True) -> str:
    """Return a gallery's statistics as text, with dead gates and layers without maps.

    Args:
        gallery: The gallery.
        table: Whether to include the table, not only the lines below it.
    """
    lines = [align(_cells(gallery), left=(1, 2, 3))] if gallery.layers and table else []
    lines += [_LEGEND] if gallery.layers else []
    lines += [f"dead: {found.title}: {s.mean:.3g} everywhere" for found, s in gallery.layers if s.dead]
    lines += [f"no map: row {layer.row} {layer.name}: {layer.reason}" for layer in gallery.without]
    lines += [f"skipped: {reason}" for reason in gallery.skipped]
    if gallery.files:
        skipped = f", {len(gallery.skipped)} skipped" if gallery.skipped else ""
        lines.append(f"{counted(len(gallery.files), 'image')} in {gallery.folder}{skipped}")
    return "\n".join(lines)


_LEGEND = "gate: factor of the features; weight: attention, 1 is uniform; near 0, near 1: share of values within 0.01"


def _cells(gallery: Gallery) -> list[tuple[str, ...]]:
    header = ("row", "layer", "level", "unit", "mean", "sd", "min", "max", "near 0", "near 1")
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
    return [header, *body]
