"""The table of arms that terminal, Markdown and LaTeX share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yolo_attn.study.report import formats
from yolo_attn.study.report.formats import NONE
from yolo_attn.study.report.view import MAIN, Arm, StudyView

__all__ = ["Column", "Summary", "summarize"]


@dataclass(frozen=True)
class Column:
    """One column: its heading and its cell for an arm."""

    heading: str
    cell: Callable[[Arm], str]
    always: bool = True  # otherwise only where an arm has something in it


@dataclass(frozen=True)
class Summary:
    """The table: the first column names the arm, the others are numbers and the verdict."""

    arms: Sequence[Arm]
    heading: Sequence[str]
    rows: Sequence[Sequence[str]]


def summarize(study: StudyView) -> Summary:
    """Return the table of a study."""
    cells = {column.heading: [column.cell(arm) for arm in study.arms] for column in _COLUMNS}
    kept = [c.heading for c in _COLUMNS if c.always or any(cell != NONE for cell in cells[c.heading])]
    return Summary(study.arms, kept, list(zip(*(cells[heading] for heading in kept), strict=True)))


def _seeds(arm: Arm) -> str:
    return f"{len(arm.done)}/{len(arm.runs)}"


def _p_holm(arm: Arm) -> str:
    return formats.p_value(arm.delta(MAIN).p_holm)


_COLUMNS = (
    Column("arm", lambda arm: arm.label),
    Column("seeds", _seeds),
    Column(MAIN, lambda arm: formats.mean_and_half(arm.metric(MAIN))),
    Column("mAP50", lambda arm: formats.points(arm.metric("mAP50").mean)),
    Column("params", lambda arm: formats.millions(arm.params)),
    Column("GFLOPs", lambda arm: formats.gflops(arm.gflops)),
    Column("ms", lambda arm: formats.milliseconds(arm.latency.median if arm.latency else None), always=False),
    Column("vs base", lambda arm: formats.signed(arm.delta(MAIN).mean)),
    Column("95% interval", lambda arm: formats.signed_interval(arm.delta(MAIN)) or NONE, always=False),
    Column("p Holm", _p_holm, always=False),
    Column("verdict", lambda arm: arm.judgement or NONE, always=False),
)
