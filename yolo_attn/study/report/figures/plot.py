"""Common parts of the figures: fixed width, text as text, accessible SVG."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolo_attn.study.report.figures.palette import as_variables, light
from yolo_attn.study.report.formats import columns, shorten

__all__ = [
    "SMALL",
    "TEXT",
    "WIDTH",
    "Margins",
    "Plot",
    "as_plot",
    "drawing",
    "flow",
    "label_left",
    "new_plot",
    "rows_of",
    "shortened",
    "text_width",
]

WIDTH = 372.0  # of every figure: one column of a phone, a third of a wide page
TEXT, SMALL = 11.0, 10.0  # font sizes; all lengths are in pixels
_DPI = 72.0  # one point per pixel
_GLYPH = 0.6  # upper estimate of a character's mean width over its height


@dataclass(frozen=True)
class Plot:
    """A finished figure.

    Args:
        ident: Id in the page.
        title: Title.
        svg: The SVG, with title and description for screen readers.
    """

    ident: str
    title: str
    svg: Markup


@dataclass(frozen=True)
class Margins:
    """Margins around the axes, in pixels."""

    left: float = 10
    right: float = 12
    top: float = 6
    bottom: float = 38


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with the report's settings instead of the user's matplotlibrc, and without font warnings."""
    settings: dict[Any, Any] = {
        **{"svg.fonttype": "none", "font.size": SMALL, "font.family": ["DejaVu Sans"], "axes.unicode_minus": True},
        **{"text.color": light("ink"), "axes.labelcolor": light("muted"), "axes.edgecolor": light("faint")},
        **{"xtick.color": light("faint"), "ytick.color": light("faint"), "axes.linewidth": 0.8},
        **{"xtick.labelcolor": light("muted"), "ytick.labelcolor": light("muted"), "text.parse_math": False},
        **{"axes.labelsize": SMALL, "xtick.labelsize": SMALL, "ytick.labelsize": SMALL, "path.simplify": True},
        **{"xtick.major.size": 3, "ytick.major.size": 3, "svg.hashsalt": "yolo-attn", "lines.markersize": 6},
    }
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    fonts.setLevel(logging.ERROR)
    try:
        with mpl.rc_context(), warnings.catch_warnings():
            mpl.rcdefaults()
            mpl.rcParams.update(settings)
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser selects the fonts
            yield
    finally:
        fonts.setLevel(level)


def new_plot(height: float, margins: Margins) -> tuple[Figure, Axes]:
    """Return an empty figure with axes.

    Args:
        height: Height of the axes, in pixels.
        margins: Margins around them.
    """
    total = height + margins.top + margins.bottom
    figure = Figure(figsize=(WIDTH / _DPI, total / _DPI), dpi=_DPI)
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    inner = WIDTH - margins.left - margins.right
    axes = figure.add_axes((margins.left / WIDTH, margins.bottom / total, inner / WIDTH, height / total))
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def rows_of(axes: Axes, number: int) -> None:
    """Use the vertical axis for rows 0 to number - 1 from top to bottom, without ticks."""
    axes.set_ylim(number - 0.5, -0.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=light("rule"), linewidth=0.7)
    axes.set_axisbelow(True)


def label_left(axes: Axes, text: str) -> None:
    """Label the vertical axis at the figure's edge, where it does not overlap the tick labels."""
    axes.set_ylabel(text)
    axes.yaxis.set_label_coords(
        12 / WIDTH, axes.get_position().y0 + axes.get_position().height / 2, axes.figure.transFigure
    )


def text_width(text: str, size: float) -> float:
    """Return the approximate width of a text, in pixels."""
    return columns(text) * _GLYPH * size


def flow(widths: Sequence[float], line: float) -> tuple[list[tuple[float, float]], float]:
    """Lay out pieces of text in lines.

    Args:
        widths: Widths of the pieces, in pixels.
        line: Height of a line.

    Returns:
        (x, y) of each piece from the upper left corner with y downwards, and the total height.
    """
    positions, x, y = [], 0.0, 0.0
    for width in widths:
        if x and x + width > WIDTH - 12:
            x, y = 0.0, y + line
        positions.append((x, y))
        x += width
    return positions, y + line


def shortened(text: str, room: float, size: float = TEXT) -> str:
    """Return a text shortened to a number of pixels with an ellipsis in its middle."""
    return shorten(" ".join(text.split()), max(3, int(room / (_GLYPH * size))))


def as_plot(figure: Figure, ident: str, title: str, description: str) -> Plot:
    """Return a figure as an SVG to embed in a page.

    Args:
        figure: The figure.
        ident: Id that is unique in the page.
        title: Title.
        description: The content as text, for screen readers.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    svg = stream.getvalue()
    inner = svg[svg.index("<defs>") : svg.rindex("</svg>")]
    inner = re.sub(r"<style.*?</style>", "", inner, count=1, flags=re.DOTALL)  # it would apply to the whole page
    inner = re.sub(r'(\bid="|url\(#|href="#)(?=[^<>]*>)', rf"\g<1>{ident}-", inner)
    inner = re.sub(r"\n\s*", "\n", as_variables(inner))
    width, height = (_DPI * length for length in figure.get_size_inches())
    head = Markup(
        '<svg class="plot" role="img" viewBox="0 0 {} {}" aria-labelledby="{}-title {}-desc">'
        '<title id="{}-title">{}</title><desc id="{}-desc">{}</desc>'
    ).format(f"{width:.0f}", f"{height:.0f}", ident, ident, ident, title, ident, description)
    return Plot(ident, title, head + Markup(inner) + Markup("</svg>"))  # noqa: S704 (matplotlib escapes its text)
