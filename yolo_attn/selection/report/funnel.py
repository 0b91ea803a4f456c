"""The funnel of a search: how many candidates each stage keeps, and why the others are dropped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from yolo_attn.errors import counted
from yolo_attn.selection.records import EXPORT, FINALIST, LIMIT, UNTRIED, CandidateRecord, RungRecord, SearchRecord
from yolo_attn.study.report.figures.palette import light
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

__all__ = ["Loss", "Stage", "funnel_plot", "stages"]

_ROW = 40.0
_BAR = 0.13  # offset of a bar from the middle of its row
_HEIGHT = 0.34
_LEAST = 0.006  # share of the width that a bar has at least


@dataclass(frozen=True)
class Loss:
    """Candidates that a stage drops.

    Args:
        count: Their number.
        reason: Why, as the end of a sentence.
    """

    count: int
    reason: str


@dataclass(frozen=True)
class Stage:
    """One stage.

    Args:
        title: Its name.
        detail: What happens in it; empty if its name says it.
        entered: Number of candidates that it begins with.
        left: Number that it keeps; None if it is not finished.
        losses: Those that it drops.
        folder: Folder of its study; None without one.
    """

    title: str
    detail: str
    entered: int
    left: int | None
    losses: tuple[Loss, ...] = ()
    folder: str | None = None


def stages(record: SearchRecord) -> list[Stage]:
    """Return the stages of a search, those that have not begun included.

    Args:
        record: The results.
    """
    found = [_screening(record.candidates)]
    found += [_rung(rung, record) for rung in record.rungs]
    return [*found, _confirmation(record)]


def is_pair(one: CandidateRecord) -> bool:
    """Return whether a candidate is a pair of placements, which joins the search in a later rung."""
    return len(one.layers) > 1


def _screening(candidates: Sequence[CandidateRecord]) -> Stage:
    """Return the stage before training."""
    losses = [
        *_losses(candidates, lambda one: "cannot be built" if _is_unbuildable(one) else None),
        *_losses(candidates, lambda one: "cannot be exported" if one.status == EXPORT else None),
        *_losses(candidates, _limit_of),
        *_losses(candidates, lambda one: "beyond the budget" if one.status == UNTRIED else None),
    ]
    pairs = sum(map(is_pair, candidates))
    detail = f"including {counted(pairs, 'pair')} of the best, which were added later" if pairs else ""
    lost = sum(loss.count for loss in losses)
    return Stage("Candidates", detail, len(candidates), len(candidates) - lost, tuple(losses))


def _losses(candidates: Iterable[CandidateRecord], reason_of: Callable[[CandidateRecord], str | None]) -> list[Loss]:
    reasons = Counter(reason for one in candidates if (reason := reason_of(one)))
    return [Loss(count, reason) for reason, count in reasons.most_common()]


def _is_unbuildable(one: CandidateRecord) -> bool:
    return not one.estimates and one.costs.error is not None and one.status != EXPORT


def _limit_of(one: CandidateRecord) -> str | None:
    """Return the limit that a candidate exceeds, such as "over the limit of latency"."""
    if one.status != LIMIT or _is_unbuildable(one):
        return None
    words = re.match(r"[A-Za-z ]+", one.reason or "")
    name = words[0].split()[0].lower() if words and words[0].strip() else None
    return f"over the limit of {name}" if name else "over a limit"


def _rung(rung: RungRecord, record: SearchRecord) -> Stage:
    losses = [
        Loss(rung.worse, "certainly not among the best, by their intervals"),
        Loss(rung.beyond, "by the number of places, those with the smallest differences"),
        Loss(rung.failed, "whose runs failed"),
    ]
    detail = f"{counted(rung.seeds, 'seed')} × {counted(rung.epochs, 'epoch')}"  # noqa: RUF001
    if rung.pairs:
        detail += f", {counted(rung.pairs, 'pair')} of the best included"
    if rung.kept is None and rung.runs:
        detail += f"; {rung.done} of {counted(rung.runs, 'run')} done"
    elif rung.resolution is not None:
        detail += f"; differences of ±{100 * rung.resolution:.2f} points are resolved"
    return Stage(
        f"Rung {rung.number}",
        detail,
        rung.candidates,
        rung.kept,
        tuple(loss for loss in losses if loss.count),
        rung.folder,
    )


def _confirmation(record: SearchRecord) -> Stage:
    finalists = len(record.confirmed) or sum(one.status == FINALIST for one in record.candidates)
    better = sum(one.verdict == "better" for one in record.confirmed)
    rest = Counter(one.verdict or "without a verdict" for one in record.confirmed if one.verdict != "better")
    seeds = max((one.seeds or 0 for one in record.confirmed), default=0)
    others = [] if record.info.shared_images else ["other images"]
    return Stage(
        "Confirmation",
        ", ".join([counted(seeds, "new seed"), *others]) if seeds else " and ".join([*others, "other seeds"]),
        finalists,
        better if record.confirmed or record.finished else None,
        tuple(Loss(count, verdict) for verdict, count in rest.most_common()),
        record.confirm_folder,
    )


def funnel_plot(found: Sequence[Stage]) -> Plot:
    """Draw the stages as bars: what continues in color, what is dropped in gray.

    Args:
        found: The stages.
    """
    figure, axes = new_plot(_ROW * len(found), Margins(left=4, right=8, bottom=8))
    rows_of(axes, len(found))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    most = max(1, *(stage.entered for stage in found))
    axes.set_xlim(0, most)
    across = axes.get_yaxis_transform()
    for row, stage in enumerate(found):
        kept = max(stage.left, _LEAST * most) if stage.left else 0.0
        text = _numbers(stage)
        room = WIDTH - 24 - text_width(text, SMALL)
        axes.text(0, row - 0.24, shortened(stage.title, room), transform=across, size=TEXT, va="center")
        axes.text(1, row - 0.24, text, transform=across, size=SMALL, va="center", ha="right", color=light("muted"))
        axes.barh(row + _BAR, stage.entered, _HEIGHT, color=light("rule"))
        axes.barh(row + _BAR, kept, _HEIGHT, color=light("arm-2" if stage.title == "Confirmation" else "arm-0"))
    return as_plot(figure, "funnel-stages", "Candidates in each stage", _described(found))


def _numbers(stage: Stage) -> str:
    if not stage.entered:
        return "not yet" if stage.left is None else "none"
    if stage.left is None:
        return str(stage.entered)
    return f"{stage.entered} → {stage.left}" + (" better" if stage.title == "Confirmation" else "")


def _described(found: Iterable[Stage]) -> str:
    parts = []
    for stage in found:
        lost = "".join(f", {loss.count} {loss.reason}" for loss in stage.losses)
        parts.append(f"{stage.title}: {_numbers(stage)}{lost}")
    return f"{'; '.join(parts)}."
