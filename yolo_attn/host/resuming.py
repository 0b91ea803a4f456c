"""State of an interrupted training, the command that resumes it, and the folder in which it continues."""

from __future__ import annotations

import pickle
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER

from yolo_attn.errors import UserError, counted
from yolo_attn.host.binding import Binding
from yolo_attn.security.trust import trusts_files
from yolo_attn.system.files import check_inside
from yolo_attn.system.shell import quote_word

__all__ = ["RESUMING", "Progress", "after_interruption", "check_resumable", "folder_of", "read_progress"]


def _wrap(original: Callable[..., None]) -> Callable[..., None]:
    def check_resume(self: Any, overrides: Any) -> None:
        """Read the arguments of a training to resume, which continues in the folder of its checkpoint.

        Ultralytics would write into the folder in which it began, although it was moved since or copied to another
        machine.
        """
        original(self, overrides)
        begun = getattr(self.args, "save_dir", None)
        if not self.args.resume or not begun:
            return
        folder = overrides.get("save_dir") or _run_folder(Path(self.args.resume))
        if folder and not trusts_files():  # Ultralytics would write through the links in a received folder
            check_inside(Path(folder), Path(folder))
        if folder and Path(folder).resolve() != Path(begun).resolve():
            LOGGER.info(f"yolo-attn: this training began in {begun} and continues in {folder}")
            self.args.save_dir = str(folder)

    return check_resume


RESUMING = Binding(BaseTrainer, "check_resume", _wrap)


def _run_folder(checkpoint: Path) -> Path | None:
    """Return the folder of the training that wrote a checkpoint, or None if the checkpoint alone was moved."""
    weights = checkpoint.resolve().parent
    return weights.parent if weights.name == "weights" and (weights.parent / "args.yaml").is_file() else None


@dataclass(frozen=True)
class Progress:
    """The progress of a checkpoint's training.

    Args:
        epochs: Number of epochs trained; None if the checkpoint has weights only, as at the end of training.
        total: Number of epochs of the whole training; None if unknown.
        data: The dataset of the training; "" if unknown.
    """

    epochs: int | None
    total: int | None
    data: str


def read_progress(checkpoint: Path) -> Progress | None:
    """Return the progress of a checkpoint's training; None if the file cannot be read.

    No global of the file is imported or called; stand-ins replace its tensors and classes.
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
    epoch, total = content.get("epoch"), arguments.get("epochs")
    return Progress(
        epochs=epoch + 1 if isinstance(epoch, int) and epoch >= 0 and content.get("optimizer") is not None else None,
        total=total if isinstance(total, int) else None,
        data=str(arguments.get("data") or ""),
    )


class _StandIn:
    """Object that accepts every operation of a pickle and ignores it."""

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
    """Unpickler that reads a checkpoint's plain values and replaces all others by stand-ins."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        return _StandIn

    def persistent_load(self, pid: Any) -> Any:
        return _StandIn()


def check_resumable(checkpoint: str, data: str = "") -> None:
    """Raise UserError if a checkpoint's training is finished, or its dataset is no longer where it was.

    Ultralytics would silently start another training on its default dataset.

    Args:
        checkpoint: The checkpoint.
        data: The dataset that the command gives; "" if the training continues with its own.
    """
    progress = read_progress(Path(checkpoint))
    if progress is None:
        return
    if progress.epochs is not None:
        moved = not data and Path(progress.data).is_absolute() and not Path(progress.data).exists()
        if moved:
            raise UserError(
                f"{checkpoint}: its dataset {progress.data} does not exist; give its name or path with data="
            )
        return
    done = f"its training of {counted(progress.total, 'epoch')} is finished" if progress.total else "it is finished"
    data = quote_word(progress.data) if progress.data else "DATA"
    command = f"yolo-attn train model={quote_word(checkpoint)} data={data} epochs=EPOCHS"
    raise UserError(f"{checkpoint}: {done}, so there is nothing to resume; to continue from its weights: {command}")


def after_interruption(error: BaseException) -> str:
    """Return the progress of a training run that an error or Ctrl-C interrupted, and the command that resumes it.

    Args:
        error: The error; its traceback contains the trainer.

    Returns:
        The text after "stopped", such as "after 3 of 10 epochs; resume: yolo-attn train resume model=..."; "" if no
        training was running.
    """
    from yolo_attn.layer_files import loaded_files

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
        return "before its first checkpoint was complete; run the same command to start again"
    # A checkpoint may be damaged if its writing was interrupted. last.pt and best.pt of one epoch are equivalent.
    path = max(trained, key=lambda path: (trained[path], path.name == "last.pt"))
    layers = f" layers={quote_word(','.join(loaded_files()))}" if loaded_files() else ""
    command = f"yolo-attn train resume model={quote_word(str(path))}{layers}"
    return f"after {trained[path]} of {counted(total, 'epoch')}; resume: {command}"


def folder_of(error: BaseException) -> Path | None:
    """Return the folder of the training that an error interrupted; None if no training was running."""
    folder = getattr(_trainer_of(error), "save_dir", None)
    return None if folder is None else Path(folder)


def _trainer_of(error: BaseException) -> Any:
    """Return the trainer in the traceback of an error, or None."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if isinstance(here := trace.tb_frame.f_locals.get("self"), BaseTrainer):
            found = here
        trace = trace.tb_next
    return found


def _own_checkpoints(trainer: Any, weights: Path) -> list[Path]:
    """Return the checkpoints of a training run, whose folder may contain those of an earlier one (`exist_ok=True`)."""
    if getattr(trainer, "resume", False):
        return sorted(weights.glob("*.pt"))
    arguments = weights.parent / "args.yaml"  # which a trainer writes on construction
    began = arguments.stat().st_mtime_ns if arguments.exists() else time.time_ns()
    return sorted(path for path in weights.glob("*.pt") if path.stat().st_mtime_ns >= began)
