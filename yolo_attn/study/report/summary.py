"""The table of arms that the terminal, Markdown and LaTeX share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from yolo_attn.study.report import formats
from yolo_attn.study.report.formats import NONE
from yolo_attn.study.results.records import ArmSummary, StudyResults

__all__ = ["Column", "Summary", "ranked", "summarize", "verdict_text"]

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
    """Return an arm's verdict, and whether it has not learned; None without either."""
    parts = [arm.verdict, "not learned" if arm.learnt is False else None]
    return ", ".join(part for part in parts if part) or None


def summarize(study: StudyResults) -> Summary:
    """Return the table of a study."""
    main, second, *_ = study.info.metrics
    undefined = study.done > 0 and all(arm.metric(second).mean is None for arm in study.arms)
    columns = [column for column in _columns(main, second) if not (undefined and column.heading == second)]
    cells = {column.heading: [column.cell(arm) for arm in study.arms] for column in columns}
    kept = [c.heading for c in columns if c.always or any(cell != NONE for cell in cells[c.heading])]
    return Summary(study.arms, kept, list(zip(*(cells[heading] for heading in kept), strict=True)))


def _columns(main: str, second: str) -> Sequence[Column]:
    return (
        Column("arm", lambda arm: arm.label),
        Column("seeds", lambda arm: f"{len(arm.done)}/{len(arm.runs)}"),
        Column(main, lambda arm: formats.mean_and_half(arm.metric())),
        Column(second, lambda arm: formats.points(arm.metric(second).mean)),
        Column("params", lambda arm: formats.millions(arm.params)),
        Column("GFLOPs", lambda arm: formats.gflops(arm.gflops)),
        Column("ms", lambda arm: formats.milliseconds(arm.latency_ms.median if arm.latency_ms else None), always=False),
        Column("vs base", lambda arm: formats.signed(arm.difference().mean)),
        Column("95% interval", lambda arm: formats.signed_interval(arm.difference()) or NONE, always=False),
        Column("p adj.", lambda arm: formats.p_value(arm.difference().p_adjusted), always=False),
        Column("verdict", lambda arm: verdict_text(arm) or NONE, always=False),
    )
