"""The results as a table to read: aligned text for a terminal, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

__all__ = ["markdown_table", "notes", "text_table"]

_MAIN = "mAP50-95"
_HEADER = ("arm", "seeds", "mAP50-95", "mAP50", "mAP75", "params", "GFLOPs", "vs baseline")
_NONE = "-"


def text_table(data: Mapping[str, Any]) -> str:
    """Return results as aligned text, with what must be known to read them.

    Args:
        data: The content of `results.json`.
    """
    rows = [_HEADER, *_rows(data)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [_align(row, widths) for row in rows]
    return "\n".join([*lines, *notes(data)])


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    """Set names to the left and numbers to the right."""
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join([row[0].ljust(widths[0]), *numbers]).rstrip()


def markdown_table(data: Mapping[str, Any]) -> str:
    """Return results as a Markdown document."""
    rows = [_HEADER, ("---", *["---:"] * (len(_HEADER) - 1)), *_rows(data)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    recipe = ", ".join(f"{key}={value}" for key, value in data["recipe"].items())
    versions = ", ".join(f"{package} {version}" for package, version in data["versions"].items())
    made = f"Data: {data['data']}. Seeds: {', '.join(map(str, data['seeds']))}. Recipe: {recipe}. Made with {versions}."
    remarks = "\n".join(f"- {note}" for note in [*notes(data), *_errors(data)])
    return f"# {data['baseline']} and its variants\n\n{table}\n\n{remarks}\n\n{made}\n"


def notes(data: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know to read the numbers."""
    done = [sum(run["status"] == "done" for run in arm["runs"]) for arm in data["arms"]]
    lines = [
        "mAP in points, mean ± sd over seeds, of last.pt. vs baseline: difference in mAP50-95 over common seeds; "
        "it is no verdict."
    ]
    if max(done, default=0) == 1:
        lines.append("Single runs: differences of this size are usually noise. Give more seeds, such as seeds=3.")
    return lines


def _errors(data: Mapping[str, Any]) -> list[str]:
    return [
        f"{arm['name']}, seed {run['seed']}: {run['status']}: {run['error']}"
        for arm in data["arms"]
        for run in arm["runs"]
        if run["status"] in {"failed", "interrupted"}
    ]


def _rows(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    baseline = data["arms"][0]
    return [_row(arm, baseline) for arm in data["arms"]]


def _row(arm: Mapping[str, Any], baseline: Mapping[str, Any]) -> tuple[str, ...]:
    done = sum(run["status"] == "done" for run in arm["runs"])
    name = f"{arm['name']} (baseline)" if arm is baseline else arm["name"]
    return (
        name,
        f"{done}/{len(arm['runs'])}",
        *(_points(arm["metrics"][metric]) for metric in (_MAIN, "mAP50", "mAP75")),
        _NONE if arm["params"] is None else f"{arm['params']:,}",
        _NONE if arm["gflops"] is None else f"{arm['gflops']:.3g}",
        _NONE if arm is baseline else _difference(arm["runs"], baseline["runs"]),
    )


def _points(summary: Mapping[str, Any]) -> str:
    if summary["mean"] is None:
        return _NONE
    spread = "" if summary["sd"] is None else f" ± {100 * summary['sd']:.2f}"
    return f"{100 * summary['mean']:.2f}{spread}"


def _difference(runs: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean difference over common seeds: the same seed sees the same images in the same order."""
    mine, base = _by_seed(runs), _by_seed(others)
    common = [100 * (mine[seed] - base[seed]) for seed in mine if seed in base]
    return f"{fmean(common):+.2f}" if common else _NONE


def _by_seed(runs: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    return {
        run["seed"]: run["metrics"][_MAIN]
        for run in runs
        if run["status"] == "done" and run["metrics"][_MAIN] is not None
    }
