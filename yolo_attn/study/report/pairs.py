"""Pairs: the differences of the variants to the width control, and to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from yolo_attn.stats.verdicts import ALPHA, VERDICTS
from yolo_attn.study.report.formats import NONE, p_value, percent, shorten, signed, signed_interval
from yolo_attn.study.results.records import PairResult, StudyResults

__all__ = ["SHARED_BASELINE", "Family", "families", "pair_cells", "pair_heading", "pair_lines", "pair_name"]

SHARED_BASELINE = (
    "All differences to the baseline share its runs and are therefore correlated: rank variants by their differences "
    "to each other, not by comparing their differences to the baseline."
)
_MAX_LINES, _NAME = 6, 28  # lines of one family in the terminal, columns of a name there


@dataclass(frozen=True)
class Family:
    """Pairs whose intervals hold together.

    Args:
        title: What they answer.
        pairs: The pairs.
        to_width: Whether they compare variants with the width control, and not with each other.
    """

    title: str
    pairs: Sequence[PairResult]
    to_width: bool

    @property
    def level(self) -> str | None:
        """Level of its intervals, None if they differ or are unknown."""
        levels = {percent(pair.difference.level) for pair in self.pairs if pair.difference.level is not None}
        return levels.pop() if len(levels) == 1 else None

    @property
    def counts(self) -> str:
        """The number of pairs with each verdict."""
        counts = Counter(pair.verdict for pair in self.pairs)
        known = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
        return ", ".join([*known, *([f"{counts[None]} without a verdict"] if counts[None] else [])])

    @property
    def together(self) -> str:
        """What its intervals mean, such as "98.3% interval, 95% for all together"."""
        if self.level is None:
            return f"intervals that hold together with {percent(1 - ALPHA)}"
        several = f", {percent(1 - ALPHA)} for all together" if len(self.pairs) > 1 else ""
        return f"{self.level} interval{several}"


def families(study: StudyResults) -> list[Family]:
    """Return the families with pairs: variants and the width control, variants and each other."""
    variants, others = {arm.name for arm in study.variants}, {arm.name for arm in study.others}
    known = [pair for pair in study.pairs if {pair.arm, pair.reference} <= others]
    to_width = [pair for pair in known if pair.reference not in variants]
    mutual = [pair for pair in known if pair.reference in variants]
    found = [
        Family("Attention or size? Variant minus width", to_width, to_width=True),
        Family("Variant minus variant", mutual, to_width=False),
    ]
    return [family for family in found if family.pairs]


def pair_heading(family: Family) -> list[str]:
    """Return the headings of a family's table."""
    return ["pair", "difference", f"{family.level} interval" if family.level else "interval", "p adj.", "verdict"]


def pair_cells(pair: PairResult) -> list[str]:
    """Return the row of a pair in that table."""
    found = pair.difference
    numbers = [signed(found.mean), signed_interval(found.shown) or NONE, p_value(found.p_adjusted)]
    return [pair_name(pair), *numbers, pair.verdict or NONE]


def pair_name(pair: PairResult, room: int | None = None) -> str:
    """Return "arm - reference".

    Args:
        pair: The pair.
        room: Number of columns that each name is shortened to; None to keep it.
    """
    names = (pair.arm, pair.reference)
    return " - ".join(names if room is None else [shorten(name, room) for name in names])


def pair_lines(study: StudyResults) -> list[str]:
    """Return the pairs as lines for the terminal: with many, only those that differ."""
    lines = []
    found = [family for family in families(study) if any(pair.verdict for pair in family.pairs)]
    for family in found:
        few = len(family.pairs) <= _MAX_LINES
        differing = [pair for pair in family.pairs if pair.verdict in ("better", "worse")]
        lines.append(f"{family.title} ({family.together}): {family.counts}{'' if few else '; all are in report.html'}.")
        lines += [f"  {_pair_line(pair)}" for pair in (family.pairs if few else differing[:_MAX_LINES])]
    return [*lines, SHARED_BASELINE] if any(not family.to_width for family in found) else lines


def _pair_line(pair: PairResult) -> str:
    numbers = f"{signed(pair.difference.mean)} {signed_interval(pair.difference.shown)}".strip()
    return f"{pair_name(pair, _NAME)}: {numbers} {pair.verdict or ''}".rstrip()
