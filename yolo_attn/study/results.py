"""The results of a study: what every run gave, and each arm's mean and spread over its seeds."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_attn.files import write_atomically
from yolo_attn.study.plan import Arm
from yolo_attn.study.table import markdown_table, text_table

__all__ = ["METRICS", "RESULTS", "ArmRuns", "Results", "as_json", "make_results"]

METRICS = ("mAP50-95", "mAP50", "mAP75", "precision", "recall")
RESULTS = "results"
_SCHEMA = 1
_RUN_KEYS = (
    *("seed", "status", "error", "seconds", "epochs", "memory_mib", "folder"),
    *("metrics", "metrics_best", "per_class"),
)


@dataclass(frozen=True)
class ArmRuns:
    """What is known of one arm at some moment.

    Args:
        arm: The arm.
        model: Its model YAML, relative to the study's folder.
        runs: For each seed of the study, its `status` ("waiting", "running", "done", "failed" or "interrupted") and
            what its result holds.
    """

    arm: Arm
    model: str | None
    runs: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Results:
    """The results of a study, finished or not.

    Args:
        folder: The study's folder.
        data: The content of `results.json`.
    """

    folder: Path
    data: Mapping[str, Any]

    @property
    def exit_status(self) -> int:
        """0 when every run is done, 1 when one failed, was interrupted or is missing."""
        return 0 if all(run["status"] == "done" for arm in self.data["arms"] for run in arm["runs"]) else 1

    def of_status(self, status: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the runs of a status, each with the name of its arm."""
        return [(arm["name"], run) for arm in self.data["arms"] for run in arm["runs"] if run["status"] == status]

    def table(self) -> str:
        """Return the results as an aligned text table."""
        return text_table(self.data)

    def write(self) -> None:
        """Write `results.json`, `results.csv` and `results.md` into the study's folder.

        Raises:
            UserError: The disk is full or cannot be written; the earlier files are as they were.
        """
        write_atomically(self.folder / f"{RESULTS}.json", as_json(self.data))
        write_atomically(self.folder / f"{RESULTS}.csv", _as_csv(self.data))
        write_atomically(self.folder / f"{RESULTS}.md", markdown_table(self.data))


def as_json(data: Mapping[str, Any]) -> str:
    """Return data as JSON text; a number that is not finite, which JSON does not know, becomes null."""
    return json.dumps(_finite(data), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def make_results(folder: Path, study: Mapping[str, Any], arms: Sequence[ArmRuns]) -> Results:
    """Return the results of a study.

    Args:
        folder: Its folder.
        study: `data`, `recipe`, `versions`, `seeds`, `device` and `threads` of the study.
        arms: The baseline first, then the variants in the order of the plan.
    """
    head = {"schema": _SCHEMA, "baseline": arms[0].arm.name, **study}
    return Results(folder, {**head, "arms": [_arm_results(item) for item in arms]})


def _arm_results(item: ArmRuns) -> dict[str, Any]:
    done = [run for run in item.runs if run["status"] == "done"]
    first: Mapping[str, Any] = done[0] if done else {}
    return {
        "name": item.arm.name,
        "kind": item.arm.kind,
        "model": item.model,
        "params": first.get("params"),
        "gflops": first.get("gflops"),
        "latency_ms": None,
        "runs": [_run_results(run) for run in item.runs],
        "metrics": {name: _summary([run["metrics"][name] for run in done]) for name in METRICS},
        "metrics_best": {name: _summary([run["metrics_best"][name] for run in done]) for name in METRICS},
        "per_class": {name: _summary(values) for name, values in _by_class(done).items()},
        "delta": None,
        "verdict": None,
        "transferred": first.get("transferred"),
    }


def _run_results(run: Mapping[str, Any]) -> dict[str, Any]:
    return {key: run.get(key) for key in _RUN_KEYS}


def _by_class(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for run in runs for name in run["per_class"])
    return {name: [run["per_class"][name] for run in runs if name in run["per_class"]] for name in names}


def _summary(values: Sequence[float | None]) -> dict[str, Any]:
    """Return mean and standard deviation over seeds (n - 1 in the denominator); null where there are too few."""
    known = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "ci95": None,
    }


def _as_csv(data: Mapping[str, Any]) -> str:
    """Return one line for each run."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    best = [f"{name}(best.pt)" for name in METRICS]
    cost = ["params", "gflops", "seconds", "epochs", "error"]
    writer.writerow(["arm", "kind", "seed", "status", *METRICS, *best, *cost])
    for arm in data["arms"]:
        for run in arm["runs"]:
            numbers = [(run[which] or {}).get(name) for which in ("metrics", "metrics_best") for name in METRICS]
            head = [arm["name"], arm["kind"], run["seed"], run["status"]]
            tail = [arm["params"], arm["gflops"], run["seconds"], run["epochs"], run["error"]]
            writer.writerow([*head, *numbers, *tail])
    return stream.getvalue()
