"""Single panels of a figure of attention maps: an image, or a map over it, in Matplotlib axes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from yolo_attn.analysis.letterbox import Frame, Image
from yolo_attn.analysis.maps import AttentionMap
from yolo_attn.analysis.queries import Query, QueryMap
from yolo_attn.host.detector import Detection

__all__ = [
    "COLORS",
    "OPAQUE",
    "Canvas",
    "Scale",
    "any_script",
    "color_limits",
    "paint_activation",
    "paint_gate",
    "paint_image",
    "paint_query",
    "plain",
    "weight_limits",
]

COLORS = "viridis"  # perceptually ordered for any color vision, and in gray
_SIGNED = "PuOr_r"  # for negative and positive values, white at 0
OPAQUE = 0.65
_LEAST_SPAN = 0.1  # a narrower scale would show noise as a pattern
_OUTER = (1, 99)  # percentiles that the colors span, because single peaks would darken the rest
_FONTS = (  # with Chinese, Japanese or Korean letters, on Linux, Windows and macOS
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Arial Unicode MS",
)
_ACCENT = "#ff3b30"  # not in the color scale
_ROUNDING = 1e-3  # of the greatest weight; smaller negative ones are rounding errors
_BOXES = 40  # drawn on an image
_RIGHT, _TOP = 0.7, 0.06  # shares of the panel beyond which a label would leave it
_LABELED = 12  # boxes with their classes; more would cover each other

Scale = tuple[float, float]


@dataclass(frozen=True)
class Canvas:
    """An image in the size of a panel.

    Args:
        image: The image, BGR or gray.
        right: Its pixels per pixel of the original image, horizontally.
        down: The same vertically.
    """

    image: Image
    right: float
    down: float

    @classmethod
    def of(cls, image: Image, longest: int) -> Canvas:
        """Return an image with the longer side at most `longest` pixels."""
        height, width = image.shape[:2]
        ratio = min(1.0, longest / max(height, width))
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        shrunk = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        return cls(shrunk, size[0] / width, size[1] / height)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def rgb(self) -> Image:
        """The image in color."""
        image = self.image if self.image.ndim == 3 else np.stack([self.image] * 3, 2)  # noqa: PLR2004
        return np.ascontiguousarray(image[..., ::-1])

    @cached_property
    def gray(self) -> Image:
        """The image without color, below a map."""
        gray = np.asarray(cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        return np.stack([gray] * 3, 2)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the panel for a point of the original image, whose first pixel's center is 0, 0."""
        return self.at_edge(x + 0.5, y + 0.5)

    def at_edge(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the panel for a corner of a box, which counts from the edge of the first pixel."""
        return x * self.right - 0.5, y * self.down - 0.5


def color_limits(values: Sequence[NDArray[Any]]) -> Scale:
    """Return the values at the ends of a color scale for these values.

    Args:
        values: The values of one or more maps.
    """
    low, high = np.percentile(np.concatenate([v.ravel() for v in values]), _OUTER)
    widen = max(0.0, _LEAST_SPAN - (high - low)) / 2
    return float(low - widen), float(high + widen)


def weight_limits(values: Sequence[NDArray[Any]]) -> Scale:
    """Return the values at the ends of a color scale for weights: from 0, or around it if some are negative.

    Args:
        values: The weights of one or more maps.
    """
    every = np.concatenate([each.ravel() for each in values])
    sizes = np.abs(every[every != 0])
    most = float(np.percentile(sizes, _OUTER[1])) if sizes.size else 1.0
    return (-most if every.min() < -_ROUNDING * most else 0.0), most


def paint_image(
    panel: Any, canvas: Canvas, detections: Sequence[Detection] = (), queries: Sequence[tuple[str, Query]] = ()
) -> None:
    """Draw the image with detections, and with queries marked by their names."""
    panel.imshow(canvas.rgb)
    for n, found in enumerate(detections[:_BOXES]):
        (left, top), (right, bottom) = canvas.at_edge(*found.box[:2]), canvas.at_edge(*found.box[2:])
        panel.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=_ACCENT, linewidth=1))
        if n < _LABELED:
            near_edge = left > _RIGHT * canvas.shape[1]
            text = panel.text(
                min(right, canvas.shape[1]) if near_edge else max(left, 0),
                max(top - 1, 0),
                plain(f"{found.label} {found.score:.2f}"),
                fontsize=5,
                color="white",
                horizontalalignment="right" if near_edge else "left",
                verticalalignment="bottom" if top > _TOP * canvas.shape[0] else "top",
            )
            text.set_path_effects([withStroke(linewidth=1.2, foreground="black")])
    for name, query in queries:
        _mark(panel, canvas, query, name)


def paint_activation(panel: Any, canvas: Canvas, activation: Image, frame: Frame) -> None:
    """Draw an image of the size of the letterboxed one, without the padding."""
    height, width = activation.shape[:2]
    down, across = frame.positions(height, width)
    panel.imshow(activation[down, across, ::-1], extent=(-0.5, canvas.shape[1] - 0.5, canvas.shape[0] - 0.5, -0.5))


def paint_gate(panel: Any, canvas: Canvas, found: AttentionMap, scale: Scale) -> Any:
    """Draw a map over the image, or one value for each channel, and return what a color scale is for."""
    if found.kind != "map":
        panel.axis("on")
        panel.set_box_aspect(canvas.shape[0] / canvas.shape[1])
        panel.fill_between(range(len(found.array)), np.sort(found.array), step="mid", alpha=OPAQUE)
        panel.set_ylim(min(0.0, scale[0]), max(scale[1], 1.0))
        panel.set_xlabel("channels, sorted", fontsize=6)
        panel.tick_params(labelsize=6)
        return None
    panel.imshow(canvas.gray)
    values = found.on_image(*canvas.shape)
    return panel.imshow(values, COLORS, vmin=scale[0], vmax=scale[1], alpha=OPAQUE)


def paint_query(panel: Any, canvas: Canvas, found: QueryMap, head: int | None, scale: Scale) -> Any:
    """Draw the weights of a query over the image, as positions or as sampling points, and mark the query."""
    height, width = canvas.shape
    colors = _SIGNED if scale[0] < 0 else COLORS
    panel.imshow(canvas.gray)
    if found.points is None:
        values = found.on_image(height, width, head) * found.array.size
        painted = panel.imshow(values, colors, vmin=scale[0], vmax=scale[1], alpha=OPAQUE)
    else:
        x, y, weights = found.points_on_image(height, width, head)
        order = np.argsort(np.abs(weights))  # the greatest on top
        size = 6 + 18 * np.clip(np.abs(weights[order]) / scale[1], 0, 1)
        painted = panel.scatter(x[order], y[order], s=size, c=weights[order], cmap=colors, vmin=scale[0], vmax=scale[1])
        painted.set(linewidths=0.4, edgecolors="white")
    panel.set_xlim(-0.5, width - 0.5)
    panel.set_ylim(height - 0.5, -0.5)
    _mark(panel, canvas, found.query, "")
    return painted


def _mark(panel: Any, canvas: Canvas, query: Query, name: str) -> None:
    x, y = canvas.at(query.x, query.y)
    outline = [withStroke(linewidth=2.5, foreground="white")]
    panel.plot([x], [y], "+", color=_ACCENT, markersize=8, markeredgewidth=1.2, path_effects=outline, clip_on=True)
    if name:
        panel.annotate(
            name, (x, y), (4, 3), textcoords="offset points", fontsize=7, color=_ACCENT, path_effects=outline
        )


@contextmanager
def any_script() -> Iterator[None]:
    """Draw names with fonts that have their letters, where one is installed, and without a warning where none is."""
    installed = set(font_manager.get_font_names())
    known = [name for name in _FONTS if name in installed]
    with mpl.rc_context({"font.family": [*mpl.rcParams["font.family"], *known]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def plain(text: str) -> str:
    """Return a text that Matplotlib draws as it is: no formulas, and no bytes of a file name that is not UTF-8."""
    return os.fsencode(text).decode("utf-8", "replace").replace("$", r"\$")
