"""Files of attention maps: figures, videos of figures, arrays, and a page that shows all figures.

The arrays of an image, `<image>.npz`, contain no pickle:

    image           (H, W, 3), RGB
    extent_<m>      left, right, bottom, top of a model's letterboxed image in pixels of the image, for
                    `imshow(extent=...)`
    map_<n>         a map (h, w) of the letterboxed image, or a value for each channel (C,)
    query_<n>       weights of a query by head (heads, h, w); they add up to 1 if the layer's weights do
    points_<n>      sampling points of a query by head (heads, k, 2), x and y in pixels of the image
    weights_<n>     their weights (heads, k)
    boxes_<m>       detections (k, 4) of a model: x, y, x, y in pixels from the image's edge, 0.5 more than `imshow` has
    about           JSON: the layers, queries and models of these numbers
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_attn.analysis.gallery import Gallery
from yolo_attn.analysis.letterbox import Image
from yolo_attn.analysis.maps import ImageMaps
from yolo_attn.analysis.overlay import FORMATS, Scales, Style, draw, draw_frame
from yolo_attn.analysis.sources import Frames, Shown, Source
from yolo_attn.analysis.video import FORMATS as VIDEO_FORMATS
from yolo_attn.analysis.video import FigureVideo
from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.system.files import make_folder, write_atomically

__all__ = ["ARRAYS", "FILES", "PAGE", "MapWriter", "Style", "parse_figure", "parse_files"]

ARRAYS, PAGE, VIDEO = "npz", "html", "video"
FILES = (*FORMATS, PAGE, ARRAYS, VIDEO)
FIGURES = ("image", "layer")
"""One figure for each image, or one for each layer of each image."""
_RGB = 3


def parse_files(value: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return kinds of files.

    Args:
        value: One or more of `FILES`, with commas between them; None for the default of each source.

    Raises:
        UserError: A kind is unknown.
    """
    if value is None:
        return None
    given = [part.strip().lower() for part in (value.split(",") if isinstance(value, str) else value)]
    for kind in given:
        if kind not in FILES:
            raise UserError(f"save={kind}: use {', '.join(FILES)}{did_you_mean(kind, FILES)}")
    return tuple(dict.fromkeys(given))


def parse_figure(value: str) -> bool:
    """Return whether each layer has a figure of its own: "image" or "layer".

    Raises:
        UserError: The value is neither.
    """
    if value not in FIGURES:
        raise UserError(f"figure={value}: use {' or '.join(FIGURES)}{did_you_mean(value, FIGURES)}")
    return value == FIGURES[1]


@dataclass
class MapWriter:
    """Writes the maps of images into a folder.

    Args:
        folder: The folder, created with the first file.
        kinds: Kinds of files, of `FILES`; None for a PNG of each image, and a video of each video.
        style: How figures are drawn.
        by_layer: Whether each layer has a figure of its own.
        sources: The files with the images, which are never overwritten.
    """

    folder: Path
    kinds: tuple[str, ...] | None = None
    style: Style = field(default_factory=Style)
    by_layer: bool = False
    sources: frozenset[Path] = frozenset()
    _files: list[str] = field(default_factory=list)
    _videos: dict[str, tuple[FigureVideo, Scales]] = field(default_factory=dict)
    _frames: int = 0

    @property
    def makes_videos(self) -> bool:
        """Whether a video as a source gives a video."""
        return self.kinds is None or VIDEO in self.kinds

    def for_sources(self, sources: Sequence[Source]) -> MapWriter:
        """Return the writer for these sources, whose files it never overwrites.

        Raises:
            UserError: A video is to be written, but there is none.
        """
        if VIDEO in (self.kinds or ()) and not any(isinstance(each, Frames) for each in sources):
            raise UserError("save=video: the source has no video; use save=png")
        files = (each.path.resolve() for each in sources if isinstance(each.path, Path))
        return replace(self, sources=frozenset(files))

    def write(self, shown: Shown, maps: Sequence[ImageMaps], source: Source) -> None:
        """Write the files of one image, and its frame of the videos.

        Args:
            shown: The image.
            maps: The maps of each model.
            source: Where the image comes from.

        Raises:
            UserError: They cannot be written.
        """
        video = source if isinstance(source, Frames) else None
        kinds = (VIDEO if video else "png",) if self.kinds is None else self.kinds
        formats = [kind for kind in kinds if kind in FORMATS]
        if PAGE in kinds and "png" not in formats:
            formats.insert(0, "png")  # which the page shows
        shown_in = set()
        for name, part in _by_layer(maps) if self.by_layer else [("", maps)]:
            if any(each.maps or each.queries or each.activation is not None for each in part):
                for kind in formats:
                    self._save(f"{shown.stem}{name}.{kind}", draw(part, self.style, file_format=kind))
                if VIDEO in kinds and video:
                    self._add_frame(f"{video.stem}{name}", part, video.rate)
                    shown_in.add(f"{video.stem}{name}")
        if VIDEO in kinds and video:
            self._fill_frame(shown.image, shown_in)
        if ARRAYS in kinds:
            self._save(f"{shown.stem}.npz", _as_npz(maps))

    def _add_frame(self, name: str, maps: Sequence[ImageMaps], rate: float) -> None:
        for suffix, _ in VIDEO_FORMATS:
            self._check_target(self.folder / f"{name}{suffix}")
        video, scales = self._videos.get(name) or (FigureVideo(self.folder / name, rate, lead=self._frames), {})
        video.add(draw_frame(maps, self.style, scales))
        self._videos[name] = video, scales  # only now, because a video without frames cannot be closed

    def _fill_frame(self, image: Image, drawn: Collection[str]) -> None:
        """Add the image alone to the videos that have no figure of this frame, so that they last as long as theirs."""
        plain = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image  # noqa: PLR2004
        for name, (video, _) in self._videos.items():
            if name not in drawn:
                video.add(np.asarray(plain, np.uint8))
        self._frames += 1

    def close_videos(self) -> None:
        """Finish the videos.

        Raises:
            UserError: One cannot be written.
        """
        self._frames = 0
        while self._videos:
            video, _ = self._videos.pop(next(iter(self._videos)))
            self._files.append(video.close().name)

    def finish(self, gallery: Gallery) -> list[str]:
        """Write the page, and return the names of all files.

        Raises:
            UserError: It cannot be written.
        """
        if PAGE in (self.kinds or ()) and self._files:
            self._save("index.html", _page(gallery, [name for name in self._files if name.endswith(".png")]).encode())
        return self._files

    def _save(self, name: str, content: bytes) -> None:
        path = self.folder / name
        self._check_target(path)
        make_folder(self.folder)
        write_atomically(path, content)
        self._files.append(name)

    def _check_target(self, path: Path) -> None:
        if path.resolve() in self.sources:
            raise UserError(f"{path}: a file of the source would be overwritten by its maps; choose another name=")


def _by_layer(maps: Sequence[ImageMaps]) -> list[tuple[str, list[ImageMaps]]]:
    """Return the maps of each layer with the end of their name; layers of several models at one row share a figure."""
    layers = {found.key[:2] for each in maps for found in each.maps}
    layers |= {found.key[:2] for each in maps for found in each.queries}
    return [
        (
            f"_row{row}_{name}",
            [
                replace(
                    each,
                    maps=tuple(found for found in each.maps if (found.row, found.name) == (row, name)),
                    queries=tuple(found for found in each.queries if (found.row, found.name) == (row, name)),
                )
                for each in maps
            ],
        )
        for row, name in sorted(layers)
    ]


def _as_npz(maps: Sequence[ImageMaps]) -> bytes:
    image = maps[0].image
    height, width = image.shape[:2]
    rgb = image[..., ::-1] if image.ndim == _RGB else np.stack([image] * _RGB, 2)
    arrays: dict[str, NDArray[Any]] = {"image": rgb}
    about: dict[str, list[dict[str, Any]]] = {"maps": [], "queries": [], "models": []}
    for each in maps:
        m = len(about["models"])
        if each.frame is not None:
            arrays[f"extent_{m}"] = np.array(each.frame.extent(height, width))
        arrays[f"boxes_{m}"] = np.array([d.box for d in each.detections], np.float32).reshape(-1, 4)
        about["models"].append({"model": each.model, "boxes": [(d.label, d.score) for d in each.detections]})
        for found in each.maps:
            arrays[f"map_{len(about['maps'])}"] = found.array
            about["maps"].append(
                {
                    **{"model": each.model, "row": found.row, "name": found.name, "part": found.part},
                    **{"unit": found.unit, "kind": found.kind, "stride": found.stride},
                }
            )
        for query in each.queries:
            number = len(about["queries"])
            arrays[f"query_{number}"] = query.heads
            if query.points is not None and query.point_weights is not None:
                arrays[f"points_{number}"] = query.in_pixels(query.points, height, width)
                arrays[f"weights_{number}"] = query.point_weights
            about["queries"].append(
                {
                    **{"model": each.model, "row": query.row, "name": query.name, "part": query.part},
                    **{"x": query.query.x, "y": query.query.y, "label": query.query.label, "stride": query.stride},
                }
            )
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
    return stream.getvalue()


def _page(gallery: Gallery, figures: Sequence[str]) -> str:
    """Return a page with the statistics and all figures, which are files next to it."""
    shown = "\n".join(
        f'<figure><img loading="lazy" src="{quote(name)}" alt="{escape(name)}"></figure>' for name in figures
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Attention maps</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
td, th {{ border-bottom: 1px solid #ccc; padding: 0.2rem 0.7rem; white-space: nowrap; }}
figure {{ margin: 1.5rem 0; }}
img {{ max-width: 100%; }}
</style>
<h1>Attention maps</h1>
{gallery.as_html()}
{shown}
</html>
"""
