"""`Results`: the outcome of a comparison, for users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_attn.study import report
from yolo_attn.study.report.text import cells_and_notes, text_table
from yolo_attn.study.results.records import ENDED, ArmSummary, RunSummary, StudyResults
from yolo_attn.study.results.storage import write_results
from yolo_attn.tables import html_table

__all__ = ["Results"]

_METRICS = 3  # in a row: those of detection by object size are left to `to_dict`


@dataclass(frozen=True, repr=False)
class Results:
    """The results of a study, finished or not.

    Args:
        folder: The study's folder.
        study: The content of `results.json`.
    """

    folder: Path
    study: StudyResults

    @property
    def exit_status(self) -> int:
        """0 when every run is done, 1 otherwise."""
        return 0 if self.study.done == self.study.total else 1

    @property
    def is_complete(self) -> bool:
        """Whether every run is done or has failed."""
        return all(run.status in ENDED for arm in self.study.arms for run in arm.runs)

    def of_status(self, status: str) -> list[tuple[str, RunSummary]]:
        """Return the runs with a status, each with the name of its arm."""
        return [(arm.name, run) for arm in self.study.arms for run in arm.runs if run.status == status]

    def table(self) -> str:
        """Return the results as an aligned text table."""
        return text_table(self.study)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<Results of {self.folder}: {', '.join(arm.name for arm in self.study.arms)}>"

    def _repr_html_(self) -> str:
        cells, notes = cells_and_notes(self.study)
        return html_table(cells, (0,), notes)

    def rows(self) -> list[dict[str, object]]:
        """Return one dictionary per arm with the table's numbers; metrics are fractions from 0 to 1.

        `difference` is the difference to the baseline in the main metric of the task (mAP50-95 for detection). `low`
        and `high` are the ends of the interval that its verdict is read off, and `level` is its level, which is higher
        with more variants. `p` is corrected for the number of variants; it is None with `seeds=auto`.
        `verdict` is None without a test, such as below three seeds.
        """
        return [_as_row(arm, self.study.info.metrics) for arm in self.study.arms]

    def to_dict(self) -> dict[str, object]:
        """Return the content of results.json."""
        return self.study.to_json()

    def write(self, *, html: bool = True) -> None:
        """Write `results.json` and the reports into the study's folder.

        Args:
            html: Whether to write the page, which takes seconds.

        Raises:
            UserError: The disk is full or cannot be written; the earlier files are unchanged.
        """
        write_results(self.folder, self.study)
        report.write_reports(self.folder, self.study, html=html)


def _as_row(arm: ArmSummary, metrics: Sequence[str]) -> dict[str, object]:
    found = arm.difference()
    return {
        "name": arm.name,
        "kind": arm.kind,
        "seeds": len(arm.done),
        **{name: arm.metric(name).mean for name in metrics[:_METRICS]},
        "params": arm.params,
        "gflops": arm.gflops,
        "latency_ms": arm.latency_ms.median if arm.latency_ms else None,
        "difference": found.mean,
        "low": found.shown.low,
        "high": found.shown.high,
        "level": found.shown_level,
        "p": found.p_adjusted,
        "verdict": arm.verdict,
        "failed": len(arm.failed),
    }
