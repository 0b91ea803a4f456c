"""The results of a study: the content of `results.json`, and what is written with it.

Average precision, intervals and verdicts are computed from the stored matches of each run (`measured`, `numbers`).
Costs, and what Ultralytics' validator says, are taken from the runs' results. `results.schema.json`, next to this file
and written next to every `results.json`, describes the outcome.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import UserError, plain
from yolo_attn.study.files import LATENCY, RESULTS
from yolo_attn.study.results.portable import dataset_name, without_folders
from yolo_attn.study.specification.arms import Arm
from yolo_attn.system.files import as_json, finite, read_json, write_atomically
from yolo_attn.tables import html_table

if TYPE_CHECKING:
    from yolo_attn.study.results.numbers import ArmNumbers, Source

__all__ = ["SCHEMA", "SCHEMA_FILE", "ArmRuns", "Results", "make_results", "write_results"]

SCHEMA = 1
SCHEMA_FILE = Path(__file__).with_name("results.schema.json")
_RUN_KEYS = ("seed", "status", "error", "seconds", "epochs", "memory_mib", "folder")
_LOOSE_SEEDS = 2
_UNFINISHED = frozenset({"waiting", "running"})
_TESTED = ("p", "p_holm", "p_better")


@dataclass(frozen=True)
class ArmRuns:
    """What is known of one arm at some moment.

    Args:
        arm: The arm.
        model: Its model YAML, relative to the study's folder.
        runs: For each seed of the study, its `status` ("waiting", "running", "done", "failed" or "interrupted"), its
            `folder` relative to the study's, and what its result holds.
        transferred: How many tensors of the base its start has, and how many the base has; None when unknown.
    """

    arm: Arm
    model: str | None
    runs: Sequence[Mapping[str, Any]]
    transferred: Sequence[int] | None = None

    @property
    def done(self) -> list[Mapping[str, Any]]:
        """The runs that have a result."""
        return [run for run in self.runs if run["status"] == "done"]


@dataclass(frozen=True, repr=False)
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
        from yolo_attn.study.report import text_table

        return text_table(self.data)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<Results of {self.folder}: {', '.join(arm['name'] for arm in self.data['arms'])}>"

    def _repr_html_(self) -> str:
        from yolo_attn.study.report.text import cells_and_notes

        cells, notes = cells_and_notes(self.data)
        return html_table(cells, (0,), notes)

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary for each arm: the table's numbers, average precision as a fraction from 0 to 1.

        `difference`, `low` and `high` are of mAP50-95 against the base, `p` is corrected over the variants (Holm), and
        `verdict` is None where there is none, such as below three seeds.
        """
        return [_as_row(arm) for arm in self.data["arms"]]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return dict(self.data)

    def write(self, *, pictures: bool = True) -> None:
        """Write `results.json` and the reports into the study's folder.

        Args:
            pictures: Whether the page with the plots, which takes seconds, is written too.

        Raises:
            UserError: The disk is full or cannot be written; the earlier files are as they were.
        """
        from yolo_attn.study.report import write_reports

        write_results(self.folder, self.data)
        write_reports(self.folder, self.data, html=pictures)


def _as_row(arm: Mapping[str, Any]) -> dict[str, Any]:
    metrics = arm.get("metrics") or {}
    delta = (arm.get("delta") or {}).get("mAP50-95") or {}
    low, high = delta.get("ci95") or (None, None)
    return {
        **{key: arm[key] for key in ("name", "kind")},
        "seeds": sum(run["status"] == "done" for run in arm["runs"]),
        **{name: (metrics.get(name) or {}).get("mean") for name in ("mAP50-95", "mAP50", "mAP75")},
        **{key: arm[key] for key in ("params", "gflops")},
        "latency_ms": (arm.get("latency_ms") or {}).get("median"),
        **{"difference": delta.get("mean"), "low": low, "high": high, "p": delta.get("p_holm")},
        "verdict": arm["verdict"],
    }


def write_results(folder: Path, data: Mapping[str, Any]) -> None:
    """Write `results.json`, and next to it the schema that it follows.

    Raises:
        UserError: The disk is full or cannot be written; the earlier files are as they were.
    """
    schema, path = SCHEMA_FILE.read_bytes(), folder / SCHEMA_FILE.name
    if not path.is_file() or path.read_bytes() != schema:
        write_atomically(path, schema)
    write_atomically(folder / RESULTS, as_json(data))


def make_results(folder: Path, study: Mapping[str, Any], arms: Sequence[ArmRuns], *, keep: bool = True) -> Results:
    """Return the results of a study.

    Every done run's metrics, and their bootstrap, are computed from its matches once and kept in its folder. While runs
    wait or run, differences and intervals are interim: there are no p-values and no verdicts, since whoever looks after
    every run, and stops where a difference shows, finds one too often.

    Args:
        folder: Its folder.
        study: What is known of the study: `data`, `recipe`, `versions`, `seeds`, `device`, `threads` and more, which
            is taken over as it is.
        arms: The baseline first, then variants and controls in the order of the plan.
        keep: Whether the bootstrap is kept in the folders of the runs; otherwise the study is only read.

    Raises:
        UserError: Stored matches are missing, damaged, or of different images.
    """
    from yolo_attn.stats.bootstrap import REPLICATES, SEED
    from yolo_attn.study.results.numbers import Source, arm_numbers, detectable, with_verdicts

    sources = [
        tuple(Source.of(folder / run["folder"], int(run["seed"]), keep=keep) for run in item.done) for item in arms
    ]
    numbers = [arm_numbers(own, sources[0] if number else None) for number, own in enumerate(sources)]
    kinds = [item.arm.kind for item in arms]
    verdicts = with_verdicts(kinds, numbers)
    if any(run["status"] in _UNFINISHED for item in arms for run in item.runs):
        verdicts = [(_untested(delta), None) for delta, _ in verdicts]
    verdicts = [
        found if own.comparable else (_untested(found[0], "ci95"), None)
        for own, found in zip(numbers, verdicts, strict=True)
    ]
    latency = _latency(folder)
    sizes = _sizes(study, next((own[0] for own in sources if own), None))
    head = {
        "$schema": f"./{SCHEMA_FILE.name}",
        "schema": SCHEMA,
        "baseline": arms[0].arm.name,
        "task": None,
        **study,
        "data": dataset_name(str(study["data"])) if study.get("data") else None,
        "command": without_folders(str(study["command"])) if study.get("command") else None,
        **sizes,
        "made": study.get("made") or _last_result(arms),
        "bootstrap": {"replicates": REPLICATES, "seed": SEED},
        "minimum_detectable": detectable([own for own, kind in zip(numbers, kinds, strict=True) if kind == "variant"]),
        "notes": _notes(numbers, sizes["images"]),
    }
    rows = [
        _arm_results(item, found, delta, latency) for item, found, delta in zip(arms, numbers, verdicts, strict=True)
    ]
    return Results(folder, finite({**head, "arms": rows}))


def _untested(delta: Mapping[str, Any] | None, *more: str) -> dict[str, Any] | None:
    """Return differences without the outcome of a test, and without more of what they hold."""
    if delta is None:
        return None
    return {name: found and {**found, **dict.fromkeys((*_TESTED, *more))} for name, found in delta.items()}


def _sizes(study: Mapping[str, Any], where: Source | None) -> dict[str, int | None]:
    """Return the numbers of images and objects, as the matches have them once there are any."""
    from yolo_attn.study.results.numbers import measured

    if where is None:
        return {key: study.get(key) for key in ("images", "instances")}
    first = measured(where)
    return {"images": first.images, "instances": sum(first.instances)}


def _latency(folder: Path) -> Mapping[str, Any]:
    """Return what was timed, by arm; each with the folder of the run whose checkpoint it was."""
    path = folder / LATENCY
    if not path.exists():
        return {}
    try:
        arms = read_json(path).get("arms")
    except UserError:  # a measurement that is made again when the study goes on
        return {}
    known = arms.items() if isinstance(arms, dict) else ()
    return {name: timed for name, timed in known if isinstance(timed, dict) and isinstance(timed.get("run"), str)}


def _last_result(arms: Sequence[ArmRuns]) -> str | None:
    """Return when the last result came in: the same results have the same date, however often they are written."""
    times = [(run.get("began"), run.get("wall_seconds")) for item in arms for run in item.done]
    ends = [began + lasted for began, lasted in times if began is not None and lasted is not None]
    return datetime.fromtimestamp(max(ends), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if ends else None


def _notes(numbers: Sequence[ArmNumbers], images: int | None) -> list[str]:
    """Return what must be known to read the numbers."""
    seeds = [found.seeds for arm in numbers if arm.delta for found in arm.delta.values() if found]
    found = [value for arm in numbers for run in arm.runs.values() for value in run.values() if math.isfinite(value)]
    notes = []
    if _LOOSE_SEEDS in seeds:
        notes.append("Intervals from two seeds are wide and still loose: a pair of runs says little of training noise.")
    if images == 1 and found:
        notes.append("One test image says nothing about others: there are no intervals and no verdicts.")
    if found and not any(found):
        notes.append("No arm finds anything yet: every average precision is 0. Train longer, or look at the recipe.")
    return notes


def _arm_results(
    item: ArmRuns,
    found: ArmNumbers,
    verdict: tuple[Mapping[str, Any] | None, str | None],
    latency: Mapping[str, Any],
) -> dict[str, Any]:
    from yolo_attn.stats.ap import METRICS

    done = item.done
    timed = latency.get(item.arm.name)
    first: Mapping[str, Any] = done[0] if done else {}
    best = [run.get("metrics_best") or {} for run in done]
    seconds = [run["seconds"] for run in done if run.get("seconds") is not None]
    delta, word = verdict
    return {
        "name": item.arm.name,
        "kind": item.arm.kind,
        "model": item.model,
        "params": first.get("params"),
        "gflops": first.get("gflops"),
        "latency_ms": timed if timed and timed.get("run") in {run["folder"] for run in done} else None,
        "seconds": fmean(seconds) if seconds else None,
        "memory_mib": _most_memory(done),
        "runs": [_run_results(run, found) for run in item.runs],
        "learnt": found.has_learnt,
        "metrics": found.metrics,
        "metrics_best": {name: _plain([values.get(name) for values in best]) for name in METRICS},
        "per_class": found.per_class,
        "delta": delta,
        "verdict": word,
        "transferred": None if item.transferred is None else list(item.transferred),
    }


def _run_results(run: Mapping[str, Any], found: ArmNumbers) -> dict[str, Any]:
    seed = run["seed"]
    taken = {key: run.get(key) for key in _RUN_KEYS}
    own = {"metrics": found.runs.get(seed), "learnt": found.learnt.get(seed), "chance": found.chance.get(seed)}
    others = {key: run.get(key) for key in ("metrics_best", "metrics_ultralytics")}
    return {**taken, "error": run.get("error") and plain(str(run["error"])), **own, **others}


def _most_memory(runs: Sequence[Mapping[str, Any]]) -> dict[str, float | None] | None:
    """Return the largest peaks of any run, by kind: what a machine must have."""
    peaks = [run["memory_mib"] for run in runs if run.get("memory_mib")]
    kinds = dict.fromkeys(kind for peak in peaks for kind in peak)
    most = {kind: max((peak[kind] for peak in peaks if peak.get(kind) is not None), default=None) for kind in kinds}
    return most or None


def _plain(values: Sequence[float | None]) -> dict[str, Any]:
    """Return mean and standard deviation over seeds of numbers whose image noise is not known."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return {
        "mean": fmean(known) if known else None,
        "sd": stdev(known) if len(known) > 1 else None,
        "ci95": None,
    }
