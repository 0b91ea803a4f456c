"""The heat map of a search: the estimated gain of each layer at each site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_attn.selection.records import (
    EXPORT,
    FAILED,
    FINALIST,
    LIMIT,
    RACING,
    UNTRIED,
    CandidateRecord,
    RungEstimate,
    SearchRecord,
)
from yolo_attn.study.report.formats import signed, signed_ends, typeset

__all__ = ["Cell", "Grid", "GridRow", "make_grid"]

_STRONGEST = 0.55  # opacity of the strongest color: the number on it stays readable in both themes
_USUAL = 0.9  # share of the differences that are no outliers; a few diverged candidates would fade all others
_OUTLIER = 2.0  # times the largest usual difference
_UNTRIED_TEXT = {
    LIMIT: "limit",
    EXPORT: "export",
    UNTRIED: "budget",
    FAILED: "failed",
    RACING: "waiting",
}


@dataclass(frozen=True)
class Cell:
    """A layer at a site.

    Args:
        text: The difference in points, or in a word why there is none.
        below: Half of its interval and its rung; empty without a difference.
        title: Both in a sentence.
        value: The difference as a fraction, to sort by; None without one.
        rung: The rung; 0 without a difference.
        color: Color of its sign, a name of the theme; None without a difference.
        strength: Opacity of the color, which grows with the difference up to `Grid.most`.
        uncertain: Whether its interval contains zero or is unknown.
        finalist: Whether the candidate was confirmed.
    """

    text: str
    below: str = ""
    title: str = ""
    value: float | None = None
    rung: int = 0
    color: str | None = None
    strength: float = 0.0
    uncertain: bool = False
    finalist: bool = False

    @property
    def progress(self) -> tuple[int, float]:
        """Its rung and its difference, to sort by."""
        return self.rung, self.value or 0.0


@dataclass(frozen=True)
class GridRow:
    """A layer with its options.

    Args:
        layer: Its name.
        cells: One cell for each site.
    """

    layer: str
    cells: tuple[Cell, ...]

    @property
    def best(self) -> tuple[int, float]:
        """The last rung that any of its candidates came to, and the largest difference in it."""
        return max((cell.progress for cell in self.cells), default=(0, 0.0))


@dataclass(frozen=True)
class Grid:
    """The heat map.

    Args:
        sites: The columns.
        rows: The layers, the one that came furthest with the largest difference first.
        pairs: Pairs of placements, which belong to no cell, the best first.
        most: The difference from which on the color is strongest, as a fraction.
        beyond: Whether there are larger differences.
    """

    sites: tuple[str, ...]
    rows: tuple[GridRow, ...]
    pairs: tuple[tuple[str, Cell], ...]
    most: float
    beyond: bool


def make_grid(record: SearchRecord) -> Grid | None:
    """Return the heat map; None without a difference.

    Args:
        record: The results.
    """
    differences = [abs(last.mean) for one in record.candidates if (last := one.last)]
    if not differences:
        return None
    largest = max(differences)
    most = min(largest, _OUTLIER * float(np.quantile(differences, _USUAL))) or largest or 1.0
    singles = [one for one in record.candidates if len(one.layers) == 1]
    places = {(_layer_of(one), _site_of(one)): one for one in singles}
    sites = tuple(dict.fromkeys(_site_of(one) for one in singles))
    rows = [
        GridRow(layer, tuple(_cell(places.get((layer, site)), layer, site, most) for site in sites))
        for layer in dict.fromkeys(_layer_of(one) for one in singles)
    ]
    pairs = [(one.label, _cell(one, one.label, "", most)) for one in record.candidates if len(one.layers) > 1]
    return Grid(
        sites,
        tuple(sorted(rows, key=lambda row: row.best, reverse=True)),
        tuple(sorted(pairs, key=lambda pair: pair[1].progress, reverse=True)),
        most,
        largest > most,
    )


def _site_of(one: CandidateRecord) -> str:
    return ",".join(one.sites)


def _layer_of(one: CandidateRecord) -> str:
    """Return a candidate's layer with its options: its label without the site."""
    return one.label.removesuffix(f"@{_site_of(one)}")


def _cell(one: CandidateRecord | None, layer: str, site: str, most: float) -> Cell:
    where = f"{layer} at {site}" if site else layer
    if one is None:
        return Cell("–", title=f"{where}: not a candidate")  # noqa: RUF001
    if one.last is None:
        word = "error" if one.costs.error else _UNTRIED_TEXT.get(one.status, "–")  # noqa: RUF001
        return Cell(word, title=f"{where}: {one.reason or one.costs.error or one.status}")
    last = one.last
    contains_zero = last.low is None or last.high is None or last.low <= 0 <= last.high
    return Cell(
        text=typeset(signed(last.mean)),
        below=_below(last),
        title=_title(where, one, last),
        value=last.mean,
        rung=last.rung,
        color="arm-0" if last.mean >= 0 else "arm-1",
        strength=round(_STRONGEST * min(1.0, abs(last.mean) / most), 3),
        uncertain=contains_zero,
        finalist=one.status == FINALIST,
    )


def _below(last: RungEstimate) -> str:
    if last.low is None or last.high is None:
        return f"rung {last.rung}"
    return f"±{100 * (last.high - last.low) / 2:.2f} · {last.rung}"


def _title(where: str, one: CandidateRecord, last: RungEstimate) -> str:
    interval = ", one seed, no interval"
    if last.low is not None and last.high is not None:
        interval = typeset(" [{}, {}]".format(*signed_ends(last.low, last.high)))
    return f"{where}: {typeset(signed(last.mean))}{interval}, rung {last.rung}; {one.reason or one.status}"
