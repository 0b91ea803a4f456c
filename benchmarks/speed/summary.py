"""Tables of measurements and what they amount to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import geometric_mean
from typing import Any

from yolo_attn.tables import align

__all__ = ["LIMIT", "slower", "summary", "table"]

LIMIT = 1.05
LEFT = (0, 1)

Row = dict[str, Any]


def table(rows: Sequence[Row]) -> str:
    """Return a text table with a line for each measurement."""
    head = ["layer", "beside", "map", "batch", "mode", "ms", "theirs", "ratio", "p10-p90"]
    head += ["products", "x floor", "MB", "theirs"]
    return align([head, *map(_cells, rows)], LEFT)


def _cells(row: Row) -> list[str]:
    ours, theirs, floor = row["ours"], row.get("theirs", {}), row.get("floor", {})
    ratio, products = row.get("ratio"), row.get("products")
    return [
        row["layer"],
        row.get("peer", "") + ("*" if row.get("note") else ""),
        row["level"],
        str(row["batch"]),
        row["mode"],
        f"{ours['median']:.4g}",
        f"{theirs['median']:.4g}" if theirs else "fails" * bool(row.get("failure")),
        f"{ratio['median']:.2f}" if ratio else "",
        f"{ratio['p10']:.2f}-{ratio['p90']:.2f}" if ratio else "",
        f"{products['median']:.4g}" if products else "",
        f"{ours['median'] / floor['ms']:.1f}" if floor else "",
        f"{ours['peak_mb']:.4g}" if "peak_mb" in ours else "",
        f"{theirs['peak_mb']:.4g}" if "peak_mb" in theirs else "",
    ]


def summary(rows: Sequence[Row]) -> str:
    """Return the geometric means of ours over theirs, the measurements that are slower, and the notes."""
    beside = [row for row in rows if "ratio" in row]
    lines = []
    for name, chosen in (
        ("equal arithmetic", [row for row in beside if not row["note"]]),
        ("other arithmetic (*)", [row for row in beside if row["note"]]),
    ):
        if chosen:
            lines.append(
                f"{name}: {len(chosen)} measurements of {len(_pairs(chosen))} pairs, geometric mean of ours / theirs: "
                f"time {_mean(row['ratio']['median'] for row in chosen)}, memory {_mean(memory_ratios(chosen))}"
            )
    late = slower(beside)
    lines.append(f"slower by more than {LIMIT - 1:.0%}: {len(late)}" if beside else "")
    lines += [f"  {' '.join(_cells(row)[:5])}: {row['ratio']['median']:.2f}" for row in late]
    lines += [f"* {layer} beside {peer}: {note}" for layer, peer, note in _pairs(beside) if note]
    return "\n".join(line for line in lines if line)


def slower(rows: Iterable[Row]) -> list[Row]:
    """Return the measurements in which ours takes more time than the limit, the slowest first."""
    late = [row for row in rows if row["ratio"]["median"] > LIMIT]
    return sorted(late, key=lambda row: -row["ratio"]["median"])


def memory_ratios(rows: Iterable[Row]) -> list[float]:
    """Return the peak memory of ours over theirs where both were measured."""
    pairs = [(row["ours"].get("peak_mb"), row["theirs"].get("peak_mb")) for row in rows]
    return [ours / theirs for ours, theirs in pairs if ours and theirs]


def _pairs(rows: Iterable[Row]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((row["layer"], row["peer"], row["note"]) for row in rows))


def _mean(values: Iterable[float]) -> str:
    found = list(values)
    return f"{geometric_mean(found):.2f}" if found else "not measured"
