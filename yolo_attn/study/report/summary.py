"""The table of arms that the terminal, Markdown and LaTeX share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from yolo_attn.study.report import formats
from yolo_attn.study.report.formats import NONE
from yolo_attn.study.results.records import ArmSummary, Difference, StudyResults

__all__ = [
    "Column",
    "Summary",
    "failed_text",
    "interval_heading",
    "ranked",
    "summarize",
    "unlearned_text",
    "verdict_text",
]

_KINDS = ("baseline", "variant", "control")


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        heading: Its heading.
        cell: Returns its cell for an arm.
        always: Whether to include it when no arm has a value.
    """

    heading: str
    cell: Callable[[ArmSummary], str]
    always: bool = True


@dataclass(frozen=True)
class Summary:
    """The table: the first column names the arm, the others are numbers and the verdict."""

    arms: Sequence[ArmSummary]
    heading: Sequence[str]
    rows: Sequence[Sequence[str]]


def ranked(study: StudyResults) -> StudyResults:
    """Return results with the arms in the order of presentation.

    The baseline comes first, then the variants from the largest difference to the smallest, then the controls.
    """
    return replace(study, arms=sorted(study.arms, key=_rank))


def _rank(arm: ArmSummary) -> tuple[int, float]:
    mean = arm.difference().mean
    return _KINDS.index(arm.kind), math.inf if mean is None else -mean


def verdict_text(arm: ArmSummary) -> str | None:
    """Return an arm's verdict with its failed runs and those that have not learned; None without any of it."""
    parts = [arm.verdict, failed_text(arm), unlearned_text(arm)]
    return ", ".join(part for part in parts if part) or None


def failed_text(arm: ArmSummary) -> str | None:
    """Return how many runs of an arm have failed, None without any."""
    return _count_text(len(arm.failed), len(arm.runs), "failed")


def unlearned_text(arm: ArmSummary) -> str | None:
    """Return how many runs of an arm have not learned, None without any."""
    return _count_text(len(arm.unlearned), len(arm.done), "not learned")


def _count_text(count: int, of: int, what: str) -> str | None:
    if not count:
        return None
    return what if count == of else f"{count} {what}"


def summarize(study: StudyResults) -> Summary:
    """Return the table of a study."""
    second = study.info.metrics[1]
    undefined = study.done > 0 and all(arm.metric(second).mean is None for arm in study.arms)
    columns = [column for column in _columns(study) if not (undefined and column.heading == second)]
    cells = {column.heading: [column.cell(arm) for arm in study.arms] for column in columns}
    kept = [c.heading for c in columns if c.always or any(cell != NONE for cell in cells[c.heading])]
    return Summary(study.arms, kept, list(zip(*(cells[heading] for heading in kept), strict=True)))


def _columns(study: StudyResults) -> Sequence[Column]:
    main, second = study.info.metrics[:2]
    return (
        Column("arm", lambda arm: arm.label),
        Column("seeds", lambda arm: f"{len(arm.done)}/{len(arm.runs)}"),
        Column(main, lambda arm: formats.mean_and_half(arm.metric())),
        Column(second, lambda arm: formats.points(arm.metric(second).mean)),
        Column("params", lambda arm: formats.millions(arm.params)),
        Column("GFLOPs", lambda arm: formats.gflops(arm.gflops)),
        Column("ms", lambda arm: formats.milliseconds(arm.latency_ms.median if arm.latency_ms else None), always=False),
        Column("vs base", lambda arm: formats.signed(arm.difference().mean)),
        Column(
            interval_heading([arm.difference() for arm in study.others]),
            lambda arm: formats.signed_interval(arm.difference().shown) or NONE,
            always=False,
        ),
        Column("p adj.", lambda arm: formats.p_value(arm.difference().p_adjusted), always=False),
        Column("verdict", lambda arm: verdict_text(arm) or NONE, always=False),
    )


def interval_heading(differences: Iterable[Difference]) -> str:
    """Return the heading of the intervals of differences, with their level if it is the same for all."""
    levels = {formats.percent(found.shown_level) for found in differences if found.shown_level is not None}
    return f"{levels.pop()} interval" if len(levels) == 1 else "interval"
