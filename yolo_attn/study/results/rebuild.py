"""Rebuilding the results of a study from its stored runs, without training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.study.files import BOOTSTRAP, JOB, MAPS, MATCHES, RESULT, TRAIN, TRAIN_TABLE
from yolo_attn.study.job import RunResult, RunState, read_key
from yolo_attn.study.results.build import ArmRuns, TrainedBase, make_results
from yolo_attn.study.results.looks import read_looks
from yolo_attn.study.results.records import ArmSummary, BaseSummary, RunSummary, StudyResults
from yolo_attn.study.specification.controls import CONTROLS

__all__ = ["rebuild"]

_RUN_FILES = (RESULT, JOB, MATCHES, BOOTSTRAP, MAPS, TRAIN, TRAIN_TABLE)


def rebuild(folder: Path, known: StudyResults, *, require_all: bool = True, keep: bool = True) -> StudyResults:
    """Return the results of a study, with every number computed again from the stored matches of its runs.

    Args:
        folder: The study's folder.
        known: Its stored results, which list the runs of each arm.
        require_all: Whether every done run must still exist; otherwise a missing one counts as waiting.
        keep: Whether to cache the bootstrap in the runs' folders; otherwise the study is only read.

    Raises:
        UserError: A file of the study is damaged, or a done run is missing.
    """
    listed = {run.folder for arm in known.arms for run in arm.runs} | {base.folder for base in known.bases}
    for name in filter(None, listed):
        _check_run_folder(folder, name)
    missing = [(arm, run) for arm in known.arms for run in arm.done if not _has_result(folder, run)]
    if require_all and missing:
        arm, run = missing[0]
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(
            f"{folder / (run.folder or '') / RESULT}: missing, though {arm.name}, seed {run.seed} was done{others}; "
            "restore its folder, or give out=DIR for a report of the remaining runs (nothing was changed)"
        )
    arms, looks = [_arm_runs(folder, arm) for arm in known.arms], read_looks(folder)
    bases = [TrainedBase(base.arm, _run_state(folder, base)) for base in known.bases]
    return make_results(folder, known.info, arms, bases=bases, looks=looks, keep=keep)


def _arm_runs(folder: Path, arm: ArmSummary) -> ArmRuns:
    control = CONTROLS.get(arm.name) if arm.kind == "control" else None
    offset = control.seed_offset if control else 0
    runs = [replace(_run_state(folder, run, offset), base=run.base) for run in arm.runs]
    return ArmRuns(arm.name, arm.kind, arm.model, runs, arm.transferred)


def _run_state(folder: Path, run: RunSummary | BaseSummary, seed_offset: int = 0) -> RunState:
    """Return the state of a run now, which may have been finished since the results were written.

    Args:
        folder: The study's folder.
        run: The run as it was listed.
        seed_offset: Added to the listed seed in its training.
    """
    if not _has_result(folder, run):
        return RunState(run.seed, "waiting" if run.status == "done" else run.status, run.folder, run.error)
    result = _read_result(folder / str(run.folder), run.seed + seed_offset)
    return RunState(run.seed, result.status, run.folder, result.error, result)


def _has_result(folder: Path, run: RunSummary | BaseSummary) -> bool:
    return bool(run.folder) and (folder / str(run.folder) / RESULT).is_file()


def _read_result(folder: Path, seed: int) -> RunResult:
    """Return the result in a run's folder.

    Raises:
        UserError: It is damaged, or belongs to another run.
    """
    result, path = RunResult.read(folder), folder / RESULT
    if result.seed is not None and result.seed != seed:
        raise UserError(f"{path}: has seed {str(result.seed)[:20]}, but results.json lists it with seed {seed}")
    if (folder / JOB).is_file() and read_key(folder) != result.key:
        raise UserError(f"{path}: not the result of the run that {JOB} describes")
    return result


def _check_run_folder(study: Path, name: str) -> None:
    """Check that a run's folder, and every file read from it or written to it, is inside the study's folder.

    Args:
        study: The study's folder.
        name: The run's folder as the results name it.

    Raises:
        UserError: It is outside the study's folder, by its name or by a link.
    """
    folder = study / name
    try:
        root = study.resolve()
        paths = (folder, *(folder / file for file in _RUN_FILES))
        outside = [path for path in paths if not path.resolve().is_relative_to(root)]
    except (OSError, ValueError, RuntimeError) as error:  # circular links, an invalid name
        raise UserError(f"{study}: a run's folder {name[:60]!r} cannot be read ({type(error).__name__})") from None
    if outside:
        raise UserError(f"{outside[0]}: outside the study's folder {study}; only files inside it are read")
