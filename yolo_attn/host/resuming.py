"""Where a training of Ultralytics' stands when it is cut, and the command that resumes it."""

from __future__ import annotations

import pickle
import shlex
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError, counted
from yolo_attn.layer_files import loaded_files

__all__ = ["Progress", "after_interruption", "check_resumable", "folder_of", "read_progress"]


@dataclass(frozen=True)
class Progress:
    """How far the training of a checkpoint is.

    Args:
        epochs: Epochs trained; None where the checkpoint holds weights alone, as at the end of a training.
        wanted: Epochs that the training was to have; None where the checkpoint does not say.
        data: The dataset that it was trained on; "" where the checkpoint does not say.
    """

    epochs: int | None
    wanted: int | None
    data: str


def read_progress(checkpoint: Path) -> Progress | None:
    """Return how far the training of a checkpoint is; None when it cannot be read as one.

    Nothing that the file names is imported or called: its tensors and classes are stand-ins.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as stream:
                content = _Outline(stream).load()
    except Exception:  # damaged bytes may read as anything
        return None
    if not isinstance(content, dict):
        return None
    given = content.get("train_args")
    arguments = given if isinstance(given, dict) else {}
    epoch, wanted = content.get("epoch"), arguments.get("epochs")
    return Progress(
        epochs=epoch + 1 if isinstance(epoch, int) and epoch >= 0 and content.get("optimizer") is not None else None,
        wanted=wanted if isinstance(wanted, int) else None,
        data=str(arguments.get("data") or ""),
    )


class _StandIn:
    """Takes whatever a pickle does to an object, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __call__(self, *args: Any, **kwargs: Any) -> _StandIn:
        return self

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...

    def add(self, item: Any) -> None: ...

    def __hash__(self) -> int:
        return id(self)


class _Outline(pickle.Unpickler):
    """Reads a checkpoint's plain values; everything else is a stand-in."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        return _StandIn

    def persistent_load(self, pid: Any) -> Any:
        return _StandIn()


def check_resumable(checkpoint: str) -> None:
    """Raise UserError when a checkpoint holds no training that could be resumed, as that of a finished one.

    Ultralytics would start another training, of its default dataset, without a question.
    """
    progress = read_progress(Path(checkpoint))
    if progress is None or progress.epochs is not None:
        return
    done = f"its training of {counted(progress.wanted, 'epoch')} is finished" if progress.wanted else "it is finished"
    data = shlex.quote(progress.data) if progress.data else "DATA"
    command = f"yolo-attn train model={shlex.quote(checkpoint)} data={data} epochs=EPOCHS"
    raise UserError(f"{checkpoint}: {done}, so there is nothing to resume; to train on from its weights: {command}")


def after_interruption(error: BaseException) -> str:
    """Return where the training stood that an error or Ctrl-C cut, and the command that resumes it.

    Args:
        error: What ended the training; its traceback leads to the trainer.

    Returns:
        What follows "stopped", such as "after 3 of 10 epochs; resume: yolo-attn train resume model=..."; "" when no
        training was under way.
    """
    trainer, folder = _trainer_of(error), folder_of(error)
    if folder is None:
        return ""
    weights, total = folder / "weights", int(trainer.args.epochs)
    found = {path: read_progress(path) for path in _own_checkpoints(trainer, weights)}
    last = found.get(weights / "last.pt")
    if last and (last.epochs is None or last.epochs >= total):
        return f"after the last epoch; only the evaluation is missing, and the weights are in {weights}"
    trained = {path: progress.epochs for path, progress in found.items() if progress and progress.epochs}
    if not trained:
        return "before its first checkpoint was whole: there is nothing to resume, and the same command starts again"
    # A checkpoint that was being written may be damaged. last.pt and best.pt of one epoch are the same training.
    path = max(trained, key=lambda path: (trained[path], path.name == "last.pt"))
    layers = f" layers={shlex.quote(','.join(loaded_files()))}" if loaded_files() else ""
    command = f"yolo-attn train resume model={shlex.quote(str(path))}{layers}"
    return f"after {trained[path]} of {counted(total, 'epoch')}; resume: {command}"


def folder_of(error: BaseException) -> Path | None:
    """Return the folder of the training that an error cut; None when no training was under way."""
    folder = getattr(_trainer_of(error), "save_dir", None)
    return None if folder is None else Path(folder)


def _trainer_of(error: BaseException) -> Any:
    """Return the trainer among the objects whose methods an error came through; None without one."""
    from ultralytics.engine.trainer import BaseTrainer

    found, trace = None, error.__traceback__
    while trace is not None:
        if isinstance(here := trace.tb_frame.f_locals.get("self"), BaseTrainer):
            found = here
        trace = trace.tb_next
    return found


def _own_checkpoints(trainer: Any, weights: Path) -> list[Path]:
    """Return the checkpoints of a training; its folder may hold those of an earlier one (`exist_ok=True`)."""
    if getattr(trainer, "resume", False):
        return sorted(weights.glob("*.pt"))
    arguments = weights.parent / "args.yaml"  # which a trainer writes when it is made
    began = arguments.stat().st_mtime_ns if arguments.exists() else time.time_ns()
    return sorted(path for path in weights.glob("*.pt") if path.stat().st_mtime_ns >= began)
