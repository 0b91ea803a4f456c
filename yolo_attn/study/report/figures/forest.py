"""Forest plots: differences with their intervals, one per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from yolo_attn.study.report.formats import signed, signed_interval, size, typeset
from yolo_attn.study.report.pairs import pair_name
from yolo_attn.study.results.records import ArmSummary, Estimate, PairResult, StudyResults

__all__ = ["arms_forest", "classes_forest", "pairs_forest"]

_ROW = 38.0  # height of an arm: its name and the interval below
_CLASS_ROW = 16.0
_GUTTER = 118.0  # maximum width of class names
_PAIRED = 14  # letters of each name of a pair
_LABEL = -0.14  # offset of a name, in rows
_MARK = 0.21


@dataclass(frozen=True)
class _Mark:
    """One difference with its style."""

    label: str
    estimate: Estimate
    color: str
    marker: str = "o"


def arms_forest(ident: str, metric: str, study: StudyResults) -> Plot | None:
    """Draw each arm's difference to the baseline in one metric; None if no arm has one.

    In the main metric the intervals are those of the verdicts, and the margin is shaded; in all others they are 95 %
    intervals.

    Args:
        ident: Id in the page.
        metric: Name of the metric, such as "mAP50-95".
        study: The results.
    """
    arms = study.others
    if all(arm.difference(metric).mean is None for arm in arms):
        return None
    decides = metric == study.main
    marks = [_arm_mark(arm, metric, decides=decides) for arm in arms]
    return _forest(
        ident, marks, metric, f"Difference in {metric} to the baseline", study.info.margin if decides else None
    )


def _arm_mark(arm: ArmSummary, metric: str, *, decides: bool) -> _Mark:
    style, found = arm_style(arm), arm.difference(metric)
    return _Mark(arm.label, found.shown if decides else found, style.color, style.marker)


def pairs_forest(ident: str, title: str, pairs: Sequence[PairResult], study: StudyResults) -> Plot:
    """Draw the differences of pairs of arms.

    Args:
        ident: Id in the page.
        title: Title.
        pairs: The pairs, of arms of the study.
        study: The results.
    """
    styles = {arm.name: arm_style(arm) for arm in study.arms}
    marks = [
        _Mark(pair_name(pair, _PAIRED), pair.difference.shown, styles[pair.arm].color, styles[pair.arm].marker)
        for pair in pairs
    ]
    return _forest(ident, marks, study.main, title, study.info.margin)


def _forest(ident: str, marks: Sequence[_Mark], metric: str, title: str, margin: float | None) -> Plot:
    """Draw marks with their labels and numbers, and a margin if there is one."""
    figure, axes = new_plot(_ROW * len(marks), Margins())
    rows_of(axes, len(marks))
    _scale(axes, [mark.estimate for mark in marks], margin or 0.0)
    across = axes.get_yaxis_transform()
    for row, mark in enumerate(marks):
        value = _value_text(mark.estimate)
        room = WIDTH - 24 - text_width(value, SMALL)
        axes.text(0, row + _LABEL, shortened(mark.label, room), transform=across, size=TEXT, va="center")
        axes.text(1, row + _LABEL, value, transform=across, size=SMALL, va="center", ha="right", color=light("muted"))
        _draw(axes, row + _MARK, mark, width=2.2, size=7)
    shaded = "" if margin is None else f"; shaded: margin ±{size(margin)}"
    if margin is not None:
        axes.axvspan(-100 * margin, 100 * margin, color=light("band"), linewidth=0, zorder=0.5)
    axes.set_xlabel(f"difference in {metric}, points{shaded}")
    parts = [f"{mark.label}: {_value_text(mark.estimate)}" for mark in marks]
    return as_plot(figure, ident, title, f"In points: {'; '.join(parts)}.")


def classes_forest(ident: str, arm: ArmSummary, names: Sequence[str], rare: int) -> Plot:
    """Draw an arm's difference to the baseline in each class.

    Args:
        ident: Id in the page.
        arm: The arm.
        names: The classes from top to bottom; each has a difference.
        rare: Classes with fewer instances are gray.
    """
    style = arm_style(arm)
    results = [arm.per_class[name] for name in names]
    labels = [_class_label(name, result.instances) for name, result in zip(names, results, strict=True)]
    gutter = min(_GUTTER, 14 + max(text_width(label, SMALL) for label in labels))
    figure, axes = new_plot(_CLASS_ROW * len(names), Margins(left=gutter))
    rows_of(axes, len(names))
    _scale(axes, [result.difference for result in results])
    for row, (label, result) in enumerate(zip(labels, results, strict=True)):
        few = result.instances is not None and result.instances < rare
        ink = light("muted" if few else "ink")
        axes.annotate(
            label,
            (0, row),
            (-8, 0),
            ("axes fraction", "data"),
            "offset pixels",
            size=SMALL,
            va="center",
            ha="right",
            color=ink,
        )
        _draw(axes, row, _Mark(label, result.difference, light("faint") if few else style.color, style.marker), 1.6, 5)
    axes.set_xlabel(f"difference in {arm.main}, points")
    parts = [f"{name}: {_value_text(result.difference)}" for name, result in zip(names, results, strict=True)]
    return as_plot(figure, ident, f"{arm.label}: difference per class", f"In points: {'; '.join(parts)}.")


def _class_label(name: str, instances: int | None) -> str:
    """Return the name of a class, shortened to fit, with its number of objects."""
    count = "" if instances is None else f" ({instances:,})"
    return shortened(name, _GUTTER - 14 - text_width(count, SMALL), SMALL) + count


def _value_text(estimate: Estimate) -> str:
    if estimate.mean is None:
        return "no result"
    return typeset(f"{signed(estimate.mean)} {signed_interval(estimate)}".strip())


def _draw(axes: Axes, row: float, mark: _Mark, width: float, size: float) -> None:
    estimate = mark.estimate
    if estimate.mean is None:
        return
    if estimate.low is not None and estimate.high is not None:
        ends = [100 * estimate.low, 100 * estimate.high]
        axes.plot(ends, [row, row], color=mark.color, linewidth=width, solid_capstyle="round")
    axes.plot([100 * estimate.mean], [row], mark.marker, color=mark.color, markersize=size, markeredgewidth=0)


def _scale(axes: Axes, estimates: Sequence[Estimate], margin: float = 0.0) -> None:
    """Set limits that include all intervals, zero and the margin."""
    ends = [end for e in estimates for end in (e.mean, e.low, e.high) if end is not None]
    low, high = min(-margin, *ends), max(margin, *ends)
    edge = 0.05 * (high - low) or 0.01
    axes.set_xlim(100 * (low - edge), 100 * (high + edge))
    axes.axvline(0, color=light("muted"), linewidth=1, zorder=0.9)
