"""The results of a study made again from its store, without a plan and without training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_attn.files import read_json
from yolo_attn.study.plan import Arm
from yolo_attn.study.results import ArmRuns, Results, make_results
from yolo_attn.study.store import RESULT

__all__ = ["rebuild"]

# What `make_results` computes; everything else in the head is taken over as it stands.
_COMPUTED = ("schema", "baseline", "arms", "bootstrap", "minimum_detectable", "notes", "made")


def rebuild(folder: Path) -> Results:
    """Return the results of a study, every number computed again from the stored matches of its runs.

    Args:
        folder: The study's folder; its `results.json` tells which runs belong to which arm.

    Raises:
        UserError: It is no study, or something in it is damaged.
    """
    from yolo_attn.study.report import read_results

    known = read_results(folder)
    head = {key: value for key, value in known.items() if key not in _COMPUTED}
    return make_results(folder, head, [_arm_runs(folder, arm) for arm in known["arms"]])


def _arm_runs(folder: Path, arm: Mapping[str, Any]) -> ArmRuns:
    runs = [_run(folder, run) for run in arm["runs"]]
    return ArmRuns(Arm(arm["name"], arm["kind"]), arm["model"], runs, arm["transferred"])


def _run(folder: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the store holds of a run now: its result may have come in since the results were written."""
    where = {"seed": run["seed"], "folder": run["folder"]}
    if run["folder"] and (folder / run["folder"] / RESULT).is_file():
        return {**read_json(folder / run["folder"] / RESULT), **where}
    status = "waiting" if run["status"] == "done" else run["status"]
    return {"status": status, "error": run.get("error"), **where}
