"""Screening: candidates that are not trained, because of their costs or because a format cannot carry them."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.errors import UserError, counted
from yolo_attn.selection.export import check_export
from yolo_attn.selection.limits import check_limits
from yolo_attn.selection.records import EXPORT, FAILED, LIMIT, Costs
from yolo_attn.selection.specification import Search
from yolo_attn.selection.standings import Standings

__all__ = ["screen"]


def screen(standings: Standings, search: Search, base: Costs, names: Sequence[str]) -> list[str]:
    """Drop candidates that cannot be built or exported, or that are over a limit, and return lines about them.

    Args:
        standings: The candidates, with their costs.
        search: The search.
        base: Costs of the base.
        names: The candidates to screen.

    Raises:
        UserError: No candidate is left.
    """
    lines = [*_drop_unbuildable(standings, names), *_drop_unexportable(standings, search, names)]
    costs = {one.name: one.costs for one in standings.records_of(names) if one.status not in (FAILED, EXPORT)}
    reasons, line = check_limits(search.limits, base, costs, others=_has_others(standings, names))
    for name, reason in reasons.items():
        standings.drop(name, LIMIT, reason)
    return [*lines, line] if line else lines


def _drop_unbuildable(standings: Standings, names: Sequence[str]) -> list[str]:
    """Drop the candidates whose model cannot be built."""
    broken = [one for one in standings.records_of(names) if one.costs.error]
    for one in broken:
        standings.drop(one.name, FAILED, f"cannot be built: {one.costs.error}")
    if not broken:
        return []
    first = broken[0]
    if len(broken) == len(standings.records_of(names)) and not _has_others(standings, names):
        raise UserError(f"no candidate can be built, such as {first.label}: {first.costs.error}")
    return [f"{counted(len(broken), 'candidate')} cannot be built, such as {first.label}: {first.costs.error}"]


def _drop_unexportable(standings: Standings, search: Search, names: Sequence[str]) -> list[str]:
    """Drop the candidates that the format of the search cannot carry."""
    if search.export is None:
        return []
    left = [one.name for one in standings.records_of(names) if one.status != FAILED]
    reasons, lines = check_export(standings.candidates(left), search.export)
    for name, reason in reasons.items():
        standings.drop(name, EXPORT, reason)
    if left and len(reasons) == len(left) and not _has_others(standings, names):
        raise UserError(f"no candidate is left: {search.export} carries none of {counted(len(left), 'candidate')}")
    return lines


def _has_others(standings: Standings, names: Sequence[str]) -> bool:
    """Whether other candidates than some are racing."""
    return any(one.name not in names for one in standings.racing)
