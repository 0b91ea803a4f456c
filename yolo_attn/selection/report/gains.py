"""Gain against cost: the search's estimates of all candidates, and the confirmed differences of the finalists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from yolo_attn.selection.records import CandidateRecord, Confirmed, Costs, SearchRecord
from yolo_attn.selection.wording import base_name, candidate_of
from yolo_attn.study.report.figures.palette import light
from yolo_attn.study.report.figures.pareto import frontier
from yolo_attn.study.report.figures.plot import SMALL, Margins, Plot, as_plot, label_left, new_plot
from yolo_attn.study.report.formats import signed, signed_ends, typeset

__all__ = ["Finalist", "finalists_in_color", "gain_plots"]

_HEIGHT = 270.0
_STYLES = (("arm-0", "o"), ("arm-1", "s"), ("arm-2", "^"), ("arm-3", "D"))


@dataclass(frozen=True)
class _Cost:
    """A cost of a candidate.

    Args:
        ident: Identifier.
        name: Axis label, with the unit.
        of: Returns the cost of a candidate, given those of the base.
    """

    ident: str
    name: str
    of: Callable[[Costs, Costs], float | None]


@dataclass(frozen=True)
class Finalist:
    """A finalist in the figures.

    Args:
        number: Its number beside its point.
        label: Its label.
        color: Name of its color in the theme.
        marker: Matplotlib marker.
        found: Its confirmed difference.
        candidate: Its costs and estimates.
    """

    number: int
    label: str
    color: str
    marker: str
    found: Confirmed
    candidate: CandidateRecord


def _latency(costs: Costs, base: Costs) -> float | None:
    return None if costs.latency_ratio is None else 100 * (costs.latency_ratio - 1)


def _params(costs: Costs, base: Costs) -> float | None:
    if costs.params is None or not base.params:
        return None
    return 100 * (costs.params / base.params - 1)


_LATENCY = _Cost("latency", "latency relative to the base, %", _latency)
_PARAMS = _Cost("params", "parameters relative to the base, %", _params)


def finalists_in_color(record: SearchRecord) -> list[Finalist]:
    """Return the confirmed finalists with the colors that the figures give them.

    Args:
        record: The results.
    """
    found = []
    for number, (one, (color, marker)) in enumerate(zip(record.confirmed, _STYLES, strict=False), 1):
        candidate = candidate_of(record, one.name)
        found.append(Finalist(number, candidate.label, color, marker, one, candidate))
    return found


def gain_plots(record: SearchRecord) -> list[Plot]:
    """Draw gain against latency, or against parameters if no latency was measured; nothing without a difference.

    Args:
        record: The results.
    """
    plots = (_plot(cost, record) for cost in (_LATENCY, _PARAMS))
    found = [plot for plot in plots if plot is not None]
    return found[:1]


def _plot(cost: _Cost, record: SearchRecord) -> Plot | None:
    finalists = [one for one in finalists_in_color(record) if one.found.mean is not None]
    names = {one.found.name for one in finalists}
    searched = [point for one in record.candidates if one.name not in names and (point := _point(cost, one, record))]
    drawn = [(one, price) for one in finalists if (price := cost.of(one.candidate.costs, record.base)) is not None]
    if not searched and not drawn:
        return None
    figure, axes = new_plot(_HEIGHT, Margins(left=54, top=14, bottom=38))
    axes.grid(color=light("rule"), linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axhline(0, color=light("muted"), linewidth=1, zorder=1)
    if searched:
        axes.plot(*zip(*searched, strict=True), "o", color=light("faint"), markersize=3.5, markeredgewidth=0, zorder=2)
    for one, price in drawn:
        _draw(axes, one, price)
    axes.plot([0], [0], "P", color=light("ink"), markersize=9, markeredgewidth=0, zorder=5)
    _draw_front(axes, [(price, 100 * (one.found.mean or 0.0)) for one, price in drawn])
    axes.margins(0.09, 0.12)
    axes.xaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
    axes.ticklabel_format(useOffset=False)
    axes.set_xlabel(cost.name)
    label_left(axes, f"difference in {record.info.metric}, points")
    return as_plot(figure, f"gain-{cost.ident}", f"Gain against {cost.name}", _described(record, drawn, len(searched)))


def _point(cost: _Cost, one: CandidateRecord, record: SearchRecord) -> tuple[float, float] | None:
    price = cost.of(one.costs, record.base)
    return None if price is None or one.last is None else (price, 100 * one.last.mean)


def _draw(axes: Axes, one: Finalist, price: float) -> None:
    """Draw a finalist: its confirmed difference with its interval, and its estimate in the search as a hollow point."""
    color, mean = light(one.color), 100 * (one.found.mean or 0.0)
    if last := one.candidate.last:
        axes.annotate(
            "",
            (price, mean),
            (price, 100 * last.mean),
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.8, "linestyle": (0, (1, 2)), "shrinkA": 3},
        )
        axes.plot([price], [100 * last.mean], one.marker, color="none", markeredgecolor=color, markersize=7, zorder=3)
    if one.found.low is not None and one.found.high is not None:
        axes.plot([price] * 2, [100 * one.found.low, 100 * one.found.high], color=color, linewidth=1.6, zorder=3)
    axes.plot([price], [mean], one.marker, color=color, markersize=8, markeredgewidth=0, zorder=4)
    axes.annotate(str(one.number), (price, mean), (9, 0), textcoords="offset points", size=SMALL, va="center", zorder=6)


def _draw_front(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Draw the Pareto front of the base and the finalists."""
    if points:
        best = frontier([(0.0, 0.0), *points])
        axes.plot(
            *zip(*best, strict=True),
            color=light("muted"),
            linewidth=1,
            linestyle=(0, (4, 3)),
            drawstyle="steps-post",
            zorder=2,
        )


def _described(record: SearchRecord, drawn: Sequence[tuple[Finalist, float]], searched: int) -> str:
    parts = [f"{base_name(record)}: the origin"]
    for one, price in drawn:
        interval = ""
        if one.found.low is not None and one.found.high is not None:
            interval = " [{}, {}]".format(*signed_ends(one.found.low, one.found.high))
        parts.append(typeset(f"{one.label}: {price:+.1f}%, {signed(one.found.mean)}{interval}"))
    return f"{'; '.join(parts)}; {searched} other candidates with their estimates in the search."
