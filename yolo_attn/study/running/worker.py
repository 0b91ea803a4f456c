"""One run, in its own process: `python -m yolo_attn.study.running.worker RUN_FOLDER`.

Trains the folder's `model.yaml` as `run.json` says, evaluates the last and the best checkpoint, and writes
`result.json` as its last act. Exit status 0 when done, 1 when failed, 74 when the disk is full, 75 when another process
has the folder.

The training state, `state.pt`, goes when the run is done. A failed run keeps it, so that after a cure (memory freed, a
disk mounted again) `retry=True` goes on there. Whether a state is itself the cause nobody can tell here, so it is never
deleted for that; an attempt that went on from one and came no further says so in its error, with the cure.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError, one_line
from yolo_attn.security.trust import trusting
from yolo_attn.study.files import JOB, LAYERS, RESULT, TRAIN, TRAINING_STATE
from yolo_attn.study.running.local import DISK_FULL_STATUS
from yolo_attn.system.failures import is_disk_full
from yolo_attn.system.files import as_json, read_json, write_atomically
from yolo_attn.system.locks import FolderLock
from yolo_attn.system.processes import end_all, ranks_ended

__all__ = ["main"]

_BUSY_STATUS = 75  # EX_TEMPFAIL of sysexits.h
_DATASET_SECONDS = 24 * 3600.0
_OTHERS_LAST_SECONDS = 120.0  # how long a child whose parent died may take to notice
_ROOM = 16 * 2**20  # bytes; below it a checkpoint that could not be written is the disk's fault, whatever was raised
_NO_FURTHER = f"it went on from {TRAINING_STATE} and came no further; delete that file to train the run from its start"

Perform = Callable[[Path, dict[str, Any]], dict[str, Any]]


def main(arguments: Sequence[str], perform: Perform | None = None) -> int:
    """Run one run folder and return the exit status.

    Args:
        arguments: The folder, and `--end-with-parent` when standard input is the parent's pipe.
        perform: What to do with the folder and its order; training and evaluation by default.
    """
    if "--end-with-parent" in arguments:
        threading.Thread(target=end_with_parent, daemon=True).start()
    folder = Path(arguments[0]).resolve()
    lock = FolderLock(folder)
    if not lock.acquire(timeout=_OTHERS_LAST_SECONDS):
        print(f"{folder}: process {lock.owner()} still works on this run")
        return _BUSY_STATUS
    with lock:
        if not ranks_ended(folder, _OTHERS_LAST_SECONDS):
            print(f"{folder}: a process of an earlier multi-GPU training still works on this run")
            return _BUSY_STATUS
        if (folder / RESULT).exists():  # an earlier child finished it after its parent was gone
            return 0
        return _run(folder, perform or _train_and_measure)


def _run(folder: Path, perform: Perform) -> int:
    order = read_json(folder / JOB)
    _clear(folder)
    began, state = time.time(), _written(folder / TRAINING_STATE)
    try:
        outcome = {"status": "done", "error": None, **perform(folder, order)}
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        if is_disk_full(error) or shutil.disk_usage(folder).free < _ROOM:
            return DISK_FULL_STATUS
        outcome = {"status": "failed", "error": one_line(error)}
        if state is not None and state == _written(folder / TRAINING_STATE):
            outcome["error"] += f" ({_NO_FURTHER})"
    times = {"began": began, "wall_seconds": time.time() - began, "node": order.get("node")}
    try:
        write_atomically(folder / RESULT, as_json({"key": order["key"], "seed": order["seed"], **outcome, **times}))
    except UserError as error:
        print(error)
        return DISK_FULL_STATUS
    if outcome["status"] == "failed":
        return 1
    (folder / TRAINING_STATE).unlink(missing_ok=True)
    return 0


def end_with_parent() -> None:
    """Wait until the parent's end of the pipe closes, then end this process and all that it started."""
    while os.read(0, 1):  # the parent writes nothing; os.read, since a buffered read would block a normal exit
        pass
    end_all()


def _written(path: Path) -> int | None:
    """Return when a file was written, in nanoseconds; None without one."""
    return path.stat().st_mtime_ns if path.exists() else None


def _clear(folder: Path) -> None:
    """Remove what an attempt that was cut short left, but for what it can go on from."""
    for name in ("val-last", "val-best", *(() if (folder / TRAINING_STATE).exists() else (TRAIN,))):
        shutil.rmtree(folder / name, ignore_errors=True)


def _train_and_measure(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    from yolo_attn.host.restricted import restricted
    from yolo_attn.layer_files import import_copied
    from yolo_attn.study.running.inputs import check_layers
    from yolo_attn.study.running.training import train_and_measure

    import_copied(folder / LAYERS, order.get("modules", ()))
    with trusting(bool(order.get("trust"))), restricted():  # the order is of the command that runs now
        if "node" in order:
            _take_up(folder, order)
        check_layers(order["inputs"])
        return train_and_measure(folder, order)


def _take_up(folder: Path, order: dict[str, Any]) -> None:
    """Make sure that this node of a cluster would give the result that the study asks for.

    Raises:
        UserError: Its packages or its copy of the dataset are others.
    """
    from yolo_attn.data import resolve_data
    from yolo_attn.study.running import inputs

    wanted = order["inputs"]
    for package, version in inputs.versions().items():
        if version != wanted["versions"][package]:
            raise UserError(
                f"node {order['node']} has {package} {version}, the study {wanted['versions'][package]}; "
                "install the same versions on all nodes"
            )
    lock = FolderLock(folder.parent)
    lock.acquire(_DATASET_SECONDS)  # one run of a node at a time makes or downloads the dataset
    with lock:
        order["data"] = resolve_data(order["data"])
        digest = inputs.read_dataset(order["data"], order["task"], wanted["recipe"].get("split", "val")).digest
    if digest != wanted["data"]:
        raise UserError(f"node {order['node']}: {order['data']} holds other images or labels than the study's dataset")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
