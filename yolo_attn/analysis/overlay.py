"""Attention maps drawn over their image: one figure of one or more models.

A figure has lines. The first panel of a line is the image, the others are maps that share a color scale: the gates of a
layer at all rows, or the weights of one attention for all queries.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from yolo_attn.analysis.letterbox import Image
from yolo_attn.analysis.maps import AttentionMap, ImageMaps
from yolo_attn.analysis.panels import (
    Canvas,
    Scale,
    any_script,
    color_limits,
    paint_activation,
    paint_gate,
    paint_image,
    paint_query,
    plain,
    weight_limits,
)
from yolo_attn.analysis.queries import Query, QueryMap
from yolo_attn.errors import UserError

__all__ = ["FORMATS", "Scales", "Style", "draw", "draw_frame", "limits"]

FORMATS = ("png", "pdf", "svg")
_ACROSS = 4  # maps per line
_INCHES, _DPI = 2.6, 100
_LEAST_DPI = 185  # of the images in a figure, so that it can be enlarged
_NARROW, _TALL = 0.4, 2.0  # heights of a panel relative to its width
_WEIGHT = "weight (1: uniform)"
_BESIDE = 0.85  # inches of a line for the titles and color scales
_BETWEEN = 0.1  # inches between lines
_LONG = 32  # characters over a panel
_MOST_PIXELS = 250_000_000  # 1 GB in memory


Scales: TypeAlias = dict[Hashable, Scale]
"""The values at the ends of color scales, by what shares one."""


@dataclass(frozen=True)
class Style:
    """How figures are drawn.

    Args:
        heads: Whether each head has a panel, not only their mean.
        dpi: Pixels per inch of a PNG, and of the images in a PDF or SVG.
    """

    heads: bool = False
    dpi: int = _DPI


@dataclass(frozen=True)
class _Panel:
    """A map: its title, and the function that draws it and returns what a color scale is for."""

    title: str
    paint: Callable[[Any, Canvas], Any]


@dataclass(frozen=True)
class _ImagePanel:
    """The first panel of lines.

    Args:
        maps: The maps of the image.
        title: The panel's title.
        queries: The queries to mark in the image, with their names.
        boxes: Whether the image has its detections.
        across: Most other panels of a line.
    """

    maps: ImageMaps
    title: str = ""
    queries: tuple[tuple[str, Query], ...] = ()
    boxes: bool = False
    across: int = _ACROSS


@dataclass(frozen=True)
class _Group:
    """Panels that share a color scale.

    Args:
        image: The first panel of their line.
        panels: The panels.
        label: What the color scale is; "" for none.
    """

    image: _ImagePanel
    panels: tuple[_Panel, ...]
    label: str = ""

    def split(self) -> Iterator[_Group]:
        """Yield the panels in groups that fit into a line."""
        across = self.image.across
        for start in range(0, len(self.panels), across):
            yield replace(self, panels=self.panels[start : start + across])


def limits(maps: Sequence[AttentionMap]) -> Scale:
    """Return the values at the ends of the color scale that these maps share."""
    values = [found.frame.inside(found.array) if found.kind == "map" else found.array for found in maps]
    return color_limits(values)


def draw(maps: ImageMaps | Sequence[ImageMaps], style: Style | None = None, *, file_format: str = "png") -> bytes:
    """Return a figure of an image and its maps.

    Args:
        maps: The maps of an image, at least one; or those of several models for the same image.
        style: How to draw it.
        file_format: One of `FORMATS`.

    Raises:
        UserError: The figure would be too large.
    """
    stream = io.BytesIO()
    with any_script(), mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):  # text that can be edited
        figure = _figure([maps] if isinstance(maps, ImageMaps) else maps, style or Style(), {})
        figure.savefig(stream, format=file_format)
    return stream.getvalue()


def draw_frame(maps: Sequence[ImageMaps], style: Style, scales: Scales) -> Image:
    """Return the figure of a frame of a video as an image, BGR.

    Args:
        maps: The maps of the frame by model.
        style: How to draw it.
        scales: The color scales of the video, empty at its first frame, whose scales are added.

    Raises:
        UserError: The figure would be too large.
    """
    with any_script():
        canvas: Any = FigureCanvasAgg(_figure(maps, style, scales))
        canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba(), np.uint8)[..., 2::-1])


def _figure(models: Sequence[ImageMaps], style: Style, scales: Scales) -> Figure:
    lines = list(_lines([*_overview(models), *_gates(models, scales), *_queries(models, style, scales)]))
    canvas = Canvas.of(models[0].image, round(_INCHES * max(style.dpi, _LEAST_DPI)))
    aspect = min(max(canvas.shape[0] / canvas.shape[1], _NARROW), _TALL)
    across = 1 + max(sum(len(group.panels) for group in line) for line in lines)
    size = (_INCHES * across + 0.2, (_INCHES * aspect + _BESIDE) * len(lines) + 0.3)
    _check_size(models[0].name, size, style.dpi)
    figure = Figure(figsize=size, dpi=style.dpi, layout=ConstrainedLayoutEngine(h_pad=_BETWEEN))
    FigureCanvasAgg(figure)
    figure.suptitle(plain(models[0].name), fontsize=9)
    axes = figure.subplots(len(lines), across, squeeze=False)
    for panels, line in zip(axes, lines, strict=True):
        _draw_line(figure, list(panels), canvas, line)
    return figure


def _check_size(name: str, size: tuple[float, float], dpi: int) -> None:
    """Raise UserError if a figure would not fit into the memory of an ordinary machine.

    Args:
        name: Name of the image.
        size: Width and height of the figure in inches.
        dpi: Pixels per inch; also of the images in a PDF or SVG.
    """
    pixels = size[0] * size[1] * dpi**2
    if pixels > _MOST_PIXELS:
        width, height = (round(side * dpi) for side in size)
        fitting = max(1, int(dpi * (_MOST_PIXELS / pixels) ** 0.5))
        raise UserError(
            f"the figure of {name or 'the image'} would have {width} x {height} pixels; use dpi={fitting} or less, "
            "figure=layer, or fewer points"
        )


def _lines(groups: Sequence[_Group]) -> Iterator[list[_Group]]:
    """Yield the groups in lines that have the same first panel."""
    line: list[_Group] = []
    for group in chain.from_iterable(each.split() for each in groups):
        taken = sum(len(each.panels) for each in line)
        if line and (line[0].image is not group.image or taken + len(group.panels) > group.image.across):
            yield line
            line = []
        line.append(group)
    if line:
        yield line


def _draw_line(figure: Figure, panels: list[Any], canvas: Canvas, line: Sequence[_Group]) -> None:
    """Draw the image and groups of maps next to it."""
    for panel in panels:
        panel.axis("off")
    first, *rest = panels
    image = line[0].image
    first.set_title(plain(image.title), fontsize=7)
    paint_image(first, canvas, image.maps.detections if image.boxes else (), image.queries)
    for group in line:
        own = [rest.pop(0) for _ in group.panels]
        painted = None
        for panel, each in zip(own, group.panels, strict=True):
            panel.set_title(plain(each.title), fontsize=7)
            painted = each.paint(panel, canvas) or painted
        if painted is not None and group.label:
            extend = "max" if painted.norm.vmin == 0 and image.queries else "both"
            bar = figure.colorbar(painted, ax=own, extend=extend, location="bottom", aspect=25 * len(own), pad=0.02)
            bar.ax.tick_params(labelsize=6)
            bar.set_label(group.label, fontsize=6)
    for panel in panels:
        panel.set_anchor("N")  # a panel with a color scale is less high than the image, and is anchored by the scale


def _overview(models: Sequence[ImageMaps]) -> Iterator[_Group]:
    """Yield the detections of several models, and class activation maps."""
    several = len(models) > 1
    panels = [_Panel(maps.model, partial(paint_image, detections=maps.detections)) for maps in models[1:]]
    for maps in models:
        if maps.activation is not None and maps.frame is not None:
            paint = partial(paint_activation, activation=maps.activation, frame=maps.frame)
            panels.append(_Panel(f"{maps.model} LayerCAM" if several else "LayerCAM", paint))
    if panels:
        yield _Group(_ImagePanel(models[0], models[0].model, boxes=True), tuple(panels))


def _gates(models: Sequence[ImageMaps], scales: Scales) -> Iterator[_Group]:
    """Yield the maps that do not depend on queries; a layer has one color scale in all models."""
    everything = [found for maps in models for found in maps.maps]
    for maps in models:
        image = _ImagePanel(maps, maps.model)
        shared = sorted(maps.maps, key=lambda found: found.scale_group)
        groups = [list(group) for _, group in groupby(shared, key=lambda found: found.scale_group)]
        for group in sorted(groups, key=lambda group: min(found.row for found in group)):
            sharing = [found for found in everything if found.scale_group == group[0].scale_group]
            scale = scales.setdefault(group[0].scale_group, limits(sharing))
            panels = [_Panel(_two_lines(each.title), partial(paint_gate, found=each, scale=scale)) for each in group]
            yield _Group(image, tuple(panels), "multiplies by" if group[0].unit == "gate" else _WEIGHT)


def _queries(models: Sequence[ImageMaps], style: Style, scales: Scales) -> Iterator[_Group]:
    """Yield the weights for queries: the means over the heads, or all heads of each query."""
    for maps in models:
        attentions = [list(group) for _, group in groupby(maps.queries, key=lambda found: found.key)]
        yield from _heads(maps, attentions, scales) if style.heads else _means(maps, attentions, scales)


def _means(maps: ImageMaps, attentions: Sequence[Sequence[QueryMap]], scales: Scales) -> Iterator[_Group]:
    """Yield the mean over the heads of each attention for all queries."""
    named = attentions and len(attentions[0]) > 1
    queries = {str(each.number + 1) if named else "": each.query for found in attentions for each in found}
    image = _ImagePanel(maps, maps.model, tuple(queries.items()), boxes=True)
    for found in attentions:
        scale = scales.setdefault((maps.model, found[0].key), weight_limits([each.shown() for each in found]))
        titles = [f"{each.title}\n{each.number + 1}: {each.query}" if named else each.title for each in found]
        panels = [_Panel(title, _painter(each, None, scale)) for title, each in zip(titles, found, strict=True)]
        yield _Group(image, tuple(panels), _WEIGHT)


def _heads(maps: ImageMaps, attentions: Sequence[Sequence[QueryMap]], scales: Scales) -> Iterator[_Group]:
    """Yield the mean and the heads of each attention for each query."""
    for each in (each for found in attentions for each in found):
        heads: list[int | None] = [None, *range(len(each.heads))] if len(each.heads) > 1 else [None]
        limits = weight_limits([each.shown(head) for head in heads])
        scale = scales.setdefault((maps.model, each.key, each.number), limits)
        mean = f"mean of {len(each.heads)} heads" if len(heads) > 1 else "one head"
        titles = [mean if head is None else f"head {head}" for head in heads]
        title = "\n".join(filter(None, [maps.model, f"{each.title}, {each.query}"]))
        panels = [_Panel(title, _painter(each, head, scale)) for title, head in zip(titles, heads, strict=True)]
        image = _ImagePanel(maps, title, (("", each.query),), boxes=True, across=_ACROSS + 1)  # the mean and four heads
        yield _Group(image, tuple(panels), _WEIGHT)


def _painter(found: QueryMap, head: int | None, scale: Scale) -> Callable[[Any, Canvas], Any]:
    return partial(paint_query, found=found, head=head, scale=scale)


def _two_lines(title: str) -> str:
    """Return a long title split into two lines."""
    middle = len(title) // 2
    spaces = [i for i, letter in enumerate(title) if letter in " ."]
    if len(title) <= _LONG or not spaces:
        return title
    at = min(spaces, key=lambda i: abs(i - middle))
    return f"{title[: at + 1]}\n{title[at + 1 :]}"
