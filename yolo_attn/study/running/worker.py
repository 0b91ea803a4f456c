"""The process of one run: `python -m yolo_attn.study.running.worker RUN_FOLDER`.

It trains the folder's `model.yaml` as `run.json` specifies, evaluates the last and the best checkpoint, and writes
`result.json` last. The exit status is 0 if the run is done, 1 if it has failed, 73 if the result cannot be written, 74
if the disk is full, and 75 if another process works in the folder.

The training state, `state.pt`, is removed when the run is done. A failed run keeps it: `retry=True` resumes from it
when the problem (memory, a disk) is fixed. The state itself can be the cause of a failure, which cannot be detected
here. The error of an attempt that resumed and made no progress therefore suggests deleting it.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from yolo_attn.errors import UserError, one_line
from yolo_attn.security.trust import trusting
from yolo_attn.study.files import LAST_WEIGHTS, LAYERS, RESULT, TRAIN, TRAINING_STATE
from yolo_attn.study.job import Job, Measurements, RunResult, read_key
from yolo_attn.study.running.local import DISK_FULL_STATUS
from yolo_attn.system.failures import is_disk_full
from yolo_attn.system.files import file_hash
from yolo_attn.system.locks import DATASET_SECONDS, FolderLock
from yolo_attn.system.processes import end_all, ranks_ended

__all__ = ["main"]

Perform = Callable[[Path, Job], Measurements]

_UNWRITTEN_STATUS = 73  # EX_CANTCREAT in sysexits.h
_BUSY_STATUS = 75  # EX_TEMPFAIL in sysexits.h
_ORPHAN_SECONDS = 120.0  # time in which a child whose parent has ended must notice it
_MIN_FREE_BYTES = 16 * 2**20  # with less free space, any error is attributed to the disk
_AGAIN = "run the command again to train all arms on what is there now"
_NO_PROGRESS = f"it resumed from {TRAINING_STATE} and made no progress; delete that file to train from the beginning"


def main(arguments: Sequence[str], perform: Perform | None = None) -> int:
    """Execute the run of a folder and return the exit status.

    Args:
        arguments: The folder, and `--end-with-parent` if standard input is a pipe from the parent.
        perform: Executes a job in its folder; training and evaluation by default.
    """
    if "--end-with-parent" in arguments:
        threading.Thread(target=end_with_parent, daemon=True).start()
    folder = Path(arguments[0]).resolve()
    lock = FolderLock(folder)
    if not lock.acquire(timeout=_ORPHAN_SECONDS):
        print(f"{folder}: process {lock.owner()} still works on this run")
        return _BUSY_STATUS
    with lock:
        if not ranks_ended(folder, _ORPHAN_SECONDS):
            print(f"{folder}: a process of an earlier multi-GPU training still works on this run")
            return _BUSY_STATUS
        if (folder / RESULT).exists():  # an earlier child finished the run after its parent had ended
            return 0
        return _execute(folder, perform or _train_and_measure)


def _execute(folder: Path, perform: Perform) -> int:
    """Execute a run, write its result and return the exit status."""
    job = Job.read(folder)
    _clear(folder)
    began, state = time.time(), _modified(folder / TRAINING_STATE)
    result = RunResult(job.key, job.seed, "done", began=began, node=job.node)
    try:
        result = replace(result, measurements=perform(folder, job))
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        if is_disk_full(error) or shutil.disk_usage(folder).free < _MIN_FREE_BYTES:
            return DISK_FULL_STATUS
        no_progress = state is not None and state == _modified(folder / TRAINING_STATE)
        message = one_line(error) + (f" ({_NO_PROGRESS})" if no_progress else "")
        result = replace(result, status="failed", error=message)
    try:
        replace(result, wall_seconds=time.time() - began).write(folder)
    except UserError as error:
        print(error)
        return DISK_FULL_STATUS if is_disk_full(error) else _UNWRITTEN_STATUS
    if result.status == "failed":
        return 1
    (folder / TRAINING_STATE).unlink(missing_ok=True)
    return 0


def end_with_parent() -> None:
    """Wait until the parent's end of the pipe closes, then end this process and all its descendants."""
    while os.read(0, 1):  # the parent writes nothing; a buffered read would block a normal exit
        pass
    end_all()


def _modified(path: Path) -> int | None:
    """Return the modification time of a file in nanoseconds, None without the file."""
    return path.stat().st_mtime_ns if path.exists() else None


def _clear(folder: Path) -> None:
    """Remove the remains of an interrupted attempt, except those that training resumes from."""
    for name in ("val-last", "val-best", *(() if (folder / TRAINING_STATE).exists() else (TRAIN,))):
        shutil.rmtree(folder / name, ignore_errors=True)


def _train_and_measure(folder: Path, job: Job) -> Measurements:
    from yolo_attn.host.restricted import restricted
    from yolo_attn.layer_files import import_copied
    from yolo_attn.study.running.layer_code import check_layer_code
    from yolo_attn.study.running.training import train_and_measure

    import_copied(folder / LAYERS, job.modules)
    with trusting(job.trust), restricted():
        job = _check_node(folder, job) if job.node is not None else _check_inputs(job)
        check_layer_code(job.inputs)
        return train_and_measure(folder, job)


def _check_inputs(job: Job) -> Job:
    """Check that dataset and checkpoint are still those that the run was planned with, and return the job.

    Raises:
        UserError: They have changed.
    """
    if _digest(job) != job.inputs.data:
        raise UserError(f"{job.data}: images or labels have changed since the study was planned; {_AGAIN}")
    if job.weights and job.inputs.weights not in {file_hash(Path(job.weights)), _trained_by(Path(job.weights))}:
        raise UserError(f"{job.weights}: has changed since the study was planned; {_AGAIN}")
    return job


def _trained_by(weights: Path) -> str | None:
    """Return the key of the run of a study that trained a base's weights; None for another checkpoint."""
    depth = len(Path(LAST_WEIGHTS).parts)
    folders = weights.absolute().parents
    return read_key(folders[depth - 1]) if len(folders) >= depth and weights.match(LAST_WEIGHTS) else None


def _digest(job: Job) -> str:
    """Return the hash of a job's dataset as it is now."""
    from yolo_attn.study.running.dataset import read_dataset
    from yolo_attn.study.specification.recipe import counts_one_class, recipe_split

    recipe = job.inputs.recipe
    return read_dataset(job.data, job.task, recipe_split(recipe), single_class=counts_one_class(recipe)).digest


def _check_node(folder: Path, job: Job) -> Job:
    """Check that this cluster node gives the result of the study's machine, and return the job with the node's dataset.

    Raises:
        UserError: The node has other package versions or another version of the dataset.
    """
    from yolo_attn.data import resolve_data
    from yolo_attn.study.running.key import package_versions

    for package, planned, installed in job.inputs.platform.differences(package_versions()):
        raise UserError(
            f"node {job.node} has {package} {installed}, the study {planned}; install the same versions on all nodes"
        )
    lock = FolderLock(folder.parent)
    lock.acquire(DATASET_SECONDS)  # only one run of a node at a time creates or downloads the dataset
    with lock:
        job = replace(job, data=resolve_data(job.data))
        digest = _digest(job)
    if digest != job.inputs.data:
        raise UserError(f"node {job.node}: {job.data} has other images or labels than the study's dataset")
    return job


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
