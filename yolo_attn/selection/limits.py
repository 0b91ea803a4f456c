"""`limit=`: the largest costs of a candidate, relative to the base (`latency:+10%`) or absolute (`params:3.0M`)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from yolo_attn.errors import UserError, counted, did_you_mean
from yolo_attn.selection.records import Costs

__all__ = ["COSTS", "Limit", "Limits", "check_limits", "parse_limits"]

_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([a-z%]*)", re.IGNORECASE)
_PERCENT = "%"
_SLACK = 1e-9  # relative rounding error
_DIGITS = 16  # more than a float has


@dataclass(frozen=True)
class _Cost:
    """A cost that can be limited.

    Args:
        absolute: Its field in `Costs`.
        shown: Its units, with their sizes in the unit of the field; "" for none.
        example: An absolute limit.
        ratio: The field that holds it relative to the base, if there is one.
    """

    absolute: str
    shown: Mapping[str, float]
    example: str
    ratio: str = ""

    @property
    def units(self) -> dict[str, float]:
        """The units in lower case, in which they are compared."""
        return {unit.lower(): size for unit, size in self.shown.items()}


_COSTS = {
    "latency": _Cost("latency_ms", {"": 1.0, "ms": 1.0, "s": 1e3, "us": 1e-3}, "12ms", "latency_ratio"),
    "params": _Cost("params", {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}, "3.0M"),
    "gflops": _Cost("gflops", {"": 1.0, "GFLOPs": 1.0, "G": 1.0}, "8"),
    "memory": _Cost("memory_mib", {"": 1.0, "MiB": 1.0, "MB": 1e6 / 2**20, "GiB": 2.0**10, "GB": 1e9 / 2**20}, "300MB"),
}
COSTS = tuple(_COSTS)
"""The costs that can be limited."""


@dataclass(frozen=True)
class Limit:
    """The largest value of one cost.

    Args:
        cost: One of `COSTS`.
        bound: The largest value: a ratio to the base, or in the unit.
        unit: The unit of an absolute limit as written; "%" for a relative one.
        text: The value as written, such as "+10%".
    """

    cost: str
    bound: float
    unit: str
    text: str

    @property
    def relative(self) -> bool:
        """Whether it is relative to the base."""
        return self.unit == _PERCENT

    @property
    def in_field(self) -> float:
        """An absolute bound in the unit of the field of `Costs`."""
        return self.bound * _COSTS[self.cost].units[self.unit.lower()]

    def value(self, costs: Costs, base: Costs) -> float:
        """Return a candidate's cost in the form of the bound.

        Raises:
            ValueError: The cost was not measured.
        """
        kind = _COSTS[self.cost]
        if not self.relative:
            return _measured(costs, kind.absolute) / kind.units[self.unit.lower()]
        if kind.ratio:
            return _measured(costs, kind.ratio)
        value, reference = _measured(costs, kind.absolute), _measured(base, kind.absolute)
        return value / reference if reference else math.inf if value else 1.0

    def allows(self, value: float) -> bool:
        """Return whether a value is within the limit."""
        return value <= self.bound + _SLACK * abs(self.bound)

    def reason(self, value: float) -> str:
        """Return how a value breaks the limit, in words: "latency +14.2 %, limit +10 %"."""
        if self.relative:
            texts = (f"{100 * (value - 1):+.{digits}f}%" for digits in range(1, _DIGITS))
        else:
            texts = (f"{value:.{max(digits, len(f'{value:.0f}'))}g}{self.unit}" for digits in range(4, _DIGITS))
        shown = next((text for text in texts if not self.allows(_parse_value(text)[0])), "more")
        return f"{self.cost} {_spaced(shown)}, limit {_spaced(self.text)}"

    def raised_to(self, value: float) -> str:
        """Return the limit that just allows a value, as it is written: "latency:+14.3%"."""
        shown = 100 * (value - 1) if self.relative else value
        digits = 1 if self.relative or shown <= 0 else max(0, 2 - math.floor(math.log10(shown)))
        up = math.ceil(shown * 10**digits - _SLACK) / 10**digits
        return f"{self.cost}:{up:+.{digits}f}%" if self.relative else f"{self.cost}:{up:.{digits}f}{self.unit}"

    def __str__(self) -> str:
        return f"{self.cost}:{self.text}"


def _spaced(text: str) -> str:
    """Return a value as written with a space before its unit."""
    return re.sub(r"(?<=\d)(?=[^\W\d]+$|%)", " ", text.replace(" ", ""))


def _measured(costs: Costs, name: str) -> float:
    value = getattr(costs, name)
    if value is None:
        raise ValueError(f"{name} was not measured")
    return float(value)


@dataclass(frozen=True)
class Limits:
    """The limits of a search; none of them allow everything.

    Args:
        limits: The limits, at most one of each cost.
        text: As given.
    """

    limits: tuple[Limit, ...] = ()
    text: str = field(default="", compare=False)

    @property
    def needs(self) -> frozenset[str]:
        """The costs that must be measured, of `COSTS`."""
        return frozenset(limit.cost for limit in self.limits)

    def broken(self, costs: Costs, base: Costs) -> list[Limit]:
        """Return the limits that a candidate breaks.

        Args:
            costs: Its costs.
            base: The costs of the base.

        Raises:
            ValueError: A limited cost was not measured.
        """
        return [limit for limit in self.limits if not limit.allows(limit.value(costs, base))]

    def broken_by(self, costs: Costs, base: Costs) -> str | None:
        """Return the first limit that a candidate breaks in words, such as "latency +14.2 %, limit +10 %".

        Args:
            costs: Its costs.
            base: The costs of the base.

        Returns:
            The reason; None if it breaks no limit.

        Raises:
            ValueError: A limited cost was not measured.
        """
        first = next(iter(self.broken(costs, base)), None)
        return first.reason(first.value(costs, base)) if first else None

    def largest_latency_ratio(self, base_ms: float) -> float | None:
        """Return the limit of the latency relative to a base with this latency; None without one."""
        found = [limit for limit in self.limits if limit.cost == "latency"]
        return (found[0].bound if found[0].relative else found[0].in_field / base_ms) if found else None


# --- parsing --------------------------------------------------------------------------------------------------------


def parse_limits(text: str | None) -> Limits:
    """Return the limits that a text gives, such as "latency:+10%,params:3.0M".

    A number with "%" is relative to the base. Others are absolute, in milliseconds (or s, us), parameters (k, M, B),
    GFLOPs and MiB (or MB, GiB, GB).

    Raises:
        UserError: An unknown cost, one that is given twice, or a value that is not a possible limit.
    """
    if text is None or not text.strip():
        return Limits()
    limits: dict[str, Limit] = {}
    for part in text.split(","):
        name, _, value = map(str.strip, part.partition(":"))
        if name not in _COSTS:
            raise UserError(f"limit={part.strip()}: unknown cost{did_you_mean(name, COSTS)}; known: {', '.join(COSTS)}")
        if name in limits:
            raise UserError(f"limit=: {name} is given twice; give one limit for each cost")
        limits[name] = _parse_limit(name, value)
    return Limits(tuple(limits.values()), text.strip())


def _parse_limit(name: str, text: str) -> Limit:
    """Return the limit of one cost."""
    where, example = f"limit={name}:{text}", f"write {name}:+10% or {name}:{_COSTS[name].example}"
    try:
        value, unit = _parse_value(text)
    except ValueError:
        raise UserError(f"{where}: not a number with a unit; {example}") from None
    if unit == _PERCENT and value != 1 and text.strip()[0] not in "+-":
        raise UserError(f"{where}: write +{text.strip()} or -{text.strip()}, which is relative to the base")
    units = _COSTS[name].units
    if unit != _PERCENT and unit.lower() not in units:
        known = ", ".join([*filter(None, _COSTS[name].shown), _PERCENT])
        raise UserError(f"{where}: unknown unit {unit!r}; the units are {known}")
    if not math.isfinite(value) or value <= 0:
        problem = "a limit of at most -100 % leaves nothing" if unit == _PERCENT else "must be above 0"
        raise UserError(f"{where}: {problem}; {example}")
    return Limit(name, value, unit, text)


def _parse_value(text: str) -> tuple[float, str]:
    """Return number and unit of a value as written; "+10%" is 1.1 with the unit "%".

    Raises:
        ValueError: The text is not a number with a unit.
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    number, unit = float(match[1]), match[2]
    return (1 + number / 100 if unit == _PERCENT else number), unit


# --- candidates over the limits -------------------------------------------------------------------------------------


def check_limits(
    limits: Limits, base: Costs, costs: Mapping[str, Costs], *, others: bool = False
) -> tuple[dict[str, str], str]:
    """Return the candidates that are over a limit, with reasons, and a line on how many each limit removes.

    Args:
        limits: The limits.
        base: The costs of the base.
        costs: Those of the candidates by name; those with an error are not counted.
        others: Whether there are other candidates, so that all of these may be over a limit.

    Returns:
        The reasons by name of the candidate, and the line, which is "" without limits.

    Raises:
        UserError: No candidate is left; the message says how far which limit would have to be raised.
    """
    measured = {name: found for name, found in costs.items() if found.error is None}
    broken = {name: limits.broken(found, base) for name, found in measured.items()}
    reasons = {name: each[0].reason(each[0].value(measured[name], base)) for name, each in broken.items() if each}
    removed = Counter(limit for each in broken.values() for limit in each)
    parts = [f"{limit} removes {removed[limit]}" for limit in limits.limits]
    line = f"limits: {', '.join(parts)} of {counted(len(measured), 'candidate')}" if parts else ""
    if measured and len(reasons) == len(measured) and not others:
        raise UserError(
            f"no candidate is left: {', '.join(parts)} of {len(measured)}{_way_out(limits, base, measured)}"
        )
    return reasons, line


def _way_out(limits: Limits, base: Costs, costs: Mapping[str, Costs]) -> str:
    """Return the end of a message: the limits of which raising one would leave a candidate."""
    needed: dict[Limit, float] = {}
    for found in costs.values():
        broken = limits.broken(found, base)
        if len(broken) == 1 and math.isfinite(value := broken[0].value(found, base)):
            needed[broken[0]] = min(value, needed.get(broken[0], math.inf))
    if not needed:
        return "; every candidate is over several limits, so raise more than one"
    return f"; {' or '.join(limit.raised_to(value) for limit, value in needed.items())} would leave one"
