"""Curves of the arms: training curves over epochs, precision over recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolo_attn.study.report.curves import Curve
from yolo_attn.study.report.figures.palette import arm_style, light
from yolo_attn.study.report.figures.plot import (
    SMALL,
    WIDTH,
    Margins,
    Plot,
    as_plot,
    flow,
    label_left,
    new_plot,
    shortened,
    text_width,
)
from yolo_attn.study.results.records import ArmSummary

__all__ = ["precision_curves", "training_curves"]

_HEIGHT = 210.0
_BELOW = 38.0
_SWATCH = 22.0
_LINE = 16.0


def training_curves(
    ident: str, title: str, unit: str, arms: Sequence[ArmSummary], curves: Mapping[str, Curve]
) -> Plot | None:
    """Draw a quantity over the epochs; None without curves.

    Args:
        ident: Id in the page.
        title: Title.
        unit: Label of the vertical axis.
        arms: All arms, the baseline first.
        curves: Curves by arm; the legend includes arms without one.
    """
    if not curves:
        return None
    figure, axes = _new_plot(arms, curves, "epoch", unit)
    for arm in arms:
        if arm.name in curves:
            _draw(axes, arm, curves[arm.name])
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    parts = [f"{arm.label}: {_ends_text(curves.get(arm.name))}" for arm in arms]
    return as_plot(figure, ident, title, f"First, last: {'; '.join(parts)}.")


def precision_curves(ident: str, arms: Sequence[ArmSummary], curves: Mapping[str, Curve]) -> Plot | None:
    """Draw precision against recall, as means over seeds; None without curves.

    Args:
        ident: Id in the page.
        arms: All arms, the baseline first.
        curves: Curves by arm, in percent.
    """
    if not curves:
        return None
    figure, axes = _new_plot(arms, curves, "recall, percent", "precision, percent")
    for arm in arms:
        if arm.name in curves:
            style, curve = arm_style(arm), curves[arm.name]
            axes.plot(curve.x, curve.mean, color=style.color, linestyle=style.line, linewidth=1.5)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 104)
    areas = {name: f"{curve.mean.mean():.2f}" for name, curve in curves.items()}
    parts = [f"{arm.label}: {areas.get(arm.name, 'no result')}" for arm in arms]
    return as_plot(
        figure, ident, "Precision and recall at IoU 0.5", f"Mean precision, which is mAP50: {'; '.join(parts)}."
    )


def _new_plot(arms: Sequence[ArmSummary], curves: Mapping[str, Curve], across: str, up: str) -> tuple[Figure, Axes]:
    """Return axes with labels and a legend above them."""
    positions, height = flow([_SWATCH + text_width(_name(arm), SMALL) + 16 for arm in arms], _LINE)
    figure, axes = new_plot(_HEIGHT, Margins(left=54, top=height + 12, bottom=_BELOW))
    axes.grid(color=light("rule"), linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel(across)
    label_left(axes, up)
    for arm, (x, y) in zip(arms, positions, strict=True):
        _draw_name(axes, arm, (8 + x, _HEIGHT + _BELOW + height + 4 - y), arm.name in curves)
    return figure, axes


def _ends_text(curve: Curve | None) -> str:
    return "no result" if curve is None else f"{curve.mean[0]:.4g}, {curve.mean[-1]:.4g}"


def _draw(axes: Axes, arm: ArmSummary, curve: Curve) -> None:
    style = arm_style(arm)
    if np.any(curve.high > curve.low):
        axes.fill_between(curve.x, curve.low, curve.high, color=style.color, alpha=0.16, linewidth=0)
    marker = style.marker if len(curve.x) == 1 else "None"
    axes.plot(curve.x, curve.mean, marker=marker, color=style.color, linestyle=style.line, linewidth=1.5)


def _name(arm: ArmSummary) -> str:
    return shortened(arm.label, WIDTH - 24 - _SWATCH, SMALL)


def _draw_name(axes: Axes, arm: ArmSummary, position: tuple[float, float], known: bool) -> None:
    """Draw one legend entry; gray if the arm has no curve."""
    style, (x, y) = arm_style(arm), position
    line = {"arrowstyle": "-", "color": style.color, "lw": 2, "ls": style.line, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", position, (x + 16, y), "figure pixels", "figure pixels", arrowprops=line)
    axes.annotate(
        _name(arm), (x + _SWATCH, y), xycoords="figure pixels", size=SMALL, va="center",
        color=light("ink" if known else "muted"), annotation_clip=False,
    )  # fmt: skip
