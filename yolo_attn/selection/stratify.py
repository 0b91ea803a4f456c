"""Stratification: units are divided in two parts such that the second one has about the same share of everything.

The order is that of iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label
Data", 2011): the units with the rarest quantity are placed first, while the others can still make up for them. A unit
is placed where it leaves the smaller imbalance of all of its quantities, each relative to that of a random division.
Equal units are ordered by a hash of their names, so the result depends on nothing but the units.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["stratify"]

Units = Mapping[str, Mapping[str, int]]


def stratify(units: Units, share: float, least: int) -> set[str]:
    """Return the names of the units of the second part.

    A quantity that at least two units have is in both parts where possible.

    Args:
        units: The quantities of each unit by name, such as 1 image and 3 objects of a class; all are positive.
        share: Share of each quantity that the second part gets, between 0 and 1.
        least: Smallest number of units of a part; there are at least twice as many.
    """
    balances = _balances(units, share)
    taken: set[str] = set()
    for placed, name in enumerate(_rarest_first(units)):
        left = len(units) - placed
        counts = [(balances[quantity], count) for quantity, count in sorted(units[name].items())]
        take = sum(balance.pull(count) for balance, count in counts) < 0
        if least - len(taken) == left:
            take = True
        elif least - (placed - len(taken)) == left:
            take = False
        for balance, count in counts:
            balance.place(count, taken=take)
        if take:
            taken.add(name)
    return taken


class _Balance:
    """What the second part has of a quantity beyond its share of what is placed.

    Args:
        share: Its share.
        counts: The quantity in each unit that has it.
    """

    def __init__(self, share: float, counts: Sequence[int]) -> None:
        holders = len(counts)
        self.share = min(max(share, 1 / holders), 1 - 1 / holders) if holders > 1 else share
        self._excess = 0.0
        self._variance = self.share * (1 - self.share) * sum(count * count for count in counts)  # of a random division

    def pull(self, count: int) -> float:
        """Return how much the imbalance is larger after a unit is taken than after it is not."""
        return count * (2 * self._excess + (1 - 2 * self.share) * count) / self._variance

    def place(self, count: int, *, taken: bool) -> None:
        """Place a unit."""
        self._excess += (taken - self.share) * count


def _balances(units: Units, share: float) -> dict[str, _Balance]:
    counts: dict[str, list[int]] = defaultdict(list)
    for quantities in units.values():
        for quantity, count in quantities.items():
            counts[quantity].append(count)
    return {quantity: _Balance(share, of_units) for quantity, of_units in counts.items()}


def _rarest_first(units: Units) -> Iterator[str]:
    """Yield the units with the quantity that the fewest of the remaining ones have, large units first."""
    holders: dict[str, list[str]] = defaultdict(list)
    for name in sorted(units, key=lambda name: (-sum(units[name].values()), _hash(name))):
        for quantity in units[name]:
            holders[quantity].append(name)
    remaining = {quantity: len(names) for quantity, names in holders.items()}
    placed: set[str] = set()
    while remaining:
        rarest = min(remaining, key=lambda quantity: (remaining[quantity], quantity))
        for name in holders[rarest]:
            if name not in placed:
                yield name
                placed.add(name)
                for quantity in units[name]:
                    remaining[quantity] -= 1
        remaining = {quantity: count for quantity, count in remaining.items() if count}


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
