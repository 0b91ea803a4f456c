"""`SearchResults`: the outcome of a search, for users."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_attn.selection.conclusion import conclusion
from yolo_attn.selection.files import RESULTS_CSV
from yolo_attn.selection.records import CandidateRecord, Confirmed, SearchRecord
from yolo_attn.selection.stored import to_json, write_record
from yolo_attn.study.report.formats import signed, signed_ends
from yolo_attn.system.files import write_atomically
from yolo_attn.tables import align, html_table

__all__ = ["SearchResults"]

_SHOWN = 12  # candidates in the table


@dataclass(frozen=True, repr=False)
class SearchResults:
    """The results of a search, finished or not.

    Args:
        folder: The search's folder.
        record: The content of `search.json`.
        planned: Whether the search was only planned.
    """

    folder: Path
    record: SearchRecord
    planned: bool = False

    @property
    def exit_status(self) -> int:
        """0 when the search is finished, or planned if that was asked for; 1 otherwise, and if no run has succeeded."""
        tried = any(one.estimates for one in self.record.candidates)
        return 0 if (self.record.finished and tried) or self.planned else 1

    def rows(self) -> list[dict[str, object]]:
        """Return one dictionary per candidate; differences are fractions from -1 to 1.

        `difference`, `low` and `high` are those of the last rung that the candidate took part in, `confirmed` and
        `verdict` those of the confirmation.
        """
        return [_as_row(one, self._confirmed(one.name)) for one in self.record.candidates]

    def to_dict(self) -> dict[str, object]:
        """Return the content of search.json."""
        return to_json(self.record)

    def table(self) -> str:
        """Return the candidates that came furthest as an aligned text table, and the conclusion."""
        return "\n".join([align(self._cells(), (0, 5)), *conclusion(self.record)])

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<Results of the search {self.folder}: {len(self.record.candidates)} candidates>"

    def _repr_html_(self) -> str:
        return html_table(self._cells(), (0, 5), conclusion(self.record))

    def write(self) -> None:
        """Write `search.json`, `search.csv` and the report.

        Raises:
            UserError: The disk is full or cannot be written; the earlier files are unchanged.
        """
        from yolo_attn.selection.report import write_report

        write_record(self.folder, self.record)
        write_atomically(self.folder / RESULTS_CSV, self._csv())
        write_report(self.folder, self.record)

    def _confirmed(self, name: str) -> Confirmed | None:
        return next((one for one in self.record.confirmed if one.name == name), None)

    def _cells(self) -> list[list[str]]:
        head = ["candidate", "rung", "search", "confirmed", "latency", "verdict"]
        furthest = sorted(self.record.candidates, key=_progress, reverse=True)[:_SHOWN]
        return [head, *(_as_cells(one, self._confirmed(one.name)) for one in furthest)]

    def _csv(self) -> str:
        rows, text = self.rows(), io.StringIO()
        if rows:
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        return text.getvalue()


def _progress(one: CandidateRecord) -> tuple[int, float]:
    """Return the rung that a candidate came to and its difference there."""
    return (one.last.rung, one.last.mean) if one.last else (0, 0.0)


def _as_row(one: CandidateRecord, confirmed: Confirmed | None) -> dict[str, object]:
    last, costs = one.last, one.costs
    return {
        "name": one.name,
        "layers": "+".join(one.layers),
        "sites": "+".join(one.sites),
        "status": one.status,
        "reason": one.reason,
        "rung": last.rung if last else None,
        "difference": last.mean if last else None,
        "low": last.low if last else None,
        "high": last.high if last else None,
        "confirmed": confirmed.mean if confirmed else None,
        "confirmed_low": confirmed.low if confirmed else None,
        "confirmed_high": confirmed.high if confirmed else None,
        "verdict": confirmed.verdict if confirmed else None,
        "params": costs.params,
        "gflops": costs.gflops,
        "latency_ms": costs.latency_ms,
        "latency_ratio": costs.latency_ratio,
        "memory_mib": costs.memory_mib,
    }


def _as_cells(one: CandidateRecord, confirmed: Confirmed | None) -> list[str]:
    return [
        one.label,
        str(one.last.rung) if one.last else "-",
        " ".join(_shown(one.last)),
        " ".join(_shown(confirmed)),
        f"{100 * (one.costs.latency_ratio - 1):+.1f}%" if one.costs.latency_ratio else "-",
        (confirmed.verdict if confirmed else None) or one.reason or one.status,
    ]


def _shown(found: object) -> Iterator[str]:
    """Yield a difference and its interval as text."""
    mean, low, high = (getattr(found, name, None) for name in ("mean", "low", "high"))
    yield signed(mean)
    if low is not None and high is not None:
        yield "[{}, {}]".format(*signed_ends(low, high))
