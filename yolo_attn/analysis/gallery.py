"""Attention maps of one or more models for images: a table of statistics, and everything else that was found."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_attn.analysis.maps import AttentionMap, ImageMaps, NoMap, Statistics
from yolo_attn.analysis.queries import QueryMap
from yolo_attn.errors import counted
from yolo_attn.tables import align, html_notes, html_table

__all__ = ["Gallery", "as_dict", "as_text"]

_SHOWN = 4  # images of a gallery in a notebook


@dataclass(frozen=True, repr=False)
class Gallery:
    """Attention maps of one or more models for one or more images.

    Args:
        folder: Folder of the images with their maps; None if they were not written.
        files: Names of the written files.
        layers: Each map of each layer, by model and row: the map of the first image, and the statistics of all images.
        without: The layers without maps.
        images: Number of images.
        skipped: The files that could not be used, each with the reason.
        undetected: Number of images without detections, if queries are the centers of detections.
        unanswered: Whether queries were requested, but no layer has weights for them.
        focus: For each attention with queries, by model and title: for each query the least number of positions with
            half of the weight, and the number of positions in the image.
        image_maps: The maps of each image and model, if no files were written.
    """

    folder: Path | None
    files: tuple[str, ...]
    layers: tuple[tuple[AttentionMap, Statistics], ...]
    without: tuple[NoMap, ...]
    images: int
    skipped: tuple[str, ...] = ()
    undetected: int = 0
    unanswered: bool = False
    focus: Mapping[tuple[str, str], list[tuple[int, int]]] = field(default_factory=dict)
    image_maps: tuple[ImageMaps, ...] = field(default=(), repr=False)

    @property
    def maps(self) -> list[AttentionMap]:
        """The maps of all images, if no files were written."""
        return [found for image in self.image_maps for found in image.maps]

    @property
    def queries(self) -> list[QueryMap]:
        """The weights of self-attention for the queries of all images, if no files were written."""
        return [found for image in self.image_maps for found in image.queries]

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return f"<Maps of {counted(len(self.layers), 'gate')} on {counted(self.images, 'image')}>"

    def as_html(self) -> str:
        """Return the table and the lines below it as HTML."""
        lines = as_text(self, table=False).splitlines()
        return html_table(_cells(self), (1, 2, 3), lines) if self.layers else html_notes(lines)

    def _repr_html_(self) -> str:
        from yolo_attn.analysis.overlay import draw

        shown = [draw(image) for image in self.image_maps if image.maps or image.queries][:_SHOWN]
        images = "".join(
            f'<img style="max-width:100%" src="data:image/png;base64,{base64.b64encode(image).decode()}">'
            for image in shown
        )
        return self.as_html() + images

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary for each map of each layer, with its statistics over all images."""
        return list(as_dict(self)["layers"])

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the maps themselves."""
        return as_dict(self)


def as_dict(gallery: Gallery) -> dict[str, Any]:
    """Return a gallery as plain data, for programs."""
    return {
        "folder": str(gallery.folder) if gallery.files else None,
        "files": list(gallery.files),
        "images": gallery.images,
        "skipped": list(gallery.skipped),
        "undetected": gallery.undetected,
        "layers": [
            {
                "model": found.model,
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
        "queries": [
            {
                "model": model,
                "attention": title,
                "half_of_the_weight_on": [number for number, _ in focus],
                "positions": [positions for _, positions in focus],
            }
            for (model, title), focus in gallery.focus.items()
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
    for found, s in gallery.layers:
        title = _with_model(found.model, found.title)
        if s.dead:
            lines.append(f"dead: {title}: {s.mean:.3g} everywhere")
        elif s.dead_channels:
            lines.append(f"dead channels: {title}: {s.dead_channels} of {s.lows.size}, each one value in all images")
    lines += [_focus_line(*each) for each in gallery.focus.items()]
    lines += [
        f"no map: {_with_model(each.model, f'row {each.row} {each.name}')}: {each.reason}" for each in gallery.without
    ]
    if gallery.unanswered:
        lines.append("point= changes nothing: no layer has weights for each position, as self-attention has")
    elif gallery.undetected:
        lines.append(
            f"no queries in {counted(gallery.undetected, 'image')} without detections; lower conf=, or give x,y"
        )
    lines += [f"skipped: {reason}" for reason in gallery.skipped]
    if gallery.files:
        skipped = f", {len(gallery.skipped)} skipped" if gallery.skipped else ""
        lines.append(f"{counted(gallery.images, 'image')} in {gallery.folder}{skipped}")
    return "\n".join(lines)


_LEGEND = "gate: factor of the features; weight: attention, 1 is uniform; near 0, near 1: share of values within 0.01"


def _with_model(model: str, title: str) -> str:
    return f"{model}: {title}" if model else title


def _focus_line(key: tuple[str, str], focus: Sequence[tuple[int, int]]) -> str:
    share = 100 * sum(number / positions for number, positions in focus) / len(focus)
    sizes = sorted({positions for _, positions in focus})
    of = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
    mean = f" (mean of {len(focus)} queries)" if len(focus) > 1 else ""
    return f"queries: {_with_model(*key)}: half of the weight is on {share:.3g} % of {of} positions{mean}"


def _cells(gallery: Gallery) -> list[tuple[str, ...]]:
    header = ("row", "layer", "level", "unit", "mean", "sd", "min", "max", "near 0", "near 1", "dead channels")
    body = [
        (
            str(found.row),
            _with_model(found.model, f"{found.name} {found.part}".strip()),
            found.level,
            f"{found.unit}{', channels' if found.kind == 'channels' else ''}",
            *(f"{value:.3f}" for value in (s.mean, s.sd, s.low, s.high)),
            *(f"{100 * share / s.count:.1f} %" for share in (s.zeros, s.ones)),
            "" if s.dead_channels is None else f"{s.dead_channels} of {s.lows.size}",
        )
        for found, s in gallery.layers
    ]
    return [header, *body]
