"""A model's attention maps for pictures, as files and as a table of what its gates do."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from yolo_attn.analysis.letterbox import Picture, find_pictures
from yolo_attn.analysis.mapfile import save_maps
from yolo_attn.analysis.maps import AttentionMap, Look, NoMap, Statistics, find_layers, look_at
from yolo_attn.analysis.models import network_of
from yolo_attn.errors import UserError, counted
from yolo_attn.system.files import make_folder, write_atomically
from yolo_attn.tables import align, html_table

__all__ = ["Gallery", "as_dict", "as_text", "make_gallery", "new_folder", "record_maps"]

_SHOWN = 4  # pictures of a gallery in a notebook


@dataclass(frozen=True)
class Gallery:
    """What the attention layers of a model do on some pictures.

    Args:
        folder: Where the pictures with their maps are; None when they were not written.
        files: Their names.
        layers: Each reading of each layer, by row: the map of the first picture, and the statistics of all.
        without: The layers that have nothing to look at.
        images: How many pictures were looked at.
        skipped: The files of a folder that could not be read, each with the reason.
        looks: What was seen in each picture, when nothing was written.
    """

    folder: Path | None
    files: tuple[str, ...]
    layers: tuple[tuple[AttentionMap, Statistics], ...]
    without: tuple[NoMap, ...]
    images: int
    skipped: tuple[str, ...] = ()
    looks: tuple[Look, ...] = field(default=(), repr=False)

    @property
    def maps(self) -> list[AttentionMap]:
        """The maps of all pictures, when nothing was written."""
        return [found for look in self.looks for found in look.maps]

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        from yolo_attn.analysis.overlay import draw

        shown = [base64.b64encode(draw(look)).decode() for look in self.looks[:_SHOWN] if look.maps]
        images = "".join(f'<img style="max-width:100%" src="data:image/png;base64,{image}">' for image in shown)
        lines = as_text(self, table=False).splitlines()
        return (html_table(_cells(self), (1, 2, 3), lines) if self.layers else html_table([lines], (0,))) + images

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary for each reading of each layer, with its statistics over all pictures."""
        return list(as_dict(self)["layers"])

    def to_dict(self) -> dict[str, Any]:
        """Return all of it but the maps themselves."""
        return as_dict(self)


def make_gallery(
    model: str | Path | nn.Module,
    source: str | Path | Picture,
    folder: Path | None,
    *,
    imgsz: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gallery:
    """Write one PNG for each picture, with the maps of every layer over it.

    A picture of a folder that cannot be read is left out, as long as there is another.

    Args:
        model: A checkpoint, a model YAML or a network.
        source: A picture or a folder of them, or a picture as an array.
        folder: Where to write; it is made. None writes nothing and keeps what is seen.
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
    pictures: Sequence[Path | Picture] = find_pictures(source) if isinstance(source, (str, Path)) else [source]
    first: Look | None = None
    kept: list[Look] = []
    files: list[str] = []
    skipped: list[str] = []
    totals: dict[tuple[int, str, str], Statistics] = {}
    for n, path in enumerate(pictures):
        look = _look(network, path, imgsz, skipped)  # before the folder is made, so that a mistake leaves none
        first = first or look
        for found in look.maps if look else ():
            totals[found.key] = totals[found.key] + found.statistics if found.key in totals else found.statistics
        if look and folder is None:
            kept.append(look)
        elif look and look.maps and folder is not None:
            make_folder(folder)
            files.append(f"{_file_stem(path, pictures)}.png")
            write_atomically(folder / files[-1], draw(look))
        if progress is not None:
            progress(n + 1, len(pictures))
    if first is None:
        others = f" (and of {counted(len(skipped) - 1, 'more picture')} none can be used)" if len(skipped) > 1 else ""
        raise UserError(f"{skipped[0]}{others}")
    layers = tuple((found, totals[found.key]) for found in first.maps)
    images = len(pictures) - len(skipped)
    return Gallery(folder, tuple(files), layers, first.without, images, tuple(skipped), tuple(kept))


def _look(network: nn.Module, path: Path | Picture, imgsz: int | None, skipped: list[str]) -> Look | None:
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
    from yolo_attn.host.installation import numbered_folder

    return numbered_folder(folder, exist_ok=exist_ok)


def _file_stem(path: Path | Picture, pictures: Sequence[Path | Picture]) -> str:
    """Return what the file of a picture is called: with its ending where another has the same name but for that."""
    if not isinstance(path, Path):
        return "picture"
    single = sum(isinstance(other, Path) and other.stem == path.stem for other in pictures) == 1
    return path.stem if single else path.name


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


def as_text(gallery: Gallery, *, table: bool = True) -> str:
    """Return a gallery's statistics as lines to read, with what does not attend named.

    Args:
        gallery: The gallery.
        table: Whether the table is among them, or only what is below it.
    """
    lines = [align(_cells(gallery), left=(1, 2, 3))] if gallery.layers and table else []
    lines += [_LEGEND] if gallery.layers else []
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


def _cells(gallery: Gallery) -> list[tuple[str, ...]]:
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
    return [header, *body]
