"""What search results are called in sentences: the base, candidates, differences and costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yolo_attn.errors import UserError
from yolo_attn.graph.model_ref import ModelRef
from yolo_attn.selection.records import FINALIST, CandidateRecord, Confirmed, Costs, SearchRecord
from yolo_attn.study.report.formats import signed, signed_ends, typeset

__all__ = [
    "base_name",
    "by_difference",
    "candidate_of",
    "confirmed_text",
    "difference_text",
    "latency_change",
    "verdict_of",
]


def base_name(record: SearchRecord) -> str:
    """Return the base's name without folder and suffix."""
    try:
        return ModelRef.parse(record.info.base).stem
    except UserError:
        return record.info.base


def candidate_of(record: SearchRecord, name: str) -> CandidateRecord:
    """Return a candidate by its name."""
    found = next((one for one in record.candidates if one.name == name), None)
    return found or CandidateRecord(name, name, (), (), FINALIST)


def latency_change(costs: Costs) -> str | None:
    """Return the latency relative to the base, such as "+3.1%"; None if it was not measured."""
    if costs.latency_ratio is None:
        return None
    return typeset(f"{100 * (costs.latency_ratio - 1):+.1f}%")


def by_difference(found: Iterator[Confirmed] | Sequence[Confirmed]) -> list[Confirmed]:
    """Return finalists with the largest difference first; those without one are last."""
    return sorted(found, key=lambda one: (one.mean is None, -(one.mean or 0.0)))


def verdict_of(one: Confirmed) -> str:
    """Return the verdict of a finalist."""
    return one.verdict or "no verdict"


def difference_text(mean: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return "+1.20 [+0.40, +2.00]"."""
    interval = "" if low is None or high is None else " [{}, {}]".format(*signed_ends(low, high))
    return typeset(f"{signed(mean)}{interval}")


def confirmed_text(record: SearchRecord, one: Confirmed) -> str:
    """Return the confirmed difference of a finalist with its unit."""
    if one.mean is None:
        return "no difference"
    return f"{difference_text(one.mean, one.low, one.high)} points of {record.info.metric}"
