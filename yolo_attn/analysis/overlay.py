"""Attention maps drawn over their image, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from yolo_attn.analysis.letterbox import Image
from yolo_attn.analysis.maps import AttentionMap, ImageMaps

__all__ = ["COLORS", "OPAQUE", "color_limits", "draw", "limits"]

COLORS = "viridis"  # perceptually ordered for any color vision, and in gray
_ACROSS = 4  # maps per line
_INCHES, _DPI = 2.6, 100
_LONGEST = 480  # pixels of a panel's image
OPAQUE = 0.65
_LEAST_SPAN = 0.1  # a narrower scale would show noise as a pattern
_OUTER = (1, 99)  # percentiles that the colors span, because single peaks would darken the rest


def limits(maps: Sequence[AttentionMap]) -> tuple[float, float]:
    """Return the values at the ends of the color scale that these maps share."""
    values = [
        found.array[found.frame.positions(*found.array.shape)] if found.kind == "map" else found.array for found in maps
    ]
    return color_limits(values)


def color_limits(values: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Return the values at the ends of a color scale for these values.

    Args:
        values: The values of one or more maps.
    """
    low, high = np.percentile(np.concatenate([v.ravel() for v in values]), _OUTER)
    widen = max(0.0, _LEAST_SPAN - (high - low)) / 2
    return float(low - widen), float(high + widen)


def draw(maps: ImageMaps) -> bytes:
    """Return a PNG of an image and its maps, in lines that each share a color scale.

    Args:
        maps: The maps of an image, at least one.
    """
    shared = sorted(maps.maps, key=lambda found: found.scale_group)
    groups = [list(group) for _, group in groupby(shared, key=lambda found: found.scale_group)]
    groups.sort(key=lambda group: min(found.row for found in group))
    lines = [(g, g[start : start + _ACROSS]) for g in groups for start in range(0, len(g), _ACROSS)]
    image = _shrunk(maps.image)
    aspect = image.shape[0] / image.shape[1]
    across = 1 + max(len(line) for _, line in lines)
    size = (_INCHES * across + 0.8, (_INCHES * min(max(aspect, 0.4), 2.0) + 0.45) * len(lines) + 0.3)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_plain(maps.name), fontsize=9)
    axes = figure.subplots(len(lines), across, squeeze=False)
    for panels, (group, line) in zip(axes, lines, strict=True):
        _draw_line(figure, panels, image, line, limits(group))
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _draw_line(
    figure: Figure, panels: Any, image: Image, line: Sequence[AttentionMap], scale: tuple[float, float]
) -> None:
    """Draw the image and some maps next to it."""
    for panel in panels:
        panel.axis("off")
    panels[0].imshow(_rgb(image))
    overlay = None
    for panel, found in zip(panels[1:], line, strict=False):
        panel.set_title(_plain(_two_lines(found.title)), fontsize=7)
        if found.kind == "map":
            panel.imshow(_rgb(cv2.cvtColor(_bgr(image), cv2.COLOR_BGR2GRAY)))
            values = found.on_image(*image.shape[:2])
            overlay = panel.imshow(values, COLORS, vmin=scale[0], vmax=scale[1], alpha=OPAQUE)
        else:
            _draw_channels(panel, found, scale)
    if overlay is not None:
        bar = figure.colorbar(overlay, ax=list(panels), extend="both", fraction=0.03)
        bar.ax.tick_params(labelsize=6)
        bar.set_label("multiplies by" if line[0].unit == "gate" else "weight (1: uniform)", fontsize=6)


def _draw_channels(panel: Any, found: AttentionMap, scale: tuple[float, float]) -> None:
    """Draw one value for each channel, sorted."""
    panel.axis("on")
    panel.fill_between(range(len(found.array)), np.sort(found.array), step="mid", alpha=OPAQUE)
    panel.set_ylim(min(0.0, scale[0]), max(scale[1], 1.0))
    panel.set_xlabel("channels, sorted", fontsize=6)
    panel.tick_params(labelsize=6)


def _two_lines(title: str) -> str:
    """Return a long title split into two lines."""
    middle = len(title) // 2
    spaces = [i for i, letter in enumerate(title) if letter in " ."]
    if len(title) <= 32 or not spaces:  # noqa: PLR2004 (characters over a panel)
        return title
    at = min(spaces, key=lambda i: abs(i - middle))
    return f"{title[: at + 1]}\n{title[at + 1 :]}"


def _plain(text: str) -> str:
    """Escape a text that Matplotlib would read as a formula."""
    return text.replace("$", r"\$")


def _shrunk(image: Image) -> Image:
    ratio = min(1.0, _LONGEST / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * ratio)), max(1, round(image.shape[0] * ratio)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _bgr(image: Image) -> Image:
    return image if image.ndim == 3 else np.stack([image] * 3, 2)  # noqa: PLR2004


def _rgb(image: Image) -> Image:
    return np.ascontiguousarray(_bgr(image)[..., ::-1])
