"""Gain against cost: the difference in average precision against latency, parameters or operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from yolo_attn.study.report.figures.palette import arm_style, light
from yolo_attn.study.report.figures.plot import (
    SMALL,
    Margins,
    Plot,
    as_plot,
    flow,
    label_left,
    new_plot,
    shortened,
    text_width,
)
from yolo_attn.study.report.formats import signed, signed_interval, typeset
from yolo_attn.study.results.records import ArmSummary, Difference

__all__ = ["COSTS", "Cost", "frontier", "pareto"]

_HEIGHT = 250.0
_NAME = 150.0  # maximum width of a name, in pixels
_LINE = 13.0  # height of a line of text
_BELOW = 38.0
_KEY_LINE = 15.0
_MAX_NAMES = 12  # next to the points; with more, points are numbered and the names are below


@dataclass(frozen=True)
class Cost:
    """A cost of an arm.

    Args:
        ident: Identifier.
        name: Axis label, with the unit.
        of: Returns the cost of an arm.
        spread: Returns its 10th and 90th percentile, if it is measured.
    """

    ident: str
    name: str
    of: Callable[[ArmSummary], float | None]
    spread: Callable[[ArmSummary], tuple[float | None, float | None]] = lambda arm: (None, None)


def _median_latency(arm: ArmSummary) -> float | None:
    return arm.latency_ms.median if arm.latency_ms else None


def _latency_spread(arm: ArmSummary) -> tuple[float | None, float | None]:
    return (arm.latency_ms.p10, arm.latency_ms.p90) if arm.latency_ms else (None, None)


COSTS = (
    Cost(
        "latency",
        "latency of one image, ms",
        lambda arm: arm.latency_ms.median if arm.latency_ms else None,
        _latency_spread,
    ),
    Cost("params", "parameters, millions", lambda arm: None if arm.params is None else arm.params / 1e6),
    Cost("gflops", "GFLOPs of one image", lambda arm: arm.gflops),
)


@dataclass(frozen=True)
class _Point:
    """An arm in the figure; x and y in the units of the axes."""

    arm: ArmSummary
    x: float
    y: float
    low: float | None
    high: float | None


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the Pareto-optimal points, from the cheapest: no cheaper point has the same gain or a larger one.

    Args:
        points: (cost, gain) of each arm.
    """
    best: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or gain > best[-1][1]:
            best.append((cost, gain))
    return best


def pareto(cost: Cost, arms: Sequence[ArmSummary]) -> Plot | None:
    """Draw gain against cost; None if fewer than two arms have both."""
    points = [point for arm in arms if (point := _point(cost, arm)) is not None]
    if len(points) < 2:  # noqa: PLR2004
        return None
    names = [shortened(point.arm.name, _NAME, SMALL) for point in points]
    many = len(points) > _MAX_NAMES
    key = [f"{number} {name}" for number, name in enumerate(names, 1)] if many else []
    positions, room = flow([text_width(text, SMALL) + 10 for text in key], _KEY_LINE) if key else ([], 0.0)
    figure, axes = new_plot(_HEIGHT, Margins(left=54, top=14, bottom=_BELOW + room))
    axes.grid(color=light("rule"), linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axhline(0, color=light("muted"), linewidth=1, zorder=1)
    for point in points:
        _draw(axes, cost, point)
    best = frontier([(point.x, point.y) for point in points if point.arm.kind != "control"])
    axes.plot(
        *zip(*best, strict=True),
        color=light("muted"),
        linewidth=1,
        linestyle=(0, (4, 3)),
        drawstyle="steps-post",
        zorder=2,
    )
    axes.margins(0.09, 0.12)
    axes.xaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
    axes.ticklabel_format(useOffset=False)
    axes.set_xlabel(cost.name)
    label_left(axes, f"difference in {arms[0].main}, points")
    axes.autoscale_view()  # names are positioned relative to the final points
    _name_points(axes, cost, points, [str(number + 1) for number in range(len(points))] if many else names)
    for text, (x, y) in zip(key, positions, strict=True):
        axes.annotate(
            text, (8 + x, room - 6 - y), xycoords="figure pixels", size=SMALL, va="center", annotation_clip=False
        )
    return as_plot(figure, f"pareto-{cost.ident}", f"Gain against {cost.name}", _described(cost, arms, points))


def _point(cost: Cost, arm: ArmSummary) -> _Point | None:
    price = cost.of(arm)
    origin = arm.kind == "baseline" and arm.metric().mean is not None
    gain = Difference(mean=0.0) if origin else arm.difference()
    if price is None or gain.mean is None:
        return None
    low, high = (None if end is None else 100 * end for end in (gain.shown.low, gain.shown.high))
    return _Point(arm, price, 100 * gain.mean, low, high)


def _draw(axes: Axes, cost: Cost, point: _Point) -> None:
    style = arm_style(point.arm)
    if point.low is not None and point.high is not None:
        axes.plot([point.x, point.x], [point.low, point.high], color=style.color, linewidth=1.4, alpha=0.75)
    fast, slow = cost.spread(point.arm)
    if fast is not None and slow is not None:
        axes.plot([fast, slow], [point.y, point.y], color=style.color, linewidth=1.4, alpha=0.75)
    axes.plot([point.x], [point.y], style.marker, color=style.color, markersize=7, markeredgewidth=0, zorder=3)


# --- names next to the points ---------------------------------------------------------------------------------------


_Boxes = npt.NDArray[np.float64]  # [n, 4] left, bottom, right, top, in pixels


def _name_points(axes: Axes, cost: Cost, points: Sequence[_Point], names: Sequence[str]) -> None:
    """Write each point's name near the point, where it covers no other name, marker or bar if possible."""
    frame = axes.get_window_extent().extents + np.array([0, 0, 8, 8])
    pixels = axes.transData.transform([(point.x, point.y) for point in points])
    taken = np.concatenate([np.hstack([pixels - 5, pixels + 5]), *(_bars(axes, cost, point) for point in points)])
    for point, pixel, name in zip(points, pixels, names, strict=True):
        candidates = _candidates(pixel, text_width(name, SMALL))
        best = candidates[np.argmin(_penalties(candidates, taken, frame, pixel))]
        taken = np.vstack([taken, best])
        middle = (best[:2] + best[2:]) / 2
        far = abs(middle[1] - pixel[1]) > 2 * _LINE
        line = {"arrowstyle": "-", "color": light("faint"), "linewidth": 0.8, "shrinkB": 5} if far else None
        axes.annotate(
            name, (point.x, point.y), tuple(middle), xycoords="data", textcoords="figure pixels", size=SMALL,
            ha="center", va="center", arrowprops=line, annotation_clip=False,
        )  # fmt: skip


def _bars(axes: Axes, cost: Cost, point: _Point) -> _Boxes:
    """Return the boxes of a point's bars."""
    fast, slow = (point.x if end is None else end for end in cost.spread(point.arm))
    low, high = (point.y if end is None else end for end in (point.low, point.high))
    (left, bottom), (right, top), (x, y) = axes.transData.transform([(fast, low), (slow, high), (point.x, point.y)])
    return np.array([(x - 1, bottom, x + 1, top), (left, y - 1, right, y + 1)])


def _candidates(pixel: npt.NDArray[np.float64], width: float) -> _Boxes:
    """Return possible boxes of a name: right and left of its point, then above and below with increasing distance."""
    x, y = pixel
    lines = [away for away in range(-13, 14) if away]
    corners = [(left, 0) for left in (x + 8, x - 8 - width)]
    corners += [(left, line) for line in lines for left in (x + 8, x - 8 - width, x - width / 2)]
    return np.array([(left, y + (n - 0.5) * _LINE, left + width, y + (n + 0.5) * _LINE) for left, n in corners])


def _penalties(boxes: _Boxes, taken: _Boxes, frame: _Boxes, pixel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a penalty for each box: its covered area, its area outside the frame, and its distance from the point."""
    covered = _common(boxes[:, None], taken).sum(axis=1)
    outside = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - _common(boxes, frame)
    away = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - pixel) @ np.array([0.2, 1.0])
    return np.asarray(10 * covered + 10 * outside + away)


def _common(a: _Boxes, b: _Boxes) -> npt.NDArray[np.float64]:
    """Return the intersection areas of boxes."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.asarray(np.prod(np.clip(sides, 0.0, None), axis=-1))


def _described(cost: Cost, arms: Sequence[ArmSummary], points: Sequence[_Point]) -> str:
    parts = [
        typeset(f"{p.arm.label}: {p.x:.4g}, {signed(p.y / 100)} {signed_interval(p.arm.difference().shown)}".strip())
        for p in points
    ]
    missing = [f"{arm.label}: no result" for arm in arms if arm not in [point.arm for point in points]]
    return f"{cost.name}, and the difference in {arms[0].main} in points. {'; '.join([*parts, *missing])}."
