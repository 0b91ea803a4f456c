"""Formatting of numbers (points, signed differences, intervals, costs, times), and widths of text."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timezone

from yolo_attn.points import NONE, signed, signed_ends
from yolo_attn.study.results.records import Estimate, Latency
from yolo_attn.study.running.progress import clock

__all__ = [
    "NONE",
    "columns",
    "count",
    "date",
    "duration",
    "enumerated",
    "gflops",
    "half_width",
    "interval",
    "latency",
    "mean_and_half",
    "mebibytes",
    "millions",
    "milliseconds",
    "p_value",
    "percent",
    "points",
    "points_range",
    "probability",
    "shorten",
    "signed",
    "signed_ends",
    "signed_interval",
    "size",
    "typeset",
]

_MIN_P = 0.001
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MAX_PROBABILITY = 0.995


def points(value: float | None) -> str:
    """Return 0.4106 as 41.06."""
    return NONE if value is None else f"{100 * value:.2f}"


def interval(estimate: Estimate) -> str:
    """Return "[40.11, 42.01]", or "" without an interval."""
    return "" if estimate.half is None else f"[{points(estimate.low)}, {points(estimate.high)}]"


def signed_interval(estimate: Estimate) -> str:
    """Return "[-0.45, +2.39]", or "" without an interval."""
    return "" if estimate.half is None else "[{}, {}]".format(*signed_ends(estimate.low, estimate.high))


def size(value: float) -> str:
    """Return a size in points, without zeros at its end: 0.005 as 0.5."""
    return f"{100 * value:.3g}"


def points_range(ends: tuple[float, float]) -> str:
    """Return (0.008, 0.014) as "0.80 to 1.40", and equal ends as one number."""
    low, high = map(points, ends)
    return low if low == high else f"{low} to {high}"


def percent(value: float) -> str:
    """Return a level or a share as a percentage: 0.95 as 95%, 0.98333 as 98.3%, and 0.99929 as 99.93%."""
    rest = 100 * (1 - value)
    digits = max(1, -math.floor(math.log10(rest))) if 0 < rest < 1 else 1
    text = f"{100 * value:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.')}%"


def half_width(estimate: Estimate) -> str:
    """Return "± 0.95", half the width of the 95 % interval, or "" without one.

    Metrics are from 0 to 100, so a wider interval, as from the few images of a rare class, is no more than that.
    """
    if estimate.half is None:
        return ""
    return f"± {points(estimate.half)}" if estimate.half <= 1 else "± >100"


def mean_and_half(estimate: Estimate) -> str:
    """Return "41.06 ± 0.95", the mean and half the width of its 95 % interval."""
    return " ".join(filter(None, (points(estimate.mean), half_width(estimate))))


def enumerated(items: Sequence[str]) -> str:
    """Return at least one item as "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def p_value(value: float | None) -> str:
    """Return a p-value with three decimals."""
    if value is None:
        return NONE
    return f"<{_MIN_P}" if value < _MIN_P else f"{value:.3f}"


def probability(value: float | None) -> str:
    """Return a probability with two decimals; never 0.00 or 1.00."""
    if value is None:
        return NONE
    if value >= _MAX_PROBABILITY:
        return ">0.99"
    return "<0.01" if value <= 1 - _MAX_PROBABILITY else f"{value:.2f}"


def count(value: int | None) -> str:
    """Return 2602542 as 2,602,542."""
    return NONE if value is None else f"{value:,}"


def millions(value: int | None) -> str:
    """Return 2602542 as 2.603M."""
    return NONE if value is None else f"{value / 1e6:.3f}M"


def gflops(value: float | None) -> str:
    """Return three significant digits."""
    return NONE if value is None else f"{value:.3g}"


def milliseconds(value: float | None) -> str:
    """Return three significant digits."""
    if value is None:
        return NONE
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"  # noqa: PLR2004


def latency(value: Latency | None) -> str:
    """Return "12.3 (11.9-14.0)", the median with the 10th and 90th percentile."""
    if value is None:
        return NONE
    if value.p10 is None or value.p90 is None:
        return milliseconds(value.median)
    return f"{milliseconds(value.median)} ({milliseconds(value.p10)}-{milliseconds(value.p90)})"


def duration(seconds: float | None) -> str:
    """Return seconds as 1:02:03 or 2:03."""
    return NONE if seconds is None else clock(seconds)


def date(stamp: str) -> str:
    """Return 2026-11-20T12:00:00Z as 20 Nov 2026, 12:00 UTC; any other text is returned unchanged."""
    try:
        moment = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    except ValueError:
        return stamp
    if moment.tzinfo is None:
        return stamp
    moment = moment.astimezone(timezone.utc)
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M} UTC"


def mebibytes(value: float | None) -> str:
    """Return MiB without decimals."""
    return NONE if value is None else f"{value:,.0f}"


def typeset(text: str) -> str:
    """Return a text of numbers with minus signs and en dashes in place of hyphens."""
    text = re.sub(r"(?<![\w.])-(?=\d)", "−", text)  # noqa: RUF001
    return re.sub(r"(?<=\d)-(?=\d)", "–", text)  # noqa: RUF001


def shorten(name: str, room: int) -> str:
    """Return a name with its middle replaced by an ellipsis if it is wider than a number of columns."""
    if columns(name) <= room:
        return name
    front, back = (room - 1) - (room - 1) // 2, (room - 1) // 2
    return f"{_head(name, front)}…{_head(name[::-1], back)[::-1]}"


def _head(text: str, room: int) -> str:
    while columns(text) > room:
        text = text[:-1]
    return text


def columns(text: str) -> int:
    """Return the number of columns of a text: two for a Chinese character, none for a combining accent."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)
