"""The results of a study made again from its store, without a plan and without training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError
from yolo_attn.study.files import RESULT
from yolo_attn.study.results.received import check_run_folder, read_run
from yolo_attn.study.results.results import ArmRuns, Results, make_results
from yolo_attn.study.specification.arms import Arm

__all__ = ["rebuild"]

# What `make_results` computes; everything else in the head is taken over as it stands.
_COMPUTED = ("$schema", "schema", "baseline", "arms", "bootstrap", "minimum_detectable", "notes", "made")


def rebuild(folder: Path, *, whole: bool = True, keep: bool = True) -> Results:
    """Return the results of a study, every number computed again from the stored matches of its runs.

    Args:
        folder: The study's folder; its `results.json` tells which runs belong to which arm.
        whole: Whether every run that was done must still be there; otherwise one that is gone counts as not done.
        keep: Whether what took long to compute is kept in the runs' folders; otherwise the study is only read.

    Raises:
        UserError: It is no study, something in it is damaged, or a run that was done is gone.
    """
    from yolo_attn.study.report import read_results

    known = read_results(folder)
    head = {key: value for key, value in known.items() if key not in _COMPUTED}
    for name in {run["folder"] for arm in known["arms"] for run in arm["runs"] if run.get("folder")}:
        check_run_folder(folder, name)
    arms = [_arm_runs(folder, arm) for arm in known["arms"]]
    gone = [(arm["name"], run) for arm in known["arms"] for run in arm["runs"] if _is_gone(folder, run)]
    if whole and gone:
        name, run = gone[0]
        others = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        raise UserError(
            f"{folder / str(run['folder']) / RESULT}: missing, though {name}, seed {run['seed']} was done{others}; "
            "restore its folder, or give out=DIR for a report of what is left (nothing was changed)"
        )
    return make_results(folder, head, arms, keep=keep)


def _arm_runs(folder: Path, arm: Mapping[str, Any]) -> ArmRuns:
    runs = [_run(folder, run) for run in arm["runs"]]
    return ArmRuns(Arm(arm["name"], arm["kind"]), arm.get("model"), runs, arm.get("transferred"))


def _run(folder: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the store holds of a run now: its result may have come in since the results were written."""
    where = {"seed": run["seed"], "folder": run.get("folder")}
    if _has_result(folder, run):
        return {**read_run(folder / run["folder"], run["seed"]), **where}
    status = "waiting" if run["status"] == "done" else run["status"]
    error = run.get("error")
    return {"status": status, "error": error if isinstance(error, str) else None, **where}


def _is_gone(folder: Path, run: Mapping[str, Any]) -> bool:
    """Whether a run was done and has no result any more."""
    return bool(run["status"] == "done" and not _has_result(folder, run))


def _has_result(folder: Path, run: Mapping[str, Any]) -> bool:
    return bool(run.get("folder")) and (folder / run["folder"] / RESULT).is_file()
