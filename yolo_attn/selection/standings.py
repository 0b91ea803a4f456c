"""The standings of a search: the state, costs and estimates of every candidate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from yolo_attn.selection.candidates import Candidate
from yolo_attn.selection.records import DROPPED, FAILED, FINALIST, RACING, UNTRIED, CandidateRecord, Costs, RungEstimate
from yolo_attn.selection.rungs import RungResults
from yolo_attn.stats.compare import PairedDifference

__all__ = ["Standings"]


class Standings:
    """The candidates, in the order in which they are tried.

    Args:
        candidates: The candidates.
    """

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self._records: dict[str, CandidateRecord] = {}
        self._candidates: dict[str, Candidate] = {}
        self._lagging: frozenset[str] = frozenset()
        self.add(candidates)

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Add candidates at the end; those that are present remain as they are."""
        for one in candidates:
            if one.name not in self._records:
                self._candidates[one.name] = one
                self._records[one.name] = CandidateRecord(one.name, one.label, one.layers, one.sites, RACING)

    @property
    def records(self) -> tuple[CandidateRecord, ...]:
        """The records of all candidates."""
        return tuple(self._records.values())

    @property
    def racing(self) -> list[Candidate]:
        """The candidates that are not dropped."""
        return [one for name, one in self._candidates.items() if self._records[name].status == RACING]

    def records_of(self, names: Iterable[str]) -> list[CandidateRecord]:
        """Return the records of some candidates."""
        return [self._records[name] for name in names]

    def candidates(self, names: Iterable[str]) -> list[Candidate]:
        """Return candidates by their names."""
        return [self._candidates[name] for name in names]

    def set_costs(self, costs: Mapping[str, Costs]) -> None:
        """Set the costs of candidates by name."""
        for name, found in costs.items():
            self._records[name] = replace(self._records[name], costs=found)

    def drop(self, name: str, status: str, reason: str) -> None:
        """Set the state of a candidate that does not continue, with the reason."""
        self._records[name] = replace(self._records[name], status=status, reason=reason)

    def leave_out(self, name: str) -> None:
        """Drop a candidate that the budget has no place for."""
        self.drop(name, UNTRIED, "the budget is not sufficient for it")

    def add_estimates(self, rung: int, found: RungResults) -> None:
        """Add the estimates of a rung; candidates whose runs have failed are dropped."""
        self._lagging |= found.lagging
        for name, values, difference in zip(found.names, found.measured.values.T, found.differences, strict=True):
            estimate = _estimate(rung, difference, values.tolist())
            record = self._records[name]
            self._records[name] = replace(record, estimates=(*record.estimates, estimate))
        for name, error in found.errors.items():
            self.drop(name, FAILED, f"rung {rung}: {error}")

    def drop_worse(self, names: Iterable[str], rung: int, finalists: int) -> None:
        """Drop candidates by their interval."""
        for name in names:
            self._drop(name, f"rung {rung}: certainly not among the best {finalists}")

    def drop_beyond(self, names: Iterable[str], rung: int, places: int) -> None:
        """Drop candidates for which the next rung or the confirmation has no place."""
        for name in names:
            self._drop(name, f"rung {rung}: not among the {places} largest differences")

    def _drop(self, name: str, reason: str) -> None:
        """Drop a candidate for its differences, with what may have caused them."""
        hint = "; its batch norms lag, so try it with a smaller lr_attention=" if name in self._lagging else ""
        self.drop(name, DROPPED, reason + hint)

    def choose(self, names: Sequence[str]) -> None:
        """Make candidates finalists."""
        for name in names:
            self._records[name] = replace(self._records[name], status=FINALIST, reason=None)


def _estimate(rung: int, difference: PairedDifference, values: Sequence[float]) -> RungEstimate:
    low, high = difference.ci95 or (None, None)
    return RungEstimate(rung, difference.mean, low, high, tuple(values))
