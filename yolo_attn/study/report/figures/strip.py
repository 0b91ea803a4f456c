"""Strip plots: each run as a dot, with lines that join the runs of a seed."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from yolo_attn.study.report.figures.palette import arm_style, light
from yolo_attn.study.report.figures.plot import (
    SMALL,
    TEXT,
    WIDTH,
    Margins,
    Plot,
    as_plot,
    new_plot,
    rows_of,
    shortened,
    text_width,
)
from yolo_attn.study.report.formats import mean_and_half, points
from yolo_attn.study.results.records import ArmSummary

__all__ = ["runs_strip"]

_ROW = 44.0
_LABEL = -0.22
_DOTS = 0.07
_MEAN = 0.27


def runs_strip(ident: str, metric: str, arms: Sequence[ArmSummary], seeds: Sequence[int]) -> Plot | None:
    """Draw each run's value of a metric; None if no run has one.

    Args:
        ident: Id in the page.
        metric: Name of the metric, such as "mAP50-95".
        arms: All arms, the baseline first.
        seeds: The study's seeds.
    """
    values = [{seed: run.metrics.get(metric) for seed, run in arm.by_seed.items()} for arm in arms]
    if all(value is None for known in values for value in known.values()):
        return None
    figure, axes = new_plot(_ROW * len(arms), Margins())
    rows_of(axes, len(arms))
    for seed in seeds:
        path = [
            (100 * value, row + _DOTS)
            for row, (arm, known) in enumerate(zip(arms, values, strict=True))
            if not _has_other_seeds(arm) and (value := known.get(seed)) is not None
        ]
        if len(path) > 1:
            axes.plot(*zip(*path, strict=True), color=light("faint"), linewidth=0.8, zorder=1)
    for row, (arm, known) in enumerate(zip(arms, values, strict=True)):
        _draw_arm(axes, row, arm, metric, [100 * value for value in known.values() if value is not None])
    axes.margins(x=0.05)
    axes.set_xlabel(f"{metric}, points")
    return as_plot(figure, ident, f"{metric} of every run", _described(arms, values))


def _has_other_seeds(arm: ArmSummary) -> bool:
    """Return whether an arm is the control whose runs have other seeds than those of the same number."""
    return arm.kind == "control" and arm.name == "aa"


def _draw_arm(axes: Axes, row: int, arm: ArmSummary, metric: str, values: Sequence[float]) -> None:
    style, summary = arm_style(arm), arm.metric(metric)
    value_text = "no result" if summary.mean is None else mean_and_half(summary)
    across = axes.get_yaxis_transform()
    room = WIDTH - 24 - text_width(value_text, SMALL)
    axes.text(0, row + _LABEL, shortened(arm.label, room), transform=across, size=TEXT, va="center", zorder=5)
    axes.text(
        1,
        row + _LABEL,
        value_text,
        transform=across,
        size=SMALL,
        va="center",
        ha="right",
        color=light("muted"),
        zorder=5,
    )
    axes.plot(
        values, [row + _DOTS] * len(values), style.marker, color=style.color, markersize=6, markeredgewidth=0, zorder=3
    )
    if summary.low is not None and summary.high is not None:
        ends = [100 * summary.low, 100 * summary.high]
        axes.plot(ends, [row + _MEAN] * 2, color=style.color, linewidth=1.4, zorder=2)
    if summary.mean is not None:
        axes.plot([100 * summary.mean], [row + _MEAN], "|", color=style.color, markersize=8, markeredgewidth=2)


def _described(arms: Sequence[ArmSummary], values: Sequence[dict[int, float | None]]) -> str:
    parts = [
        f"{arm.label}: " + (", ".join(f"seed {seed} {points(value)}" for seed, value in known.items()) or "no result")
        for arm, known in zip(arms, values, strict=True)
    ]
    return f"In points: {'; '.join(parts)}."
